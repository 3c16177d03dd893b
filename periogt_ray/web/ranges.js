// Intervals of several polymers above one axis, so that one sees which of them overlap.

import { shown, svg } from "./dom.js";

const WIDTH = 180; // pixels, as the stylesheet has it
const LEFT = 18; // for the polymers' numbers
const RIGHT = 10;
const LINE_PX = 14;
const AXIS_PX = 20;
const MOST_TICKS = 5;

/**
 * Return round numbers within a range: steps of 1, 2 or 5 times a power of ten.
 * @param {number} low
 * @param {number} high - above `low`
 * @param {number} n_most
 * @returns {number[]}
 */
export function ticks(low, high, n_most) {
  const rough = (high - low) / n_most;
  const decade = 10 ** Math.floor(Math.log10(rough));
  const step = decade * [1, 2, 5, 10].find((one) => one * decade >= rough);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  // Whole steps, each multiplied once, so that no tick is 0.30000000000000004.
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/**
 * Draw a line a polymer: its interval, and its value as a dot.
 * @param {string} label - what the values are, for screen readers
 * @param {{number: number, value: number, lower: number, upper: number}[]} entries - bounds are NaN where there is no interval
 */
export function ranges(label, entries) {
  const all = entries.flatMap(({ value, lower, upper }) => [value, lower, upper]).filter(Number.isFinite);
  const [low, high] = spread(Math.min(...all), Math.max(...all));
  const at = (value) => LEFT + (value - low) * ((WIDTH - LEFT - RIGHT) / (high - low));
  const height = entries.length * LINE_PX + AXIS_PX;
  const bottom = height - AXIS_PX + 3;
  const axis = ticks(low, high, MOST_TICKS).flatMap((tick) => [
    svg("line", { class: "tick", x1: at(tick), x2: at(tick), y1: 2, y2: bottom }),
    svg("text", { class: "tick-label", x: at(tick), y: height - 3, "text-anchor": "middle" }, plain(tick)),
  ]);
  const lines = entries.flatMap(({ number, value, lower, upper }, i) => {
    const y = (i + 0.5) * LINE_PX + 1;
    const bar = Number.isNaN(lower) ? [] : [svg("line", { class: "interval", x1: at(lower), x2: at(upper), y1: y, y2: y })];
    return [svg("text", { class: "number", x: 2, y: y + 4 }, String(number)), ...bar, svg("circle", { class: "here", cx: at(value), cy: y, r: 4 })];
  });
  return svg("svg", { class: "ranges", viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, height, role: "img", "aria-label": `${label}. ${entries.map(inWords).join("; ")}` },
    ...axis, ...lines);
}

function spread(low, high) {
  const room = high > low ? (high - low) * 0.04 : Math.max(Math.abs(low) * 0.05, 0.5);
  return [low - room, high + room];
}

function plain(tick) {
  return String(tick).replace("-", "−");
}

function inWords({ number, value, lower, upper }) {
  return `Polymer ${number}: ${shown(value)}${Number.isNaN(lower) ? "" : `, ${shown(lower)} to ${shown(upper)}`}`;
}
