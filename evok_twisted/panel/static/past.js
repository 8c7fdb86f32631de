// What a circuit showed over time: its last minutes from the page, hours to months from the service; with another circuit
// beside it, as a table of a spreadsheet, and, of what is switched, by whom.

import { address, http, session } from "./api.js";
import { fullNameOf, nameOf } from "./controls.js";
import { h, moment, say } from "./dom.js";
import { live, numberOf, TRAIL } from "./live.js";
import { Plot } from "./plot.js";
import { query, setQuery } from "./route.js";
import { KINDS, W } from "./words.js";

/** @typedef {import("./live.js").Circuit} Circuit */
/** @typedef {import("./curve.js").Curve} Curve */
/** @typedef {import("./curve.js").Point} Point */

const HOUR = 3600000;
/** How long each is, in ms. @type {Record<string, number>} */
const SPANS = { minutes: TRAIL, hour: HOUR, day: 24 * HOUR, week: 168 * HOUR, month: 720 * HOUR };
const POINTS = 500;
/** How often what the service has is asked for again, at most. In ms. */
const SOONEST = 5000;
/** What was switched, of it the last. */
const SWITCHED = 50;
/** What is on or off. */
const SWITCHES = ["di", "ro", "do", "led"];

/**
 * @param {Circuit} one
 * @returns {{element: HTMLElement, draw: () => void, stop: () => void}}
 */
