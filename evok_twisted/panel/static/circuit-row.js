// <circuit-row>: one circuit in a list. It draws itself when its circuit was told of, and not otherwise.

import { session } from "./api.js";
import { allowed, buttonOf, fullNameOf, levelOf, nameOf, shown, switchOf } from "./controls.js";
import { ago, h, say, svg } from "./dom.js";
import { live, TRAIL } from "./live.js";
import { W } from "./words.js";

/** @typedef {import("./live.js").Circuit} Circuit */
/** @typedef {import("./controls.js").Control} Control */

const SWITCHED = ["ro", "do", "led", "owpower", "nv_save"];
const SPARKED = ["ai", "ao", "temp", "data_point", "1wdevice"];

/** The least time that a small plot is wide, in ms. */
const LEAST_SPARK = 30000;

/** What a sensor of several quantities shows. @type {[string, string, string][]} */
const QUANTITIES = [
  ["humidity", "%", "rH"],
  ["temp", "°C", ""],
  ["vdd", "V", "VDD"],
  ["vad", "V", "VAD"],
];

/** The address of a circuit's own page. @param {string} key */
export const pageOf = (key) => `?view=circuit&id=${encodeURIComponent(key)}`;

export class CircuitRow extends HTMLElement {
  constructor() {
    super();
    /** @type {Circuit | undefined} */
    this.circuit = undefined;
    /** The board that it is on, as the circuit of its slave. @type {Circuit | undefined} */
    this.board = undefined;
    /** @type {() => void} */
    this._stop = () => {};
    /** @type {Control[]} */
    this._controls = [];
  }

  /**
   * @param {Circuit} circuit
   * @param {Circuit | undefined} board
   */
  show(circuit, board) {
    this.circuit = circuit;
    this.board = board;
    return this;
  }

  connectedCallback() {
    const one = this.circuit;
    if (!one) return;
    if (!this.firstChild) this._build(one);
    this._stop = live.watch(one.key, () => this.draw());
    this.draw();
  }

  disconnectedCallback() {
    this._stop();
  }

  /** @param {Circuit} one */
  _build(one) {
    const { dev } = one.state;
    this.dataset.key = one.key;
    this._pick = h("input", { type: "checkbox", class: "pick" });
    this._name = h("a", { class: "name", href: pageOf(one.key) });
    this._rename = h("button", { type: "button", class: "rename", title: W.alias, onclick: () => this._edit() }, "✎");
    this._sub = h("span", { class: "sub" });
    this._value = h("span", { class: "value" });
    this._problem = h("p", { class: "problem", role: "alert" });
    this._spark = SPARKED.includes(dev) ? svg("svg", { class: "spark", viewBox: "0 0 100 24", "aria-hidden": "true" }) : null;
    this._line = svg("polyline", { points: "" });
    this._spark?.append(this._line);
    this._controls = controlsOf(one);
    const elements = this._controls.map((control) => control.element);
    this.append(
      this._pick,
      h("span", { class: "names" }, h("span", { class: "title" }, this._name, this._rename), this._sub),
      ...(this._spark ? [this._spark] : []),
      h("span", { class: "operate" }, this._value, ...elements.filter((element) => !element.matches(".level"))),
      ...elements.filter((element) => element.matches(".level")),
      this._problem,
    );
  }

  draw() {
    const one = this.circuit;
    if (!one || !live.circuits.has(one.key)) return;
    const { state } = one;
    say(this._name, nameOf(one));
    say(this._sub, subOf(one));
    this._pick.setAttribute("aria-label", fullNameOf(one));
    this._rename.setAttribute("aria-label", W.rename(fullNameOf(one)));
    this._rename.hidden = !session.may(state.dev, state.circuit, "alias");
    this._rename.disabled = !live.open;
    const old = state.lost === true || this.board?.state.online === false;
    this.toggleAttribute("data-old", old);
    this.toggleAttribute("data-pending", one.pending > 0);
    const value = reading(one);
    say(this._value, old ? `${value} · ${this._age()}` : value);
    this._value.hidden = !value;
    this.toggleAttribute("data-on", state.value === 1);
    for (const control of this._controls) control.draw();
    say(this._problem, one.problem ? `${W.refused}: ${one.problem}` : "");
    this._problem.hidden = !one.problem;
    if (this._spark) this._line?.setAttribute("points", sparkline(one.trail));
  }

  /** How old what is shown is, of what does not answer. */
  _age() {
    const one = this.circuit;
    if (one?.state.lost) return one.state.time ? ago(Date.now() / 1000 - one.state.time) : W.lost;
    const board = this.board;
    return board ? ago(board.state.last_comm + (Date.now() - board.at) / 1000) : "";
  }

