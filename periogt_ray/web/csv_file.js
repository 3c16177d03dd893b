// From the text of a CSV file to its lines of cells. Papa Parse is loaded by the page as the global `Papa`.

import { lacksHeader, looksLikeUnit, nameOf } from "./columns.js";
import { FileError, readText } from "./file_text.js";

const MOST_ROWS = 100_000;
const SNIFFED_LINES = 20;
const SNIFFED_CHARACTERS = 2 ** 18;
const DELIMITER_NAMES = { ",": "commas", ";": "semicolons", "\t": "tabs" };

/**
 * Read a file.
 * @param {File|Blob} file
 * @param {string} name
 * @param {{delimiters: string[], smiles_names: string[]}} rules
 * @param {string} advice - what to do with a file of more rows
 * @returns {Promise<{name: string, lines: string[][], source: string[]}>} every line that is not blank, the first
 *   included, and what was found of the format, in words
 */
export async function readCsv(file, name, rules, advice = "Use `periogt batch` for larger files.") {
  const { text, encoding, isPacked } = await readText(file, name);
  const told = toldDelimiter(text);
  if (told && !rules.delimiters.includes(told.delimiter)) throw new FileError("format", `The first line of ${name} says that its delimiter is ${JSON.stringify(told.delimiter)}; expected a comma, a semicolon or a tab. Save it with one of these.`);
  const body = told ? text.slice(told.length) : text;
  const delimiter = told?.delimiter ?? guessedDelimiter(body, rules);
  const lines = parsed(body, delimiter, name);
  if (lines.length === 0) throw new FileError("empty", `${name} is empty; expected a header line with a column of SMILES, and rows.`);
  const n_rows = lines.length - (lacksHeader({ lines }, rules) ? 0 : 1);
  if (n_rows > MOST_ROWS) throw new FileError("format", `${name} has ${n_rows} rows; at most ${MOST_ROWS} rows are taken here. ${advice}`);
  const isOneColumn = lines.every(({ length }) => length === 1);
  const source = [isPacked ? "gzip" : "", encoding === "UTF-8" ? "" : encoding, isOneColumn ? "one column" : DELIMITER_NAMES[delimiter]];
  return { name, lines, source: source.filter(Boolean) };
}

/** Read a first line such as `sep=;`, which Excel writes and obeys; null if there is none. */
function toldDelimiter(text) {
  const [line, delimiter] = /^[\r\n]*"?sep=([^"\r\n])"?[,;\t ]*(?:\r\n?|\n|$)/i.exec(text) ?? [];
  return line === undefined ? null : { delimiter, length: line.length };
}

/** Choose the delimiter under which the first line names polymers and the next ones are as long as it. */
function guessedDelimiter(text, rules) {
  const start = text.slice(0, SNIFFED_CHARACTERS);
  let best = { delimiter: rules.delimiters[0], scores: [-1] };
  for (const delimiter of rules.delimiters) {
    const [first = [], ...others] = cells(start, delimiter, SNIFFED_LINES).data;
    const isSplit = first.length > 1;
    const scores = [
      Number(first.some((cell) => rules.smiles_names.includes(nameOf(cell)) || looksLikeUnit(cell))),
      isSplit ? (1 + others.filter(({ length }) => length === first.length).length) / (1 + others.length) : 0,
      first.length,
    ];
    if (isGreater(scores, best.scores)) best = { delimiter, scores };
  }
  return best.delimiter;
}

function isGreater(scores, others) {
  const at = scores.findIndex((score, i) => score !== others[i]);
  return at >= 0 && scores[at] > (others[at] ?? -1);
}

function parsed(text, delimiter, name) {
  const { data, errors } = cells(text, delimiter);
  const [malformed] = errors.filter(({ type }) => type === "Quotes");
  if (malformed) throw new FileError("quotes", `${name}: line ${malformed.row + 1} is malformed: ${malformed.message}. A field with a quote, delimiter or line break is written "like ""this""".`);
  return data;
}

function cells(text, delimiter, n_lines = 0) {
  const lines = withoutBlankLines(text, delimiter);
  if (lines === "") return { data: [], errors: [] };
  return window.Papa.parse(lines, { delimiter, newline: "\n", preview: n_lines });
}

/**
 * End each line by one line feed and leave blank lines out. Line ends inside of quotes stay. Papa Parse takes only one kind
 * of line end a file, and does not tell a blank line from one with an empty quoted field.
 */
function withoutBlankLines(text, delimiter) {
  const trimmed = text.replace(/^[\r\n]+|[\r\n]+$/g, "");
  if (!trimmed.includes("\"")) return trimmed.replace(/[\r\n]+/g, "\n");
  const quoted = "\"[^\"]*(?:\"\"[^\"]*)*\"";
  const between = new RegExp(`(^|[${delimiter.replace(/[\]\\^-]/, "\\$&")}])(${quoted})|[\\r\\n]+(${quoted})?`, "g");
  return trimmed.replace(between, (found, before, field, fieldOfLine = "") => (field === undefined ? `\n${fieldOfLine}` : found));
}
