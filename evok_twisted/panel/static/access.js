// The page of access: who one is, and, for admins, tokens and links.

import { address, http, session } from "./api.js";
import { ask, copy, h, say, svg } from "./dom.js";
import { live } from "./live.js";
import { W } from "./words.js";

const DAY = 86400;
const ROLES = ["viewer", "operator", "admin"];

/** @typedef {{id: string, name: string, role: string, write: string[] | null, networks: string[], created: string, expires: string | null, link: boolean}} Token */

/**
 * @param {HTMLElement} main
 * @returns {() => void} what ends the page
 */
export function show(main) {
  const { who } = session;
  const tokens = h("div", {});
  main.replaceChildren(
    h("h1", {}, W.access),
    h("dl", {}, ...pair(W.whoami, who.name), ...pair(W.role, who.role), ...pair(W.writes, who.write === null ? W.everything : who.write.join(", ") || W.nothing)),
    session.rules.tokens ? h("p", {}, h("button", { type: "button", onclick: () => void logOut() }, W.logout)) : "",
    tokens,
  );
  if (!session.rules.tokens) tokens.append(h("p", { class: "quiet" }, W.noTokens));
  else if (who.role === "admin" && who.write === null) void drawTokens(tokens);
  return () => {};
}

/** @param {string} name @param {string} value */
const pair = (name, value) => [h("dt", {}, name), h("dd", {}, value)];

async function logOut() {
  live.stop();
  await http("access/logout", "POST", {});
  location.reload();
}

/** @param {HTMLElement} place */
async function drawTokens(place) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  try {
    const { tokens } = await http("access/tokens");
    place.replaceChildren(tableOf(tokens, () => void drawTokens(place)), problem, newToken(() => void drawTokens(place)), newLink());
  } catch (error) {
    place.replaceChildren(h("p", { class: "quiet" }, error instanceof Error ? error.message : W.noTokens));
  }
}

/** @param {Token[]} tokens @param {() => void} again */
function tableOf(tokens, again) {
  const heads = [W.name, W.role, W.writes, W.from, W.expires, ""];
  return h(
    "div",
    { class: "wide", tabindex: "0", role: "region", "aria-label": W.access },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...heads.map((head) => (head ? h("th", { scope: "col" }, head) : h("td", {}))))),
      h("tbody", {}, ...tokens.map((token) => rowOf(token, again))),
    ),
  );
}

/** @param {Token} token @param {() => void} again */
function rowOf(token, again) {
  const revoke = async () => {
    if (await ask(W.revoke, W.revokeAsk(token.name), W.revoke)) {
      await http(`access/tokens/${token.id}`, "DELETE");
      again();
    }
  };
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, token.name, " ", h("code", {}, token.id)),
    h("td", {}, token.role),
    h("td", {}, token.write === null ? W.everything : token.write.join(", ") || W.nothing),
    h("td", {}, token.networks.join(", ") || W.anywhere),
    h("td", {}, token.expires ? new Date(token.expires).toLocaleString() : W.forever),
    h(
      "td",
      {},
      h("button", { type: "button", "aria-label": `${W.narrow} ${token.name}`, onclick: () => void narrow(token, again) }, W.narrow),
      " ",
      h("button", { type: "button", "aria-label": `${W.revoke} ${token.name}`, onclick: () => void revoke() }, W.revoke),
    ),
  );
}

/** What a list in a text field says. @param {string} text */
const listed = (text) => text.split(/[\s,]+/).filter(Boolean);

/** A field with its label. @param {string} id @param {string} label @param {HTMLElement} input */
function labelled(id, label, input) {
  input.id = id;
  return h("p", { class: "labelled" }, h("label", { for: id }, label), input);
}

/** @param {string} value */
const roleField = (value) => h("select", {}, ...ROLES.map((role) => h("option", { value: role, selected: role === value }, role)));

