// The page of all circuits: by board, searched, filtered, sorted, several at a time.

import { CircuitRow } from "./circuit-row.js";
import { fullNameOf, nameOf, operate } from "./controls.js";
import { ago, h, say } from "./dom.js";
import { live } from "./live.js";
import { query, setQuery } from "./route.js";
import { KINDS, W } from "./words.js";

/** @typedef {import("./live.js").Circuit} Circuit */
/**
 * What stands together, with its head.
 * @typedef {{section: HTMLElement, rows: HTMLElement, members: Circuit[], board: Circuit | undefined, state: HTMLElement}} Section
 */

/** What is shown elsewhere: boards at the head of their circuits, units on the page of health. */
const ELSEWHERE = ["modbus_slave", "device_info", "run"];
/** Rows that are made in one frame: a page of thousands is built without the browser standing still. */
const ROWS_A_FRAME = 40;

/**
 * @param {HTMLElement} main
 * @returns {() => void} what ends the page
 */
export function show(main) {
  const list = h("div", { class: "boards" });
  const found = h("p", { class: "quiet", role: "status" });
  const search = h("input", { type: "search", value: query("q"), placeholder: W.search, "aria-label": W.search, oninput: () => change("q", search.value) });
  const kind = h("select", { "aria-label": W.kind, onchange: () => change("kind", kind.value) });
  const sort = h(
    "select",
    { "aria-label": W.sort, onchange: () => change("sort", sort.value) },
    h("option", { value: "" }, W.byBoard),
    h("option", { value: "name" }, W.byName),
    h("option", { value: "change" }, W.byChange),
  );
  const several = h("button", { type: "button", "aria-pressed": "false", onclick: () => select(!main.hasAttribute("data-select")) }, W.select);
  const count = h("span", {}, "");
  const actions = h(
    "div",
    { class: "actions", hidden: true },
    count,
    h("button", { type: "button", onclick: () => void switchAll(1) }, W.on),
    h("button", { type: "button", onclick: () => void switchAll(0) }, W.off),
    h("button", { type: "button", onclick: () => select(false) }, W.done),
  );
  main.replaceChildren(
    h("h1", { class: "skip" }, W.circuits),
    h("div", { class: "tools" }, search, kind, sort, several),
    actions,
    found,
    list,
  );
  sort.value = query("sort");
  /** @type {Map<string, CircuitRow>} */
  const rows = new Map();
  /** @type {Map<string, Section>} */
  const sections = new Map();
  let job = 0;
  let unwatchBoards = () => {};

  /** @param {string} name @param {string} value */
  function change(name, value) {
    setQuery(name, value);
    build();
  }

  function build() {
    cancelAnimationFrame(job);
    unwatchBoards();
    drawKinds();
    const wanted = wantedCircuits();
    say(found, wanted.length ? "" : W.none);
    found.hidden = wanted.length > 0;
    for (const [key, row] of rows) if (live.circuits.get(key) !== row.circuit) rows.delete(key);
    const shown = sectionsOf(wanted, sections);
    put(list, shown.map((one) => one.section));
    unwatchBoards = watchHeads(shown);
    for (const one of shown) {
      const there = new Set(one.members.map((member) => rows.get(member.key)));
      for (const row of [...one.rows.children]) if (!there.has(/** @type {CircuitRow} */ (row))) row.remove();
    }
    const queue = shown.flatMap((one) => one.members.map((member, n) => ({ one, member, n })));
    const next = () => {
      for (const { one, member, n } of queue.splice(0, ROWS_A_FRAME)) {
        let row = rows.get(member.key);
        if (!row) {
          row = /** @type {CircuitRow} */ (document.createElement("circuit-row")).show(member, one.board);
          row.setAttribute("role", "listitem");
          rows.set(member.key, row);
        }
        const place = one.rows.children[n] ?? null;
        if (place !== row) one.rows.insertBefore(row, place); // what is where it belongs keeps the focus
      }
      if (queue.length) job = requestAnimationFrame(next);
    };
    next();
  }

  function drawKinds() {
    const kinds = [...new Set([...live.circuits.values()].map((one) => one.state.dev))].filter((dev) => !ELSEWHERE.includes(dev));
    if (kind.dataset.kinds !== kinds.join()) {
      kind.dataset.kinds = kinds.join();
      kind.replaceChildren(h("option", { value: "" }, W.all), ...kinds.map((dev) => h("option", { value: dev }, KINDS[dev] ?? dev)));
    }
    kind.value = query("kind");
  }

  function select(/** @type {boolean} */ yes) {
    main.toggleAttribute("data-select", yes);
    several.setAttribute("aria-pressed", String(yes));
    actions.hidden = !yes;
    for (const row of rows.values()) row.picked = false;
    drawCount();
  }

  const picked = () => [...rows.values()].filter((row) => row.picked && row.isConnected);

  function drawCount() {
    say(count, W.selected(picked().length));
  }

  /** @param {number} value */
  async function switchAll(value) {
    for (const row of picked()) {
      if (row.circuit && row.switchable) await operate(row.circuit, { value }, W.turn(nameOf(row.circuit), value === 1));
    }
  }

  const drawBecauseOfConnection = () => {
    for (const row of rows.values()) if (row.isConnected) row.draw();
  };
  list.addEventListener("change", drawCount);
  const stops = [live.watchAll(build), live.watchConnection(drawBecauseOfConnection)];
  build();
  return () => {
    cancelAnimationFrame(job);
    unwatchBoards();
    for (const stop of stops) stop();
    main.removeAttribute("data-select");
  };
}

