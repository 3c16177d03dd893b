// Two columns of a table on a canvas: what passes, what does not, the Pareto front, and intervals of chosen points.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { axes, colours, fit, padded } from "./plots.js";
import { el } from "./dom.js";
import { PointIndex } from "./point_index.js";

const HEIGHT_PX = 440;
const MANY = 2000; // points, which are drawn smaller
const MOST_INTERVALS = 300; // of ticked points; more hide each other
const CLICK_PX = 4; // a pointer that moved farther draws a rectangle

/** Events: `pointed` and `toggled` (detail: row or null), `chosen` (detail: a rectangle in the columns' units, or null). */
export class ScreenPlot extends EventTarget {
  constructor(area) {
    super();
    this.area = area;
    this.current = null;
    this.walk = [];
    this.ticked = new Set();
    area.tabIndex = 0;
    area.setAttribute("role", "application");
    area.setAttribute("aria-roledescription", "scatter plot");
    area.addEventListener("keydown", (event) => this.#key(event));
  }

  /**
   * Draw.
   * @param {{x: Column, y: Column, passing: number[], rejected: number[], front: number[], isXMaximised: boolean}} given -
   *   with the front in the order of the horizontal axis
   */
  show(given) {
    this.given = given;
    this.current = null;
    this.area.replaceChildren();
    const { x, y, passing, rejected } = given;
    const all = [...passing, ...rejected].filter((row) => !Number.isNaN(x.values[row] + y.values[row]));
    if (all.length === 0) {
      this.plot = null;
      this.points = [];
      this.area.append(el("p", { class: "hint", text: "No polymer has both values." }));
      return;
    }
    this.points = passing.filter((row) => !Number.isNaN(x.values[row] + y.values[row]));
    this.others = rejected.filter((row) => !Number.isNaN(x.values[row] + y.values[row]));
    // The intervals of the front are seen whole.
    const [ofX, ofY] = [x, y].map((column) => extent([[column.values, all], ...["lower", "upper"].flatMap((name) => (column[name] ? [[column[name], given.front]] : []))]));
    this.#build(ofX, ofY);
  }

  /** The rows that arrow keys go through, from left to right. */
  setWalk(rows) {
    const { x, y } = this.given;
    this.walk = rows.filter((row) => !Number.isNaN(x.values[row] + y.values[row])).sort((a, b) => x.values[a] - x.values[b] || a - b);
    this.area.setAttribute("aria-label", `${titleOf(y)} against ${titleOf(x)}, ${this.points?.length ?? 0} polymers that meet the constraints. `
      + `Left and right arrows go through the ${this.walk.length} listed ones, space ticks one, Escape leaves.`);
  }

  /** Mark rows as ticked; their intervals are drawn. */
  setTicked(ticked) {
    this.ticked = ticked;
    this.#drawTicks();
  }

  /** Ring one row, and draw its intervals; null for none. */
  point(row) {
    if (row === this.current) return;
    this.current = row;
    this.#drawRing();
  }

  /** Where a row's point is, in pixels of the area. */
  placeOf(row) {
    const { x, y } = this.given;
    const [over, around] = [this.plot.over.getBoundingClientRect(), this.area.getBoundingClientRect()];
    return { left: over.left - around.left + this.plot.valToPos(x.values[row], "x"), top: over.top - around.top + this.plot.valToPos(y.values[row], "y") };
  }

  #build([lowX, highX], [lowY, highY]) {
    const { x, y } = this.given;
    const place = el("div", { class: "plot" });
    this.area.append(place);
    this.look = colours();
    this.plot = new uPlot({
      width: Math.max(200, this.area.clientWidth), height: HEIGHT_PX, legend: { show: false },
      cursor: { x: false, y: false, points: { show: false }, drag: { x: true, y: true, setScale: false } },
      scales: { x: { time: false, range: padded }, y: { range: padded } },
      axes: axes(this.look, titleOf(x), titleOf(y)),
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: { draw: [(self) => this.#draw(self)], setSelect: [(self) => this.#selected(self)] },
    }, [[lowX, highX], [lowY, highY]], place);
    // Above the points, so that what changes under the pointer leaves a hundred thousand of them as they are.
    [this.tickLayer, this.ringLayer] = [0, 1].map(() => el("canvas", { class: "overlay", "aria-hidden": "true" }));
    this.plot.over.append(this.tickLayer, this.ringLayer);
    fit(this.plot, place, HEIGHT_PX);
    this.#listen(this.plot.over);
  }

  #listen(over) {
    let down = null;
    over.addEventListener("pointerdown", ({ clientX, clientY }) => { down = [clientX, clientY]; });
    over.addEventListener("pointermove", (event) => this.#tell(this.index?.nearest(event.offsetX, event.offsetY) ?? null));
    over.addEventListener("pointerleave", () => this.#tell(null));
    over.addEventListener("click", (event) => {
      const hasMoved = down && Math.hypot(event.clientX - down[0], event.clientY - down[1]) > CLICK_PX;
      const row = hasMoved ? null : this.index?.nearest(event.offsetX, event.offsetY) ?? null;
      if (row !== null) this.dispatchEvent(new CustomEvent("toggled", { detail: row }));
    });
  }

  #tell(row) {
    if (row === this.current) return;
    this.point(row);
    this.dispatchEvent(new CustomEvent("pointed", { detail: row }));
  }

  #key(event) {
    const at = this.walk.indexOf(this.current);
    const next = { ArrowRight: at + 1, ArrowLeft: Math.max(0, at - 1), Home: 0, End: this.walk.length - 1 }[event.key];
    if (event.key === "Escape") {
      this.#tell(null);
    } else if (event.key === " " && this.current !== null) {
      event.preventDefault();
      this.dispatchEvent(new CustomEvent("toggled", { detail: this.current }));
    } else if (next !== undefined && this.walk.length > 0) {
      event.preventDefault();
      this.#tell(this.walk[Math.min(next, this.walk.length - 1)]);
    }
  }

  #selected(self) {
    const { left, top, width, height } = self.select;
    if (width < CLICK_PX || height < CLICK_PX) return;
    this.dispatchEvent(new CustomEvent("chosen", { detail: {
      x: [self.posToVal(left, "x"), self.posToVal(left + width, "x")], y: [self.posToVal(top + height, "y"), self.posToVal(top, "y")],
    } }));
  }

