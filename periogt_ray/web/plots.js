// Histograms and a scatter plot, drawn by uPlot in the colours of the page.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { el, shown } from "./dom.js";

const MOST_BINS = 28;
const HISTOGRAM_PX = 170;
const SCATTER_PX = 400;
const COUNT_STEPS = [1, 2, 5].flatMap((step) => [0, 1, 2, 3, 4].map((n) => step * 10 ** n)).sort((a, b) => a - b);
const COUNT_SPACE_PX = 20; // between the ticks of counts, so that a low histogram has several
const REACH_PX = 24; // how near the pointer must be to a point

/** The colours of the page, for canvases. */
export function colours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return { ink: colour("--muted"), line: colour("--line"), accent: colour("--accent"), strong: colour("--ink"), warn: colour("--warn"), font: `12px ${colour("--sans")}` };
}

/** The axes of a plot; no title, no room for it. */
export function axes({ ink, line, font }, xTitle, yTitle) {
  const common = { stroke: ink, font, labelFont: font, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
  return [
    { ...common, label: xTitle, labelSize: xTitle ? 20 : 0, size: 30 },
    { ...common, label: yTitle, labelSize: yTitle ? 20 : 0, size: 46 },
  ];
}

/** Keep a plot as wide as its place; ends when the place leaves the page. */
export function fit(plot, place, height) {
  const observer = new ResizeObserver(() => {
    if (!place.isConnected) { observer.disconnect(); plot.destroy(); return; }
    if (place.clientWidth > 0) plot.setSize({ width: place.clientWidth, height });
  });
  observer.observe(place);
}

/** Count values into equal bins: about the square root of their number, at round widths. */
export function bins(values) {
  let [low, high] = extremes(values);
  if (!(high > low)) { low -= 0.5; high += 0.5; }
  const wanted = Math.max(5, Math.min(MOST_BINS, Math.ceil(Math.sqrt(values.length))));
  const rough = (high - low) / wanted;
  const decade = 10 ** Math.floor(Math.log10(rough));
  const width = decade * [1, 2, 2.5, 5, 10].find((step) => step * decade >= rough * 0.999);
  const start = Math.floor(low / width) * width;
  const counts = new Array(Math.max(1, Math.floor((high - start) / width) + 1)).fill(0);
  for (const value of values) counts[Math.min(counts.length - 1, Math.floor((value - start) / width))] += 1;
  return { start, width, counts };
}

export function median(values) {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Draw a histogram as a card.
 * @param {{label: string, units: string}} property
 * @param {number[]} values
 * @param {(low: number, high: number) => void} onSelect - a range was dragged over
 */
export function histogram(property, values, onSelect) {
  const place = el("div", { class: "plot" });
  const units = property.units ? ` ${property.units}` : "";
  const [low, high] = extremes(values);
  const summary = values.length === 0 ? "No values yet."
    : `${values.length} ${values.length === 1 ? "value" : "values"}, median ${shown(median(values))}, from ${shown(low)} to ${shown(high)}${units}`;
  const card = el("div", { class: "card" }, el("h3", { text: property.label }), el("p", { class: "hint", text: summary }), place);
  if (values.length === 0) return card;
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", `Histogram of ${property.label}: ${summary}`);
  const { start, width, counts } = bins(values);
  const edges = Array.from({ length: counts.length + 1 }, (_, i) => start + i * width);
  const look = colours();
  const plot = new uPlot({
    width: 300, height: HISTOGRAM_PX, legend: { show: false },
    cursor: { x: false, y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
    scales: { x: { time: false, range: [edges[0], edges.at(-1)] }, y: { range: (_, __, most) => [0, Math.max(1, most * 1.06)] } },
    axes: axes(look, property.units, "Polymers").map((axis, i) => (i === 1 ? { ...axis, incrs: COUNT_STEPS, space: COUNT_SPACE_PX } : axis)),
    series: [{}, { paths: uPlot.paths.bars({ size: [1, Infinity], align: 1, gap: 1 }), fill: look.accent, stroke: look.accent, width: 0, points: { show: false } }],
    hooks: { setSelect: [(self) => {
      if (self.select.width < 4) return;
      onSelect(self.posToVal(self.select.left, "x"), self.posToVal(self.select.left + self.select.width, "x"));
    }] },
  }, [edges, [...counts, null]], place);
  fit(plot, place, HISTOGRAM_PX);
  return card;
}

function extremes(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  return [low, high];
}

/**
 * Draw a scatter plot; the nearest point to the pointer, or the one that arrow keys reached, is told.
 * @param {HTMLElement} area
 * @param {{x: Object, y: Object}} properties
 * @param {{x: number, y: number, row: number}[]} points
 * @param {(row: number|null, left: number, top: number) => void} onPoint - left and top in pixels of the area
 */
export function scatter(area, { x, y }, points, onPoint) {
  const place = el("div", { class: "plot" });
  area.replaceChildren(place);
  const title = ({ label, units }) => (units ? `${label} (${units})` : label);
  if (points.length === 0) {
    place.append(el("p", { class: "hint", text: "No polymer has both values yet." }));
    return;
  }
  points.sort((a, b) => a.x - b.x);
  const look = colours();
  const size = points.length > 2000 ? 4 : 9;
  let current = -1;
  const plot = new uPlot({
    width: 600, height: SCATTER_PX, legend: { show: false },
    cursor: { x: false, y: false, points: { show: false }, drag: { x: true, y: true, uni: 20 } },
    scales: { x: { time: false, range: padded }, y: { range: padded } },
    axes: axes(look, title(x), title(y)),
    series: [{}, { paths: () => null, points: { show: true, size, width: 1, stroke: look.accent, fill: `${look.accent}66` } }],
    hooks: { draw: [(self) => { if (current >= 0) ring(self, points[current], look); }] },
  }, [points.map((point) => point.x), points.map((point) => point.y)], place);
  fit(plot, place, SCATTER_PX);

  const tell = (at) => {
    if (at === current) return;
    current = at;
    plot.redraw(false);
    if (at < 0) { onPoint(null, 0, 0); return; }
    const over = plot.over.getBoundingClientRect();
    const around = area.getBoundingClientRect();
    onPoint(points[at].row, over.left - around.left + plot.valToPos(points[at].x, "x"), over.top - around.top + plot.valToPos(points[at].y, "y"));
  };
  plot.over.addEventListener("pointermove", (event) => tell(nearest(plot, points, event.offsetX, event.offsetY)));
  plot.over.addEventListener("pointerleave", () => tell(-1));
  place.tabIndex = 0;
  place.setAttribute("role", "application");
  place.setAttribute("aria-roledescription", "scatter plot");
  place.setAttribute("aria-label", `${title(y)} against ${title(x)}, ${points.length} polymers. Left and right arrows go from point to point, Escape leaves.`);
  place.addEventListener("keydown", (event) => {
    const next = { ArrowRight: current + 1, ArrowLeft: current < 0 ? 0 : current - 1, Home: 0, End: points.length - 1, Escape: -1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    tell(event.key === "Escape" ? -1 : Math.max(0, Math.min(points.length - 1, next)));
  });
  place.addEventListener("blur", () => tell(-1));
}

export function padded(_, low, high) {
  const space = high > low ? (high - low) * 0.05 : Math.max(Math.abs(low) * 0.05, 0.5);
  return [low - space, high + space];
}

function nearest(plot, points, left, top) {
  let best = -1;
  let least = REACH_PX ** 2;
  for (let i = 0; i < points.length; i += 1) {
    const across = plot.valToPos(points[i].x, "x") - left;
    if (Math.abs(across) > REACH_PX) continue;
    const down = plot.valToPos(points[i].y, "y") - top;
    const distance = across * across + down * down;
    if (distance < least) { least = distance; best = i; }
  }
  return best;
}

function ring(plot, point, look) {
  const { ctx } = plot;
  ctx.save();
  ctx.strokeStyle = look.ink;
  ctx.lineWidth = 2 * devicePixelRatio;
  ctx.beginPath();
  ctx.arc(plot.valToPos(point.x, "x", true), plot.valToPos(point.y, "y", true), 8 * devicePixelRatio, 0, 2 * Math.PI);
  ctx.stroke();
  ctx.restore();
}
