// A table of predictions by column: from the answers of this page, or from a CSV file as `periogt batch` writes it.

import { SHARE_OF_NUMBERS, copolymerColumns, lacksHeader, tableOf } from "./columns.js";
import { COLUMNS, linesOf } from "./csv_output.js";
import { FileError } from "./file_text.js";

/** Domain of a value, farther outside with the number. */
export const DOMAINS = ["", "inside", "outside", "far_outside"];
const NO_NUMBERS = new Set(["ok", "error_code", "error_message", "request_id", "warnings"]);

/**
 * @typedef {{id: string, label: string, units: string, isProperty: boolean, values: Float64Array, lower: ?Float64Array,
 *   upper: ?Float64Array, domains: ?Uint8Array}} Column - NaN where there is no number; bounds and domains (positions in
 *   DOMAINS) of predictions only
 * @typedef {{name: string, n_rows: number, ids: string[], units: string[][], columns: Column[], header: string[],
 *   lines: (row: number) => string[][]}} ScreenTable - the repeat units of each row, and its lines for a download
 */

/**
 * Make a table of what this page has predicted.
 * @param {{rows: Object[], answers: import("./job.js").Answers, inputs: string[], fileName: string, measured: Object[]}} run
 * @returns {ScreenTable}
 */
export function ofRun({ rows, answers, inputs, fileName, measured }) {
  const columns = answers.properties.map(({ id, label, units }, i) => {
    const { lower, upper } = answers.bounds[i];
    const domains = new Uint8Array(rows.length);
    for (const [row, found] of answers.domains) domains[row] = Math.max(0, DOMAINS.indexOf(found[i]?.status ?? ""));
    return property({ id, label, units, values: answers.values[i], lower, upper, domains });
  });
  const given = measured.map(({ label, values }) => plain(label, values));
  return {
    name: fileName, n_rows: rows.length, ids: rows.map(({ id }) => id), units: rows.map(({ units }) => units), columns: [...columns, ...given],
    header: ["id", ...inputs, ...COLUMNS], lines: (row) => linesOf(rows, answers, row),
  };
}

/** A column of predictions; bounds and domains that are nowhere known are left out. */
function property({ lower, upper, domains, ...rest }) {
  const hasBounds = lower.some((bound) => !Number.isNaN(bound));
  return { ...rest, isProperty: true, lower: hasBounds ? lower : null, upper: hasBounds ? upper : null, domains: domains.some(Boolean) ? domains : null };
}

const plain = (label, values) => ({ id: label, label, units: "", isProperty: false, values, lower: null, upper: null, domains: null });

/**
 * Make a table of a file that was read.
 * @param {{name: string, lines: string[][]}} file
 * @param {Object} rules - of column names
 * @param {{id: string, label: string, units: string}[]} known - properties that the service tells of
 * @returns {ScreenTable}
 */
export function ofFile(file, rules, known) {
  const expected = "Expected predictions as `periogt batch` or this page write them.";
  if (lacksHeader(file, rules)) throw new FileError("no_header", `${file.name} has no header line. ${expected}`);
  const { header, records, smiles, id } = tableOf(file, rules, true);
  if (records.length === 0) throw new FileError("empty", `${file.name} has a header line and no rows. ${expected}`);
  const copolymers = copolymerColumns(header, rules);
  const unitsAt = copolymers ? [copolymers.smiles_a, copolymers.smiles_b] : [smiles.at];
  if (unitsAt.includes(-1)) throw new FileError("no_smiles_column", `${file.name}: ${smiles.problem.message.replace(/ Choose.*/, "")} ${expected}`);
  const inputsAt = copolymers ? Object.values(copolymers).filter((at) => at >= 0) : unitsAt;
  const isLong = header.includes("property") && header.includes("prediction_value");
  const groups = isLong ? grouped(header, records, [id.at, ...inputsAt]) : records.map((_, i) => [i]);
  const firsts = groups.map(([first]) => records[first]);
  const taken = new Set([id.at, ...inputsAt]);
  const columns = isLong ? longColumns(header, records, groups, known) : wideColumns(header, records, known, taken);
  const others = numbers(header, firsts, (name, at) => !taken.has(at) && !isOfPredictions(name, columns, isLong));
  if (columns.length + others.length === 0) throw new FileError("format", `${file.name} has no column of numbers. ${expected}`);
  return {
    name: file.name, n_rows: groups.length, ids: firsts.map((record, i) => (id.at < 0 ? String(i) : record[id.at] ?? "")),
    units: firsts.map((record) => unitsAt.map((at) => record[at] ?? "")), columns: [...columns, ...others],
    header, lines: (row) => groups[row].map((at) => records[at]),
  };
}

