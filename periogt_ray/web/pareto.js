// Which rows no other row beats.

/**
 * Return the Pareto front: the rows that no other row dominates. A row dominates another one if it is at least as good in
 * every goal and better in one; so rows of equal values stay together, and a row as good in one goal and worse in the other goes.
 * @param {Iterable<number>} rows
 * @param {{values: Float64Array, sign: number}[]} goals - at most two; the sign is 1 to maximise and -1 to minimise
 * @returns {number[]} from the best in the first goal to the worst; none without a goal, and none of a row without a value
 */
export function paretoFront(rows, goals) {
  if (goals.length === 0) return [];
  const [first, second = first] = goals.map(({ values, sign }) => (row) => sign * values[row]);
  const known = [...rows].filter((row) => !Number.isNaN(first(row)) && !Number.isNaN(second(row)));
  known.sort((a, b) => first(b) - first(a) || second(b) - second(a) || a - b);
  const front = [];
  let best = -Infinity; // in the second goal
  for (const row of known) {
    const last = front.at(-1);
    const isEqual = last !== undefined && first(row) === first(last) && second(row) === second(last);
    // What comes later is no better in the first goal, so only a better second goal keeps it.
    if (isEqual || second(row) > best) front.push(row);
    best = Math.max(best, second(row));
  }
  return front;
}
