// A plot over time on a canvas: axis, band, gaps as gaps, a cross-hair with its value, for mouse, finger and keyboard,
// and a table for who does not see it.

import { clock, h, say } from "./dom.js";
import { W } from "./words.js";

/** A point, or, of many in one, their least and greatest; null is a gap. @typedef {{t: number, v: number | null, low?: number, high?: number}} Point */

const HEIGHT = 240;
const LEFT = 56;
const BOTTOM = 24;
const TOP = 10;
/** Steps between the lines of an axis of time, in ms. */
const STEPS = [1000, 5000, 15000, 60000, 300000, 900000, 3600000, 10800000, 43200000, 86400000, 604800000];
/** Rows of the table, at most. */
const ROWS = 200;

export class Plot {
  /** @param {string} label what is plotted @param {string} unit */
  constructor(label, unit) {
    this._unit = unit;
    /** @type {Point[]} */
    this._points = [];
    this._from = 0;
    this._to = 1;
    this._low = 0;
    this._high = 1;
    /** @type {number | null} */
    this._cross = null;
    this._canvas = h("canvas", { role: "img", tabindex: "0", "aria-label": `${W.plot}: ${label}` });
    this._said = h("output", { class: "cross", "aria-live": "polite" });
    this._body = h("tbody");
    this._details = h(
      "details",
      { ontoggle: () => this._fill() },
      h("summary", {}, W.table),
      h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, W.time), h("th", { scope: "col" }, `${W.value}${unit ? ` (${unit})` : ""}`))), this._body),
    );
    this.element = h("figure", { class: "plot" }, this._canvas, this._said, this._details);
    this._canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this._point(event.offsetX));
    this._canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this._point(event.offsetX));
    this._canvas.addEventListener("pointerleave", () => this._put(null));
    this._canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this._key(event));
    this._observer = new ResizeObserver(() => this.draw());
    this._observer.observe(this._canvas);
  }

  stop() {
    this._observer.disconnect();
  }

  /**
   * Show these points.
   * @param {Point[]} points in the order of time
   * @param {number} from
   * @param {number} to
   */
  show(points, from, to) {
    this._points = points;
    this._from = from;
    this._to = to;
    const values = points.flatMap((point) => (point.v === null ? [] : [point.low ?? point.v, point.high ?? point.v]));
    const low = Math.min(...values);
    const high = Math.max(...values);
    const room = (high - low) * 0.08 || Math.abs(high) * 0.02 || 1;
    this._low = values.length ? low - room : 0;
    this._high = values.length ? high + room : 1;
    this.draw();
    if (this._details.open) this._fill();
  }

  /** @param {number} t */
  _x(t) {
    return LEFT + ((t - this._from) / (this._to - this._from)) * (this._width - LEFT - 8);
  }

  /** @param {number} v */
  _y(v) {
    return TOP + (1 - (v - this._low) / (this._high - this._low)) * (HEIGHT - TOP - BOTTOM);
  }

  draw() {
    const canvas = this._canvas;
    const ratio = devicePixelRatio || 1;
    this._width = canvas.clientWidth || 600;
    canvas.width = Math.round(this._width * ratio);
    canvas.height = Math.round(HEIGHT * ratio);
    const pen = canvas.getContext("2d");
    if (!pen) return;
    pen.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const [ink, rule, accent] = [style.textDecorationColor, style.borderTopColor, style.color]; // as the sheet has them
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = ink;
    pen.strokeStyle = rule;
    pen.lineWidth = 1;
    this._axes(pen);
    this._band(pen, accent);
    this._curve(pen, accent);
    if (this._cross !== null && this._points[this._cross]) this._mark(pen, ink, this._points[this._cross]);
  }

  /** @param {CanvasRenderingContext2D} pen */
  _axes(pen) {
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const v of ticks(this._low, this._high, 5)) {
      const y = Math.round(this._y(v)) + 0.5;
      line(pen, LEFT, y, this._width - 8, y);
      pen.fillText(String(Number(v.toPrecision(6))), LEFT - 6, y);
    }
    pen.textBaseline = "top";
    pen.textAlign = "center";
    const step = STEPS.find((one) => (this._to - this._from) / one <= Math.max(2, this._width / 110)) ?? STEPS[STEPS.length - 1];
    const zone = new Date(this._from).getTimezoneOffset() * 60000;
    for (let t = Math.ceil((this._from - zone) / step) * step + zone; t <= this._to; t += step) {
      const x = Math.round(this._x(t)) + 0.5;
      line(pen, x, TOP, x, HEIGHT - BOTTOM);
      const day = new Date(t);
      pen.fillText(step < 86400000 ? clock(t).slice(0, step < 60000 ? 8 : 5) : day.toLocaleDateString(), x, HEIGHT - BOTTOM + 6);
    }
  }

  /** @param {CanvasRenderingContext2D} pen @param {string} accent */
  _band(pen, accent) {
    pen.fillStyle = accent;
    pen.globalAlpha = 0.2;
    for (const run of runs(this._points)) {
      if (run[0].low === undefined) continue;
      pen.beginPath();
      for (const point of run) pen.lineTo(this._x(point.t), this._y(point.high ?? Number(point.v)));
      for (const point of run.toReversed()) pen.lineTo(this._x(point.t), this._y(point.low ?? Number(point.v)));
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  /** @param {CanvasRenderingContext2D} pen @param {string} accent */
  _curve(pen, accent) {
    pen.strokeStyle = accent;
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    for (const run of runs(this._points)) {
      pen.beginPath();
      for (const point of run) pen.lineTo(this._x(point.t), this._y(Number(point.v)));
      if (run.length === 1) pen.arc(this._x(run[0].t), this._y(Number(run[0].v)), 1, 0, 7);
      pen.stroke();
    }
  }

  /** @param {CanvasRenderingContext2D} pen @param {string} ink @param {Point} point */
  _mark(pen, ink, point) {
    pen.strokeStyle = ink;
    pen.lineWidth = 1;
    line(pen, this._x(point.t), TOP, this._x(point.t), HEIGHT - BOTTOM);
    if (point.v !== null) {
      pen.beginPath();
      pen.arc(this._x(point.t), this._y(point.v), 4, 0, 7);
      pen.stroke();
    }
  }

  /** @param {number} x */
  _point(x) {
    let nearest = null;
    let least = Infinity;
    this._points.forEach((point, n) => {
      const away = Math.abs(this._x(point.t) - x);
      if (point.v !== null && away < least) [nearest, least] = [n, away];
    });
    this._put(nearest);
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -Infinity, End: Infinity };
    const step = steps[/** @type {keyof typeof steps} */ (event.key)];
    if (event.key === "Escape") this._put(null);
    if (step === undefined || !this._points.length) return;
    event.preventDefault();
    const last = this._points.length - 1;
    let n = Math.min(last, Math.max(0, (this._cross ?? last) + step));
    while (this._points[n].v === null && n > 0 && n < last) n += Math.sign(step);
    this._put(n);
  }

  /** @param {number | null} n */
  _put(n) {
    this._cross = n;
    const point = n === null ? null : this._points[n];
    say(this._said, point && point.v !== null ? `${clock(point.t)} · ${worded(point, this._unit)}` : "");
    this.draw();
  }

  _fill() {
    if (!this._details.open) return;
    const rows = this._points.filter((point) => point.v !== null).slice(-ROWS).reverse();
    this._body.replaceChildren(...rows.map((point) => h("tr", {}, h("td", {}, clock(point.t)), h("td", {}, worded(point, "")))));
  }
}

/** @param {Point} point @param {string} unit */
function worded(point, unit) {
  const band = point.low !== undefined && point.high !== point.low ? ` (${point.low} – ${point.high})` : "";
  return `${point.v}${unit ? ` ${unit}` : ""}${band}`;
}

/** @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {number} toX @param {number} toY */
function line(pen, x, y, toX, toY) {
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(toX, toY);
  pen.stroke();
}

/** Round numbers from low to high. @param {number} low @param {number} high @param {number} most */
function ticks(low, high, most) {
  const raw = (high - low) / most;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * size).find((one) => one >= raw) ?? raw;
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high; v += step) found.push(v);
  return found;
}

/** The points between gaps. @param {Point[]} points */
function runs(points) {
  /** @type {Point[][]} */
  const found = [[]];
  for (const point of points) {
    if (point.v === null) found.push([]);
    else found[found.length - 1].push(point);
  }
  return found.filter((run) => run.length);
}
