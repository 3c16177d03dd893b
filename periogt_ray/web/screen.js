// Screening: constraints, two goals with their Pareto front, and the rows that are listed and downloaded.

import { ofKind } from "./copolymer.js";
import { readCsv } from "./csv_file.js";
import { csvText } from "./csv_output.js";
import { tableRules } from "./columns.js";
import { byId, debounced, download, el, shown } from "./dom.js";
import { FileError } from "./file_text.js";
import { paretoFront } from "./pareto.js";
import { Constraints } from "./screen_constraints.js";
import { passing } from "./screen_filter.js";
import { ScreenPlot, titleOf } from "./screen_plot.js";
import { DOMAINS, ofFile, ofRun } from "./screen_table.js";
import { comparison } from "./sorting.js";
import { VirtualTable } from "./table.js";
import { showTip } from "./tip.js";
import { DOMAIN_TEXT, farthest } from "./warnings.js";

const AFTER_MS = 120;
const ADVICE = "Write fewer polymers, or one line a polymer with `periogt batch --wide`.";
const LISTS = [["front", "Pareto front"], ["passing", "All that meet the constraints"], ["rectangle", "In the rectangle"], ["ticked", "Ticked"]];

export class Screening {
  /**
   * @param {import("./api.js").Api} api
   * @param {import("./drawing.js").Drawings} drawings
   * @param {{run: ?Object}} csv - the view whose results can be screened
   */
  constructor(api, drawings, csv) {
    this.api = api;
    this.drawings = drawings;
    this.csv = csv;
    this.known = [];
    this.table = null;
    this.ticked = new Set();
    this.constraints = new Constraints(debounced(AFTER_MS, () => this.#screen()));
    this.grid = new VirtualTable(byId("screen-grid"), "Polymers");
    this.plot = new ScreenPlot(byId("screen-plot"));
    this.#listen();
  }

  /** Take on what is served: names and units of properties. */
  setModel(model) {
    this.known = [...ofKind(model, "homopolymer").properties, ...ofKind(model, "copolymer").properties];
  }

  /** Draw anew, in other colours. */
  recolour() {
    if (!this.table) return;
    this.#draw();
    this.#detail(this.shownRow ?? null, true);
  }

  #listen() {
    const [drop, field] = [byId("screen-drop"), byId("screen-file")];
    field.addEventListener("change", () => { if (field.files[0]) this.#read(field.files[0]); });
    for (const type of ["dragenter", "dragover"]) drop.addEventListener(type, (event) => { event.preventDefault(); drop.classList.add("over"); });
    for (const type of ["dragleave", "drop"]) drop.addEventListener(type, () => drop.classList.remove("over"));
    drop.addEventListener("drop", ({ dataTransfer }) => { const [file] = dataTransfer.files; if (file) this.#read(file); });
    for (const id of ["screen-run", "screen-results"]) byId(id).addEventListener("click", () => this.#takeRun());
    for (const id of ["goal-x", "goal-y", "goal-x-sign", "goal-y-sign"]) byId(id).addEventListener("change", () => this.#screen());
    byId("screen-list").addEventListener("change", () => this.#list());
    byId("screen-download").addEventListener("click", () => this.#save());
    byId("screen-tick").addEventListener("click", () => this.#tick(this.listed, true));
    byId("screen-untick").addEventListener("click", () => this.#tick([...this.ticked], false));
    this.grid.addEventListener("sorted", () => this.#order());
    this.grid.addEventListener("ticked", ({ detail }) => this.#tick([detail], !this.ticked.has(detail)));
    this.grid.addEventListener("selected", ({ detail }) => { this.plot.point(detail); this.#detail(detail); });
    const look = debounced(AFTER_MS, (row) => { if (this.plot.current === row) this.#tip(row); });
    this.plot.addEventListener("pointed", ({ detail }) => { if (detail === null) this.#tip(null); look(detail); });
    byId("screen-plot").addEventListener("blur", () => this.#tip(null));
    this.plot.addEventListener("toggled", ({ detail }) => this.#tick([detail], !this.ticked.has(detail)));
    this.plot.addEventListener("chosen", ({ detail }) => this.#choose(detail));
  }

  async #read(file) {
    byId("screen-error").textContent = "";
    byId("screen-busy").textContent = `Reading ${file.name}…`;
    try {
      const rules = await tableRules();
      // The text is seen before the browser is busy.
      await new Promise((resolve) => { setTimeout(resolve, 30); });
      this.#open(ofFile(await readCsv(file, file.name, rules, ADVICE), rules, this.known));
    } catch (error) {
      byId("screen-work").hidden = true;
      byId("screen-error").textContent = error instanceof FileError ? error.message : `${file.name} cannot be read: ${error.message}`;
    } finally {
      byId("screen-busy").textContent = "";
    }
  }

  async #takeRun() {
    const { run } = this.csv;
    byId("screen-error").textContent = run ? "" : "There are no results yet: predict a file in the view CSV file, and let its run end.";
    if (location.hash !== "#screen") {
      // Until the view is shown: a hidden plot has no width.
      const isShown = new Promise((resolve) => { window.addEventListener("hashchange", resolve, { once: true }); });
      location.hash = "#screen";
      await isShown;
    }
    if (run) this.#open(ofRun(run));
  }

  #open(table) {
    this.table = table;
    this.ticked = new Set();
    this.shownRow = null;
    const { columns, n_rows, name } = table;
    const options = () => columns.map((column, i) => el("option", { value: i, text: titleOf(column) }));
    for (const [axis, i] of [["x", 0], ["y", Math.min(1, columns.length - 1)]]) {
      byId(`goal-${axis}`).replaceChildren(...options());
      byId(`goal-${axis}`).value = String(i);
      byId(`goal-${axis}-sign`).value = "1";
    }
    this.constraints.setColumns(columns);
    this.#setGrid();
    byId("screen-list").replaceChildren(...LISTS.map(([value]) => el("option", { value })));
    byId("screen-name").textContent = `${name}: ${n_rows} ${n_rows === 1 ? "polymer" : "polymers"}`;
    byId("screen-detail").replaceChildren(el("p", { class: "hint", text: "Point at a dot, or select a row with the arrow keys, to see a structure." }));
    byId("screen-work").hidden = false;
    this.#screen();
    byId("screen-name").focus({ preventScroll: true });
    byId("screen-name").scrollIntoView({ block: "start" });
  }

  #setGrid() {
    const { ids, units, columns } = this.table;
    const worst = (row) => farthest(columns.flatMap(({ domains }) => (domains?.[row] ? [DOMAINS[domains[row]]] : [])));
    this.grid.selected = -1;
    this.grid.setColumns([
      { title: "Ticked", isTicked: (row) => this.ticked.has(row), cell: (row) => `Tick ${ids[row] || units[row][0]}`, order: (row) => Number(!this.ticked.has(row)) },
      { title: "Id", cell: (row) => ids[row], order: (row) => ids[row] },
      { title: "SMILES", class: "smiles", cell: (row) => units[row].join(" + "), order: (row) => units[row].join(" + ") },
      ...columns.flatMap((column) => [
        { title: titleOf(column), class: "num", cell: (row) => shown(column.values[row]), order: (row) => column.values[row] },
        ...(column.lower ? [{ title: `Interval of ${column.label}`, class: "num", order: (row) => column.upper[row] - column.lower[row],
          cell: (row) => (Number.isNaN(column.lower[row]) ? "" : `${shown(column.lower[row])} to ${shown(column.upper[row])}`) }] : []),
      ]),
      ...(columns.some(({ domains }) => domains) ? [{ title: "Domain", cell: (row) => DOMAIN_TEXT[worst(row)] ?? "", order: (row) => DOMAINS.indexOf(worst(row) ?? "") }] : []),
    ]);
  }

  /** Apply constraints and goals. */
  #screen() {
    if (!this.table) return;
    const { table } = this;
    this.passing = passing(table, this.constraints.chosen, this.constraints.isInsideOnly);
    this.axes = ["x", "y"].map((axis) => ({ column: table.columns[Number(byId(`goal-${axis}`).value)], sign: Number(byId(`goal-${axis}-sign`).value) }));
    this.front = paretoFront(this.passing, this.axes.filter(({ sign }) => sign !== 0).map(({ column: { values }, sign }) => ({ values, sign })));
    this.rectangle = null;
    byId("screen-count").textContent = `${this.passing.length} of ${table.n_rows} polymers meet the constraints; on the front: ${this.front.length}.`;
    if (byId("screen-list").value === "rectangle") byId("screen-list").value = "front";
    this.#draw();
  }

  #draw() {
    const [x, y] = this.axes;
    const isPassing = new Uint8Array(this.table.n_rows);
    for (const row of this.passing) isPassing[row] = 1;
    const rejected = [...isPassing.keys()].filter((row) => !isPassing[row]);
    const front = [...this.front].sort((a, b) => x.column.values[a] - x.column.values[b]);
    const hasFront = x.sign !== 0 && y.sign !== 0;
    this.plot.show({ x: x.column, y: y.column, passing: this.passing, rejected, front: hasFront ? front : [], isXMaximised: x.sign > 0 });
    this.plot.setTicked(this.ticked);
    this.#list();
  }

  #choose(rectangle) {
    const [x, y] = this.axes.map(({ column }) => column.values);
    const isWithin = (value, [low, high]) => value >= low && value <= high;
    this.rectangle = this.passing.filter((row) => isWithin(x[row], rectangle.x) && isWithin(y[row], rectangle.y));
    byId("screen-list").value = "rectangle";
    this.#list();
  }

  #tick(rows, isTicked) {
    for (const row of rows) {
      if (isTicked) this.ticked.add(row);
      else this.ticked.delete(row);
    }
    this.plot.setTicked(this.ticked);
    this.#list();
  }

  /** List the rows that are chosen, which are those of the download. */
  #list() {
    const lists = { front: this.front, passing: this.passing, rectangle: this.rectangle ?? [], ticked: [...this.ticked].sort((a, b) => a - b) };
    const field = byId("screen-list");
    LISTS.forEach(([name, text], i) => { field.options[i].textContent = `${text} (${lists[name].length})`; });
    this.listed = lists[field.value];
    byId("screen-download").disabled = this.listed.length === 0;
    this.plot.setWalk(this.listed);
    this.#order();
  }

  #order() {
    const { sort, columns } = this.grid;
    const order = [...this.listed];
    if (sort.column >= 0) order.sort(comparison(columns[sort.column].order, sort.isDescending));
    this.grid.setOrder(order);
  }

  /** Show a polymer beside its point, and beside the list. */
  #tip(row) {
    const area = byId("screen-plot");
    if (row === null || !this.table) return showTip(area, this.drawings, null);
    const { ids, units } = this.table;
    const lines = this.axes.map(({ column }) => `${column.label}: ${shown(column.values[row])} ${column.units}`);
    showTip(area, this.drawings, { id: ids[row] || "No id", units: units[row], lines, ...this.plot.placeOf(row) });
    this.#detail(row);
    return undefined;
  }

  /** Show a polymer beside the list. */
  #detail(row, isAnew = false) {
    if (row === null || row < 0 || (row === this.shownRow && !isAnew)) return;
    this.shownRow = row;
    const { ids, units, columns } = this.table;
    const places = units[row].map(() => el("div", { class: "drawing-area" }));
    const values = columns.filter(({ values }) => !Number.isNaN(values[row])).flatMap((column) => described(column, row));
    byId("screen-detail").replaceChildren(el("h3", { text: ids[row] || "No id" }),
      ...units[row].flatMap((smiles, i) => [places[i], el("p", { class: "smiles mono", text: smiles })]), el("dl", {}, ...values));
    units[row].forEach((smiles, i) => { if (smiles.trim()) this.drawings.show(places[i], smiles); });
  }

  #save() {
    const { table, listed } = this;
    const name = `${table.name.replace(/(\.[^.]*)?(\.gz)?$/i, "")}_${byId("screen-list").value}.csv`;
    const lines = function* lines() {
      yield table.header;
      for (const row of listed) yield* table.lines(row);
    };
    download(name, csvText(lines()), "text/csv;charset=utf-8");
  }
}

/** A value of a column with its unit, and below it the interval and the domain. */
function described({ label, units, values, lower, upper, domains }, row) {
  const status = DOMAINS[domains?.[row] ?? 0];
  const range = lower && !Number.isNaN(lower[row]) ? [el("span", { class: "range", text: `${shown(lower[row])} to ${shown(upper[row])}` })] : [];
  const place = status && status !== "inside" ? [el("span", { class: `range ${status}`, text: DOMAIN_TEXT[status] })] : [];
  return [el("dt", { text: label }), el("dd", {}, `${shown(values[row])} ${units}`, ...range, ...place)];
}
