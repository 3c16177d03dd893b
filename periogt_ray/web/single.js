// One polymer: drawing as it is typed, all properties at once, copies.

import { ApiError } from "./api.js";
import { byId, copy, debounced, download, el, shown, svg } from "./dom.js";
import { Explaining } from "./explain.js";
import { DOMAIN_TEXT, gathered, told, warningBox } from "./warnings.js";

const DRAW_AFTER_MS = 250;
const EMPTY = "The SMILES is empty; expected a repeat unit with two connection points, such as *CC(*)c1ccccc1.";

export class SinglePolymer {
  constructor(api, drawings) {
    this.api = api;
    this.drawings = drawings;
    this.model = null;
    this.answer = null;
    this.explaining = new Explaining(api);
    this.field = byId("smiles");
    this.field.addEventListener("input", debounced(DRAW_AFTER_MS, () => this.draw()));
    byId("one-form").addEventListener("submit", (event) => { event.preventDefault(); this.predict(); });
    byId("copy-json").addEventListener("click", () => this.#copied(JSON.stringify(this.answer.body, null, 2), "JSON"));
    byId("copy-curl").addEventListener("click", () => this.#copied(this.curl(), "The command"));
    byId("embedding").addEventListener("click", () => this.embedding());
  }

  /** Take on what is served. */
  setModel(model) {
    this.model = model;
    const choose = (smiles) => { this.field.value = smiles; this.draw(); this.predict(); };
    byId("examples").replaceChildren(...model.examples.map(({ name, smiles }) =>
      el("button", { type: "button", text: name, on: { click: () => choose(smiles) } })));
    byId("one-description").textContent = `${model.artifacts}: ${model.description}`;
    byId("one-limits").replaceChildren(...model.limits.map((text) => el("li", { text })));
    byId("one-card").hidden = false;
    if (this.field.value) this.draw();
  }

  /** Draw what is typed; an error is shown at the field. */
  async draw() {
    this.drawingTurn?.abort();
    const turn = (this.drawingTurn = new AbortController());
    const smiles = this.field.value.trim();
    if (!smiles) {
      this.#problem("");
      byId("drawing").replaceChildren();
      byId("drawing-caption").textContent = "The repeat unit is drawn here as you type.";
      return;
    }
    try {
      const address = await this.drawings.address(smiles, { signal: turn.signal });
      if (turn.signal.aborted) return;
      byId("drawing").replaceChildren(el("img", { src: address, alt: `Structure of ${smiles}` }));
      byId("drawing-caption").textContent = "The shaded circles are the connection points.";
      this.#problem("");
    } catch (error) {
      if (turn.signal.aborted || error.name === "AbortError") return;
      byId("drawing").replaceChildren();
      // The service cannot draw at all; the SMILES itself is fine.
      const isOff = error instanceof ApiError && error.status === 501;
      byId("drawing-caption").textContent = isOff ? error.message : "No drawing.";
      this.#problem(isOff ? "" : error.message, error);
    }
  }

  async predict() {
    const smiles = this.field.value.trim();
    if (!smiles) return this.#problem(EMPTY, null, true);
    if (!this.model) return this.#problem("The list of properties has not arrived yet; see the state of the service above.");
    this.predictTurn?.abort();
    const turn = (this.predictTurn = new AbortController());
    const asked = { items: this.model.properties.map(({ id }) => ({ smiles, property: id })) };
    byId("predict").disabled = true;
    const started = performance.now();
    try {
      const body = await this.api.request("v1/predict/batch", { body: asked, signal: turn.signal });
      if (turn.signal.aborted) return undefined;
      this.answer = { smiles, asked, body, seconds: (performance.now() - started) / 1000 };
      this.#show();
    } catch (error) {
      if (!turn.signal.aborted) this.#problem(error.message, error, true);
    } finally {
      if (turn === this.predictTurn) byId("predict").disabled = false;
    }
    return undefined;
  }

  #show() {
    const { body, seconds, smiles } = this.answer;
    const failures = body.results.filter((result) => result.code !== undefined);
    const [first] = failures;
    if (failures.length === body.results.length) {
      this.#problem(first.message, first, true);
      return;
    }
    this.#problem("");
    byId("one-values").replaceChildren(...body.results.map((result, i) => this.#row(result, this.model.properties[i])));
    const warnings = gathered(body.results.flatMap((result, i) =>
      (result.code === undefined ? [{ label: this.model.properties[i].label, warnings: told(result) }] : [])));
    byId("one-warnings").replaceChildren(...(warnings.length > 0 ? [warningBox(warnings)] : []));
    const answered = body.results.find((result) => result.model);
    const n = body.results.length - failures.length;
    byId("one-meta").textContent =
      `${n} ${n === 1 ? "property" : "properties"} of ${smiles} in ${seconds < 0.995 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`}, `
      + `by ${answered.model.artifacts}.`;
    byId("one-empty").hidden = true;
    byId("one-answer").hidden = false;
    this.explaining.offer(smiles, this.model.properties.filter((_, i) => body.results[i].code === undefined));
    byId("one-explain").hidden = false;
    byId("one-done").textContent = "";
  }

  #row(result, card) {
    const name = el("th", { scope: "row", text: card.label });
    if (result.code !== undefined) return el("tr", { class: "failed" }, name, el("td", { colspan: 4, text: result.message }));
    const { value, units } = result.prediction;
    return el("tr", {}, name,
      el("td", { class: "num value" }, shown(value), " ", el("span", { class: "units", text: units }), ...trust(result)),
      el("td", { class: "num", text: card.test ? `± ${shown(card.test.rmse)}` : "not known" }),
      el("td", { class: "num", text: card.test ? card.test.r2.toFixed(3) : "not known" }),
      el("td", {}, strip(value, card)));
  }

  /** Show an error at the field. */
  #problem(message, error = null, takesFocus = false) {
    byId("smiles-error").textContent = message;
    const isInput = message !== "" && (!(error instanceof ApiError) || error.status === 422);
    this.field.setAttribute("aria-invalid", String(isInput));
    if (takesFocus) {
      byId("one-answer").hidden = true;
      byId("one-explain").hidden = true;
      this.explaining.clear();
      byId("one-empty").hidden = false;
      this.field.focus();
    }
  }

  /** The command that asks the same; the key is named, not shown. */
  curl() {
    const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const key = this.api.key ? " -H \"X-Api-Key: $PERIOGT_API_KEY\"" : "";
    const address = new URL("v1/predict/batch", this.api.root).href;
    return `curl ${quoted(address)} -H 'Content-Type: application/json'${key} -d ${quoted(JSON.stringify(this.answer.asked))}`;
  }

  async embedding() {
    try {
      const answer = await this.api.request("v1/embeddings", { body: { smiles: this.answer.smiles } });
      download("embedding.json", `${JSON.stringify(answer)}\n`, "application/json");
      byId("one-done").textContent = `${answer.dim} numbers downloaded.`;
    } catch (error) {
      byId("one-done").textContent = error.message;
    }
  }

  async #copied(text, what) {
    try {
      await copy(text);
      byId("one-done").textContent = `${what} is on the clipboard.`;
    } catch (error) {
      byId("one-done").textContent = error.message;
    }
  }
}

/** The interval below a value, and the domain where the polymer is not inside. */
function trust({ interval, domain }) {
  const range = interval ? [el("span", { class: "range", text: `${Math.round(100 * interval.level)} %: ${shown(interval.lower)} to ${shown(interval.upper)}` })] : [];
  const place = domain && domain.status !== "inside" ? [el("span", { class: "range far", text: DOMAIN_TEXT[domain.status] })] : [];
  return [...range, ...place];
}

/** Show where a value lies among the training labels: mean and one standard deviation, three to either side. */
function strip(value, { label_mean: mean, label_std: std }) {
  if (mean === null || !(std > 0)) return el("span", { class: "hint", text: "not known" });
  const distance = (value - mean) / std;
  const at = (score) => 72 + 22 * Math.max(-3, Math.min(3, score));
  const side = distance < 0 ? "below" : "above";
  const words = `${Math.abs(distance).toFixed(1)} standard deviations ${side} the mean of the training labels, ${shown(mean)}`;
  const title = svg("title");
  title.textContent = words;
  return svg("svg", { class: "strip", viewBox: "0 0 144 20", role: "img", "aria-label": words }, title,
    svg("line", { class: "track", x1: at(-3), x2: at(3), y1: 10, y2: 10 }),
    svg("line", { class: "middle", x1: at(-1), x2: at(1), y1: 10, y2: 10 }),
    svg("circle", { class: "here", cx: at(distance), cy: 10, r: 5.5 }));
}
