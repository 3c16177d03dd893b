// The CSV of predictions that the page offers.

const COLUMNS = ["property", "prediction_value", "prediction_units", "ok", "error_code", "error_message", "request_id", "interval_lower", "interval_upper", "domain", "warnings"];
const NOT_ASKED = { code: "cancelled", message: "Not predicted: the run was cancelled." };

/**
 * Write results in the columns of `periogt batch`, one line a row and property, in input order.
 * @param {import("./columns.js").Row[]} rows
 * @param {import("./job.js").Answers} answers
 * @param {string[]} inputs - the columns of their cells
 */
export function writeCsv(rows, answers, inputs) {
  const lines = [["id", ...inputs, ...COLUMNS].join(",")];
  rows.forEach(({ id, cells }, row) => {
    answers.properties.forEach(({ id: property }, column) => {
      const value = answers.values[column][row];
      const error = answers.error(row, column) ?? (Number.isNaN(value) ? NOT_ASKED : null);
      const result = error ? ["", "", "false", error.code, error.message] : [String(value), answers.units[column], "true", "", ""];
      const { lower, upper, domain } = answers.trust(row, column);
      const trust = [lower, upper].map((bound) => (Number.isNaN(bound) ? "" : String(bound))).concat(domain);
      lines.push([id, ...cells, property, ...result, answers.requestIds[row], ...trust, answers.warnings(row, column).join("; ")].map(cell).join(","));
    });
  });
  return `${lines.join("\n")}\n`;
}

function cell(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll("\"", "\"\"")}"` : text;
}
