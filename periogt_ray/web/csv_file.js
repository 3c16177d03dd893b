// CSV in and out. Papa Parse is loaded by the page as the global `Papa`.

const MOST_BYTES = 64 * 2 ** 20;
export const MOST_ROWS = 100_000;
export const COLUMNS = ["id", "smiles", "property", "prediction_value", "prediction_units", "ok", "error_code", "error_message", "request_id"];

/** A file that cannot be used; the message is for the user. */
export class FileError extends Error {}

/**
 * Read a file.
 * @param {File|Blob} file
 * @returns {Promise<{name: string, header: string[], records: string[][]}>}
 */
export async function readCsv(file, name) {
  if (file.size > MOST_BYTES) throw new FileError(`${name} has ${Math.round(file.size / 2 ** 20)} MB; at most 64 MB are read here. Use \`periogt batch\` for larger files.`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new FileError(`${name} is not UTF-8. Save it as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8.`);
  }
  const { data, errors } = window.Papa.parse(text, { delimiter: ",", skipEmptyLines: true });
  const [malformed] = errors.filter(({ type }) => type === "Quotes");
  if (malformed) throw new FileError(`${name}: row ${malformed.row + 1} is malformed: ${malformed.message}. A field with a quote, comma or line break is written "like ""this""".`);
  const [header, ...records] = data;
  if (!header) throw new FileError(`${name} is empty; expected a header line with a column of SMILES.`);
  if (records.length === 0) throw new FileError(`${name} has a header line and no rows.`);
  if (records.length > MOST_ROWS) throw new FileError(`${name} has ${records.length} rows; at most ${MOST_ROWS} are taken here. Use \`periogt batch\` for larger files.`);
  return { name, header: header.map((title) => title.trim()), records };
}

/** Guess a column by its name, else by how many of its first cells look like repeat units; -1 if none does. */
export function smilesColumn({ header, records }) {
  const named = header.findIndex((title) => title.toLowerCase() === "smiles");
  if (named >= 0) return named;
  const scores = header.map((_, column) => records.slice(0, 50).filter((record) => (record[column] ?? "").includes("*")).length);
  const best = Math.max(...scores);
  return best > 0 ? scores.indexOf(best) : -1;
}

export function idColumn({ header }) {
  return header.findIndex((title) => title.toLowerCase() === "id");
}

/** Return the rows; without an id, its number is a row's id. */
export function rowsOf({ records }, smilesAt, idAt) {
  return records.map((record, i) => ({ id: (idAt >= 0 && record[idAt]) || String(i), smiles: record[smilesAt] ?? "" }));
}

/** Write results in the columns of `periogt batch`, one line a row and property, in input order. */
export function writeCsv(rows, answers) {
  const lines = [COLUMNS.join(",")];
  rows.forEach(({ id, smiles }, row) => {
    answers.properties.forEach(({ id: property }, column) => {
      const value = answers.values[column][row];
      const error = answers.error(row, column) ?? (Number.isNaN(value) ? NOT_ASKED : null);
      const result = error ? ["", "", "false", error.code, error.message] : [String(value), answers.units[column], "true", "", ""];
      lines.push([id, smiles, property, ...result, answers.requestIds[row]].map(cell).join(","));
    });
  });
  return `${lines.join("\n")}\n`;
}

const NOT_ASKED = { code: "cancelled", message: "This row was not asked: the run was cancelled." };

function cell(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll("\"", "\"\"")}"` : text;
}
