// The structure beside a point of a plot.

import { el } from "./dom.js";

const BESIDE_PX = 14;
const HEIGHT_PX = 200; // about that of a tip with its drawing

/**
 * Show what a point is, in place of what was shown before.
 * @param {HTMLElement} area - which the tip stays within
 * @param {import("./drawing.js").Drawings} drawings
 * @param {?{id: string, units: string[], lines: string[], left: number, top: number}} point - the polymer's repeat units and
 *   values in words, and its place in pixels of the area; null for none
 */
export function showTip(area, drawings, point) {
  area.querySelector(".tip")?.remove();
  if (point === null) return;
  const { id, units, lines, left, top } = point;
  const places = units.map(() => el("div", { class: "drawing-area" }));
  const tip = el("div", { class: "tip", role: "status" }, ...places, el("p", {}, el("strong", { text: id })), ...lines.map((text) => el("p", { text })));
  area.append(tip);
  const isRight = left + BESIDE_PX + tip.offsetWidth > area.clientWidth;
  tip.style.left = `${Math.max(4, isRight ? left - BESIDE_PX - tip.offsetWidth : left + BESIDE_PX)}px`;
  tip.style.top = `${Math.max(4, Math.min(top - 20, area.clientHeight - HEIGHT_PX))}px`;
  units.forEach((smiles, i) => { if (smiles.trim()) drawings.show(places[i], smiles); });
}
