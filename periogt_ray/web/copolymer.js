// Copolymers: two monomers with their drawings, and a grid of the combinations that training saw.

import { ApiError } from "./api.js";
import { byId, debounced, el, shown } from "./dom.js";
import { gathered, warningBox } from "./warnings.js";

const DRAW_AFTER_MS = 250;
const EXAMPLES = [
  { name: "benzene and thiophene", a: "*c1ccc(*)cc1", b: "*c1ccc(*)s1" },
  { name: "fluorene and benzothiadiazole", a: "*c1ccc2c(c1)Cc1cc(*)ccc1-2", b: "*c1ccc(*)c2nsnc12" },
];
// As training saw them: architecture, and the ratio of A.
const TRAINED = [["alternating", 0.5], ...["block", "random"].flatMap((name) => [0.25, 0.5, 0.75].map((ratio) => [name, ratio]))];

/** What a service tells of the properties that take an input; services before this had repeat units only. */
export function ofKind(model, kind) {
  return { ...model, properties: model.properties.filter(({ input }) => (input ?? "homopolymer") === kind) };
}

export class CopolymerView {
  constructor(api, drawings) {
    this.api = api;
    this.drawings = drawings;
    this.properties = [];
    this.fields = ["a", "b"].map((name) => byId(`smiles-${name}`));
    for (const field of this.fields) {
      // An error goes as soon as somebody types; a drawing that comes later takes none away.
      field.addEventListener("input", () => this.#problem(field, ""));
      field.addEventListener("input", debounced(DRAW_AFTER_MS, () => this.#drawOne(field)));
    }
    byId("copolymer-form").addEventListener("submit", (event) => { event.preventDefault(); this.predict(); });
    byId("swap").addEventListener("click", () => this.#swap());
    byId("copolymer-examples").replaceChildren(...EXAMPLES.map(({ name, a, b }) =>
      el("button", { type: "button", text: name, on: { click: () => this.#choose(a, b) } })));
  }

  /** Take on what is served. */
  setModel(model) {
    this.properties = model.properties;
    const isServed = this.properties.length > 0;
    byId("nav-copolymer").hidden = !isServed;
    byId("copolymer-absent").hidden = isServed;
    byId("copolymer-asked").hidden = !isServed;
    this.draw();
  }

  /** Draw both monomers, for example in other colours. */
  draw() {
    for (const field of this.fields) if (field.value.trim()) this.#drawOne(field);
  }

  #choose(a, b) {
    this.#fill(a, b);
    this.predict();
  }

  #fill(a, b) {
    [this.fields[0].value, this.fields[1].value] = [a, b];
    for (const field of this.fields) {
      this.#problem(field, "");
      this.#drawOne(field);
    }
  }

  /** Call B A and A B, with their ratios: the same copolymer. */
  #swap() {
    const [a, b] = this.fields.map((field) => field.value);
    byId("ratio-a").value = String(1 - Number(byId("ratio-a").value));
    this.#fill(b, a);
  }

  /** Draw one monomer; an error is shown at its field. */
  async #drawOne(field) {
    field.turn?.abort();
    const turn = (field.turn = new AbortController());
    const area = byId(`${field.id}-drawing`);
    const smiles = field.value.trim();
    if (!smiles) return area.replaceChildren();
    try {
      const address = await this.drawings.address(smiles, { signal: turn.signal });
      if (!turn.signal.aborted) area.replaceChildren(el("img", { src: address, alt: `Structure of ${smiles}` }));
    } catch (error) {
      if (turn.signal.aborted || error.name === "AbortError") return undefined;
      area.replaceChildren();
      const isOff = error instanceof ApiError && error.status === 501;
      if (!isOff) this.#problem(field, error.message);
    }
    return undefined;
  }

  /** Ask for all combinations at once: the one that is chosen and those of training. */
  async predict() {
    const [a, b] = this.fields.map((field) => field.value.trim());
    const empty = this.fields.find((field) => !field.value.trim());
    if (empty) {
      this.#problem(empty, "The SMILES is empty; expected a repeat unit with two connection points, such as *c1ccc(*)s1.");
      return empty.focus();
    }
    this.turn?.abort();
    const turn = (this.turn = new AbortController());
    const chosen = [byId("architecture").value, Number(byId("ratio-a").value)];
    const combinations = TRAINED.some((one) => isSame(one, chosen)) ? TRAINED : [chosen, ...TRAINED];
    const items = combinations.flatMap(([architecture, ratio_a]) => this.properties.map(({ id }) =>
      ({ copolymer: { smiles_a: a, smiles_b: b, ratio_a, architecture }, property: id })));
    byId("copolymer-predict").disabled = true;
    byId("copolymer-error").textContent = "";
    try {
      const { results } = await this.api.request("v1/predict/batch", { body: { items }, signal: turn.signal });
      if (!turn.signal.aborted) this.#show(combinations, chosen, results);
    } catch (error) {
      if (!turn.signal.aborted) byId("copolymer-error").textContent = error.message;
    } finally {
      if (turn === this.turn) byId("copolymer-predict").disabled = false;
    }
    return undefined;
  }

  #show(combinations, chosen, results) {
    const n = this.properties.length;
    const failed = results.find((result) => result.code !== undefined);
    if (failed && results.every((result) => result.code !== undefined)) {
      // A message that names a monomer is shown at its field.
      const at = { "Monomer A": 0, "Monomer B": 1 }[failed.message.slice(0, 9)];
      if (at === undefined) byId("copolymer-error").textContent = failed.message;
      else this.#problem(this.fields[at], failed.message);
      byId("copolymer-answer").hidden = true;
      return;
    }
    const title = (card) => (card.units ? `${card.label} (${card.units})` : card.label);
    byId("copolymer-head").replaceChildren(el("tr", {}, el("th", { scope: "col", text: "Architecture" }),
      el("th", { scope: "col", class: "num", text: "A : B" }), ...this.properties.map((card) => el("th", { scope: "col", class: "num", text: title(card) }))));
    byId("copolymer-values").replaceChildren(...combinations.map(([architecture, ratio], row) => {
      const isChosen = isSame([architecture, ratio], chosen);
      return el("tr", isChosen ? { class: "chosen", "aria-current": "true" } : {}, el("th", { scope: "row", text: architecture }),
        el("td", { class: "num", text: `${ratio} : ${1 - ratio}` }),
        ...results.slice(row * n, (row + 1) * n).map((result) => cell(result)));
    }));
    const at = combinations.findIndex((one) => isSame(one, chosen));
    const warnings = gathered(results.slice(at * n, (at + 1) * n).flatMap((result, i) =>
      (result.code === undefined ? [{ label: this.properties[i].label, warnings: result.warnings }] : [])));
    byId("copolymer-warnings").replaceChildren(...(warnings.length ? [warningBox(warnings)] : []));
    byId("copolymer-accuracy").textContent = this.properties.map((card) => (card.test
      ? `${card.label}: ± ${shown(card.test.rmse)} ${card.units} on test rows` : `${card.label}: accuracy not known`)).join("; ");
    byId("copolymer-answer").hidden = false;
  }

  #problem(field, message) {
    byId(`${field.id}-error`).textContent = message;
    field.setAttribute("aria-invalid", String(message !== ""));
  }
}

function cell(result) {
  if (result.code !== undefined) return el("td", { class: "num bad", text: result.code, title: result.message });
  return el("td", { class: "num value", text: shown(result.prediction.value) });
}

function isSame(one, other) { return one[0] === other[0] && one[1] === other[1]; }
