// Up to six polymers side by side: drawings, every property with its interval and domain, and one axis a property.

import { ApiError, MOST_ITEMS } from "./api.js";
import { writeWide } from "./csv_output.js";
import { byId, copy, el, shown } from "./dom.js";
import { ranges } from "./ranges.js";
import { DOMAIN_TEXT, gathered, told, warningBox } from "./warnings.js";

const MOST = 6;
const KEPT_NAME = "periogt-compare"; // in the tab's session
const EMPTY = "The SMILES is empty; expected a repeat unit with two connection points, such as *CC(*)c1ccccc1.";
const FULL = `${MOST} polymers are compared; remove one to add another.`;

/** One column. `results` is null until the answer comes; `error` concerns all of its properties. */
class Compared {
  constructor(smiles, key) {
    this.smiles = smiles;
    this.key = key;
    this.results = null;
    this.error = null;
    this.requestId = "";
    this.area = el("div", { class: "drawing-area" });
  }
}

export class Comparison {
  /**
   * @param {import("./api.js").Api} api
   * @param {import("./drawing.js").Drawings} drawings
   * @param {() => ?string} predicted - the SMILES that the view of one polymer shows values of
   */
  constructor(api, drawings, predicted) {
    this.api = api;
    this.drawings = drawings;
    this.model = null;
    this.n_made = 0;
    this.polymers = kept().map((smiles) => this.#made(smiles));
    byId("compare-form").addEventListener("submit", (event) => { event.preventDefault(); this.#enter(); });
    byId("compare-csv").addEventListener("click", () => this.#copied(",", "CSV"));
    byId("compare-tsv").addEventListener("click", () => this.#copied("\t", "TSV"));
    byId("compare-clear").addEventListener("click", () => this.#clear());
    byId("add-to-comparison").addEventListener("click", () => this.#take(predicted()));
    this.#show();
  }

  /** Take on what is served, and predict every polymer anew. */
  setModel(model) {
    this.model = model;
    byId("compare-examples").replaceChildren(...model.examples.map(({ name, smiles }) =>
      el("button", { type: "button", text: name, on: { click: () => this.#add(smiles) } })));
    for (const polymer of this.polymers) this.#ask(polymer);
    this.draw();
    this.#show();
  }

  /** Draw the structures, for example in other colours. */
  draw() {
    for (const polymer of this.polymers) this.#drawOne(polymer);
  }

  #made(smiles) {
    this.n_made += 1;
    return new Compared(smiles, this.n_made);
  }

  #enter() {
    const field = byId("compare-smiles");
    if (this.#add(field.value.trim())) field.value = "";
    field.focus();
  }

  /** Add a polymer; false, with the reason at the field, if it is not added. */
  #add(smiles) {
    const problem = this.#refusal(smiles);
    byId("compare-error").textContent = problem;
    byId("compare-smiles").setAttribute("aria-invalid", String(problem !== ""));
    if (problem) return false;
    const polymer = this.#made(smiles);
    this.polymers.push(polymer);
    this.#drawOne(polymer);
    this.#ask(polymer);
    this.#show();
    return true;
  }

  #refusal(smiles) {
    if (!smiles) return EMPTY;
    if (this.polymers.some((polymer) => polymer.smiles === smiles)) return `${smiles} is compared already.`;
    return this.polymers.length >= MOST ? FULL : "";
  }

  /** Add what the view of one polymer shows, and say there what became of it. */
  #take(smiles) {
    if (!smiles) return;
    const problem = this.#refusal(smiles);
    if (!problem) this.#add(smiles);
    const n = this.polymers.length;
    byId("one-done").replaceChildren(problem || `Added; ${n} of ${MOST} ${n === 1 ? "is" : "are"} there. `,
      ...(problem ? [" "] : []), el("a", { href: "#compare", text: "Compare" }));
  }

  #clear() {
    for (const { turn } of this.polymers) turn?.abort();
    this.polymers = [];
    this.#show();
    byId("compare-smiles").focus();
  }

  #remove(polymer) {
    const at = this.polymers.indexOf(polymer);
    polymer.turn?.abort();
    this.polymers.splice(at, 1);
    this.#show();
    const next = this.polymers[Math.min(at, this.polymers.length - 1)];
    if (next) focusOn(`remove-${next.key}`);
    else byId("compare-smiles").focus();
  }

  #move(polymer, step) {
    const at = this.polymers.indexOf(polymer);
    this.polymers.splice(at, 1);
    this.polymers.splice(at + step, 0, polymer);
    this.#show();
    // At the end the button that was pressed is off.
    if (at + step === 0) focusOn(`right-${polymer.key}`);
    if (at + step === this.polymers.length - 1) focusOn(`left-${polymer.key}`);
  }

  async #drawOne({ smiles, area }) {
    try {
      const address = await this.drawings.address(smiles);
      area.replaceChildren(el("img", { src: address, alt: `Structure of ${smiles}` }));
    } catch (error) {
      // What is wrong with the SMILES is said by the prediction; here, that this machine cannot draw.
      const isOff = error instanceof ApiError && error.status === 501;
      area.replaceChildren(el("p", { class: "hint", text: isOff ? error.message : "No drawing." }));
    }
  }

  /** Predict one polymer; what fails concerns its column only. */
  async #ask(polymer) {
    if (!this.model) return;
    polymer.turn?.abort();
    const turn = (polymer.turn = new AbortController());
    const { properties } = this.model;
    polymer.results = polymer.error = null;
    try {
      const results = [];
      for (let at = 0; at < properties.length; at += MOST_ITEMS) {
        const items = properties.slice(at, at + MOST_ITEMS).map(({ id }) => ({ smiles: polymer.smiles, property: id }));
        const answer = await this.api.request("v1/predict/batch", { body: { items }, signal: turn.signal });
        polymer.requestId = answer.request_id;
        results.push(...answer.results);
      }
      polymer.results = results;
      const [first] = results;
      if (first && results.every(({ code }) => code !== undefined)) polymer.error = { code: first.code, message: first.message };
    } catch (error) {
      if (turn.signal.aborted) return;
      polymer.error = { code: error.code ?? "unreachable", message: error.message };
    }
    if (!turn.signal.aborted) this.#show();
  }

  #askAgain(polymer) {
    this.#ask(polymer);
    this.#show();
    // The button that was pressed is gone.
    focusOn(`remove-${polymer.key}`);
  }

  #show() {
    keep(this.polymers.map(({ smiles }) => smiles));
    const n = this.polymers.length;
    byId("compare-empty").hidden = n > 0;
    byId("compare-answer").hidden = n === 0;
    byId("compare-done").textContent = "";
    if (n === 0) return;
    const focused = document.activeElement?.dataset?.focus;
    const properties = this.model?.properties ?? [];
    byId("compare-head").replaceChildren(el("tr", {}, el("th", { scope: "col", text: "Property" }),
      ...this.polymers.map((polymer, at) => this.#head(polymer, at)), el("th", { scope: "col", text: "Values and intervals" })));
    byId("compare-values").replaceChildren(...properties.map((property, i) => this.#row(property, i)));
    const warnings = this.#warnings();
    byId("compare-warnings").replaceChildren(...(warnings.length > 0 ? [warningBox(warnings)] : []));
    if (focused) focusOn(focused);
  }

  #head(polymer, at) {
    const button = (name, text, label, isOff, call) => {
      const made = el("button", { type: "button", class: "quiet", "data-focus": `${name}-${polymer.key}`, "aria-label": `${label} polymer ${at + 1}`, text, on: { click: call } });
      made.disabled = isOff;
      return made;
    };
    const { error } = polymer;
    const problem = error ? [el("p", { class: "error", text: error.message }),
      ...(error.code === "validation_error" ? [] : [button("again", "Try again", "Ask again for", false, () => this.#askAgain(polymer))])] : [];
    return el("th", { scope: "col", class: "polymer" },
      el("div", { class: "polymer-head" }, el("strong", { text: `Polymer ${at + 1}` }), el("span", { class: "moves" },
        button("left", "←", "Move left", at === 0, () => this.#move(polymer, -1)),
        button("right", "→", "Move right", at === this.polymers.length - 1, () => this.#move(polymer, 1)),
        button("remove", "×", "Remove", false, () => this.#remove(polymer)))),
      polymer.area, el("p", { class: "smiles mono", text: polymer.smiles }), ...problem);
  }

  #row({ label, units }, i) {
    const entries = this.polymers.flatMap(({ results }, at) => {
      const { prediction, interval } = results?.[i] ?? {};
      return prediction ? [{ number: at + 1, value: prediction.value, lower: interval?.lower ?? NaN, upper: interval?.upper ?? NaN }] : [];
    });
    const name = el("th", { scope: "row" }, label, ...(units ? [el("span", { class: "units", text: ` ${units}` })] : []));
    return el("tr", {}, name, ...this.polymers.map((polymer) => valueCell(polymer, polymer.results?.[i])),
      el("td", {}, ...(entries.length > 0 ? [ranges(label, entries)] : [])));
  }

  /** What is to be known of each polymer's values. */
  #warnings() {
    return this.polymers.flatMap(({ results }, at) => gathered((results ?? []).flatMap((result, i) =>
      (result.code === undefined ? [{ label: this.model.properties[i].label, warnings: told(result) }] : []))).map((text) => `Polymer ${at + 1}: ${text}`));
  }

  async #copied(delimiter, what) {
    try {
      await copy(writeWide(this.polymers, this.model?.properties ?? [], delimiter));
      byId("compare-done").textContent = `${what} is on the clipboard, a line a polymer.`;
    } catch (error) {
      byId("compare-done").textContent = error.message;
    }
  }
}

/** A value with its interval and domain; while it is awaited or has failed, a cell of the same height. */
function valueCell({ error }, result) {
  if (error) return el("td", { class: "compared" }, el("span", { class: "hint", text: "none" }));
  if (!result) return el("td", { class: "compared" }, el("span", { class: "hint", text: "…" }));
  if (result.code !== undefined) return el("td", { class: "compared bad", text: result.message });
  const { prediction, interval, domain } = result;
  return el("td", { class: "compared" }, el("span", { class: "value", text: shown(prediction.value) }),
    el("span", { class: "range", text: interval ? `${shown(interval.lower)} to ${shown(interval.upper)}` : "no interval" }),
    el("span", { class: `range domain ${domain?.status ?? ""}`, text: DOMAIN_TEXT[domain?.status] ?? "domain not known" }));
}

function focusOn(name) {
  document.querySelector(`#compare-answer [data-focus="${name}"]`)?.focus();
}

/** The polymers that the tab's session holds. */
function kept() {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEPT_NAME) ?? "[]");
    return Array.isArray(found) ? [...new Set(found.filter((smiles) => typeof smiles === "string"))].slice(0, MOST) : [];
  } catch {
    return [];
  }
}

function keep(smiles) {
  try { sessionStorage.setItem(KEPT_NAME, JSON.stringify(smiles)); } catch { /* shown as long as the page is open */ }
}
