// The form of constraints: two bounds a column, and whether the whole interval has to lie within them.

import { byId, el, shown } from "./dom.js";
import { titleOf } from "./screen_plot.js";

export class Constraints {
  /** @param {() => void} onChange */
  constructor(onChange) {
    this.rows = [];
    byId("constraints").addEventListener("input", onChange);
    byId("inside-only").addEventListener("input", onChange);
    byId("constraints-clear").addEventListener("click", () => { this.clear(); onChange(); });
  }

  /** Offer the columns of a table, without bounds. */
  setColumns(columns) {
    this.rows = columns.map((column) => constraintRow(column));
    byId("constraints").replaceChildren(...this.rows.map(({ node }) => node));
    byId("inside-only-part").hidden = columns.every(({ domains }) => !domains);
    this.clear();
  }

  clear() {
    for (const { low, high, whole } of this.rows) {
      low.value = high.value = "";
      whole.checked = false;
    }
    byId("inside-only").checked = false;
  }

  /** @returns {import("./screen_filter.js").Constraint[]} */
  get chosen() {
    return this.rows.map(({ column, low, high, whole }) => ({ column, low: bound(low), high: bound(high), isWhole: whole.checked }));
  }

  get isInsideOnly() { return byId("inside-only").checked; }
}

function constraintRow(column) {
  const title = titleOf(column);
  const field = (name) => el("input", { type: "number", step: "any", "aria-label": `${name}, ${title}`, placeholder: name });
  const [low, high] = [field("From"), field("To")];
  const whole = el("input", { type: "checkbox" });
  const wholeLabel = el("label", { class: "whole" }, whole, el("span", {}, "whole interval", el("span", { class: "visually-hidden", text: `, ${title}` })));
  if (!column.lower) wholeLabel.hidden = true;
  const node = el("div", { class: "constraint", role: "group", "aria-label": title },
    el("span", { class: "constraint-name" }, title, el("span", { class: "hint", text: ` ${extentOf(column.values)}` })), low, high, wholeLabel);
  return { column, node, low, high, whole };
}

function extentOf(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  return low > high ? "no values" : `${shown(low)} to ${shown(high)}`;
}

function bound({ value }) { return value.trim() === "" ? null : Number(value); }