/** Whether a column holds something of predictions, and not numbers of its own. */
function isOfPredictions(name, columns, isLong) {
  if (NO_NUMBERS.has(name)) return true;
  if (isLong) return COLUMNS.includes(name);
  return columns.some(({ id }) => [id, `${id}_interval_lower`, `${id}_interval_upper`, `${id}_domain`].includes(name));
}

/** Gather the lines of each polymer: those that follow each other, have the same inputs and no property twice. */
function grouped(header, records, sameAt) {
  const propertyAt = header.indexOf("property");
  const groups = [];
  let seen = new Set();
  let first = null;
  records.forEach((record, i) => {
    const isSame = first !== null && !seen.has(record[propertyAt]) && sameAt.every((at) => record[at] === first[at]);
    if (!isSame) {
      groups.push([]);
      seen = new Set();
      first = record;
    }
    seen.add(record[propertyAt]);
    groups.at(-1).push(i);
  });
  return groups;
}

function longColumns(header, records, groups, known) {
  const at = Object.fromEntries(COLUMNS.map((name) => [name, header.indexOf(name)]));
  const ids = [...new Set(records.map((record) => record[at.property]))].filter(Boolean);
  const made = new Map(ids.map((id) => [id, empty(id, groups.length, known)]));
  groups.forEach((lines, row) => {
    for (const line of lines) {
      const record = records[line];
      const column = made.get(record[at.property]);
      if (column === undefined) continue;
      column.values[row] = number(record[at.prediction_value]);
      column.lower[row] = number(record[at.interval_lower]);
      column.upper[row] = number(record[at.interval_upper]);
      column.domains[row] = domain(record[at.domain]);
      column.units ||= record[at.prediction_units] ?? "";
    }
  });
  return [...made.values()].map(property);
}

/** The columns that have bounds and a domain beside them, as `periogt batch --wide` writes them. */
function wideColumns(header, records, known, taken) {
  return header.flatMap((id, at) => {
    if (taken.has(at) || !(header.includes(`${id}_domain`) || known.some((one) => one.id === id))) return [];
    const [lowerAt, upperAt, domainAt] = ["interval_lower", "interval_upper", "domain"].map((part) => header.indexOf(`${id}_${part}`));
    const column = empty(id, records.length, known);
    records.forEach((record, row) => {
      column.values[row] = number(record[at]);
      column.lower[row] = number(record[lowerAt]);
      column.upper[row] = number(record[upperAt]);
      column.domains[row] = domain(record[domainAt]);
    });
    return [property(column)];
  });
}

function empty(id, n_rows, known) {
  const { label, units } = known.find((one) => one.id === id) ?? { label: id, units: "" };
  const filled = () => new Float64Array(n_rows).fill(NaN);
  return { id, label, units, values: filled(), lower: filled(), upper: filled(), domains: new Uint8Array(n_rows) };
}

/** The other columns of numbers. */
function numbers(header, records, isWanted) {
  return header.flatMap((label, at) => {
    if (!isWanted(label, at)) return [];
    const n_filled = records.filter((record) => record[at]?.trim()).length;
    const values = Float64Array.from(records, (record) => number(record[at]));
    const n_numbers = values.filter((value) => !Number.isNaN(value)).length;
    return n_numbers > 0 && n_numbers >= SHARE_OF_NUMBERS * n_filled ? [plain(label || `Column ${at + 1}`, values)] : [];
  });
}

function number(cell) {
  const value = cell?.trim() ? Number(cell) : NaN;
  return Number.isFinite(value) ? value : NaN;
}

function domain(cell) { return Math.max(0, DOMAINS.indexOf(cell ?? "")); }
