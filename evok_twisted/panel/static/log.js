// The page of the log: its last lines, by level and text, as they come.

import { http } from "./api.js";
import { clock, h, say } from "./dom.js";
import { query, setQuery } from "./route.js";
import { W } from "./words.js";

const EVERY = 1500;
/** Lines that are shown, at most. */
const MOST = 500;
const LEVELS = ["debug", "info", "warn", "error"];

/** @typedef {{number: number, time: string, level: string, source: string, text: string}} Line */

/**
 * @param {HTMLElement} main
 * @returns {() => void} what ends the page
 */
export function show(main) {
  const level = h("select", { "aria-label": W.level, onchange: () => change("level", level.value) }, ...LEVELS.map((one) => h("option", { value: one }, one)));
  level.value = query("level") || "info";
  const text = h("input", { type: "search", "aria-label": W.contains, placeholder: W.contains, value: query("text"), oninput: () => change("text", text.value) });
  const follow = h("input", { type: "checkbox", checked: true, id: "follow" });
  const list = h("ol", { class: "log", tabindex: "0", "aria-label": W.log });
  const nothing = h("p", { class: "quiet", role: "status" });
  /** @type {Line[]} */
  let lines = [];
  let last = 0;
  let asked = 0;
  main.replaceChildren(
    h("h1", {}, W.log),
    h(
      "div",
      { class: "tools" },
      level,
      text,
      h("label", { for: "follow" }, follow, ` ${W.follow}`),
      h("button", { type: "button", onclick: () => save(lines) }, W.save),
    ),
    nothing,
    list,
  );

  /** @param {string} name @param {string} value */
  function change(name, value) {
    setQuery(name, value);
    lines = [];
    last = 0;
    list.replaceChildren();
    void look();
  }

  async function look() {
    const mine = ++asked;
    const wanted = new URLSearchParams({ after: String(last), level: level.value, contains: text.value });
    try {
      const page = await http(`log?${wanted}`);
      if (mine !== asked) return;
      if (page.last < last) lines = []; // the service has begun anew
      last = page.last;
      lines = [...lines, ...page.lines].slice(-MOST);
      list.append(...page.lines.map(rowOf));
      while (list.childElementCount > lines.length) list.firstElementChild?.remove();
      say(nothing, lines.length ? "" : W.noLines);
      if (follow.checked && page.lines.length) list.scrollTop = list.scrollHeight;
    } catch (error) {
      say(nothing, error instanceof Error ? `${W.failed} ${error.message}` : "");
    }
  }

  void look();
  const timer = setInterval(look, EVERY);
  return () => {
    asked += 1;
    clearInterval(timer);
  };
}

/** @param {Line} line */
const rowOf = (line) =>
  h(
    "li",
    { class: `level-${line.level}` },
    h("time", { datetime: line.time }, clock(line.time)),
    " ",
    h("span", { class: "level" }, line.level),
    " ",
    line.text,
  );

/** @param {Line[]} lines */
function save(lines) {
  const text = lines.map((line) => `${line.time} [${line.source}#${line.level}] ${line.text}\n`).join("");
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: "evok.log" });
  link.click();
  URL.revokeObjectURL(link.href);
}
