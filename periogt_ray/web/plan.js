// What is to be done with a file: its header, its columns, the properties, and a look at its first rows.

import { COPOLYMER_INPUTS, UNIT_INPUTS, copolymerColumns, copolymersOf, lacksHeader, looksLikeUnit, numbersOf, rowsOf, tableOf } from "./columns.js";
import { ofKind } from "./copolymer.js";
import { byId, el } from "./dom.js";

const PREVIEW_ROWS = 6;
const MOST_SHOWN = 60; // characters of a cell in a sentence
const UNDECIDED = "";
const ROW_NUMBER = "-1";

export class Plan {
  constructor() {
    this.file = null;
    this.rules = null;
    this.model = { properties: [] };
    this.table = null;
    this.copolymers = null; // the columns of copolymers, where the file has them
    this.isWithoutModel = false;
    byId("plan").addEventListener("change", ({ target }) => this.#changed(target));
    byId("first-is-row").addEventListener("click", () => this.#answer(true));
    byId("first-is-header").addEventListener("click", () => this.#answer(false));
  }

  /** Take on what is served. */
  setModel(model) {
    this.model = model;
    this.#offer();
    if (this.file) this.#divide();
  }

  /** The properties that take what the file holds. */
  get #served() { return ofKind(this.model, this.copolymers ? "copolymer" : "homopolymer").properties; }

  #offer() {
    const choices = this.#served.map(({ id, label, units }) => el("label", {},
      el("input", { type: "checkbox", value: id, name: "property", checked: "" }),
      el("span", {}, label, units ? el("span", { class: "units", text: ` ${units}` }) : "")));
    byId("property-choices").replaceChildren(...choices);
  }

  /** Offer a file that was read. */
  open(file, rules) {
    this.file = file;
    this.rules = rules;
    this.isAsking = lacksHeader(file, rules);
    byId("no-header").checked = false;
    this.#divide();
    byId("plan").hidden = false;
    byId("plan-title").focus({ preventScroll: true });
    byId("plan").scrollIntoView({ block: "nearest" });
  }

  close() {
    this.file = null;
    byId("plan").hidden = true;
  }

  /** The rows, the file's name and the properties; null if something is still to be decided, which gets the focus. */
  decided() {
    const undecided = this.#choices().find((id) => byId(id).value === UNDECIDED);
    const field = this.isAsking ? "first-is-row" : undecided;
    if (field) {
      if (this.isAsking) say("plan-error", "First choose whether the file has a header.");
      byId(field).focus();
      return null;
    }
    const { records } = this.table;
    if (records.length === 0) return null;
    const properties = this.#properties();
    if (properties.length === 0) {
      say("plan-error", "Choose at least one property.");
      return null;
    }
    const [smilesAt, idAt] = this.#columns();
    const measured = numbersOf(this.table, [...this.#inputColumns(), idAt], this.#served);
    const rows = this.copolymers ? copolymersOf(records, this.copolymers, idAt) : rowsOf(records, smilesAt, idAt);
    return { rows, inputs: this.copolymers ? COPOLYMER_INPUTS : UNIT_INPUTS, fileName: this.file.name, properties, measured };
  }

  #answer(isRow) {
    this.isAsking = false;
    byId("no-header").checked = isRow;
    this.#divide();
    byId("smiles-column").focus();
  }

  #changed(target) {
    if (target.id === "no-header") {
      this.isAsking = false;
      this.#divide();
    } else {
      this.#show();
    }
  }

