// Which columns hold the polymers and which one the ids. The names are shared with `periogt batch`: table_rules.json.

import { MOST_CHARACTERS } from "./api.js";

const SNIFFED_ROWS = 50;

/** Columns of an input, in the order of the output. */
export const UNIT_INPUTS = ["smiles"];
export const COPOLYMER_INPUTS = ["smiles_a", "smiles_b", "ratio_a", "architecture"];

let rules = null;

/** Fetch the names of columns and the delimiters, once. */
export async function tableRules() {
  if (rules === null) {
    const response = await fetch(new URL("table_rules.json", import.meta.url));
    if (!response.ok) throw new Error(`the page's table of column names did not come (${response.status})`);
    rules = await response.json();
  }
  return rules;
}

/** Reduce a title to what is compared: lower case, letters and digits. */
export const nameOf = (title) => title.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");

/** Whether a cell looks like a repeat unit: two connection points, no blank or delimiter. There is no RDKit in the browser. */
export function looksLikeUnit(cell) {
  const text = cell.trim();
  return text.split("*").length === 3 && text.length > 2 && !/[\s,;]/.test(text);
}

/** Whether the first line is a row: one of its cells looks like a polymer and none is the name of a column of polymers. */
export function lacksHeader({ lines: [first] }, { smiles_names }) {
  return first.some(looksLikeUnit) && !first.some((cell) => smiles_names.includes(nameOf(cell)));
}

/**
 * Divide lines into header and rows, and guess the columns.
 * @param {{name: string, lines: string[][]}} file
 * @param {Object} given - the rules
 * @param {boolean} hasHeader
 * @returns {{hasHeader: boolean, header: string[], records: string[][], smiles: Guess, id: Guess}} a position is -1 where no column was found;
 *   a problem is what the user has to decide or to know: {kind, message}, or null
 * @typedef {{at: number, problem: ?{kind: string, message: string}}} Guess
 */
export function tableOf({ lines }, given, hasHeader) {
  const [first] = lines;
  if (!hasHeader) {
    const header = first.map((_, at) => `Column ${at + 1}`);
    return { hasHeader, header, records: lines, smiles: smilesGuess(header, lines, unitColumns(first)), id: { at: -1, problem: null } };
  }
  const header = first.map((title) => title.trim());
  const records = lines.slice(1);
  const ids = named(header, "id", given.id_names);
  const id = ids.length > 1 ? { at: -1, problem: several(header, ids, "ids", "id") } : { at: ids[0] ?? -1, problem: null };
  return { hasHeader, header, records, smiles: smilesGuess(header, records, named(header, "smiles", given.smiles_names)), id };
}

/** Positions of the columns with a known name; only those that are called exactly so, if there are any. */
function named(header, exact, names) {
  const found = header.flatMap((title, at) => (names.includes(nameOf(title)) ? [at] : []));
  const same = found.filter((at) => header[at] === exact);
  return same.length > 0 ? same : found;
}

function unitColumns(first) {
  if (first.length === 1) return [0];
  return first.flatMap((cell, at) => (looksLikeUnit(cell) ? [at] : []));
}

function smilesGuess(header, records, candidates) {
  if (candidates.length > 1) return { at: -1, problem: several(header, candidates, "polymers", "SMILES") };
  return candidates.length === 1 ? { at: candidates[0], problem: null } : guessedByContent(header, records);
}

function several(header, candidates, what, column) {
  const names = candidates.map((at) => header[at]).join(", ");
  return { kind: "two_candidates", message: `${candidates.length} columns may hold the ${what}: ${names}. Choose the ${column} column.` };
}

/** No name is known: take the only column whose cells look like polymers, and say so. */
function guessedByContent(header, records) {
  const some = records.slice(0, SNIFFED_ROWS);
  const found = header.flatMap((_, at) => (some.some((record) => looksLikeUnit(record[at] ?? "")) ? [at] : []));
  const problem = { kind: "no_smiles_column", message: "No column has a known name, such as smiles. Choose the SMILES column." };
  if (found.length !== 1) return { at: -1, problem };
  const [at] = found;
  problem.message = `No column has a known name, such as smiles. ${header[at] || `Column ${at + 1}`} is used because its cells look like polymers.`;
  return { at, problem };
}

/**
 * Find the columns of copolymers.
 * @param {string[]} header
 * @param {Object} given - the rules
 * @returns {?Object<string, number>} positions by name, -1 for a ratio of B that is not there; null unless the file has each of the others once
 */