/** @param {Token} token @param {() => void} again */
async function narrow(token, again) {
  const role = roleField(token.role);
  const write = h("input", { type: "text", value: (token.write ?? []).join(", ") });
  const networks = h("input", { type: "text", value: token.networks.join(", ") });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const dialog = h(
    "dialog",
    { "aria-labelledby": "narrow", onclose: () => dialog.remove() },
    h(
      "form",
      {
        method: "dialog",
        onsubmit: async (/** @type {SubmitEvent} */ event) => {
          if (/** @type {HTMLButtonElement | null} */ (event.submitter)?.value !== "yes") return;
          event.preventDefault();
          await attempt(problem, async () => {
            const wanted = listed(write.value);
            await http(`access/tokens/${token.id}`, "POST", { role: role.value, write: wanted.length ? wanted : null, networks: listed(networks.value) });
            dialog.close();
            again();
          });
        },
      },
      h("h2", { id: "narrow" }, `${W.narrow}: ${token.name}`),
      labelled("narrow-role", W.role, role),
      labelled("narrow-write", W.patterns, write),
      labelled("narrow-networks", W.networks, networks),
      problem,
      h("p", { class: "buttons" }, h("button", { value: "no", formnovalidate: true }, W.cancel), h("button", { value: "yes", class: "strong" }, W.set)),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}

/** What a form does when it is sent: something, in place of a new page. @param {HTMLElement} problem @param {() => Promise<void>} done */
function submits(problem, done) {
  return (/** @type {Event} */ event) => {
    event.preventDefault();
    void attempt(problem, done);
  };
}

/** Do something, and show what goes wrong. @param {HTMLElement} problem @param {() => Promise<void>} done */
async function attempt(problem, done) {
  try {
    problem.hidden = true;
    await done();
  } catch (error) {
    problem.hidden = false;
    say(problem, error instanceof Error ? error.message : String(error));
  }
}

/** @param {() => void} again */
function newToken(again) {
  const name = h("input", { type: "text", required: true, maxlength: 64, autocomplete: "off" });
  const role = roleField("operator");
  const write = h("input", { type: "text", autocomplete: "off" });
  const networks = h("input", { type: "text", autocomplete: "off" });
  const days = h("input", { type: "number", min: 1, max: 3650 });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  return h(
    "form",
    {
      class: "panel",
      onsubmit: submits(problem, async () => {
        const wanted = listed(write.value);
        const given = { name: name.value, role: role.value, networks: listed(networks.value) };
        const more = { ...(wanted.length ? { write: wanted } : {}), ...(days.value ? { lasts: Number(days.value) * DAY } : {}) };
        const { text } = await http("access/tokens", "POST", { ...given, ...more });
        again();
        await shownOnce(text);
      }),
    },
    h("h2", {}, W.newToken),
    labelled("token-name", W.name, name),
    labelled("token-role", W.role, role),
    labelled("token-write", W.patterns, write),
    labelled("token-networks", W.networks, networks),
    labelled("token-days", W.days, days),
    problem,
    h("button", { type: "submit", class: "strong" }, W.create),
  );
}

/** Show a token, this once. @param {string} text */
function shownOnce(text) {
  return new Promise((seen) => {
    const dialog = h(
      "dialog",
      { "aria-labelledby": "once", onclose: () => { dialog.remove(); seen(undefined); } },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "once" }, W.shownOnce),
        h("p", {}, h("code", { class: "secret" }, text)),
        h("p", { class: "buttons" }, h("button", { type: "button", onclick: (/** @type {any} */ event) => void copy(text, event.currentTarget) }, W.copyId), h("button", { class: "strong" }, W.done)),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

function newLink() {
  const role = roleField("operator");
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const place = h("div", { class: "qr" });
  return h(
    "form",
    {
      class: "panel",
      onsubmit: submits(problem, async () => {
        const { text } = await http("access/link", "POST", { role: role.value });
        const url = `${address("panel/")}#code=${text}`;
        place.replaceChildren(await picture(url), h("p", {}, h("code", { class: "secret" }, url)));
      }),
    },
    h("h2", {}, W.link),
    h("p", { class: "quiet" }, W.linkHint),
    labelled("link-role", W.role, role),
    problem,
    h("button", { type: "submit" }, W.makeLink),
    place,
  );
}

/** A QR code; few make one, so what draws it is loaded then. @param {string} text */
async function picture(text) {
  const { modules } = await import("./qr.js");
  const field = modules(text);
  const size = field.length + 8;
  const path = field.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + 4} ${y + 4}h1v1h-1z` : ""))).join("");
  return svg("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": W.link }, svg("rect", { width: size, height: size, fill: "#fff" }), svg("path", { d: path, fill: "#000" }));
}

/**
 * The page of who is not known: it asks for a token.
 * @param {HTMLElement} main
 * @param {string} why
 * @param {() => void} done
 */
export function logIn(main, why, done) {
  const token = h("input", { type: "password", required: true, autocomplete: "current-password" });
  const problem = h("p", { class: "problem", role: "alert", hidden: !why }, why);
  main.replaceChildren(
    h(
      "form",
      {
        class: "panel",
        onsubmit: submits(problem, async () => {
          await http("access/login", "POST", { token: token.value.trim() });
          done();
        }),
      },
      h("h1", {}, W.login),
      labelled("login-token", W.token, token),
      problem,
      h("button", { type: "submit", class: "strong" }, W.login),
      h("p", { class: "quiet" }, W.loginHint),
    ),
  );
  token.focus();
}
