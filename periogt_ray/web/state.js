// What the service says of itself, asked every few seconds and shown as what it is.

import { ApiError, UnreachableError } from "./api.js";
import { byId } from "./dom.js";

const CALM_S = 5;
const WORRIED_S = 1.5;
const BUSY_SHARE = 0.9;
const BUSY_FOR_S = 6;

export class ServiceState extends EventTarget {
  /** @param {import("./api.js").Api} api */
  constructor(api) {
    super();
    this.api = api;
    this.name = "unknown";
    this.health = null;
    this.n_properties = null;
    this.refusedAt_s = -Infinity;
    api.addEventListener("failed", ({ detail }) => {
      if (detail.code === "overloaded") this.refusedAt_s = performance.now() / 1000;
      if (detail instanceof UnreachableError && this.name === "ready") this.#look();
    });
  }

  /** Ask for ever; while the tab is hidden, when it is shown again. */
  start() {
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#look(); });
    this.#look();
  }

  /** Ask now. */
  async #look() {
    clearTimeout(this.timer);
    const turn = (this.turn = Symbol("turn"));
    let name;
    let text;
    try {
      this.health = await this.api.request("v1/health", { asks: false, tells: false, signal: AbortSignal.timeout(10_000) });
      [name, text] = this.#judged(this.health);
    } catch (error) {
      [name, text] = failed(error);
    }
    if (turn !== this.turn) return; // a later question is under way
    this.#show(name, text);
    const wait_s = name === "ready" ? CALM_S : WORRIED_S;
    if (!document.hidden) this.timer = setTimeout(() => this.#look(), wait_s * 1000);
  }

  /** Look again at once, for example when there is a key. */
  refresh() {
    return this.#look();
  }

  #judged(health) {
    if (health.status !== "ok") return ["starting", "Starting: the model is loading. Requests are answered when it is loaded."];
    const wasRefused = performance.now() / 1000 - this.refusedAt_s < BUSY_FOR_S;
    if (wasRefused || health.n_open >= BUSY_SHARE * health.max_open) {
      return ["busy", "Overloaded: the queue is full. Requests of this page wait and are sent again."];
    }
    return ["ready", "Ready"];
  }

  #show(name, text) {
    const before = this.name;
    this.name = name;
    const area = byId("state");
    area.dataset.state = name;
    // Written only if it changed: a screen reader would read it again.
    if (byId("state-text").textContent !== text) byId("state-text").textContent = text;
    byId("state-facts").textContent = name === "key" || name === "unreachable" ? "" : this.#facts();
    byId("enter-key").hidden = name !== "key";
    if (before !== name) this.dispatchEvent(new CustomEvent("changed", { detail: { before, name } }));
  }

  #facts() {
    const { artifacts, device, n_open, max_open, version } = this.health;
    const places = { cuda: "GPU", cpu: "CPU" };
    const served = this.n_properties === null ? null : `${this.n_properties} properties`;
    return [artifacts, served, places[device], `queue ${n_open} of ${max_open}`, `version ${version}`].filter(Boolean).join(" · ");
  }
}

function failed(error) {
  if (error instanceof ApiError && error.code === "unauthorized") return ["key", `${error.message}`];
  if (error instanceof ApiError) return ["starting", error.message];
  return ["unreachable", `${error instanceof UnreachableError ? error.message : "The service does not answer."} Trying again…`];
}
