// The connection: a store of circuits that is kept true over whatever happens to it, and commands with their answers.

import { address } from "./api.js";

/** @typedef {Record<string, any> & {dev: string, circuit: string, alias?: string}} State */
/** @typedef {{t: number, v: number | null}} Point */
/**
 * A circuit, as the page knows it: when it was last told of, its last minutes, and what is under way.
 * @typedef {{key: string, state: State, at: number, trail: Point[], pending: number, wanted: any, problem: string}} Circuit
 */

/** How long the last minutes are, in ms, and how many points of them are kept. */
export const TRAIL = 600000;
const MOST_POINTS = 1200;
/** The service says something every 20 s; a connection that is silent for so long is dead. In ms. */
const SILENCE = 45000;
/** In ms. */
const FIRST_RETRY = 500;
const SLOWEST_RETRY = 5000;
/** An answer takes the deadline of a write and a second at most. In ms. */
const LONGEST_ANSWER = 8000;

/** What went wrong with a command. */
export class Failed extends Error {
  /**
   * @param {string} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** @param {{dev: string, circuit: string}} one */
export const keyOf = (one) => `${one.dev}/${one.circuit}`;

class Live {
  constructor() {
    /** @type {Map<string, Circuit>} */
    this.circuits = new Map();
    /** When the connection was lost; 0 while there is one. */
    this.lostAt = performance.now();
    /** Whether the page has ever been told everything. */
    this.known = false;
    /** How often circuits were handed to who watches them. */
    this.drawn = 0;
    /** @type {Map<string, Set<() => void>>} */
    this._watchers = new Map();
    /** @type {Set<() => void>} */
    this._ofAll = new Set();
    /** @type {Set<() => void>} */
    this._ofConnection = new Set();
    /** @type {Set<string>} */
    this._changed = new Set();
    this._membersChanged = false;
    this._frame = 0;
    /** @type {WebSocket | null} */
    this._socket = null;
    /** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void, timer: number}>} */
    this._waiting = new Map();
    this._id = 0;
    /** @type {{epoch: string, number: number} | null} */
    this._since = null;
    this._retry = FIRST_RETRY;
    this._timer = 0;
    this._silence = 0;
    this._stopped = true;
    /** @type {() => void} */
    this.onrefused = () => {};
  }

  get open() {
    return this.lostAt === 0;
  }

  start() {
    if (this._stopped) {
      this._stopped = false;
      this._connect();
    }
  }

  stop() {
    this._stopped = true;
    clearTimeout(this._timer);
    this._socket?.close();
  }

  _connect() {
    const url = address("ws?dialect=v3");
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    this._socket = socket;
    this._silent();
    socket.onopen = async () => {
      const since = this._since ? { since: this._since } : {};
      try {
        this._took(await this.ask({ cmd: "subscribe", devices: ["all"], every: 0.05, ...since }));
      } catch {
        socket.close();
        return;
      }
      this._retry = FIRST_RETRY;
      this.lostAt = 0;
      this.known = true;
      for (const tell of this._ofConnection) tell();
    };
    socket.onmessage = (event) => {
      this._silent();
      this._hear(JSON.parse(event.data));
    };
    socket.onclose = (event) => this._lost(socket, event);
  }

  _silent() {
    clearTimeout(this._silence);
    this._silence = window.setTimeout(() => {
      const socket = this._socket;
      socket?.close();
      if (socket) this._lost(socket, null); // a dead connection may take minutes to close
    }, SILENCE);
  }

  /**
   * @param {WebSocket} socket
   * @param {CloseEvent | null} event
   */
  _lost(socket, event) {
    if (socket !== this._socket) return;
    this._socket = null;
    clearTimeout(this._silence);
    for (const [id, one] of this._waiting) {
      clearTimeout(one.timer);
      one.reject(new Failed("offline", "the connection was lost before the answer; it may have been done"));
      this._waiting.delete(id);
    }
    if (!this.lostAt) this.lostAt = performance.now();
    for (const tell of this._ofConnection) tell();
    if (this._stopped) return;
    if (event?.code === 4401 || !event?.wasClean) this.onrefused();
    this._timer = window.setTimeout(() => this._connect(), this._retry);
    this._retry = Math.min(this._retry * 2, SLOWEST_RETRY);
  }

  /** @param {any} message */
  _hear(message) {
    const one = this._waiting.get(message.id);
    if (one) {
      this._waiting.delete(message.id);
      clearTimeout(one.timer);
      if (message.success) one.resolve(message.result);
      else one.reject(new Failed(message.error.code, message.error.message));
    } else if (message.event === "change") {
      this._since = { epoch: message.epoch, number: message.number };
      for (const state of message.states) this._take(state);
    } else if (message.event === "gone") {
      this._since = { epoch: message.epoch, number: message.number };
      for (const gone of message.devices) this._drop(keyOf(gone));
    } else if (message.event === "alive") {
      this._since = { epoch: message.epoch, number: message.number };
    }
  }

