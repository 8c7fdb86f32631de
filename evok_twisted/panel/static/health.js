// The page of the unit's health: what works, what does not and why, and what helps.

import { ago, h, span } from "./dom.js";
import { live } from "./live.js";
import { W } from "./words.js";

const EVERY = 2000;

/**
 * @param {HTMLElement} main
 * @returns {() => void} what ends the page
 */
export function show(main) {
  const place = h("div", {});
  main.replaceChildren(h("h1", {}, W.health), place);
  let ended = false;
  const draw = async () => {
    try {
      const report = await live.ask({ cmd: "health" });
      const made = h("div", {}, ...pageOf(report));
      if (!ended && made.innerHTML !== place.innerHTML) place.replaceChildren(...made.childNodes);
    } catch {
      // the banner tells of it
    }
  };
  void draw();
  const timer = setInterval(draw, EVERY);
  const stop = live.watchConnection(() => void draw());
  return () => {
    ended = true;
    clearInterval(timer);
    stop();
  };
}

/** @param {any} report */
function pageOf(report) {
  const lost = [...live.circuits.values()].filter((one) => one.state.lost === true);
  return [
    report.healthy ? h("p", { class: "well" }, W.allWell) : listOf(W.notWell, report.reasons, "badly"),
    report.warnings.length ? listOf(W.seeTo, report.warnings, "warned") : null,
    ...report.buses.map(busOf),
    lost.length ? listOf(W.sensorsLost, lost.map((one) => `${one.state.alias || one.state.circuit}`), "warned") : null,
    report.mqtt ? brokerOf(report.mqtt) : null,
    report.webhooks ? webhooksOf(report.webhooks) : null,
    h(
      "dl",
      {},
      ...pair(W.version, report.version),
      ...pair(W.uptime, span(report.uptime)),
      ...("clients" in report ? pair(W.clients, report.clients) : []),
      ...pair(W.pulses, report.pulses),
      ...pair(W.wills, report.wills),
    ),
  ].filter(Boolean);
}

/** @param {string} name @param {string | number} value */
const pair = (name, value) => [h("dt", {}, name), h("dd", {}, String(value))];

/** @param {string} title @param {string[]} sentences @param {string} how */
const listOf = (title, sentences, how) => h("section", { class: how }, h("h2", {}, title), h("ul", {}, ...sentences.map((one) => h("li", {}, one))));

/** @param {any} bus */
function busOf(bus) {
  const silent = bus.slaves.some((/** @type {any} */ slave) => !slave.online);
  const help = !bus.online ? W.helpBus : silent ? W.helpBoard : "";
  return h(
    "section",
    { class: bus.online && !silent ? "" : "badly" },
    h("h2", {}, `${W.bus} ${bus.bus}`, " ", h("span", { class: "board-state" }, `${bus.type}, ${bus.online ? W.online : W.notConnected}`)),
    bus.line ? h("p", {}, `${W.line}: ${bus.line.text}`) : null,
    bus.slaves.length ? tableOf(bus.slaves) : null,
    help ? h("p", {}, h("strong", {}, `${W.help}: `), help) : null,
  );
}

/** @param {any[]} slaves */
function tableOf(slaves) {
  const heads = [W.name, W.state, W.since, W.lastAnswer, W.errors, W.timeouts, W.missed];
  return h(
    "div",
    { class: "wide", tabindex: "0", role: "region", "aria-label": W.state },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))),
      h(
        "tbody",
        {},
        ...slaves.map((slave) =>
          h(
            "tr",
            { class: slave.online ? "" : "bad" },
            h("th", { scope: "row" }, `${slave.circuit} (${slave.slave_id})`),
            h("td", {}, slave.online ? W.online : W.silent),
            h("td", {}, span(slave.since)),
            h("td", {}, ago(slave.last_comm)),
            h("td", {}, slave.errors),
            h("td", {}, slave.timeouts),
            h("td", {}, slave.missed),
          ),
        ),
      ),
    ),
  );
}

/** @param {any[]} hooks */
const webhooksOf = (hooks) =>
  h(
    "section",
    { class: hooks.every((hook) => hook.working) ? "" : "warned" },
    h("h2", {}, W.webhooks),
    h("ul", {}, ...hooks.map((hook) => h("li", {}, `${hook.url}: ${hook.working ? W.working : hook.why}, ${span(hook.since)}`))),
  );

/** @param {any} mqtt */
function brokerOf(mqtt) {
  const state = mqtt.connected ? `${W.connected} (${mqtt.version}), ${mqtt.published} ${W.published}` : `${W.notConnected}: ${mqtt.why}`;
  return h(
    "section",
    { class: mqtt.connected ? "" : "warned" },
    h("h2", {}, W.mqtt),
    h("p", {}, `${mqtt.broker}: ${state}, ${span(mqtt.since)}`),
  );
}
