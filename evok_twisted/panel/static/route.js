// Where a person is: all of it stands in the address, so that it can be kept, sent and gone back to.

/** @type {Set<() => void>} */
const watchers = new Set();

/** What the address says of something. @param {string} name */
export const query = (name) => new URLSearchParams(location.search).get(name) ?? "";

/**
 * Let the address say something else; nobody is told, for it was the page that changed.
 * @param {string} name
 * @param {string} value nothing lets it say nothing
 */
export function setQuery(name, value) {
  const asked = new URLSearchParams(location.search);
  if (value) asked.set(name, value);
  else asked.delete(name);
  history.replaceState(null, "", asked.size ? `?${asked}` : location.pathname);
}

/** Go to another place of the page. @param {string} search */
export function go(search) {
  history.pushState(null, "", search || location.pathname);
  for (const tell of watchers) tell();
}

/** Tell whenever somebody goes somewhere. @param {() => void} tell */
export function watchRoute(tell) {
  watchers.add(tell);
  addEventListener("popstate", tell);
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    const plain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
    const href = link?.getAttribute("href") ?? "";
    if (plain && (href.startsWith("?") || href === ".")) {
      event.preventDefault();
      go(href === "." ? "" : href);
    }
  });
}
