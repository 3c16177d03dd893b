// Which column holds the polymers and which one the ids. The names are shared with `periogt batch`: table_rules.json.

const SNIFFED_ROWS = 50;

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
  problem.message = `No column has a known name, such as smiles. ${header[at] || `Column ${at + 1}`} is taken because its cells look like polymers.`;
  return { at, problem };
}

/** Return the rows. Only where there is no column of ids, a row's number is its id; a blank id stays blank. */
export function rowsOf(records, smilesAt, idAt) {
  return records.map((record, i) => ({ id: idAt >= 0 ? (record[idAt] ?? "") : String(i), smiles: record[smilesAt] ?? "" }));
}

const MOST_NUMBER_COLUMNS = 8;
const SHARE_OF_NUMBERS = 0.8;

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