  /** @param {any} result of a subscription */
  _took(result) {
    this._since = { epoch: result.epoch, number: result.number };
    if (result.complete) {
      const there = new Set(result.states.map(keyOf));
      for (const key of [...this.circuits.keys()]) if (!there.has(key)) this._drop(key);
    }
    for (const one of this.circuits.values()) gap(one);
    for (const gone of result.gone ?? []) this._drop(keyOf(gone));
    for (const state of result.states) this._take(state);
  }

  /** @param {State} state */
  _take(state) {
    const key = keyOf(state);
    let one = this.circuits.get(key);
    if (!one) {
      one = { key, state, at: 0, trail: [], pending: 0, wanted: undefined, problem: "" };
      this.circuits.set(key, one);
      this._membersChanged = true;
    } else if (one.state.alias !== state.alias) this._membersChanged = true;
    one.state = state;
    one.at = Date.now();
    follow(one);
    this.touch(key);
  }

  /** @param {string} key */
  _drop(key) {
    if (this.circuits.delete(key)) {
      this._membersChanged = true;
      this.touch(key);
    }
  }

  /** Let who watches a circuit draw it anew, in the next frame. @param {string} key */
  touch(key) {
    this._changed.add(key);
    if (!this._frame) this._frame = requestAnimationFrame(() => this._draw());
  }

  _draw() {
    this._frame = 0;
    const changed = this._changed;
    this._changed = new Set();
    if (this._membersChanged) {
      this._membersChanged = false;
      for (const tell of this._ofAll) tell();
    }
    for (const key of changed) {
      for (const tell of this._watchers.get(key) ?? []) {
        this.drawn += 1;
        tell();
      }
    }
  }

  /**
   * Watch a circuit; what stops that.
   * @param {string} key
   * @param {() => void} tell
   */
  watch(key, tell) {
    const watchers = this._watchers.get(key) ?? new Set();
    this._watchers.set(key, watchers.add(tell));
    return () => {
      watchers.delete(tell);
      if (!watchers.size) this._watchers.delete(key);
    };
  }

  /** Watch which circuits there are; what stops that. @param {() => void} tell */
  watchAll(tell) {
    this._ofAll.add(tell);
    return () => void this._ofAll.delete(tell);
  }

  /** Watch the connection. @param {() => void} tell */
  watchConnection(tell) {
    this._ofConnection.add(tell);
    return () => void this._ofConnection.delete(tell);
  }

  /**
   * Ask something, and wait for the answer.
   * @param {Record<string, any>} message
   * @returns {Promise<any>}
   */
  ask(message) {
    return new Promise((resolve, reject) => {
      if (this._socket?.readyState !== WebSocket.OPEN) {
        reject(new Failed("offline", "there is no connection to the unit; nothing was sent"));
        return;
      }
      const id = ++this._id;
      const timer = window.setTimeout(() => {
        this._waiting.delete(id);
        reject(new Failed("timeout", "the unit did not answer in time; it may have been done"));
      }, LONGEST_ANSWER);
      this._waiting.set(id, { resolve, reject, timer });
      this._socket.send(JSON.stringify({ ...message, id }));
    });
  }

  /**
   * Set a circuit. Until the hardware has acknowledged it, it is pending and shows what it showed; what goes wrong is
   * its problem, and shown beside it.
   * @param {string} key
   * @param {Record<string, any>} parameters
   * @returns {Promise<boolean>} whether it was done
   */
  async set(key, parameters) {
    const one = this.circuits.get(key);
    if (!one) return false;
    one.pending += 1;
    one.wanted = parameters.value;
    one.problem = "";
    this.touch(key);
    try {
      const state = await this.ask({ cmd: "set", dev: one.state.dev, circuit: one.state.circuit, ...parameters });
      this._take(state);
      return true;
    } catch (error) {
      one.problem = error instanceof Error ? error.message : String(error);
      return false;
    } finally {
      one.pending -= 1;
      this.touch(key);
    }
  }
}

/** A number that a state shows, to be followed; null where there is none. @param {State} state */
export function numberOf(state) {
  const value = state.dev === "1wdevice" ? (state.humidity ?? state.temp ?? state.value) : state.value;
  return typeof value === "number" && !(state.lost ?? false) ? value : null;
}

/** @param {Circuit} one */
function follow(one) {
  const trail = one.trail;
  const v = numberOf(one.state);
  if (v === null && !trail.length) return;
  const last = trail.at(-1);
  if (last && last.v === v && trail.length > 1 && trail.at(-2)?.v === v) last.t = one.at;
  else trail.push({ t: one.at, v });
  while (trail.length > MOST_POINTS || (trail.length > 1 && trail[1].t < one.at - TRAIL)) trail.shift();
}

/** What happened while there was no connection is not known: no line is drawn over it. @param {Circuit} one */
function gap(one) {
  const last = one.trail.at(-1);
  if (last && last.v !== null) one.trail.push({ t: last.t, v: null }, { t: Date.now(), v: last.v });
}

export const live = new Live();
