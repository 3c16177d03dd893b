// What is to be done with a file: its header, its columns, the properties, and a look at its first rows.

import { lacksHeader, looksLikeUnit, numbersOf, rowsOf, tableOf } from "./columns.js";
import { byId, el } from "./dom.js";

const PREVIEW_ROWS = 6;
const MOST_SHOWN = 60; // characters of a cell in a sentence
const UNDECIDED = "";
const ROW_NUMBER = "-1";

export class Plan {
  constructor() {
    this.file = null;
    this.rules = null;
    this.model = null;
    this.table = null;
    byId("plan").addEventListener("change", ({ target }) => this.#changed(target));
    byId("first-is-row").addEventListener("click", () => this.#answer(true));
    byId("first-is-header").addEventListener("click", () => this.#answer(false));
  }

  /** Take on what is served. */
  setModel(model) {
    this.model = model;
    const choices = model.properties.map(({ id, label, units }) => el("label", {},
      el("input", { type: "checkbox", value: id, name: "property", checked: "" }),
      el("span", {}, label, units ? el("span", { class: "units", text: ` ${units}` }) : "")));
    byId("property-choices").replaceChildren(...choices);
    if (this.file) this.#show();
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
    const undecided = ["smiles-column", "id-column"].find((id) => byId(id).value === UNDECIDED);
    const field = this.isAsking ? "first-is-row" : undecided;
    if (field) {
      if (this.isAsking) say("plan-error", "Say first whether the file has a header.");
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
    const measured = numbersOf(this.table, [smilesAt, idAt], this.model.properties);
    return { rows: rowsOf(records, smilesAt, idAt), fileName: this.file.name, properties, measured };
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
    const { header, smiles, id } = this.table;
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
    const polymers = smilesAt < 0 ? "the column of polymers is not chosen" : `polymers from ${column(smilesAt)}`;
    const ids = idAt < 0 ? "ids are row numbers" : `ids from ${column(idAt)}`;
    const found = [...this.file.source, polymers, byId("id-column").value === UNDECIDED ? "the column of ids is not chosen" : ids].join("; ");
    say("plan-source", `${found[0].toUpperCase()}${found.slice(1)}.`);
    const isSuggestion = !this.isAsking && smilesAt >= 0 && smilesAt === smiles.at;
    say("plan-note", (isSuggestion && smiles.problem?.message) || "");
    say("columns-error", this.#open().join(" "));
    say("plan-error", records.length === 0 ? `${this.file.name} has a header line and no rows.` : "");
    for (const id of ["smiles-column", "id-column"]) byId(id).setAttribute("aria-invalid", String(!this.isAsking && byId(id).value === UNDECIDED));
  }

  /** What the user still has to choose; the columns come after the header. */
  #open() {
    if (this.isAsking) return [];
    const { smiles, id } = this.table;
    const isOpen = (field) => byId(field).value === UNDECIDED;
    return [
      ...(isOpen("smiles-column") ? [smiles.problem?.message ?? "Choose the SMILES column."] : []),
      ...(isOpen("id-column") ? [id.problem.message] : []),
    ];
  }

  #showPreview() {
    const [smilesAt] = this.#columns();
    const { header, records } = this.table;
    const head = el("thead", {}, el("tr", {}, ...header.map((title) => el("th", { scope: "col", text: title }))));
    const body = el("tbody", {}, ...records.slice(0, PREVIEW_ROWS).map((record) =>
      el("tr", {}, ...header.map((_, i) => el("td", { class: i === smilesAt ? "chosen" : undefined, text: record[i] ?? "" })))));
    byId("preview").replaceChildren(el("caption", { class: "visually-hidden", text: "First rows of the file" }), head, body);
  }

  #columns() {
    return ["smiles-column", "id-column"].map((id) => (byId(id).value === UNDECIDED ? -1 : Number(byId(id).value)));
  }

  #properties() {
    const chosen = new Set([...document.querySelectorAll("#property-choices input:checked")].map(({ value }) => value));
    return (this.model?.properties ?? []).filter(({ id }) => chosen.has(id));
  }
}

/** Write a text only if it changed: a screen reader would read it again. */
function say(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}
