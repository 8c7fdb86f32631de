// HTTP: paths from where the page is, so that a proxy's prefix is no matter.

const ROOT = new URL("..", location.href);

/** An address of the service. @param {string} path */
export const address = (path) => new URL(path, ROOT);

/** What went wrong with a request, in the service's own sentence. */
export class Refused extends Error {
  /**
   * @param {string} message
   * @param {number} status
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/**
 * Ask something over HTTP.
 * @param {string} path
 * @param {string} [method]
 * @param {any} [body]
 * @returns {Promise<any>}
 */
export async function http(path, method = "GET", body = undefined) {
  const sent = body === undefined ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(address(path), { method, credentials: "same-origin", signal: AbortSignal.timeout(10000), ...sent });
  const found = await answer.json();
  if (!answer.ok && found.errors) throw new Refused(String(Object.values(found.errors)[0]), answer.status);
  return found;
}

/** @typedef {{name: string, role: string, write: string[] | null}} Who */
/** @typedef {{confirm: Record<string, string[]>, operating: string[], configuring: string[], tokens: boolean, history: boolean}} Rules */

/** Who uses the page, and what they may do. */
export const session = {
  /** @type {Who} */
  who: { name: "", role: "none", write: null },
  /** @type {Rules} */
  rules: { confirm: {}, operating: [], configuring: [], tokens: false, history: false },

  async load() {
    try {
      this.who = await http("access/whoami");
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 401) throw error;
      this.who = await http("access/whoami"); // the first answer has let the old session be forgotten
    }
    if (this.who.role !== "none") this.rules = await http("panel/rules");
  },

  /**
   * Whether these parameters of a circuit may be set, as far as the page can tell; the service decides.
   * @param {string} dev
   * @param {string} circuit
   * @param {...string} parameters
   */
  may(dev, circuit, ...parameters) {
    const { role, write } = this.who;
    if (role !== "operator" && role !== "admin") return false;
    if (role === "operator") {
      if (this.rules.configuring.includes(dev)) return false;
      if (!parameters.every((one) => this.rules.operating.includes(one))) return false;
    }
    return write === null || write.some((pattern) => fits(pattern, dev, circuit));
  },

  /**
   * Whether a circuit is to ask before it is set.
   * @param {string} dev
   * @param {string} circuit
   */
  asks(dev, circuit) {
    return (this.rules.confirm[dev] ?? []).includes(circuit);
  },
};

/**
 * @param {string} pattern
 * @param {string} dev
 * @param {string} circuit
 */
function fits(pattern, dev, circuit) {
  const [kind, ...rest] = pattern.split("/");
  if (kind !== dev) return false;
  if (!rest.length) return true;
  const escaped = rest.join("/").replace(/[.+^${}()|\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".").replace(/\[!/g, "[^");
  return new RegExp(`^${escaped}$`).test(circuit);
}
