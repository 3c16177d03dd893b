// The CSV of predictions that the page offers.

/** What stands behind the inputs. */
export const COLUMNS = ["property", "prediction_value", "prediction_units", "ok", "error_code", "error_message", "request_id", "interval_lower", "interval_upper", "domain", "warnings"];
const NOT_ASKED = { code: "cancelled", message: "Not predicted: the run was cancelled." };
const WAITING = { code: "not_ready", message: "The answer has not come yet." };

/**
 * Write results in the columns of `periogt batch`, one line a row and property, in input order.
 * @param {import("./columns.js").Row[]} rows
 * @param {import("./job.js").Answers} answers
 * @param {string[]} inputs - the columns of their cells
 */
export function writeCsv(rows, answers, inputs) {
  return csvText((function* lines() {
    yield ["id", ...inputs, ...COLUMNS];
    for (const row of rows.keys()) yield* linesOf(rows, answers, row);
  })());
}

/** The lines of one row, one a property. */
export function linesOf(rows, answers, row) {
  const { id, cells } = rows[row];
  return answers.properties.map(({ id: property }, column) => {
    const value = answers.values[column][row];
    const error = answers.error(row, column) ?? (Number.isNaN(value) ? NOT_ASKED : null);
    const result = error ? ["", "", "false", error.code, error.message] : [String(value), answers.units[column], "true", "", ""];
    const { lower, upper, domain } = answers.trust(row, column);
    const trust = [lower, upper].map((bound) => (Number.isNaN(bound) ? "" : String(bound))).concat(domain);
    return [id, ...cells, property, ...result, answers.requestIds[row], ...trust, answers.warnings(row, column).join("; ")];
  });
}

/** Write lines of cells, which need not be there all at once. */
export function csvText(lines, delimiter = ",") {
  return `${Array.from(lines, (line) => line.map((text) => cell(text, delimiter)).join(delimiter)).join("\n")}\n`;
}

/**
 * Write polymers in the columns of `periogt batch --wide`, one line a polymer, numbered from 1.
 * @param {{smiles: string, results: ?Object[], error: ?{code: string, message: string}, requestId: string}[]} polymers
 * @param {{id: string}[]} properties
 * @param {string} delimiter
 */
export function writeWide(polymers, properties, delimiter) {
  const ids = properties.map(({ id }) => id);
  const header = ["id", "smiles", ...ids, "ok", "error_code", "error_message",
    ...ids.flatMap((id) => [`${id}_interval_lower`, `${id}_interval_upper`, `${id}_domain`]), "warnings", "request_id"];
  const lines = polymers.map(({ smiles, results, error, requestId }, at) => {
    const found = properties.map((_, i) => results?.[i] ?? {});
    const failure = error ?? found.find(({ code }) => code !== undefined) ?? (results ? null : WAITING);
    const trust = found.flatMap(({ interval, domain }) => [number(interval?.lower), number(interval?.upper), domain?.status ?? ""]);
    const warnings = [...new Set(found.flatMap((result) => result.warnings ?? []))].join("; ");
    return [String(at + 1), smiles, ...found.map(({ prediction }) => number(prediction?.value)), String(failure === null),
      failure?.code ?? "", failure?.message ?? "", ...trust, warnings, requestId];
  });
  return csvText([header, ...lines], delimiter);
}

const number = (value) => (value === undefined ? "" : String(value));

/** Quote a cell where it has to be. */
function cell(text, delimiter) {
  return text.includes(delimiter) || /["\r\n]/.test(text) ? `"${text.replaceAll("\"", "\"\"")}"` : text;
}