  /** Draw what changes with the table only, and note where the points are. */
  #draw(self) {
    const { ctx } = self;
    const { x, y } = this.given;
    const { look } = this;
    const [toX, toY] = [scaleOf(self, "x", true), scaleOf(self, "y", true)];
    const size = (this.points.length + this.others.length > MANY ? 3 : 7) * devicePixelRatio;
    ctx.save();
    for (const [rows, colour, alpha] of [[this.others, look.ink, 0.28], [this.points, look.accent, 0.75]]) {
      ctx.fillStyle = colour;
      ctx.globalAlpha = alpha;
      // Squares: circles of a hundred thousand points take a second.
      for (const row of rows) ctx.fillRect(toX(x.values[row]) - size / 2, toY(y.values[row]) - size / 2, size, size);
    }
    ctx.globalAlpha = 1;
    this.#drawFront(ctx, toX, toY);
    ctx.restore();
    const [left, top] = [scaleOf(self, "x", false), scaleOf(self, "y", false)];
    this.index = new PointIndex(this.points, (row) => left(x.values[row]), (row) => top(y.values[row]), self.over.clientWidth, self.over.clientHeight);
    this.#drawTicks();
    this.#drawRing();
  }

  /** Draw the front as steps, which bound what its points dominate. */
  #drawFront(ctx, toX, toY) {
    const { x, y, front, isXMaximised } = this.given;
    if (front.length === 0) return;
    const at = front.map((row) => [toX(x.values[row]), toY(y.values[row])]);
    ctx.strokeStyle = ctx.fillStyle = this.look.strong;
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.beginPath();
    at.forEach(([left, top], i) => {
      if (i === 0) { ctx.moveTo(left, top); return; }
      const [leftBefore, topBefore] = at[i - 1];
      ctx.lineTo(isXMaximised ? leftBefore : left, isXMaximised ? top : topBefore);
      ctx.lineTo(left, top);
    });
    ctx.stroke();
    for (const [left, top] of at) {
      ctx.beginPath();
      ctx.arc(left, top, 4 * devicePixelRatio, 0, 2 * Math.PI);
      ctx.fill();
    }
  }

  /** Frame the ticked points, and draw their intervals. */
  #drawTicks() {
    const ctx = this.#cleared(this.tickLayer);
    if (!ctx) return;
    const ticked = [...this.ticked].filter((row) => this.#isInPlot(row));
    const { x, y } = this.given;
    const [toX, toY] = [scaleOf(this.plot, "x", false), scaleOf(this.plot, "y", false)];
    ctx.lineWidth = 1.5;
    ctx.strokeStyle = this.look.warn;
    for (const row of ticked) ctx.strokeRect(toX(x.values[row]) - 6, toY(y.values[row]) - 6, 12, 12);
    for (const row of ticked.slice(0, MOST_INTERVALS)) this.#cross(ctx, row, toX, toY);
  }

  /** Ring the point that the pointer or a key has reached, and draw its intervals. */
  #drawRing() {
    const ctx = this.#cleared(this.ringLayer);
    if (!ctx || this.current === null || !this.#isInPlot(this.current)) return;
    const { x, y } = this.given;
    const [toX, toY] = [scaleOf(this.plot, "x", false), scaleOf(this.plot, "y", false)];
    ctx.strokeStyle = this.look.strong;
    this.#cross(ctx, this.current, toX, toY);
    ctx.lineWidth = 2;
    ctx.beginPath();
    ctx.arc(toX(x.values[this.current]), toY(y.values[this.current]), 8, 0, 2 * Math.PI);
    ctx.stroke();
  }

  #isInPlot(row) { return !Number.isNaN(this.given.x.values[row] + this.given.y.values[row]); }

  /** An empty layer of the plot's size to draw on, in CSS pixels; null without a plot. */
  #cleared(layer) {
    if (!this.plot || !layer) return null;
    const { clientWidth, clientHeight } = this.plot.over;
    Object.assign(layer, { width: clientWidth * devicePixelRatio, height: clientHeight * devicePixelRatio });
    const ctx = layer.getContext("2d");
    ctx.scale(devicePixelRatio, devicePixelRatio);
    return ctx;
  }

  /** Draw the intervals of a row along both axes, as far as they are known. */
  #cross(ctx, row, toX, toY) {
    const { x, y } = this.given;
    const [left, top] = [toX(x.values[row]), toY(y.values[row])];
    ctx.beginPath();
    if (x.lower && !Number.isNaN(x.lower[row])) { ctx.moveTo(toX(x.lower[row]), top); ctx.lineTo(toX(x.upper[row]), top); }
    if (y.lower && !Number.isNaN(y.lower[row])) { ctx.moveTo(left, toY(y.lower[row])); ctx.lineTo(left, toY(y.upper[row])); }
    ctx.stroke();
  }
}

/** Return what turns values into pixels. The axes are linear, and asking uPlot for each point would take longer than drawing. */
function scaleOf(plot, axis, isOfCanvas) {
  const { min, max } = plot.scales[axis];
  const start = plot.valToPos(min, axis, isOfCanvas);
  const factor = (plot.valToPos(max, axis, isOfCanvas) - start) / (max - min);
  return (value) => start + (value - min) * factor;
}

/** The lowest and the highest of numbers, each of which is given with the rows that count. */
function extent(parts) {
  let low = Infinity;
  let high = -Infinity;
  for (const [values, rows] of parts) {
    for (const row of rows) { if (values[row] < low) low = values[row]; if (values[row] > high) high = values[row]; }
  }
  return [low, high];
}

/** A column's name with its unit. */
export const titleOf = ({ label, units }) => (units ? `${label} (${units})` : label);
