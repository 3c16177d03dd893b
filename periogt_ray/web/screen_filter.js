// Which rows of a table meet constraints.

/**
 * @typedef {{column: import("./screen_table.js").Column, low: ?number, high: ?number, isWhole: boolean}} Constraint -
 *   bounds that are included, null for none, and whether the whole interval has to lie within them
 */

/** Whether a row has a value at all, of a prediction or, where there are no predictions, of any column. */
export function hasValue({ columns }, row) {
  const predicted = columns.filter(({ isProperty }) => isProperty);
  return (predicted.length > 0 ? predicted : columns).some(({ values }) => !Number.isNaN(values[row]));
}

/**
 * Return the rows that meet every constraint; a row without the value, or without the interval that is asked for, does not.
 * @param {import("./screen_table.js").ScreenTable} table
 * @param {Constraint[]} constraints
 * @param {boolean} isInsideOnly - only rows inside the domain of every property that has one
 * @returns {number[]}
 */
export function passing(table, constraints, isInsideOnly) {
  const tests = constraints.filter(({ low, high }) => low !== null || high !== null).map(meets);
  if (isInsideOnly) tests.push(isInside(table));
  const rows = [];
  for (let row = 0; row < table.n_rows; row += 1) {
    if (hasValue(table, row) && tests.every((test) => test(row))) rows.push(row);
  }
  return rows;
}

function meets({ column, low, high, isWhole }) {
  const { values } = column;
  // Comparisons with NaN are false, so that what is not known does not pass.
  const lowest = isWhole && column.lower ? column.lower : values;
  const highest = isWhole && column.upper ? column.upper : values;
  return (row) => (low === null || lowest[row] >= low) && (high === null || highest[row] <= high) && !Number.isNaN(lowest[row] + highest[row]);
}

function isInside({ columns }) {
  const known = columns.flatMap(({ domains, values }) => (domains ? [{ domains, values }] : []));
  return (row) => known.length > 0 && known.every(({ domains, values }) => domains[row] === 1 || Number.isNaN(values[row]));
}
