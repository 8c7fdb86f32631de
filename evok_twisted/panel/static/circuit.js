// The page of one circuit: everything that it shows and takes, over time, a pulse, and how programs do it.

import { address, http, session } from "./api.js";
import "./circuit-row.js";
import { allowed, nameOf, operate, shown } from "./controls.js";
import { copy, h, say } from "./dom.js";
import { live } from "./live.js";
import { overTime } from "./past.js";
import { query } from "./route.js";
import { boardOf, boards } from "./circuits.js";
import { W } from "./words.js";

/** @typedef {import("./live.js").Circuit} Circuit */
/** @typedef {import("./circuit-row.js").CircuitRow} CircuitRow */

/** What names a circuit, and is not set here. */
const IDENTITY = ["dev", "circuit", "alias"];
/** What a kind shares the description of with another that can set it. @type {Record<string, string[]>} */
const MEASURED = { ai: ["value"] };
/** The description of the interface, once it was asked for. @type {Promise<any> | null} */
let described = null;

/**
 * @param {HTMLElement} main
 * @returns {() => void} what ends the page
 */
export function show(main) {
  const key = query("id");
  const one = live.circuits.get(key);
  const back = h("p", {}, h("a", { href: "." }, `‹ ${W.back}`));
  if (!one) {
    main.replaceChildren(back, h("p", {}, live.known ? W.gone : "…"));
    return live.watchAll(() => live.circuits.has(key) && dispatchEvent(new PopStateEvent("popstate")));
  }
  const known = boards();
  const row = /** @type {CircuitRow} */ (document.createElement("circuit-row")).show(one, known.get(boardOf(one, known)));
  const title = h("h1", {});
  const json = h("pre", {});
  const parameters = h("div", { class: "parameters" });
  const past = overTime(one);
  /** @type {(() => void)[]} */
  let drawn = [];
  const draw = () => {
    say(title, nameOf(one));
    say(json, JSON.stringify(one.state, null, 2));
    past.draw();
    for (const drawOne of drawn) drawOne();
  };
  main.replaceChildren(
    back,
    title,
    h("div", { class: "rows", role: "list" }, row),
    pulseOf(one) ?? "",
    h("h2", {}, W.plot),
    past.element,
    h("h2", {}, W.parameters),
    parameters,
    h("h2", {}, W.json),
    json,
    h("p", { class: "buttons" }, ...copies(one)),
  );
  row.setAttribute("role", "listitem");
  draw();
  void describe(one).then((fields) => {
    const made = fields.map((field) => parameterOf(one, field));
    parameters.replaceChildren(...made.map((each) => each.element));
    drawn = made.map((each) => each.draw);
    draw();
  });
  const timer = setInterval(draw, 2000);
  const stops = [live.watch(key, draw), live.watchConnection(draw)];
  return () => {
    clearInterval(timer);
    past.stop();
    for (const stop of stops) stop();
  };
}

/**
 * What the service says of the fields of a circuit.
 * @param {Circuit} one
 * @returns {Promise<[string, any][]>}
 */
async function describe(one) {
  described ??= http("openapi.json?dialect=v3");
  try {
    const schemas = (await described).components.schemas;
    const found = Object.values(schemas).filter((/** @type {any} */ of) => of.properties?.dev?.const === one.state.dev);
    const best = found.find((/** @type {any} */ of) => Object.keys(one.state).every((field) => field in of.properties)) ?? found[0];
    const parameters = schemas.Parameters?.properties ?? {};
    return Object.entries(best?.properties ?? {})
      .filter(([field]) => field in one.state && !IDENTITY.includes(field))
      .map(([field, of]) => [field, { ...of, ...(of.readOnly ? {} : { settable: field in parameters }) }]);
  } catch {
    described = null;
    return Object.keys(one.state).filter((field) => !IDENTITY.includes(field)).map((field) => [field, { readOnly: true }]);
  }
}

/**
 * One parameter: its name, what it means, its value, and, where it may be set, what sets it.
 * @param {Circuit} one
 * @param {[string, any]} described
 */
