// Finetuned properties: what was measured of each, its card, and the packages that cannot be used.

import { byId, el, shown } from "./dom.js";
import { markdown } from "./markdown.js";

const DIVISIONS = { test: "held-out test", out_of_fold: "out of fold", cluster: "unlike training" };
const MODELS = { network: "network", trees: "trees", mean: "mean of the training values" };
const NONE = "This service has no finetuned properties. `periogt finetune` makes one of a table of measured or computed values.";

export class Finetuned {
  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
    this.isKnown = false; // whether the service has told of its model
    this.isLoaded = false;
    this.isShown = false;
  }

  /** Take on that there is a model, or another one. */
  setModel() {
    this.isKnown = true;
    this.isLoaded = false;
    if (this.isShown) this.show();
  }

  /** Ask for the packages and their cards when the view is opened; not again while the model is the same. */
  async show() {
    this.isShown = true;
    if (this.isLoaded || !this.isKnown) return;
    this.isLoaded = true;
    const area = byId("finetuned-list");
    try {
      const listed = await this.api.request("v1/properties");
      const ids = [...listed.properties, ...listed.unsupported].filter(({ is_package }) => is_package).map(({ id }) => id);
      const cards = await Promise.all(ids.map((id) => this.api.request(`v1/properties/${encodeURIComponent(id)}/card`)));
      const leftOut = listed.left_out ?? [];
      area.replaceChildren(...(ids.length + leftOut.length === 0 ? markdown(NONE) : []),
        ...cards.map(propertySection), ...leftOut.map(leftOutSection));
    } catch (error) {
      this.isLoaded = false;
      area.replaceChildren(el("p", { class: "error", role: "alert", text: error.message }));
    }
  }
}

function propertySection(card) {
  const { id, label, units, reason, verdict, n_train, n_networks, text } = card;
  const facts = [n_train === null ? "" : `${n_train} polymers of training`, `${n_networks} ${n_networks === 1 ? "network" : "networks"}`, units ? `unit ${units}` : "no unit"];
  const more = text === null ? [el("p", { class: "hint", text: "The package has no card, or its card is not the one that was recorded." })]
    : [el("details", {}, el("summary", { text: "Card" }), el("div", { class: "card-text" }, ...markdown(text, 2)))];
  return el("section", { class: "card finetuned" },
    el("h2", {}, label, " ", el("span", { class: "mono hint", text: id })),
    ...(reason === null ? [] : [el("p", { class: "error", text: `Not served: ${reason}.` })]),
    ...(verdict === null ? [] : [el("p", { class: "verdict", text: verdict })]),
    el("p", { class: "hint", text: facts.filter(Boolean).join(" · ") }),
    el("div", { class: "measured" }, ...scoreTable(card), ...coverageTable(card)), ...more);
}

/** Error of the network beside that of trees and of the mean. */
function scoreTable({ label, scores, units }) {
  if (scores.length === 0) return [];
  const rows = scores.map(({ division, model, n, rmse, r2 }) => [DIVISIONS[division] ?? division, MODELS[model] ?? model, String(n), shown(rmse), r2.toFixed(3).replace("-", "−")]);
  return table(`Errors of ${label}`, [["Polymers"], ["Model"], ["n", "num"], [units ? `RMSE (${units})` : "RMSE", "num"], ["R²", "num"]], rows);
}

function coverageTable({ label, coverage }) {
  if (coverage.length === 0) return [];
  const percent = (share) => `${Math.round(100 * share)} %`;
  const rows = coverage.map(({ division, level, coverage: found, n }) => [DIVISIONS[division] ?? division, percent(level), percent(found), String(n)]);
  return table(`Coverage of the intervals of ${label}`, [["Polymers"], ["Wanted", "num"], ["Covered", "num"], ["n", "num"]], rows);
}

function table(caption, titles, rows) {
  const cell = (text, i) => el(i === 0 ? "th" : "td", { scope: i === 0 ? "row" : undefined, class: titles[i][1], text });
  return [el("div", { class: "scroll-x", role: "region", tabindex: "0", "aria-label": caption }, el("table", {},
    el("caption", { class: "visually-hidden", text: caption }),
    el("thead", {}, el("tr", {}, ...titles.map(([text, name]) => el("th", { scope: "col", class: name, text })))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map(cell))))))];
}

function leftOutSection({ name, reason }) {
  return el("section", { class: "card finetuned" }, el("h2", { class: "mono", text: name }), el("p", { class: "error", text: `Left out: ${reason.replace(/\.$/, "")}.` }));
}