  _edit() {
    const one = this.circuit;
    if (!one) return;
    const field = h("input", { type: "text", class: "alias", value: one.state.alias ?? "", "aria-label": W.rename(fullNameOf(one)) });
    let ended = false;
    const end = (/** @type {boolean} */ keep) => {
      if (ended) return;
      ended = true;
      field.replaceWith(this._name);
      if (keep && field.value.trim() !== (one.state.alias ?? "")) void live.set(one.key, { alias: field.value.trim() });
      this._rename.focus();
    };
    field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault(); // or the button that gets the focus would be pressed by it
      end(event.key === "Enter");
    });
    field.addEventListener("blur", () => end(true));
    this._name.replaceWith(field);
    field.select();
    field.focus();
  }

  /** Whether it is one of those that are selected. */
  get picked() {
    return Boolean(this._pick?.checked);
  }

  set picked(yes) {
    if (this._pick) this._pick.checked = yes;
  }

  /** Whether it can be switched together with others. */
  get switchable() {
    const one = this.circuit;
    return Boolean(one && SWITCHED.slice(0, 3).includes(one.state.dev) && allowed(one));
  }
}

customElements.define("circuit-row", CircuitRow);

/**
 * What a circuit is operated by.
 * @param {Circuit} one
 * @returns {Control[]}
 */
export function controlsOf(one) {
  const { dev, circuit } = one.state;
  const state = one.state;
  if (SWITCHED.includes(dev)) {
    const made = session.may(dev, circuit, "value") ? [switchOf(one)] : [];
    if ("pwm_duty" in state && session.may(dev, circuit, "pwm_duty")) made.push(levelOf(one, "pwm_duty", 0, 100, 0.1, "%"));
    return made;
  }
  if (dev === "ao" && session.may(dev, circuit, "value") && state.mode !== "Resistance") {
    const [low, high] = state.range ?? state.modes?.[state.mode]?.range ?? [0, 10];
    return [levelOf(one, "value", low, high, 0.01, state.unit ?? "")];
  }
  if (dev === "di" && session.may(dev, circuit, "counter")) return [buttonOf(one, W.reset, { counter: 0 })];
  return [];
}

/** @param {Circuit} one */
function subOf(one) {
  const { dev, circuit, alias, name, lost } = one.state;
  const id = `${dev} ${circuit}`;
  return [alias || name ? id : "", name && alias ? name : "", lost ? W.lost : ""].filter(Boolean).join(" · ");
}

/** What a circuit shows, but for what its controls do. @param {Circuit} one */
export function reading(one) {
  const state = one.state;
  switch (state.dev) {
    case "di": {
      const level = state.value === null ? "–" : state.value ? W.on : W.off;
      return state.counter_mode === "Enabled" ? `${level} · ${W.counted(shown(state.counter, ""))}` : level;
    }
    case "ro":
    case "do":
    case "led":
    case "owpower":
    case "nv_save":
      if (session.may(state.dev, state.circuit, "value")) return "";
      return state.pwm_duty ? `${state.pwm_duty} %` : state.value === null ? "–" : state.value ? W.on : W.off;
    case "ai":
      return shown(state.value, state.unit);
    case "ao":
      return session.may("ao", state.circuit, "value") && state.mode !== "Resistance" ? "" : shown(state.value, state.unit);
    case "temp":
      return shown(state.value, "°C");
    case "1wdevice": {
      const found = QUANTITIES.filter(([field]) => typeof state[field] === "number");
      if (found.length) return found.map(([field, unit, words]) => `${words} ${shown(state[field], unit)}`.trim()).join(" · ");
      return shown(state.value, "");
    }
    case "data_point":
      return state.valid === false ? "–" : shown(state.value, state.unit);
    case "wd":
      return `${shown(state.value, "")} · ${shown(state.timeout, "ms")}`;
    case "owbus":
      return shown(state.bus, "");
    default:
      return shown(state.value, "");
  }
}

/** @param {import("./live.js").Point[]} trail */
function sparkline(trail) {
  const numbers = trail.filter((point) => point.v !== null);
  if (numbers.length < 2) return "";
  const now = Date.now();
  const width = Math.min(TRAIL, Math.max(now - numbers[0].t, LEAST_SPARK));
  const values = numbers.map((point) => Number(point.v));
  const low = Math.min(...values);
  const height = Math.max(...values) - low || 1;
  return numbers
    .map((point) => `${(100 - ((now - point.t) / width) * 100).toFixed(1)},${(22 - ((Number(point.v) - low) / height) * 20).toFixed(1)}`)
    .join(" ");
}
