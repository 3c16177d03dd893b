// Predicting many rows: a few requests at a time, each of at most 100 predictions; what can be sent again, is.

import { ApiError, MOST_ITEMS, UnreachableError } from "./api.js";
import { pause } from "./dom.js";

const FIRST_ROWS = 8; // small at first, so that the first values come soon
const QUICK_S = 1.5;
const SLOW_S = 6;
const MOST_TRIES = 5; // of a row whose worker was lost
const LONGEST_PAUSE_S = 10;

export const Status = Object.freeze({ WAITING: 0, OK: 1, FAILED: 2 });

/** The answers to all rows, by column. */
export class Answers {
  constructor(n_rows, properties) {
    this.properties = properties;
    this.status = new Uint8Array(n_rows);
    this.values = properties.map(() => new Float64Array(n_rows).fill(NaN));
    this.bounds = properties.map(() => ({ lower: new Float64Array(n_rows).fill(NaN), upper: new Float64Array(n_rows).fill(NaN) }));
    this.domains = new Map(); // row -> the domain of each property, or null
    this.units = properties.map(({ units }) => units);
    this.errors = new Map(); // row -> one error or null a property
    this.outside = new Map(); // row -> why its polymer is outside the domain, of each property
    this.warned = new Map(); // row -> the texts of each property
    this.requestIds = new Array(n_rows).fill("");
    this.n_ok = 0;
    this.n_failed = 0;
  }

  get n_rows() { return this.status.length; }

  get n_done() { return this.n_ok + this.n_failed; }

  get n_warned() { return this.warned.size; }

  error(row, column) { return this.errors.get(row)?.[column] ?? null; }

  warnings(row, column) { return this.warned.get(row)?.[column] ?? []; }

  /** Interval and domain status of a value: NaN and an empty text where the property is not calibrated. */
  trust(row, column) {
    const { lower, upper } = this.bounds[column];
    return { lower: lower[row], upper: upper[row], domain: this.domain(row, column)?.status ?? "" };
  }

  reasons(row, column) { return this.outside.get(row)?.[column] ?? []; }

  domain(row, column) { return this.domains.get(row)?.[column] ?? null; }

  /** Forget rows, so that they can be asked again. */
  forget(rows) {
    for (const row of rows) this.#count(row, -1);
    for (const row of rows) {
      this.status[row] = Status.WAITING;
      this.errors.delete(row);
      this.warned.delete(row);
      this.domains.delete(row);
      this.outside.delete(row);
      for (const { lower, upper } of this.bounds) lower[row] = upper[row] = NaN;
      for (const column of this.values) column[row] = NaN;
    }
  }

  /** Keep a row's results: values, or {code, message}. */
  put(row, results, requestId) {
    const errors = results.map((result) => (result.code === undefined ? null : { code: result.code, message: result.message }));
    results.forEach((result, i) => { this.values[i][row] = result.code === undefined ? result.prediction.value : NaN; });
    this.bounds.forEach(({ lower, upper }, i) => {
      lower[row] = results[i].interval?.lower ?? NaN;
      upper[row] = results[i].interval?.upper ?? NaN;
    });
    if (results.some((result) => result.domain)) this.domains.set(row, results.map((result) => result.domain ?? null));
    this.requestIds[row] = requestId;
    const hasFailed = errors.some((error) => error !== null);
    if (hasFailed) this.errors.set(row, errors);
    const warnings = results.map((result) => result.warnings ?? []);
    const reasons = results.map((result) => result.domain?.reasons ?? []);
    if (reasons.some((texts) => texts.length > 0)) this.outside.set(row, reasons);
    if (warnings.some((texts) => texts.length > 0)) this.warned.set(row, warnings);
    this.status[row] = hasFailed ? Status.FAILED : Status.OK;
    this.#count(row, 1);
  }

  /** Keep one error for all properties of a row. */
  fail(row, { code, message }, requestId = "") {
    this.put(row, this.properties.map(() => ({ code, message })), requestId);
  }

  #count(row, step) {
    if (this.status[row] === Status.OK) this.n_ok += step;
    if (this.status[row] === Status.FAILED) this.n_failed += step;
  }
}

/** One run over rows; events `progress` and `waiting` (detail: text, empty once it goes on). */
export class Job extends EventTarget {
  /**
   * @param {import("./api.js").Api} api
   * @param {import("./columns.js").Row[]} rows
   * @param {Answers} answers
   * @param {number} n_at_once - requests
   */
  constructor(api, rows, answers, n_at_once) {
    super();
    this.api = api;
    this.rows = rows;
    this.answers = answers;
    this.n_at_once = n_at_once;
    this.stop = new AbortController();
    this.rowsPerRequest = FIRST_ROWS;
    this.tries = new Map();
    this.waits = new Set();
  }

