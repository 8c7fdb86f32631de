// What a circuit is operated by: a switch, a level, a button. None shows what is only wanted.

import { session } from "./api.js";
import { ask, h, say } from "./dom.js";
import { live } from "./live.js";
import { KINDS, W } from "./words.js";

/** @typedef {import("./live.js").Circuit} Circuit */
/** A control: its element, and what draws it anew. @typedef {{element: HTMLElement, draw: () => void}} Control */

/** What a person calls a circuit. @param {Circuit} one */
export function nameOf(one) {
  const { dev, circuit, alias } = one.state;
  return alias || (dev === "data_point" && one.state.name) || `${dev.toUpperCase().replace("_", " ")} ${circuit.replace(/_/g, ".")}`;
}

/** All of its names, for those who do not see where it stands. @param {Circuit} one */
export function fullNameOf(one) {
  const { dev, circuit, alias } = one.state;
  return `${KINDS[dev] ?? dev} ${circuit}${alias ? ` ${alias}` : ""}`;
}

/**
 * Set a circuit, after it was asked about where it is marked so.
 * @param {Circuit} one
 * @param {Record<string, any>} parameters
 * @param {string} question
 */
export async function operate(one, parameters, question) {
  const { dev, circuit } = one.state;
  if (session.asks(dev, circuit) && !(await ask(W.ask(question), W.askWhy, W.set))) return false;
  return live.set(one.key, parameters);
}

/** @param {Circuit} one @param {string} [parameter] */
export const allowed = (one, parameter = "value") => live.open && session.may(one.state.dev, one.state.circuit, parameter);

/**
 * A switch. It shows what the hardware has acknowledged; meanwhile it is pending.
 * @param {Circuit} one
 * @returns {Control}
 */
export function switchOf(one) {
  const word = h("span", { class: "word" });
  const element = h(
    "button",
    {
      type: "button",
      role: "switch",
      class: "switch",
      onclick: () => {
        const on = one.state.value !== 1;
        void operate(one, { value: on ? 1 : 0 }, W.turn(nameOf(one), on));
      },
    },
    h("span", { class: "knob", "aria-hidden": "true" }),
    word,
  );
  const draw = () => {
    const { value } = one.state;
    const pwm = typeof one.state.pwm_duty === "number" && one.state.pwm_duty > 0;
    element.setAttribute("aria-checked", value === 1 ? "true" : "false");
    element.setAttribute("aria-label", fullNameOf(one));
    element.setAttribute("aria-busy", one.pending ? "true" : "false");
    element.toggleAttribute("data-unknown", value === null);
    element.disabled = !allowed(one) || one.pending > 0;
    say(word, one.pending ? "…" : value === null ? "?" : pwm ? `${one.state.pwm_duty} %` : value === 1 ? W.on : W.off);
  };
  return { element, draw };
}

/**
 * A level: a slider and a number for the same.
 * @param {Circuit} one
 * @param {string} parameter
 * @param {number} low
 * @param {number} high
 * @param {number} step
 * @param {string} unit
 * @returns {Control}
 */
export function levelOf(one, parameter, low, high, step, unit) {
  let touched = false;
  const range = { min: low, max: high, step };
  const send = async (/** @type {HTMLInputElement} */ from) => {
    const value = Number(from.value);
    touched = false;
    if (from.value === "" || !Number.isFinite(value) || value === one.state[parameter]) draw();
    else {
      await operate(one, { [parameter]: value }, W.setTo(nameOf(one), `${value} ${unit}`));
      draw();
    }
  };
  const slider = h("input", {
    type: "range",
    ...range,
    oninput: () => { touched = true; number.value = slider.value; },
    onchange: () => void send(slider),
  });
  const number = h("input", { type: "number", ...range, oninput: () => (touched = true), onchange: () => void send(number) });
  const element = h("span", { class: "level" }, slider, number, h("span", { class: "unit" }, unit));
  function draw() {
    const value = one.state[parameter];
    const label = parameter === "value" ? fullNameOf(one) : `${fullNameOf(one)} ${parameter}`;
    slider.setAttribute("aria-label", `${label}, ${W.range(low, high, unit)}`);
    number.setAttribute("aria-label", label);
    element.setAttribute("aria-busy", one.pending ? "true" : "false");
    slider.disabled = number.disabled = !allowed(one, parameter) || one.pending > 0;
    if (!touched) {
      slider.value = String(value ?? low);
      number.value = value === null || value === undefined ? "" : String(value);
    }
  }
  return { element, draw };
}

/**
 * A button that sets something.
 * @param {Circuit} one
 * @param {string} words
 * @param {Record<string, any>} parameters
 * @returns {Control}
 */
export function buttonOf(one, words, parameters) {
  const element = h("button", { type: "button", onclick: () => void operate(one, parameters, `${words} ${nameOf(one)}`) }, words);
  const draw = () => {
    element.setAttribute("aria-label", `${words} ${fullNameOf(one)}`);
    element.disabled = !Object.keys(parameters).every((name) => allowed(one, name)) || one.pending > 0;
  };
  return { element, draw };
}

/** A value with its unit, for reading. @param {unknown} value @param {string | null | undefined} unit */
export function shown(value, unit) {
  if (value === null || value === undefined) return "–";
  const text = typeof value === "number" ? String(Math.round(value * 1000) / 1000) : Array.isArray(value) ? value.join(" ") : String(value);
  return unit && unit !== "N/A" ? `${text} ${unit}` : text;
}
