// The model's card.

import { byId, el, shown } from "./dom.js";
import { markdown } from "./markdown.js";

export function showModel(model) {
  const row = ({ id, label, units, test, n_train, label_mean, label_std, checkpoint }) => {
    const known = (value) => (value === null || value === undefined ? "not known" : value);
    return el("tr", {}, el("th", { scope: "row" }, `${label} `, el("span", { class: "mono hint", text: id })), el("td", { text: units || "none" }),
      el("td", { class: "num", text: known(test && test.r2.toFixed(3)) }), el("td", { class: "num", text: known(test && shown(test.rmse)) }),
      el("td", { class: "num", text: known(n_train) }), el("td", { class: "num", text: known(test && test.n) }),
      el("td", { class: "num", text: label_mean === null ? "not known" : `${shown(label_mean)} ± ${shown(label_std)}` }),
      el("td", { class: "mono hint", text: checkpoint }));
  };
  const titles = [["Property"], ["Unit"], ["Test R²", "num"], ["Test RMSE", "num"], ["Train rows", "num"], ["Test rows", "num"], ["Training labels", "num"], ["Weights"]];
  const table = el("table", {}, el("caption", { class: "visually-hidden", text: "Accuracy by property" }),
    el("thead", {}, el("tr", {}, ...titles.map(([text, name]) => el("th", { scope: "col", class: name, text })))),
    el("tbody", {}, ...model.properties.map(row)));
  const limits = model.limits.length ? [el("div", { class: "card limits" }, el("h2", { text: "Limits of use" }),
    el("ul", {}, ...model.limits.map((text) => el("li", { text }))))] : [];
  byId("model-card").replaceChildren(
    el("p", {}, el("strong", { text: model.artifacts }), `: ${model.description}`),
    el("div", { class: "card scroll-x", role: "region", tabindex: "0", "aria-label": "Accuracy by property" }, table),
    el("p", { class: "hint", text: "RMSE and R² are measured on test rows, which training did not see. Training labels: mean and standard deviation." }),
    ...limits);
  byId("model-text").hidden = !model.card;
  byId("model-text").replaceChildren(...markdown(model.card ?? ""));
}
