// Which point is nearest to the pointer, without a look at each of a hundred thousand.

const REACH_PX = 20; // how near the pointer must be

/** Points in squares of the reach's size, so that only nine squares are looked at. */
export class PointIndex {
  /**
   * @param {number[]} rows
   * @param {(row: number) => number} left - in pixels
   * @param {(row: number) => number} top
   * @param {number} width - of the plot
   * @param {number} height
   */
  constructor(rows, left, top, width, height) {
    this.left = left;
    this.top = top;
    this.n_across = Math.floor(width / REACH_PX) + 1;
    this.n_down = Math.floor(height / REACH_PX) + 1;
    // Counted first, so that all squares share one array.
    this.starts = new Uint32Array(this.n_across * this.n_down + 1);
    const squares = Int32Array.from(rows, (row) => this.#square(left(row), top(row)));
    for (const square of squares) this.starts[square + 1] += 1;
    for (let i = 1; i < this.starts.length; i += 1) this.starts[i] += this.starts[i - 1];
    const free = this.starts.slice();
    this.rows = new Uint32Array(rows.length);
    squares.forEach((square, i) => { this.rows[free[square]] = rows[i]; free[square] += 1; });
  }

  #square(left, top) {
    const across = Math.max(0, Math.min(this.n_across - 1, Math.floor(left / REACH_PX)));
    const down = Math.max(0, Math.min(this.n_down - 1, Math.floor(top / REACH_PX)));
    return down * this.n_across + across;
  }

  /** The nearest row within reach, the first of those equally near; null if there is none. */
  nearest(left, top) {
    let best = null;
    let least = REACH_PX ** 2;
    const [across, down] = [Math.floor(left / REACH_PX), Math.floor(top / REACH_PX)];
    for (let i = Math.max(0, down - 1); i <= Math.min(this.n_down - 1, down + 1); i += 1) {
      for (let j = Math.max(0, across - 1); j <= Math.min(this.n_across - 1, across + 1); j += 1) {
        const square = i * this.n_across + j;
        for (let at = this.starts[square]; at < this.starts[square + 1]; at += 1) {
          const row = this.rows[at];
          const distance = (this.left(row) - left) ** 2 + (this.top(row) - top) ** 2;
          if (distance < least || (distance === least && best === null)) { least = distance; best = row; }
        }
      }
    }
    return best;
  }
}
