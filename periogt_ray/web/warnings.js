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

export const DOMAIN_TEXT = Object.freeze({ inside: "inside the domain", outside: "outside the domain", far_outside: "far outside the domain" });
const STATUSES = ["inside", "outside", "far_outside"];

/** What is to be known of an answer: its warnings, and why its polymer is outside the domain. */
export const told = ({ warnings, domain }) => [...new Set([...(warnings ?? []), ...(domain?.reasons ?? [])])];

/** The status farthest outside; null where none is known. */
export const farthest = (statuses) => STATUSES.filter((status) => statuses.includes(status)).at(-1) ?? null;

export const counted = (n) => `${n} ${n === 1 ? "warning" : "warnings"}`;

/** Show warnings as a titled list. */
export function warningBox(texts) {
  return el("div", { class: "warnings" }, el("p", {}, el("strong", { text: counted(texts.length) })),
    el("ul", {}, ...texts.map((text) => el("li", { text }))));
}