export function overTime(one) {
  const plot = new Plot(fullNameOf(one));
  const nothing = h("p", { class: "quiet" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const spans = Object.keys(SPANS).map((name) => h("button", { type: "button", onclick: () => choose("span", name === "minutes" ? "" : name) }, W.spans[name]));
  const earlier = h("button", { type: "button", "aria-label": W.earlier, onclick: () => move(-1) }, "‹");
  const later = h("button", { type: "button", "aria-label": W.later, onclick: () => move(1) }, "›");
  const beside = h("select", { "aria-label": W.beside, onchange: () => choose("with", beside.value) }, h("option", { value: "" }, W.besideNone));
  const others = [...live.circuits.values()].filter((other) => other !== one && other.state.dev in KINDS && numberOf(other.state) !== null);
  beside.append(...others.map((other) => h("option", { value: other.key }, fullNameOf(other))));
  const files = h("span", { class: "buttons" });
  const switched = h("div");
  const element = h("div", {}, h("div", { class: "tools", role: "group", "aria-label": W.plot }, ...spans, earlier, later, beside, files), problem, nothing, plot.element, switched);
  let asked = 0;
  let timer = 0;

  /** @param {string} name @param {string} value */
  function choose(name, value) {
    setQuery(name, value);
    if (name === "span") setQuery("until", "");
    load();
  }

  /** @param {number} way */
  function move(way) {
    const { length, to } = span();
    const until = to + (way * length) / 2;
    setQuery("until", until < Date.now() - length / 4 ? new Date(until).toISOString() : "");
    load();
  }

  /** What is looked at. */
  function span() {
    const name = session.rules.history && Object.hasOwn(SPANS, query("span")) ? query("span") : "minutes";
    const until = name === "minutes" ? NaN : Date.parse(query("until"));
    return { name, length: SPANS[name], to: until || Date.now(), now: !until };
  }

  const circuits = () => [one, live.circuits.get(query("with"))].filter((other) => other !== undefined);

  function load() {
    const { name, now } = span();
    spans.forEach((button, n) => {
      button.hidden = !session.rules.history;
      button.setAttribute("aria-pressed", String(Object.keys(SPANS)[n] === name));
    });
    earlier.hidden = later.hidden = name === "minutes";
    later.disabled = now;
    beside.value = live.circuits.has(query("with")) ? query("with") : "";
    clearTimeout(timer);
    asked++;
    problem.hidden = true;
    files.replaceChildren();
    switched.replaceChildren();
    if (name === "minutes") draw();
    else void ask();
  }

  /** Draw what the page has seen itself. */
  function draw() {
    if (span().name !== "minutes") return;
    const now = Date.now();
    const curves = circuits().map((circuit) => curveOf(circuit, [...circuit.trail, { t: now, v: numberOf(circuit.state) }]));
    const seen = one.trail.some((point) => point.v !== null);
    show(seen ? curves : [], Math.max(now - TRAIL, (one.trail[0]?.t ?? now) - 1000), now);
  }

  /** @param {Curve[]} curves @param {number} from @param {number} to */
  function show(curves, from, to) {
    const seen = curves.some((curve) => curve.points.length);
    plot.element.hidden = !seen;
    nothing.hidden = seen;
    if (seen) plot.show(curves, from, to);
    else say(nothing, span().name === "minutes" ? W.noPlot : W.nothingThen);
  }

  /** Draw what the service has kept, and again as that goes on. */
  async function ask() {
    const mine = ++asked;
    const { length, to, now } = span();
    const from = to - length;
    const times = `dialect=v3&from=${new Date(from).toISOString()}&to=${new Date(to).toISOString()}`;
    const shown = circuits();
    try {
      const found = await Promise.all(shown.map((circuit) => http(`${pathOf(circuit)}?${times}&points=${POINTS}`)));
      const { dev, circuit } = one.state;
      const named = new URLSearchParams({ dev, circuit });
      const events = SWITCHES.includes(dev) ? (await http(`history/events?${times}&${named}&limit=${SWITCHED}`)).events : [];
      if (mine !== asked) return;
      problem.hidden = true;
      show(found.map((history, n) => curveOf(shown[n], pointsOf(history, SWITCHES.includes(shown[n].state.dev)))), from, to);
      files.replaceChildren(...shown.map((circuit) => fileOf(circuit, times, shown.length > 1)));
      switched.replaceChildren(...(events.length ? [tableOf(events)] : []));
    } catch (error) {
      if (mine !== asked) return;
      problem.hidden = false;
      say(problem, `${W.failed} ${error instanceof Error ? error.message : error}`);
    }
    if (now) timer = window.setTimeout(() => void ask(), Math.max(SOONEST, length / POINTS));
  }

  const unwatch = live.watchConnection(load);
  load();
  return {
    element,
    draw,
    stop: () => {
      unwatch();
      asked++;
      clearTimeout(timer);
      plot.stop();
    },
  };
}

/** @param {Circuit} circuit */
const pathOf = ({ state }) => `history/${state.dev}/${encodeURIComponent(state.circuit)}`;

/** @param {Circuit} circuit @param {Point[]} points @returns {Curve} */
function curveOf(circuit, points) {
  const bars = SWITCHES.includes(circuit.state.dev);
  return { label: nameOf(circuit), unit: bars ? "" : (circuit.state.unit ?? ""), bars, points };
}

/**
 * The points of an answer; where a bucket is not followed by the next there is a gap.
 * @param {{width: number, buckets: {time: string, min: number, mean: number, max: number, on: number, known: number}[]}} history
 * @param {boolean} bars
 */
function pointsOf(history, bars) {
  /** @type {Point[]} */
  const points = [];
  let end = 0;
  for (const { time, min, mean, max, on, known } of history.buckets) {
    const t = Date.parse(time);
    if (points.length && t > end) points.push({ t: end, v: null });
    points.push(bars ? { t, v: known ? on / known : mean } : { t, v: mean, low: min, high: max });
    end = t + history.width * 1000;
  }
  if (points.length) points.push({ t: end, v: null });
  return points;
}

/** @param {Circuit} circuit @param {string} times @param {boolean} several */
function fileOf(circuit, times, several) {
  const name = `${circuit.state.dev}-${circuit.state.circuit}.csv`;
  return h("a", { href: address(`${pathOf(circuit)}?${times}&points=${POINTS}&format=csv`), download: name }, several ? W.csvOf(nameOf(circuit)) : W.csv);
}

/** Who switched it. @param {{time: string, value: number | null, cause?: string}[]} events */
function tableOf(events) {
  const heads = [W.time, W.value, W.cause].map((text) => h("th", { scope: "col" }, text));
  const rows = events.map(({ time, value, cause }) => {
    const words = value === null ? W.notKnown : value ? W.on : W.off;
    return h("tr", {}, h("td", {}, moment(time)), h("td", {}, words), h("td", {}, cause ?? ""));
  });
  return h("details", {}, h("summary", {}, W.switched), h("table", {}, h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows)));
}
