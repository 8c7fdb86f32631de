// One circuit in a plot: its points, how high they reach, and how they are drawn: as a line with its band, or as bars.

import { W } from "./words.js";

/** A point, or, of many in one, their least and greatest; null is a gap. @typedef {{t: number, v: number | null, low?: number, high?: number}} Point */
/**
 * A circuit over time. Bars are of what is on or off: 1, 0, or for which part of a while it was on.
 * @typedef {{label: string, unit: string, bars: boolean, points: Point[]}} Curve
 */
/** Where it is drawn: from times and values to pixels. @typedef {{x: (t: number) => number, y: (v: number) => number}} Place */

/** @param {Point} point @returns {[number, number]} */
const range = (point) => [point.low ?? Number(point.v), point.high ?? Number(point.v)];

/** The least and the greatest of some points, with some room about them. @param {Point[]} points @returns {[number, number]} */
export function reach(points) {
  const values = points.flatMap((point) => (point.v === null ? [] : range(point)));
  if (!values.length) return [0, 1];
  const low = Math.min(...values);
  const high = Math.max(...values);
  const room = (high - low) * 0.08 || Math.abs(high) * 0.02 || 1;
  return [low - room, high + room];
}

/** What is shown at a time: the last point up to then. @param {Point[]} points @param {number} t */
export const at = (points, t) => points.findLast((point) => point.t <= t);

/** What a point says, in words. @param {Curve} curve @param {Point} point */
export function worded(curve, point) {
  const v = Number(point.v);
  if (curve.bars) return v === 0 ? W.off : v === 1 ? W.on : W.partly(Math.min(99, Math.max(1, Math.round(v * 100))));
  const [low, high] = range(point);
  const mean = Number(v.toFixed(Math.max(decimals(low), decimals(high))));
  return `${mean}${curve.unit ? ` ${curve.unit}` : ""}${low === high ? "" : ` (${low} – ${high})`}`;
}

/** @param {number} v */
const decimals = (v) => (String(v).split(".")[1] ?? "").length;

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

/** @param {CanvasRenderingContext2D} pen @param {Curve} curve @param {Place} place @param {string} colour */
export function drawLine(pen, curve, { x, y }, colour) {
  pen.fillStyle = pen.strokeStyle = colour;
  pen.lineWidth = 2;
  pen.lineJoin = "round";
  for (const run of runs(curve.points)) {
    if (run[0].low !== undefined) {
      pen.globalAlpha = 0.2;
      pen.beginPath();
      for (const point of run) pen.lineTo(x(point.t), y(range(point)[1]));
      for (const point of run.toReversed()) pen.lineTo(x(point.t), y(range(point)[0]));
      pen.fill();
      pen.globalAlpha = 1;
    }
    pen.beginPath();
    for (const point of run) pen.lineTo(x(point.t), y(Number(point.v)));
    if (run.length === 1) pen.arc(x(run[0].t), y(Number(run[0].v)), 1, 0, 7);
    pen.stroke();
  }
}

/** Each point holds until the next; where nothing is known there is not even the ground. @param {CanvasRenderingContext2D} pen @param {Curve} curve @param {Place} place @param {string} colour */
export function drawBars(pen, curve, { x, y }, colour) {
  pen.fillStyle = colour;
  curve.points.forEach((point, n) => {
    const next = curve.points[n + 1];
    if (point.v === null || !next) return;
    const width = Math.max(0.5, x(next.t) - x(point.t));
    pen.fillRect(x(point.t), y(0) - 1, width, 1);
    if (point.v > 0) pen.fillRect(x(point.t), y(point.v), width, y(0) - y(point.v));
  });
}

/** Round numbers from low to high. @param {number} low @param {number} high @param {number} most */
export function ticks(low, high, most) {
  const raw = (high - low) / most;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * size).find((one) => one >= raw) ?? raw;
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high; v += step) found.push(v);
  return found;
}
