// Drawings of repeat units, fetched with the key and kept as blob: addresses.

import { el } from "./dom.js";

const MOST_KEPT = 200;

export class Drawings {
  constructor(api) {
    this.api = api;
    this.kept = new Map();
  }

  get theme() {
    const chosen = document.documentElement.dataset.theme;
    if (chosen) return chosen;
    return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }

  /** Return the address of a drawing; rejects with the API's error. */
  async address(smiles, { signal, asks = true } = {}) {
    const name = `${this.theme} ${smiles}`;
    const found = this.kept.get(name);
    if (found) {
      this.kept.delete(name);
      this.kept.set(name, found);
      return found;
    }
    const query = new URLSearchParams({ smiles, theme: this.theme });
    const text = await this.api.request(`v1/depict?${query}`, { signal, asks, as: "text" });
    const address = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    this.kept.set(name, address);
    if (this.kept.size > MOST_KEPT) {
      const [oldest, dropped] = this.kept.entries().next().value;
      this.kept.delete(oldest);
      URL.revokeObjectURL(dropped);
    }
    return address;
  }

  /** Show a drawing in an element, or the reason why there is none. Later calls for the same element win. */
  async show(area, smiles) {
    area.pending?.abort();
    const pending = new AbortController();
    area.pending = pending;
    try {
      const address = await this.address(smiles, { signal: pending.signal });
      if (!pending.signal.aborted) area.replaceChildren(el("img", { src: address, alt: `Structure of ${smiles}` }));
    } catch (error) {
      if (!pending.signal.aborted) area.replaceChildren(el("p", { class: "hint", text: error.message }));
    }
  }
}