export function copolymerColumns(header, { copolymer_names }) {
  const found = Object.entries(copolymer_names).map(([column, names]) => [column, named(header, column, names)]);
  const isWhole = found.every(([column, positions]) => positions.length === 1 || (column === "ratio_b" && positions.length === 0));
  return isWhole ? Object.fromEntries(found.map(([column, [at]]) => [column, at ?? -1])) : null;
}

/**
 * Return the rows. Only where there is no column of ids, a row's number is its id; a blank id stays blank.
 * @returns {Row[]}
 * @typedef {{id: string, cells: string[], units: string[], body: Object, problem: ?string}} Row - its cells as the
 *   output repeats them, the repeat units among them, what the service is asked, and why it cannot be asked
 */
export function rowsOf(records, smilesAt, idAt) {
  return records.map((record, i) => {
    const smiles = record[smilesAt] ?? "";
    return { id: idOf(record, idAt, i), cells: [smiles], units: [smiles], body: { smiles }, problem: smilesProblem(smiles) };
  });
}

/** Return the rows of a table of copolymers; likewise. */
export function copolymersOf(records, columns, idAt) {
  return records.map((record, i) => {
    const cell = (column) => record[columns[column]] ?? "";
    const cells = COPOLYMER_INPUTS.map(cell);
    const [smiles_a, smiles_b, ratio, architecture] = cells;
    const copolymer = { smiles_a, smiles_b, ratio_a: Number(ratio), architecture: architecture.trim() };
    const problem = monomerProblem("A", smiles_a) ?? monomerProblem("B", smiles_b) ?? ratioProblem(ratio, cell("ratio_b"));
    return { id: idOf(record, idAt, i), cells, units: [smiles_a, smiles_b], body: { copolymer }, problem };
  });
}

function idOf(record, idAt, i) { return idAt >= 0 ? (record[idAt] ?? "") : String(i); }

/** Why the API would not take a SMILES as part of a request, in the words of `periogt batch`; null if it would. */
function smilesProblem(smiles) {
  if (!smiles.trim()) return "The SMILES is empty; expected a repeat unit with two connection points, such as *CC(*)c1ccccc1.";
  if (smiles.length > MOST_CHARACTERS) return `The SMILES has ${smiles.length} characters; at most ${MOST_CHARACTERS} are accepted.`;
  return null;
}

function monomerProblem(name, smiles) {
  const problem = smilesProblem(smiles);
  return problem && `Monomer ${name}: ${problem}`;
}

/** The ratio of B is only compared: the service takes that of A. */
function ratioProblem(ratioOfA, ratioOfB) {
  const given = ratioOfB.trim() ? [["ratio_b", ratioOfB], ["ratio_a", ratioOfA]] : [["ratio_a", ratioOfA]];
  for (const [name, text] of given) {
    if (!text.trim()) return `${name} is blank; expected a number.`;
    if (!Number.isFinite(Number(text))) return `${name} is '${text.slice(0, 40)}'; expected a number.`;
  }
  const [a, b] = [Number(ratioOfA), Number(ratioOfB)];
  if (given.length === 1 || a + b === 1) return null;
  return `The ratios ${a} and ${b} add up to ${a + b}; expected 1. Leave ratio_b out, or give both as molar fractions.`;
}

const MOST_NUMBER_COLUMNS = 8;
/** Of a column's cells, so that it counts as one of numbers. */
export const SHARE_OF_NUMBERS = 0.8;

/**
 * Return the columns of numbers, such as measured values, for the plot of two columns.
 * @param {{header: string[], records: string[][]}} table
 * @param {number[]} taken - positions of other columns
 * @param {{id: string, label: string}[]} properties - one that a column is named after is named with it
 * @returns {{label: string, values: Float64Array, property: ?string}[]}
 */
export function numbersOf({ header, records }, taken, properties) {
  const number = (cell) => (cell?.trim() ? Number(cell) : NaN);
  const found = header.flatMap((label, at) => {
    if (taken.includes(at)) return [];
    const values = Float64Array.from(records, (record) => number(record[at]));
    const n_filled = records.filter((record) => record[at]?.trim()).length;
    const n_numbers = values.filter((value) => !Number.isNaN(value)).length;
    if (n_numbers === 0 || n_numbers < SHARE_OF_NUMBERS * n_filled) return [];
    const named = properties.find(({ id, label: name }) => [id, name].some((text) => nameOf(text) === nameOf(label)));
    const isValue = ["value", "measured", "experimental"].includes(nameOf(label));
    const property = named?.id ?? (isValue && properties.length === 1 ? properties[0].id : null);
    return [{ label: label || `Column ${at + 1}`, values, property }];
  });
  return found.slice(0, MOST_NUMBER_COLUMNS);
}