function parameterOf(one, [field, of]) {
  const id = `parameter-${field}`;
  const unit = of["x-unit"] ?? (field === "value" ? one.state.unit : "") ?? "";
  const value = h("span", { class: "value" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const measured = (MEASURED[one.state.dev] ?? []).includes(field);
  const settable = !of.readOnly && of.settable && !measured && session.may(one.state.dev, one.state.circuit, field);
  const input = settable ? inputOf(one, field, of) : null;
  input?.setAttribute("id", id);
  const button = h("button", { type: "submit" }, W.set);
  const limits = of.minimum !== undefined && of.maximum !== undefined ? W.range(of.minimum, of.maximum, unit) : "";
  const element = h(
    "form",
    {
      class: "parameter",
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        if (!input) return;
        const given = input.type === "number" ? Number(input.value) : input.value;
        void operate(one, { [field]: given }, W.setTo(nameOf(one), `${field} ${given}`)).then((done) => {
          problem.hidden = done || !one.problem;
          say(problem, one.problem);
        });
      },
    },
    h(input ? "label" : "span", input ? { for: id, class: "field" } : { class: "field" }, field),
    value,
    input ? h("span", { class: "entry" }, input, button) : null,
    h("span", { class: "hint" }, [of.description, limits].filter(Boolean).join(". ")),
    problem,
  );
  const draw = () => {
    say(value, shown(plain(one.state[field]), unit));
    if (input) input.disabled = button.disabled = !allowed(one, field) || one.pending > 0;
  };
  draw();
  return { element, draw };
}

/** @param {any} value */
function plain(value) {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) return Object.keys(value).join(", ");
  return value;
}

/**
 * @param {Circuit} one
 * @param {string} field
 * @param {any} of
 * @returns {any}
 */
function inputOf(one, field, of) {
  const state = one.state;
  const choices = of.enum ?? (state[`${field}s`] && (Array.isArray(state[`${field}s`]) ? state[`${field}s`] : Object.keys(state[`${field}s`])));
  if (choices) return h("select", {}, ...choices.map((/** @type {any} */ choice) => h("option", { value: choice, selected: choice === state[field] }, String(choice))));
  const types = [of.type, ...(of.anyOf ?? []).map((/** @type {any} */ each) => each.type)].flat();
  if (types.includes("number") || types.includes("integer")) {
    const range = state.range && field === "value" ? { min: state.range[0], max: state.range.at(-1) } : { min: of.minimum, max: of.maximum };
    return h("input", { type: "number", step: types.includes("integer") ? 1 : "any", required: true, value: state[field] ?? "", ...range });
  }
  return h("input", { type: "text", value: state[field] ?? "" });
}

/** An output that goes back by itself. @param {Circuit} one */
function pulseOf(one) {
  const { dev, circuit } = one.state;
  if (!["ro", "do", "led"].includes(dev) || !session.may(dev, circuit, "value", "timeout")) return null;
  const seconds = h("input", { type: "number", min: 0.1, max: 86400, step: "any", value: 3, required: true, id: "pulse" });
  return h(
    "form",
    {
      class: "pulse",
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        void operate(one, { value: 1, timeout: Number(seconds.value) }, W.turn(nameOf(one), true));
      },
    },
    h("strong", {}, W.pulse),
    h("label", { for: "pulse" }, W.pulseFor),
    seconds,
    h("button", { type: "submit" }, W.pulseOn),
  );
}

/** @param {Circuit} one */
function copies(one) {
  const { dev, circuit } = one.state;
  const value = typeof one.state.value === "number" ? one.state.value : 1;
  const curl = `curl -d value=${value} '${address(`rest/${dev}/${encodeURIComponent(circuit)}?dialect=v3`)}'`;
  const message = JSON.stringify({ cmd: "set", dev, circuit, value, id: 1 });
  const texts = /** @type {[string, string][]} */ ([
    [W.copyCurl, curl],
    [W.copyMessage, message],
    [W.copyId, `${dev}/${circuit}`],
  ]);
  return texts.map(([words, text]) => h("button", { type: "button", onclick: (/** @type {any} */ event) => void copy(text, event.currentTarget) }, words));
}
