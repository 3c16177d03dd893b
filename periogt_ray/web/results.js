// Results of a run: table, selected polymer, histograms, scatter.

import { byId, debounced, el, shown } from "./dom.js";
import { Status } from "./job.js";
import { histogram, scatter } from "./plots.js";
import { comparison } from "./sorting.js";
import { VirtualTable } from "./table.js";
import { showTip } from "./tip.js";
import { DOMAIN_TEXT, farthest, gathered, warningBox } from "./warnings.js";

const POINT_AFTER_MS = 120;
const PLOT_EVERY_MS = 1500;
const INPUT_TITLES = { smiles: "SMILES", smiles_a: "Monomer A", smiles_b: "Monomer B", ratio_a: "Ratio of A", architecture: "Architecture" };
const STATUS_TEXT = { [Status.WAITING]: "waiting", [Status.OK]: "predicted", [Status.FAILED]: "failed" };

export class Results {
  constructor(drawings) {
    this.drawings = drawings;
    this.rows = [];
    this.answers = null;
    this.table = new VirtualTable(byId("grid"), "Results");
    this.table.addEventListener("sorted", () => this.#order());
    this.table.addEventListener("selected", ({ detail }) => { this.isPinned = true; this.#detail(detail); });
    // Looked at when the time has come: a row may have been selected meanwhile, and that one stays.
    const point = debounced(POINT_AFTER_MS, (row) => { if (!this.isPinned) this.#detail(row); });
    this.table.addEventListener("pointed", ({ detail }) => point(detail));
    const filter = debounced(POINT_AFTER_MS, () => this.#order());
    for (const id of ["filter-text", "filter-status", "filter-property", "filter-min", "filter-max"]) byId(id).addEventListener("input", filter);
    byId("filter-clear").addEventListener("click", () => this.#clear());
    for (const id of ["scatter-x", "scatter-y"]) byId(id).addEventListener("change", () => this.#scatter());
  }

  /** Show a new run. */
  begin(rows, answers, { inputs, measured }) {
    this.rows = rows;
    this.measured = measured;
    this.answers = answers;
    this.isPinned = false;
    const { properties } = answers;
    this.table.selected = -1;
    this.table.setColumns([
      { title: "Id", cell: (row) => rows[row].id, order: (row) => rows[row].id },
      ...inputs.map((name, i) => ({
        title: INPUT_TITLES[name],
        class: i < rows[0].units.length ? "smiles" : undefined,
        cell: (row) => rows[row].cells[i],
        order: (row) => rows[row].cells[i],
      })),
      { title: "Result", cell: (row) => this.#status(row), order: (row) => this.#status(row), failed: (row) => answers.status[row] === Status.FAILED, notes: (row) => this.#warnings(row) },
      ...properties.map(({ label, units }, column) => ({
        title: units ? `${label} (${units})` : label,
        class: "num",
        cell: (row) => shown(answers.values[column][row]),
        order: (row) => answers.values[column][row],
      })),
      ...this.#trustColumns(),
    ]);
    const options = (series) => series.map(({ label }, i) => el("option", { value: i, text: label }));
    // Numbers of a row by name: predictions, then half the widths of intervals; and beside them those of the file.
    this.series = properties.map((property, column) => ({ ...property, at: (row) => answers.values[column][row] }));
    this.ranges = [...this.series, ...this.#calibrated().map(({ property, column }) =>
      ({ label: `half width of ${property.label}`, units: property.units, at: (row) => halfWidth(answers, row, column) }))];
    this.axes = [...this.series, ...measured.map(({ label, values }) => ({ label: `${label} (of the file)`, units: "", at: (row) => values[row] }))];
    byId("filter-property").replaceChildren(...options(this.ranges));
    for (const id of ["scatter-x", "scatter-y"]) byId(id).replaceChildren(...options(this.axes));
    const pair = this.#parity() ?? [0, Math.min(1, this.axes.length - 1)];
    ["scatter-x", "scatter-y"].forEach((id, i) => { byId(id).value = String(pair[i]); });
    byId("scatter-part").hidden = this.axes.length < 2;
    byId("detail").replaceChildren(el("p", { class: "hint", text: "Point at a row, or select one with the arrow keys, to see its structure." }));
    this.#clear();
    this.refresh({ isLast: true });
  }

  /** Show what came since; plots less often while more is coming, and not under somebody's hands. */
  refresh({ isLast = false } = {}) {
    if (!this.answers) return;
    this.#order();
    if (this.table.selected >= 0) this.#detail(this.table.selected);
    const now = performance.now();
    const isInUse = ["histograms", "scatter"].some((id) => byId(id).matches(":hover, :focus-within"));
    if (!isLast && (isInUse || now - this.plottedAt < PLOT_EVERY_MS)) return;
    this.plottedAt = now;
    this.#plots();
  }

  #calibrated() {
    return this.answers.properties.flatMap((property, column) => (property.interval_scale ? [{ property, column }] : []));
  }

  /** Half the width of each interval, and the domain farthest outside. */
  #trustColumns() {
    const { answers } = this;
    const calibrated = this.#calibrated();
    if (calibrated.length === 0) return [];
    const status = (row) => farthest(calibrated.map(({ column }) => answers.domain(row, column)?.status));
    return [
      ...calibrated.map(({ property: { label, units }, column }) => ({
        title: `± ${label}${units ? ` (${units})` : ""}`,
        class: "num",
        cell: (row) => shown(halfWidth(answers, row, column)),
        order: (row) => halfWidth(answers, row, column),
      })),
      { title: "Domain", cell: (row) => DOMAIN_TEXT[status(row)] ?? "", order: (row) => ["inside", "outside", "far_outside"].indexOf(status(row)), notes: (row) => this.#reasons(row) },
    ];
  }

  #reasons(row) {
    const { answers } = this;
    if (!answers.outside.has(row)) return [];
    return gathered(answers.properties.flatMap(({ label }, column) =>
      (answers.error(row, column) ? [] : [{ label, warnings: answers.reasons(row, column) }])));
  }

  /** The axes of a measured column of the file and of the property that it is named after; null where there is none. */
  #parity() {
    const { properties } = this.answers;
    for (const [i, { property }] of this.measured.entries()) {
      const column = properties.findIndex(({ id }) => id === property);
      if (column >= 0) return [properties.length + i, column];
    }
    return null;
  }

  recolour() {
    if (!this.answers) return;
    this.#plots();
    if (this.table.selected >= 0) this.#detail(this.table.selected);
  }

  #status(row) {
    const code = this.#firstError(row)?.code;
    return code ?? STATUS_TEXT[this.answers.status[row]];
  }

  #firstError(row) { return this.answers.errors.get(row)?.find((error) => error !== null) ?? null; }

  #warnings(row) {
    const { answers } = this;
    if (!answers.warned.has(row)) return [];
    return gathered(answers.properties.flatMap(({ label }, column) =>
      (answers.error(row, column) ? [] : [{ label, warnings: answers.warnings(row, column) }])));
  }

  #clear() {
    for (const id of ["filter-text", "filter-min", "filter-max"]) byId(id).value = "";
    byId("filter-status").value = "all";
    this.#order();
  }

  /** Filter and sort. */
  #order() {
    if (!this.answers) return;
    const { status, n_rows, warned } = this.answers;
    const text = byId("filter-text").value.trim().toLowerCase();
    const wanted = { ok: Status.OK, failed: Status.FAILED }[byId("filter-status").value];
    const isWarned = byId("filter-status").value === "warned";
    const isInside = { inside: true, outside: false }[byId("filter-status").value];
    const limit = (id) => (byId(id).value === "" ? null : Number(byId(id).value));
    const [low, high] = [limit("filter-min"), limit("filter-max")];
    const { at } = this.ranges[Number(byId("filter-property").value)];
    const order = [];
    for (let row = 0; row < n_rows; row += 1) {
      if (wanted !== undefined && status[row] !== wanted) continue;
      if (isWarned && !warned.has(row)) continue;
      if (isInside !== undefined && this.#isInside(row) !== isInside) continue;
      if (text && ![this.rows[row].id, ...this.rows[row].cells].some((cell) => cell.toLowerCase().includes(text))) continue;
      if (low !== null && !(at(row) >= low)) continue;
      if (high !== null && !(at(row) <= high)) continue;
      order.push(row);
    }
    const { sort } = this.table;
    if (sort.column >= 0) order.sort(comparison(this.table.columns[sort.column].order, sort.isDescending));
    this.table.setOrder(order);
    byId("filter-count").textContent = order.length === n_rows ? "" : `${order.length} of ${n_rows} rows are shown.`;
  }

  /** Whether a row is inside the domain of all its properties; null where that is not known. */
  #isInside(row) {
    const status = farthest((this.answers.domains.get(row) ?? []).map((domain) => domain?.status));
    return status === null ? null : status === "inside";
  }

  #detail(row) {
    const area = byId("detail");
    if (row === null || row < 0) return;
    const { id, units, cells } = this.rows[row];
    const state = `${this.answers.status[row]}`;
    if (area.dataset.row === String(row) && area.dataset.status === state && area.dataset.theme === this.drawings.theme) return;
    Object.assign(area.dataset, { row, status: state, theme: this.drawings.theme });
    const places = units.map(() => el("div", { class: "drawing-area" }));
    const error = this.#firstError(row);
    const warnings = [...new Set([...this.#warnings(row), ...this.#reasons(row)])];
    const values = this.answers.properties.flatMap(({ label, units }, column) => {
      const value = this.answers.values[column][row];
      const half = halfWidth(this.answers, row, column);
      const range = Number.isNaN(half) ? "" : ` ± ${shown(half)}`;
      return Number.isNaN(value) ? [] : [el("dt", { text: label }), el("dd", { text: `${shown(value)}${range} ${units}` })];
    });
    const composition = cells.slice(units.length).join(" ");
    area.replaceChildren(el("h3", { text: id || "No id" }),
      ...units.flatMap((smiles, i) => [places[i], el("p", { class: "smiles mono", text: smiles })]),
      ...(composition ? [el("p", { text: composition })] : []),
      ...(error ? [el("p", { class: "error", text: `${error.code}: ${error.message}` })] : []),
      ...(warnings.length ? [warningBox(warnings)] : []),
      ...(values.length ? [el("dl", {}, ...values)] : []));
    units.forEach((smiles, i) => {
      if (smiles.trim() && !(error && values.length === 0)) this.drawings.show(places[i], smiles);
      else places[i].remove();
    });
  }

  #plots() {
    const { properties, values } = this.answers;
    byId("histograms").replaceChildren(...properties.map((property, column) => histogram(
      property, values[column].filter((value) => !Number.isNaN(value)), (low, high) => this.#range(column, low, high))));
    this.#scatter();
  }

  #range(column, low, high) {
    byId("filter-property").value = String(column);
    byId("filter-min").value = String(Number(low.toPrecision(4)));
    byId("filter-max").value = String(Number(high.toPrecision(4)));
    this.#order();
    byId("filter-count").scrollIntoView({ block: "nearest" });
  }

  #scatter() {
    if (this.axes.length < 2) return;
    const [x, y] = ["scatter-x", "scatter-y"].map((id) => this.axes[Number(byId(id).value)]);
    const { n_rows } = this.answers;
    const points = [];
    for (let row = 0; row < n_rows; row += 1) {
      const point = { x: x.at(row), y: y.at(row), row };
      if (!Number.isNaN(point.x) && !Number.isNaN(point.y)) points.push(point);
    }
    const area = byId("scatter");
    scatter(area, { x, y }, points, (row, left, top) => this.#tip(area, { row, left, top, x, y }));
  }

  /** Show the structure beside a point. */
  #tip(area, { row, left, top, x, y }) {
    const line = ({ label, units, at }) => `${label}: ${shown(at(row))} ${units}`;
    showTip(area, this.drawings, row === null ? null : { id: this.rows[row].id, units: this.rows[row].units, lines: [line(x), line(y)], left, top });
  }
}

/** Half the width of an interval; NaN where there is none. */
function halfWidth(answers, row, column) {
  const { lower, upper } = answers.trust(row, column);
  return (upper - lower) / 2;
}
