// Small helpers for the document: to make elements, to copy, to show times.

import { W } from "./words.js";

/**
 * Make an element. Functions of props are listeners (onclick), true and false are attributes that are there or not.
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...(Node | string | number | null | undefined | false)} children
 * @returns {any}
 */
export function h(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") /** @type {any} */ (made)[name] = value;
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) made.append(typeof child === "number" ? String(child) : child);
  }
  return made;
}

/**
 * An element of SVG.
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...Node} children
 */
export function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/**
 * Set the text of an element, if it is another.
 * @param {Element} element
 * @param {string} text
 */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A span of seconds in few words. @param {number} seconds */
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

/** @param {number} seconds */
export const ago = (seconds) => (seconds > 1e9 ? W.never : W.ago(span(seconds)));

/** A time of the day. @param {number | string} when */
export const clock = (when) => new Date(when).toLocaleTimeString(undefined, { hour12: false });

/** A day and a time of it. @param {number | string} when */
export const moment = (when) => new Date(when).toLocaleString(undefined, { hour12: false });

/**
 * Copy a text; where the page is not secure, the browser has an older way only.
 * @param {string} text
 * @param {HTMLElement} button what says that it was done
 */
export async function copy(text, button) {
  const before = button.textContent;
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else {
    const field = h("textarea", { value: text, class: "skip" });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  button.textContent = W.copied;
  setTimeout(() => (button.textContent = before), 1500);
}

/**
 * Ask before something is done.
 * @param {string} question
 * @param {string} why
 * @param {string} yes what the button says that does it
 * @returns {Promise<boolean>}
 */
export function ask(question, why, yes) {
  return new Promise((answer) => {
    const dialog = h(
      "dialog",
      { "aria-labelledby": "question", onclose: () => { dialog.remove(); answer(dialog.returnValue === "yes"); } },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "question" }, question),
        h("p", {}, why),
        h("p", { class: "buttons" }, h("button", { value: "no" }, W.cancel), h("button", { value: "yes", class: "strong" }, yes)),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}
