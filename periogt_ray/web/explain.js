// Which bonds carry a prediction of one polymer: a drawing, a table, and what they mean.

import { byId, el, shown } from "./dom.js";

const MOST_ROWS = 12;
const WAIT = "The service computes subsets of the bonds; this takes seconds, for large polymers minutes.";

export class Explaining {
  constructor(api) {
    this.api = api;
    this.address = null;
    byId("explain").addEventListener("click", () => this.explain());
    byId("explain-cancel").addEventListener("click", () => this.turn?.abort());
  }

  /** Offer the properties that were predicted of a polymer; what was explained before is another polymer's. */
  offer(smiles, properties) {
    if (smiles === this.smiles && this.turn && !this.turn.signal.aborted) return;
    this.smiles = smiles;
    const chosen = byId("explain-property").value;
    byId("explain-property").replaceChildren(...properties.map(({ id, label }) =>
      el("option", { value: id, text: label, selected: id === chosen ? "" : undefined })));
    this.clear();
  }

  clear() {
    this.turn?.abort();
    byId("explanation").hidden = true;
    byId("explain-error").textContent = "";
    byId("explain-state").textContent = "";
  }

  async explain() {
    this.turn?.abort();
    const turn = (this.turn = new AbortController());
    const asked = { smiles: this.smiles, property: byId("explain-property").value, drawing: true };
    byId("explain-error").textContent = "";
    byId("explanation").hidden = true;  // of what was asked before
    byId("explain-state").textContent = WAIT;
    byId("explain").disabled = true;
    byId("explain-cancel").hidden = false;
    try {
      const found = await this.api.request("v1/explain", { body: asked, signal: turn.signal });
      if (!turn.signal.aborted) this.#show(found);
    } catch (error) {
      if (!turn.signal.aborted) byId("explain-error").textContent = error.message;
    } finally {
      if (turn === this.turn) {
        byId("explain-state").textContent = "";
        byId("explain").disabled = false;
        byId("explain-cancel").hidden = true;
      }
    }
  }

  #show(found) {
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = found.drawing ? URL.createObjectURL(new Blob([found.drawing], { type: "image/svg+xml" })) : null;
    byId("explanation-drawing").replaceChildren(this.address
      ? el("img", { src: this.address, alt: `${found.repeat_unit} with its bonds coloured by their values; the table has the values` })
      : el("p", { class: "hint", text: "This machine cannot draw; the table has the values." }));
    const units = found.units ? ` ${found.units}` : "";
    byId("explanation-title").textContent = `${found.label}: what each bond adds`;
    byId("explanation-values").replaceChildren(...rows(found));
    const how = found.method === "exact" ? "all subsets" : "sampled orders";
    byId("explanation-sum").textContent = `Baseline ${shown(found.baseline)} + all parts ${signed(found.prediction - found.baseline)} `
      + `= prediction ${shown(found.prediction)}${units}. ${found.passes} passes, ${how}. `
      + "Atoms are numbered from 0 in ";
    byId("explanation-sum").append(el("code", { text: found.repeat_unit }), ".");
    byId("explanation-meaning").textContent = found.meaning;
    byId("explanation").hidden = false;
    byId("explanation-title").focus();
  }
}

/** The largest parts, and one row for the rest. */
function rows(found) {
  const parts = [{ name: "Whole-molecule features", ...found.whole_molecule }, ...found.bonds.map((bond) => ({
    name: bond.symbols.map((symbol, i) => `${symbol}${bond.atoms[i]}`).join("-") + (bond.is_between_units ? ", between units" : ""),
    ...bond,
  }))].sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  const total = parts.reduce((sum, { value }) => sum + Math.abs(value), 0);
  const left = parts.slice(MOST_ROWS);
  const rest = left.reduce((sum, { value }) => sum + value, 0);
  return [
    ...parts.slice(0, MOST_ROWS).map(({ name, value, standard_error: error }) => el("tr", {},
      el("th", { scope: "row", text: name }),
      el("td", { class: "num", text: signed(value) }),
      el("td", { class: "num", text: found.method === "exact" ? "0" : `± ${Number(error.toPrecision(2))}` }),
      el("td", { class: "num", text: total > 0 ? `${(100 * Math.abs(value) / total).toFixed(1)} %` : "" }))),
    ...(left.length > 0 ? [el("tr", {}, el("th", { scope: "row", text: `${left.length} smaller parts` }),
      el("td", { class: "num", text: signed(rest) }), el("td"), el("td"))] : []),
  ];
}

const signed = (value) => (value > 0 ? `+${shown(value)}` : shown(value));
