// The CSV view: choosing a file, running its plan.

import { MOST_ITEMS } from "./api.js";
import { tableRules } from "./columns.js";
import { readCsv } from "./csv_file.js";
import { writeCsv } from "./csv_output.js";
import { byId, download, duration, throttled } from "./dom.js";
import { FileError } from "./file_text.js";
import { Answers, Job, Status } from "./job.js";
import { Plan } from "./plan.js";
import { Results } from "./results.js";

const SHOW_EVERY_MS = 400;
const MOST_AT_ONCE = 3;

export class CsvView {
  constructor(api, drawings, state) {
    this.api = api;
    this.state = state;
    this.job = null;
    this.plan = new Plan();
    this.results = new Results(drawings);
    this.#listen();
  }

  /** Take on what is served. */
  setModel(model) { this.plan.setModel(model); }

  /** What was predicted, for other views; null before a run and while one is under way. */
  get run() {
    if (!this.answers || this.job) return null;
    return { rows: this.askedRows, answers: this.answers, inputs: this.inputs, fileName: this.fileName, measured: this.measured };
  }

  /** Draw plots anew, in other colours. */
  recolour() { this.results.recolour(); }

  #listen() {
    const drop = byId("drop");
    const field = byId("file");
    field.addEventListener("change", () => { if (field.files[0]) this.open(field.files[0], field.files[0].name); });
    for (const type of ["dragenter", "dragover"]) drop.addEventListener(type, (event) => { event.preventDefault(); drop.classList.add("over"); });
    for (const type of ["dragleave", "drop"]) drop.addEventListener(type, () => drop.classList.remove("over"));
    // A file dropped beside its place must not replace the page.
    for (const type of ["dragover", "drop"]) window.addEventListener(type, (event) => event.preventDefault());
    drop.addEventListener("drop", ({ dataTransfer }) => { const [file] = dataTransfer.files; if (file) this.open(file, file.name); });
    byId("use-example").addEventListener("click", () => this.example());
    byId("plan").addEventListener("submit", (event) => { event.preventDefault(); this.start(); });
    byId("cancel").addEventListener("click", () => this.job?.cancel());
    byId("retry").addEventListener("click", () => this.retry());
    byId("download").addEventListener("click", () => this.save());
    window.addEventListener("beforeunload", (event) => { if (this.job) event.preventDefault(); });
  }

  async example() {
    try {
      const response = await fetch(new URL("web/polymers.csv", this.api.root));
      if (!response.ok) throw new FileError("missing", `The example file could not be loaded (${response.status}).`);
      await this.open(await response.blob(), "polymers.csv");
    } catch (error) {
      byId("file-error").textContent = error instanceof FileError ? error.message : "The service cannot be reached.";
    }
  }

  /** Read a file and offer what can be done with it. */
  async open(blob, name) {
    if (this.job) {
      byId("file-error").textContent = "A run is in progress; cancel it first.";
      return;
    }
    byId("file-error").textContent = "";
    try {
      const rules = await tableRules();
      this.plan.open(await readCsv(blob, name, rules), rules);
    } catch (error) {
      this.plan.close();
      byId("file-error").textContent = error instanceof FileError ? error.message : `${name} cannot be read: ${error.message}`;
    }
  }

  start() {
    const decided = this.plan.decided();
    if (!decided) return;
    const { rows, inputs, properties, fileName, measured } = decided;
    this.answers = new Answers(rows.length, properties);
    this.askedRows = rows;
    this.inputs = inputs;
    this.fileName = fileName;
    this.measured = measured;
    this.results.begin(rows, this.answers, { inputs, measured });
    byId("results").hidden = false;
    byId("progress").hidden = false;
    byId("progress").scrollIntoView({ block: "start" });
    this.#run(Array.from(rows.keys()));
  }

  /** Ask again for rows that failed or were left out. */
  retry() {
    const rows = [...this.answers.status.keys()].filter((row) => this.answers.status[row] !== Status.OK);
    this.answers.forget(rows);
    this.#run(rows);
  }

  async #run(rows) {
    const most = Math.floor((this.state.health?.max_open ?? 256) / MOST_ITEMS);
    const job = new Job(this.api, this.askedRows, this.answers, Math.max(1, Math.min(MOST_AT_ONCE, most)));
    this.job = job;
    const showSoon = throttled(SHOW_EVERY_MS, () => { if (this.job === job) this.#showProgress(); });
    job.addEventListener("progress", showSoon);
    job.addEventListener("waiting", ({ detail }) => { byId("progress-wait").textContent = detail; });
    this.#setRunning(true);
    let ending = "";
    try {
      ending = (await job.run(rows)) ? "" : "Cancelled. ";
    } catch (error) {
      ending = `Stopped: ${error.message} `;
    }
    const seconds = performance.now() / 1000 - job.startedAt_s;
    this.job = null;
    this.#setRunning(false);
    this.results.refresh({ isLast: true });
    const { n_ok, n_failed, n_done, n_rows, n_warned } = this.answers;
    const rest = n_rows - n_done;
    byId("progress-text").textContent = `${ending}${n_ok} of ${n_rows} rows predicted${n_warned ? `, ${n_warned} with warnings` : ""}${n_failed ? `, ${n_failed} failed` : ""}`
      + `${rest ? `, ${rest} not asked` : ""}, in ${duration(seconds)}.`;
    const n_again = n_rows - n_ok;
    byId("retry").hidden = n_again === 0;
    byId("retry").textContent = rest ? `Continue with ${n_again} ${n_again === 1 ? "row" : "rows"}` : `Retry ${n_again} failed ${n_again === 1 ? "row" : "rows"}`;
  }

  #setRunning(isRunning) {
    byId("progress").hidden = false;
    byId("cancel").hidden = !isRunning;
    byId("start").disabled = isRunning;
    if (isRunning) byId("retry").hidden = true;
    byId("progress-wait").textContent = "";
    this.#showProgress();
  }

  #showProgress() {
    const { n_done, n_rows, n_failed } = this.answers;
    byId("progress-bar").max = n_rows;
    byId("progress-bar").value = n_done;
    this.results.refresh();
    if (!this.job) return;
    const { rate } = this.job;
    const pace = rate > 0 ? ` · ${rate < 10 ? rate.toFixed(1) : Math.round(rate)} rows/s · about ${duration((n_rows - n_done) / rate)} left` : "";
    byId("progress-text").textContent = `${n_done} of ${n_rows} rows${n_failed ? ` · ${n_failed} failed` : ""}${pace}`;
  }

  save() {
    const name = `${this.fileName.replace(/(\.[^.]*)?(\.gz)?$/i, "")}_predictions.csv`;
    download(name, writeCsv(this.askedRows, this.answers, this.inputs), "text/csv;charset=utf-8");
  }
}
