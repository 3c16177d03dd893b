// The order of rows by a column.

/** Compare numbers by size and texts as people count; what is missing comes last either way. */
export function comparison(key, isDescending) {
  const collator = new Intl.Collator("en", { numeric: true });
  const sign = isDescending ? -1 : 1;
  return (a, b) => {
    const [left, right] = [key(a), key(b)];
    if (typeof left === "string") return sign * collator.compare(left, right) || a - b;
    if (Number.isNaN(left) || Number.isNaN(right)) return Number.isNaN(left) - Number.isNaN(right) || a - b;
    return sign * (left - right) || a - b;
  };
}
