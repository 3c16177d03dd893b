// Warnings that come with answers.

import { el } from "./dom.js";

/**
 * Say each warning once. One that does not concern every property that was predicted is said with the properties it concerns.
 * @param {{label: string, warnings: ?string[]}[]} answered - the properties with a value
 * @returns {string[]}
 */
export function gathered(answered) {
  const labels = new Map();
  for (const { label, warnings } of answered) {
    for (const text of new Set(warnings ?? [])) labels.set(text, [...(labels.get(text) ?? []), label]);
  }
  return [...labels].map(([text, concerned]) => (concerned.length === answered.length ? text : `${concerned.join(", ")}: ${text}`));
}

export const counted = (n) => `${n} ${n === 1 ? "warning" : "warnings"}`;

/** Show warnings as a titled list. */
export function warningBox(texts) {
  return el("div", { class: "warnings" }, el("p", {}, el("strong", { text: counted(texts.length) })),
    el("ul", {}, ...texts.map((text) => el("li", { text }))));
}
