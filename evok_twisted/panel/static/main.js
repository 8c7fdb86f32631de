// The page begins here: who uses it, which part of it they see, and whether there is a connection.

import * as access from "./access.js";
import { http, session } from "./api.js";
import * as circuit from "./circuit.js";
import * as circuits from "./circuits.js";
import { h, say } from "./dom.js";
import * as health from "./health.js";
import { live } from "./live.js";
import * as log from "./log.js";
import { query, watchRoute } from "./route.js";
import { W } from "./words.js";

/** @type {Record<string, {show: (main: HTMLElement) => () => void}>} */
const PAGES = { "": circuits, circuit, health, log, access };

const head = /** @type {HTMLElement} */ (document.getElementById("head"));
const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const banner = /** @type {HTMLElement} */ (document.getElementById("banner"));
/** Ends the part that is shown. */
let end = () => {};
let shownLogin = false;

function drawHead() {
  const view = query("view");
  const admin = session.who.role === "admin";
  const entries = [
    ["", W.circuits],
    ["health", W.health],
    ...(admin ? [["log", W.log]] : []),
    ["access", W.access],
  ];
  const theme = h(
    "button",
    { type: "button", class: "theme", "aria-label": W.theme, onclick: () => setTheme(isDark() ? "light" : "dark") },
    isDark() ? "☾" : "☀",
  );
  const links = entries.map(([name, words]) => {
    const here = name === view || (name === "" && view === "circuit");
    return h("a", { href: name ? `?view=${name}` : ".", "aria-current": here ? "page" : null }, words);
  });
  head.replaceChildren(h("strong", { class: "brand" }, "evok"), h("nav", {}, ...links), theme);
}

const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

/** @param {string} theme */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // it is forgotten with the page
  }
  drawHead();
}

function route() {
  end();
  end = () => {};
  drawHead();
  const page = PAGES[query("view")] ?? circuits;
  main.replaceChildren();
  end = page.show(main);
}

function drawBanner() {
  document.documentElement.toggleAttribute("data-offline", !live.open);
  const seconds = Math.round((performance.now() - live.lostAt) / 1000);
  const tell = !live.open && live.known && !shownLogin;
  banner.hidden = !tell;
  if (tell) say(banner, W.reconnecting(seconds));
}

/** @param {string} why */
function askForToken(why) {
  shownLogin = true;
  end();
  end = () => {};
  live.stop();
  banner.hidden = true;
  head.replaceChildren(h("strong", { class: "brand" }, "evok"));
  access.logIn(main, why, () => void begin());
}

/** Somebody does not let us in any more, or the connection was lost: which of them. */
async function check() {
  try {
    const before = session.who;
    await session.load();
    if (session.who.role === "none") askForToken(W.loggedOut);
    else if (JSON.stringify(before) !== JSON.stringify(session.who)) route();
  } catch {
    // the unit cannot be reached: the connection is being tried again as it is
  }
}

/** The code of a link, which is of use once; the address forgets it. */
async function redeem() {
  const code = /^#code=(.+)$/.exec(location.hash)?.[1];
  if (!code) return "";
  history.replaceState(null, "", location.pathname + location.search);
  try {
    await http("access/login", "POST", { code });
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function begin() {
  shownLogin = false;
  try {
    const why = await redeem();
    await session.load();
    if (session.who.role === "none") {
      askForToken(why);
      return;
    }
  } catch (error) {
    main.replaceChildren(h("p", { class: "problem", role: "alert" }, `${W.failed} ${error instanceof Error ? error.message : error}`));
    setTimeout(() => void begin(), 3000);
    return;
  }
  live.onrefused = () => void check();
  live.start();
  route();
}

try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // there is none
}
watchRoute(route);
live.watchConnection(drawBanner);
setInterval(drawBanner, 1000);
void begin();