  /** Divide the file into header and rows. While that is not decided, the first line is shown as a row. */
  #divide() {
    this.table = tableOf(this.file, this.rules, !(this.isAsking || byId("no-header").checked));
    const { header, smiles, id, hasHeader } = this.table;
    const found = hasHeader ? copolymerColumns(header, this.rules) : null;
    const areServed = ofKind(this.model, "copolymer").properties.length > 0;
    const wereCopolymers = this.copolymers !== null;
    this.copolymers = areServed ? found : null;
    this.isWithoutModel = found !== null && !areServed;
    if (wereCopolymers !== (this.copolymers !== null)) this.#offer();
    byId("smiles-column").closest(".field").hidden = this.copolymers !== null;
    const titles = header.map((title, at) => [at, title || `Column ${at + 1}`]);
    const options = (...more) => [...more, ...titles].map(([value, text]) => el("option", { value, text }));
    byId("smiles-column").replaceChildren(...options([UNDECIDED, "Choose"]));
    byId("smiles-column").value = smiles.at < 0 ? UNDECIDED : smiles.at;
    byId("id-column").replaceChildren(...options(...(id.problem ? [[UNDECIDED, "Choose"]] : []), [ROW_NUMBER, "Row number"]));
    byId("id-column").value = id.problem ? UNDECIDED : id.at;
    this.#show();
  }

  #show() {
    this.#showQuestion();
    this.#showColumns();
    this.#showPreview();
    const n_rows = this.table.records.length;
    const n = this.#properties().length;
    byId("plan-title").textContent = `${this.file.name}: ${n_rows} ${n_rows === 1 ? "row" : "rows"}`;
    byId("plan-size").textContent = `${n_rows} rows × ${n} ${n === 1 ? "property" : "properties"} = ${n_rows * n} predictions`;
  }

  #showQuestion() {
    byId("ask-header").hidden = !this.isAsking;
    if (!this.isAsking) return;
    const cell = this.file.lines[0].find(looksLikeUnit).trim();
    byId("first-cell").textContent = cell.length > MOST_SHOWN ? `${cell.slice(0, MOST_SHOWN)}…` : cell;
  }

  /** Say what was found of the format and which columns are taken. */
  #showColumns() {
    const { header, records, smiles, hasHeader } = this.table;
    const [smilesAt, idAt] = this.#columns();
    const column = (at) => `column ${(hasHeader && header[at]) || at + 1}`;
    let polymers = smilesAt < 0 ? "the column of polymers is not chosen" : `polymers from ${column(smilesAt)}`;
    if (this.copolymers) polymers = `copolymers from the columns ${COPOLYMER_INPUTS.map((name) => header[this.copolymers[name]]).join(", ")}`;
    const ids = idAt < 0 ? "ids are row numbers" : `ids from ${column(idAt)}`;
    const found = [...this.file.source, polymers, byId("id-column").value === UNDECIDED ? "the column of ids is not chosen" : ids].join("; ");
    say("plan-source", `${found[0].toUpperCase()}${found.slice(1)}.`);
    const isSuggestion = !this.isAsking && !this.copolymers && smilesAt >= 0 && smilesAt === smiles.at;
    const absent = "The columns are those of copolymers, and this service has no property of copolymers.";
    say("plan-note", (this.isWithoutModel && absent) || (isSuggestion && smiles.problem?.message) || "");
    say("columns-error", this.#open().join(" "));
    say("plan-error", records.length === 0 ? `${this.file.name} has a header line and no rows.` : "");
    for (const id of this.#choices()) byId(id).setAttribute("aria-invalid", String(!this.isAsking && byId(id).value === UNDECIDED));
  }

  /** What the user still has to choose; the columns come after the header. */
  #open() {
    if (this.isAsking) return [];
    const { smiles, id } = this.table;
    const isOpen = (field) => byId(field).value === UNDECIDED;
    return [
      ...(!this.copolymers && isOpen("smiles-column") ? [smiles.problem?.message ?? "Choose the SMILES column."] : []),
      ...(isOpen("id-column") ? [id.problem.message] : []),
    ];
  }

  #showPreview() {
    const chosen = this.#inputColumns();
    const { header, records } = this.table;
    const head = el("thead", {}, el("tr", {}, ...header.map((title) => el("th", { scope: "col", text: title }))));
    const body = el("tbody", {}, ...records.slice(0, PREVIEW_ROWS).map((record) =>
      el("tr", {}, ...header.map((_, i) => el("td", { class: chosen.includes(i) ? "chosen" : undefined, text: record[i] ?? "" })))));
    byId("preview").replaceChildren(el("caption", { class: "visually-hidden", text: "First rows of the file" }), head, body);
  }

  /** What the user chooses columns with. */
  #choices() { return this.copolymers ? ["id-column"] : ["smiles-column", "id-column"]; }

  /** Positions of the columns that hold the polymers. */
  #inputColumns() { return this.copolymers ? Object.values(this.copolymers) : this.#columns().slice(0, 1); }

  #columns() {
    return ["smiles-column", "id-column"].map((id) => (byId(id).value === UNDECIDED ? -1 : Number(byId(id).value)));
  }

  #properties() {
    const chosen = new Set([...document.querySelectorAll("#property-choices input:checked")].map(({ value }) => value));
    return this.#served.filter(({ id }) => chosen.has(id));
  }
}

/** Write a text only if it changed: a screen reader would read it again. */
function say(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}
