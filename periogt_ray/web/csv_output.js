// The CSV of predictions that the page offers.

const COLUMNS = ["id", "smiles", "property", "prediction_value", "prediction_units", "ok", "error_code", "error_message", "request_id", "interval_lower", "interval_upper", "domain", "warnings"];
const NOT_ASKED = { code: "cancelled", message: "This row was not asked: the run was cancelled." };

/** Write results in the columns of `periogt batch`, one line a row and property, in input order. */
export function writeCsv(rows, answers) {
  const lines = [COLUMNS.join(",")];
  rows.forEach(({ id, smiles }, row) => {
    answers.properties.forEach(({ id: property }, column) => {
      const value = answers.values[column][row];
      const error = answers.error(row, column) ?? (Number.isNaN(value) ? NOT_ASKED : null);
      const result = error ? ["", "", "false", error.code, error.message] : [String(value), answers.units[column], "true", "", ""];
      const { lower, upper, domain } = answers.trust(row, column);
      const trust = [lower, upper].map((bound) => (Number.isNaN(bound) ? "" : String(bound))).concat(domain);
      lines.push([id, smiles, property, ...result, answers.requestIds[row], ...trust, answers.warnings(row, column).join("; ")].map(cell).join(","));
    });
  });
  return `${lines.join("\n")}\n`;
}

function cell(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll("\"", "\"\"")}"` : text;
}
