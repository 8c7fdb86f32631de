// A plot over time on a canvas: axes, a line or bars for each circuit, gaps as gaps, a cross-hair with the values, for
// mouse, finger and keyboard, and a table for who does not see it.

import { at, drawBars, drawLine, reach, ticks, worded } from "./curve.js";
import { clock, h, moment, say } from "./dom.js";
import { W } from "./words.js";

/** @typedef {import("./curve.js").Curve} Curve */
/** @typedef {import("./curve.js").Place} Place */

const HEIGHT = 240;
/** Room for the numbers at the sides, and above and below. */
const SIDE = 56;
const EDGE = 8;
const BOTTOM = 24;
const TOP = 10;
/** How high bars are below a line. */
const LANE = 30;
const DAY = 86400000;
/** Steps between the lines of an axis of time, in ms. */
const STEPS = [1000, 5000, 15000, 60000, 300000, 900000, 3600000, 10800000, 43200000, DAY, 7 * DAY];
/** Rows of the table, at most. */
const ROWS = 500;

export class Plot {
  /** @param {string} label what is plotted */
  constructor(label) {
    /** @type {Curve[]} */
    this._curves = [];
    /** All times at which there is a point. @type {number[]} */
    this._times = [];
    this._from = 0;
    this._to = 1;
    /** Where the time begins and ends, in pixels. */
    this._left = SIDE;
    this._right = 600 - EDGE;
    /** @type {number | null} */
    this._cross = null;
    this._canvas = h("canvas", { role: "img", tabindex: "0", "aria-label": `${W.plot}: ${label}` });
    this._said = h("output", { class: "cross", "aria-live": "polite" });
    this._legend = h("p", { class: "legend" });
    this._head = h("tr");
    this._body = h("tbody");
    this._details = h(
      "details",
      { ontoggle: () => this._fill() },
      h("summary", {}, W.table),
      h("table", {}, h("thead", {}, this._head), this._body),
    );
    this.element = h("figure", { class: "plot" }, this._legend, this._canvas, this._said, this._details);
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
   * Show these.
   * @param {Curve[]} curves points in the order of time
   * @param {number} from
   * @param {number} to
   */
  show(curves, from, to) {
    this._curves = curves;
    this._from = from;
    this._to = to;
    this._times = [...new Set(curves.flatMap((curve) => curve.points.filter((point) => point.v !== null).map((point) => point.t)))];
    this._times.sort((a, b) => a - b);
    const several = curves.length > 1;
    const entries = several ? curves.map((curve, n) => h("span", { class: `curve${n}` }, `${curve.label}${curve.unit ? ` (${curve.unit})` : ""}`)) : [];
    this._legend.replaceChildren(...entries);
    const heads = curves.map((curve) => `${several ? curve.label : W.value}${curve.unit ? ` (${curve.unit})` : ""}`);
    this._head.replaceChildren(...[W.time, ...heads].map((text) => h("th", { scope: "col" }, text)));
    this.draw();
    this._fill();
  }

  /** @param {number} t */
  _x(t) {
    return this._left + ((t - this._from) / (this._to - this._from)) * (this._right - this._left);
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
    const [ink, rule] = [style.textDecorationColor, style.borderTopColor]; // as the sheet has them
    const colours = [style.color, style.caretColor];
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = ink;
    pen.strokeStyle = rule;
    pen.lineWidth = 1;
    const places = this._places(pen, colours);
    pen.fillStyle = ink;
    this._axis(pen);
    pen.save();
    pen.beginPath();
    pen.rect(this._left, 0, this._right - this._left, HEIGHT);
    pen.clip();
    this._curves.forEach((curve, n) => {
      const draw = curve.bars ? drawBars : drawLine;
      draw(pen, curve, places[n], colours[n]);
    });
    if (this._cross !== null) this._mark(pen, ink, this._cross, places);
    pen.restore();
  }

  /**
   * Where each curve is drawn, after its scale was: lines share one if they are of one unit, and else the second has its
   * own at the right; bars have lanes below lines, or all of the plot.
   * @param {CanvasRenderingContext2D} pen
   * @param {string[]} colours
   * @returns {Place[]}
   */
  _places(pen, colours) {
    const lines = this._curves.filter((curve) => !curve.bars);
    const units = [...new Set(lines.map((curve) => curve.unit))];
    const bars = this._curves.length - lines.length;
    const ground = HEIGHT - BOTTOM - (lines.length ? bars * LANE : 0);
    const lane = lines.length ? LANE : (HEIGHT - BOTTOM - TOP) / Math.max(1, bars);
    [this._left, this._right] = [SIDE, this._width - (units.length > 1 ? SIDE : EDGE)];
    const x = (/** @type {number} */ t) => this._x(t);
    const scales = units.map((unit, n) => {
      const [low, high] = reach(lines.flatMap((curve) => (curve.unit === unit ? curve.points : [])));
      const y = (/** @type {number} */ v) => TOP + (1 - (v - low) / (high - low)) * (ground - TOP);
      if (units.length > 1) pen.fillStyle = colours[this._curves.findIndex((curve) => !curve.bars && curve.unit === unit)];
      this._scale(pen, ticks(low, high, 5), y, n === 0);
      return y;
    });
    let below = HEIGHT - BOTTOM;
    return this._curves.map((curve) => {
      if (!curve.bars) return { x, y: scales[units.indexOf(curve.unit)] };
      const bottom = below;
      below -= lane;
      return { x, y: (v) => bottom - v * (lane - 6) };
    });
  }

  /** @param {CanvasRenderingContext2D} pen @param {number[]} values @param {(v: number) => number} y @param {boolean} left */
  _scale(pen, values, y, left) {
    pen.textBaseline = "middle";
    pen.textAlign = left ? "right" : "left";
    for (const v of values) {
      const at = Math.round(y(v)) + 0.5;
      if (left) line(pen, this._left, at, this._right, at);
      pen.fillText(String(Number(v.toPrecision(6))), left ? this._left - 6 : this._right + 6, at);
    }
  }

  /** @param {CanvasRenderingContext2D} pen */
  _axis(pen) {
    pen.textBaseline = "top";
    pen.textAlign = "center";
    const step = STEPS.find((one) => (this._to - this._from) / one <= Math.max(2, this._width / 110)) ?? STEPS[STEPS.length - 1];
    const zone = new Date(this._from).getTimezoneOffset() * 60000;
    for (let t = Math.ceil((this._from - zone) / step) * step + zone; t <= this._to; t += step) {
      const x = Math.round(this._x(t)) + 0.5;
      line(pen, x, TOP, x, HEIGHT - BOTTOM);
      const words = step < DAY ? clock(t).slice(0, step < 60000 ? 8 : 5) : new Date(t).toLocaleDateString(undefined, { day: "numeric", month: "short" });
      pen.fillText(words, Math.min(x, this._width - pen.measureText(words).width / 2 - 2), HEIGHT - BOTTOM + 6);
    }
  }

  /** @param {CanvasRenderingContext2D} pen @param {string} ink @param {number} t @param {Place[]} places */
  _mark(pen, ink, t, places) {
    pen.strokeStyle = ink;
    pen.lineWidth = 1;
    line(pen, this._x(t), TOP, this._x(t), HEIGHT - BOTTOM);
    this._curves.forEach((curve, n) => {
      const point = at(curve.points, t);
      if (curve.bars || !point || point.v === null) return;
      pen.beginPath();
      pen.arc(this._x(t), places[n].y(point.v), 4, 0, 7);
      pen.stroke();
    });
  }

  /** @param {number} x */
  _point(x) {
    const away = (/** @type {number} */ t) => Math.abs(this._x(t) - x);
    this._put(this._times.reduce((nearest, t) => (nearest !== null && away(nearest) <= away(t) ? nearest : t), /** @type {number | null} */ (null)));
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -Infinity, End: Infinity };
    const step = steps[/** @type {keyof typeof steps} */ (event.key)];
    if (event.key === "Escape") this._put(null);
    if (step === undefined || !this._times.length) return;
    event.preventDefault();
    const last = this._times.length - 1;
    const n = this._cross === null ? last : this._times.findLastIndex((t) => t <= Number(this._cross));
    this._put(this._times[Math.min(last, Math.max(0, n + step))]);
  }

  /** @param {number | null} t */
  _put(t) {
    this._cross = t;
    say(this._said, t === null ? "" : `${this._when(t)} · ${this._curves.map((curve) => this._told(curve, t)).join(" · ")}`);
    this.draw();
  }

  /** @param {Curve} curve @param {number} t */
  _told(curve, t) {
    const point = at(curve.points, t);
    const words = point && point.v !== null ? worded(curve, point) : W.notKnown;
    return this._curves.length > 1 ? `${curve.label}: ${words}` : words;
  }

  /** @param {number} t */
  _when(t) {
    return this._to - this._from < DAY ? clock(t) : moment(t);
  }

  _fill() {
    if (!this._details.open) return;
    const rows = this._times.slice(-ROWS).reverse();
    this._body.replaceChildren(
      ...rows.map((t) => {
        const points = this._curves.map((curve) => ({ curve, point: at(curve.points, t) }));
        return h("tr", {}, h("td", {}, this._when(t)), ...points.map(({ curve, point }) => h("td", {}, point && point.v !== null ? worded({ ...curve, unit: "" }, point) : "–")));
      }),
    );
  }
}

/** @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {number} toX @param {number} toY */
function line(pen, x, y, toX, toY) {
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(toX, toY);
  pen.stroke();
}