  /** Ask for these rows; returns whether all were answered, false if it was cancelled. */
  async run(indices) {
    this.left = indices.filter((row) => !this.#refused(row));
    this.n_before = this.answers.n_done;
    this.startedAt_s = performance.now() / 1000;
    const workers = Array.from({ length: this.n_at_once }, () => this.#work());
    try {
      await Promise.all(workers);
    } catch (error) {
      this.stop.abort();
      await Promise.allSettled(workers);
      if (error.name !== "AbortError") throw error;
      return false;
    }
    return true;
  }

  cancel() { this.stop.abort(); }

  /** Rows a second in this run. */
  get rate() {
    const elapsed_s = performance.now() / 1000 - this.startedAt_s;
    return elapsed_s > 0 ? (this.answers.n_done - this.n_before) / elapsed_s : 0;
  }

  /** Whether a row cannot be asked; its error is kept. */
  #refused(row) {
    const { problem } = this.rows[row];
    if (problem !== null) this.answers.fail(row, { code: "validation_error", message: problem });
    return problem !== null;
  }

  async #work() {
    for (;;) {
      if (this.stop.signal.aborted) throw new DOMException("cancelled", "AbortError");
      const most = Math.max(1, Math.floor(MOST_ITEMS / this.answers.properties.length));
      const chunk = this.left.splice(0, Math.min(most, Math.max(1, Math.round(this.rowsPerRequest))));
      if (chunk.length === 0) return;
      await this.#answer(chunk);
      this.dispatchEvent(new Event("progress"));
    }
  }

  /** Have rows answered, whatever it takes; those that fail together are asked apart. */
  async #answer(chunk) {
    const { properties } = this.answers;
    const items = chunk.flatMap((row) => properties.map(({ id }) => ({ ...this.rows[row].body, property: id })));
    const started = performance.now();
    let body;
    try {
      body = await this.#ask({ items });
    } catch (error) {
      if (!(error instanceof ApiError) || error.code === "unauthorized") throw error;
      if (chunk.length === 1) {
        this.answers.fail(chunk[0], error, error.requestId);
        return;
      }
      this.rowsPerRequest = Math.max(1, chunk.length / 2);
      const middle = chunk.length >> 1;
      await this.#answer(chunk.slice(0, middle));
      await this.#answer(chunk.slice(middle));
      return;
    }
    const seconds = (performance.now() - started) / 1000;
    if (seconds < QUICK_S) this.rowsPerRequest = Math.min(MOST_ITEMS, Math.max(this.rowsPerRequest, 2 * chunk.length));
    if (seconds > SLOW_S) this.rowsPerRequest = Math.max(1, chunk.length / 2);
    await this.#keep(chunk, body);
  }

  async #keep(chunk, body) {
    const n = this.answers.properties.length;
    const again = [];
    chunk.forEach((row, at) => {
      const results = body.results.slice(at * n, (at + 1) * n);
      const n_tries = (this.tries.get(row) ?? 0) + 1;
      const isTransient = results.some(({ code }) => code === "not_ready" || code === "overloaded");
      if (isTransient && n_tries < MOST_TRIES) {
        this.tries.set(row, n_tries);
        again.push(row);
      } else {
        this.answers.put(row, results, body.request_id);
      }
    });
    if (again.length > 0) {
      await this.#wait(2, "The service lost a process; its rows are sent again.");
      this.left.unshift(...again);
    }
  }

  /** Send until there is an answer or an error that sending again would not change. */
  async #ask(body) {
    for (let n_lost = 0; ;) {
      try {
        const answer = await this.api.request("v1/predict/batch", { body, signal: this.stop.signal });
        return answer;
      } catch (error) {
        if (error instanceof UnreachableError) {
          n_lost += 1;
          const seconds = Math.min(LONGEST_PAUSE_S, 2 ** (n_lost - 1));
          await this.#wait(seconds, `${error.message} What is done is kept; trying again in ${seconds} s.`);
        } else if (error instanceof ApiError && error.isTransient) {
          const seconds = error.retryAfter_s ?? 2;
          await this.#wait(seconds, `${error.message} Trying again in ${seconds} s, as the service asks.`);
        } else {
          throw error;
        }
      }
    }
  }

  async #wait(seconds, why) {
    const wait = Symbol("wait");
    this.waits.add(wait);
    this.dispatchEvent(new CustomEvent("waiting", { detail: why }));
    try {
      await pause(seconds, this.stop.signal);
    } finally {
      this.waits.delete(wait);
      if (this.waits.size === 0) this.dispatchEvent(new CustomEvent("waiting", { detail: "" }));
    }
  }
}