/** The circuits that are asked for, in the order that is asked for. */
function wantedCircuits() {
  const text = query("q").toLowerCase();
  const dev = query("kind");
  const found = [...live.circuits.values()].filter(
    (one) => !ELSEWHERE.includes(one.state.dev) && (!dev || one.state.dev === dev) && (!text || textOf(one).includes(text)),
  );
  if (query("sort") === "name") found.sort((a, b) => nameOf(a).localeCompare(nameOf(b), undefined, { numeric: true }));
  if (query("sort") === "change") found.sort((a, b) => b.at - a.at);
  return found;
}

/** @param {Circuit} one */
const textOf = (one) => `${fullNameOf(one)} ${one.key} ${nameOf(one)} ${one.state.name ?? ""}`.toLowerCase();

/** The boards that there are, by their names. */
export function boards() {
  return new Map([...live.circuits.values()].filter((one) => one.state.dev === "modbus_slave").map((one) => [one.state.circuit, one]));
}

/**
 * The board that a circuit is on, by its name.
 * @param {Circuit} one
 * @param {Map<string, Circuit>} known
 */
export function boardOf(one, known) {
  const { dev, circuit } = one.state;
  if (["temp", "1wdevice", "owbus"].includes(dev)) return W.oneWire;
  for (let end = circuit.length; end > 0; end = circuit.lastIndexOf("_", end - 1)) {
    const name = circuit.slice(0, end);
    if (known.has(name)) return name;
  }
  return W.unit;
}

/**
 * Let an element have these children, and move none that is where it belongs.
 * @param {HTMLElement} parent
 * @param {HTMLElement[]} children
 */
function put(parent, children) {
  for (const child of [...parent.children]) if (!children.includes(/** @type {HTMLElement} */ (child))) child.remove();
  children.forEach((child, n) => {
    const place = parent.children[n] ?? null;
    if (place !== child) parent.insertBefore(child, place);
  });
}

/**
 * The circuits that are wanted, by where they stand.
 * @param {Circuit[]} wanted
 * @param {Map<string, Section>} made those of before, by their names
 * @returns {Section[]}
 */
function sectionsOf(wanted, made) {
  const known = boards();
  /** @type {Map<string, Circuit[]>} */
  const groups = new Map();
  for (const one of wanted) {
    const name = query("sort") ? "" : boardOf(one, known);
    const members = groups.get(name);
    if (members) members.push(one);
    else groups.set(name, [one]);
  }
  if (!query("sort")) for (const [name, members] of groups) groups.set(name, members.sort(byKind));
  return [...groups].map(([name, members]) => {
    const board = known.get(name);
    const before = made.get(name);
    if (before && before.board === board) {
      before.members = members;
      return before;
    }
    const state = h("span", { class: "board-state" });
    const rows = h("div", { class: "rows", role: "list" });
    const title = board ? W.board(name) : name || W.circuits;
    const section = h("section", {}, h("h2", {}, title, " ", state), rows);
    const one = { section, rows, members, board, state };
    made.set(name, one);
    return one;
  });
}

const ORDER = Object.keys(KINDS);
/** @param {Circuit} a @param {Circuit} b */
const byKind = (a, b) => ORDER.indexOf(a.state.dev) - ORDER.indexOf(b.state.dev);

/**
 * Draw at the head of each board whether it answers; what stops that.
 * @param {Section[]} sections
 */
function watchHeads(sections) {
  const stops = sections.map(({ section, board, state }) => {
    if (!board) return () => {};
    let was = board.state.online;
    const draw = () => {
      section.toggleAttribute("data-offline", !board.state.online);
      say(state, board.state.online ? "" : W.offline(ago(board.state.last_comm + (Date.now() - board.at) / 1000)));
      if (was !== board.state.online) {
        was = board.state.online;
        for (const row of section.querySelectorAll("circuit-row")) /** @type {CircuitRow} */ (row).draw();
      }
    };
    draw();
    const timer = setInterval(() => board.state.online || draw(), 5000);
    const stop = live.watch(board.key, draw);
    return () => {
      clearInterval(timer);
      stop();
    };
  });
  return () => {
    for (const stop of stops) stop();
  };
}
