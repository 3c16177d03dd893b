"""What descriptors need of the spectrum of a matrix of path lengths, without its eigenvalues.

``A = D + diag``, where D holds the length of a path between each pair of atoms, and paths between biconnected
components pass the atoms that join them (see ``distances``). Take from each atom's row, and column, those of the joint
of its component. What is left of D is a block within each component, and one row and column of the root: for two
atoms of different components the four lengths cancel. The diagonal couples an atom to its joint only. So elimination
from the leaves of the tree of components to its root costs a few operations an atom. It is a congruence: the signs
of the pivots count the eigenvalues on either side of a shift (Sylvester's law of inertia).

Such a matrix has one large positive eigenvalue and few other positive ones, so sums over all eigenvalues
follow from those above a threshold t and the trace:
``sum |x - t| = 2 sum over x > t of (x - t) - (trace - n t)``.
"""

from typing import Any, NamedTuple

import numpy as np

from periogt_ray.polymer.descriptors.distances import Components, compose
from periogt_ray.polymer.descriptors.lanczos import find_ends, multiply
from periogt_ray.polymer.kernels import kernel, kernel_part

__all__ = ["SpectralSums", "dense_sums", "path_sums", "total_length"]

# Below this largest eigenvalue the others are seen in a sum of exponentials, and the matrix is small.
_LARGE = 40.0

# Relative to the largest eigenvalue: how closely the smallest is known, and others that are only summed.
_PRECISION = 5e-10
_SUM_PRECISION = 2e-9

# Likewise, how far beside a threshold eigenvalues are counted.
_OFFSET = 1.7e-10

# One eigenvalue besides the largest for so many atoms costs as much to find as all of them by LAPACK.
_ATOMS_PER_VALUE = 2

# Pairs of a matrix and a shift that are eliminated at once, so that the processor's vector instructions have work.
_N_LANES = 16


class SpectralSums(NamedTuple):
    """Of k symmetric matrices of n atoms, from their eigenvalues x."""

    largest: np.ndarray  # float64 [k]
    smallest: np.ndarray  # float64 [k]
    absolute: np.ndarray  # float64 [k], sum of |x|
    deviation: np.ndarray  # float64 [k], sum of |x - mean|
    log_estrada: np.ndarray  # float64 [k], ln(1 + sum of exp(x))
    trace: np.ndarray  # float64 [k]
    leading: np.ndarray  # float64 [k, n], eigenvectors of the largest, of length 1


def dense_sums(matrices: np.ndarray) -> SpectralSums:
    """Return the sums from all eigenvalues and eigenvectors, computed by LAPACK.

    Parameters
    ----------
    matrices : numpy.ndarray
        float64 [k, n, n], symmetric.
    """
    values, vectors = np.linalg.eigh(matrices)
    top = np.maximum(values[:, -1], 0.0)
    return SpectralSums(
        largest=values[:, -1],
        smallest=values[:, 0],
        absolute=np.abs(values).sum(axis=1),
        deviation=np.abs(values - values.mean(axis=1, keepdims=True)).sum(axis=1),
        log_estrada=top + np.log(np.exp(values - top[:, None]).sum(axis=1) + np.exp(-top)),
        trace=np.trace(matrices, axis1=1, axis2=2),
        leading=vectors[:, :, -1],
    )


def path_sums(parts: Components, cells: np.ndarray, diagonals: np.ndarray) -> SpectralSums:
    """Return the sums of matrices of path lengths.

    Parameters
    ----------
    parts : Components
        Of a connected graph of n atoms.
    cells : numpy.ndarray
        float64 [k, cells], positive lengths within each component, for k matrices.
    diagonals : numpy.ndarray
        float64 [k, n].
    """
    n_sets, n_atoms = diagonals.shape
    numbers, vectors, is_found = np.empty((n_sets, 5)), np.empty((n_atoms, n_sets)), np.zeros(n_sets, dtype=bool)
    if n_atoms > 1:
        is_found = _all_sums(
            parts.start, parts.atoms, np.ascontiguousarray(cells.T), np.ascontiguousarray(diagonals.T), numbers, vectors
        )
    trace = diagonals.sum(axis=1)
    largest, smallest, above_zero, above_mean, _ = numbers.T.copy()
    leading = np.ascontiguousarray(vectors.T)
    sums = SpectralSums(largest, smallest, 2.0 * above_zero - trace, 2.0 * above_mean, largest.copy(), trace, leading)
    for which in np.flatnonzero(~is_found):
        matrix = compose(parts, cells[which])
        np.fill_diagonal(matrix, diagonals[which])
        for found, dense in zip(sums, dense_sums(matrix[None]), strict=True):
            found[which] = dense[0]
    return sums


def total_length(parts: Components, cells: np.ndarray, n_atoms: int) -> float:
    """Return the sum of the path lengths from each of n atoms to each.

    Parameters
    ----------
    parts : Components
        Of a connected graph.
    cells : numpy.ndarray
        float64 [cells], lengths within each component.
    n_atoms : int
        n.
    """
    if n_atoms < 2:
        return 0.0
    products, sums = np.empty((2, n_atoms, 1))
    matrices = parts.start, parts.atoms, cells[:, None], np.zeros((n_atoms, 1))
    multiply(matrices, np.ones((n_atoms, 1)), products, sums)
    return float(products.sum())


# What the kernels hand each other: the components' start and atoms; lengths within them [cells, k], diagonals [n, k].
_MATRICES = "Tuple((int32[::1], int32[::1], float64[:,::1], float64[:,::1]))"
# Matrices and shifts that are asked for, a lane each; positive pivots but the last, the last.
_LANES = "Tuple((int64[::1], float64[::1], float64[::1], float64[::1]))"
# Room to compute in, some numbers beside each other for each lane: four an atom; by the largest component's size w
# a square matrix whose rows end in the second right-hand side and begin with the first, [w, w + 1].
_ROOM = "Tuple((float64[:,::1], float64[:,::1]))"


@kernel_part(f"void({_MATRICES}, {_LANES}, {_ROOM})")
def _eliminate(matrices: Any, lanes: Any, room: Any) -> None:
    """Find the pivots of A - shift, for several pairs of a matrix and a shift at once.

    The form x' (A - shift) x is written in the sums y of x over all that hangs on an atom. What is eliminated of
    it hangs on an atom as ``a y y + 2 b y r + c r r``, where r is the sum over the whole molecule. An atom's four
    numbers are a, b, c and how many pivots were positive.

    Instead of the cells themselves it takes their blocks, see :func:`_blocks`.

    Each loop over the lanes has few arrays, or the compiler cannot tell that they do not overlap. In the loop that has
    more the number of lanes is a constant, so that it can.
    """
    part_start, part_atoms, blocks, diagonals = matrices
    which, shifts, n_positive, last = lanes
    form, block = room
    n_lanes = len(shifts)
    for atom in range(len(diagonals)):
        form[atom] = 0.0
        for lane in range(n_lanes):
            form[atom, lane] = diagonals[atom, which[lane]] - shifts[lane]
    scaled = np.empty(n_lanes)
    cell = len(blocks)
    for part in range(len(part_start) - 2, -1, -1):
        first = part_start[part]
        joint, size = part_atoms[first], part_start[part + 1] - first
        cell -= size * size
        end = size * _N_LANES
        for i in range(1, size):
            atom, row = part_atoms[first + i], cell + i * size
            for j in range(i + 1):
                at = j * _N_LANES
                for lane in range(n_lanes):
                    block[i, at + lane] = blocks[row + j, which[lane]]
                if j > 0:
                    for lane in range(n_lanes):
                        block[i, at + lane] += form[joint, lane]
            at = i * _N_LANES
            for lane in range(n_lanes):
                block[i, lane] += form[atom, _N_LANES + lane] - form[joint, _N_LANES + lane]
                block[i, at + lane] += form[atom, lane]
            for lane in range(n_lanes):
                block[i, end + lane] = -form[joint, lane]
        for i in range(1, size):
            atom, at = part_atoms[first + i], i * _N_LANES
            for lane in range(_N_LANES):
                pivot = block[i, at + lane]
                inverse = 1.0 / (-1e-300 if pivot == 0.0 else pivot)
                block[i, at + lane] = inverse
                left, right = block[i, end + lane], block[i, lane]
                form[joint, lane] -= left * inverse * left
                form[joint, _N_LANES + lane] -= left * inverse * right
                form[joint, 2 * _N_LANES + lane] += form[atom, 2 * _N_LANES + lane] - right * right * inverse
                form[joint, 3 * _N_LANES + lane] += form[atom, 3 * _N_LANES + lane] + (1.0 if inverse > 0.0 else 0.0)
            for j in range(i + 1, size):
                for lane in range(n_lanes):
                    scaled[lane] = block[j, at + lane] * block[i, at + lane]
                for lane in range(n_lanes):
                    block[j, lane] -= scaled[lane] * block[i, lane]
                for lane in range(n_lanes):
                    block[j, end + lane] -= scaled[lane] * block[i, end + lane]
                for k in range(i + 1, j + 1):
                    to = k * _N_LANES
                    for lane in range(n_lanes):
                        block[j, to + lane] -= scaled[lane] * block[k, at + lane]
    root = form[part_atoms[0]]
    for lane in range(n_lanes):
        n_positive[lane] = root[3 * _N_LANES + lane]
        last[lane] = root[lane] + 2.0 * root[_N_LANES + lane] + root[2 * _N_LANES + lane]


@kernel_part("float64[:,::1](int32[::1], float64[:,::1])")
def _blocks(part_start: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Take from each atom's row and column within a component those of the joint, which stay as they are."""
    blocks = cells.copy()
    cell = 0
    for part in range(len(part_start) - 1):
        size = part_start[part + 1] - part_start[part]
        for i in range(1, size):
            row = cell + i * size
            for j in range(1, size):
                for one in range(cells.shape[1]):
                    blocks[row + j, one] = cells[row + j, one] - cells[row, one] - cells[cell + j, one]
        cell += size * size
    return blocks


@kernel_part(f"void({_MATRICES}, int64[::1], float64[::1], int64[::1], {_LANES}, {_ROOM})")
def _count_above(
    matrices: Any, chosen: np.ndarray, thresholds: np.ndarray, counts: np.ndarray, lanes: Any, room: Any
) -> None:
    """Fill in how many eigenvalues of the chosen matrices are above the thresholds."""
    which, shifts, n_positive, last = lanes
    for begin in range(0, len(chosen), _N_LANES):
        for lane in range(_N_LANES):
            index = min(begin + lane, len(chosen) - 1)
            which[lane], shifts[lane] = chosen[index], thresholds[index]
        _eliminate(matrices, lanes, room)
        for lane in range(min(_N_LANES, len(chosen) - begin)):
            counts[begin + lane] = int(n_positive[lane]) + (1 if last[lane] > 0.0 else 0)


@kernel_part(f"void({_MATRICES}, float64[:,::1], int64[:,::1], int64[::1], float64[:,::1], {_LANES}, {_ROOM})")
def _add_others(
    matrices: Any,
    ends: np.ndarray,
    counts: np.ndarray,
    owner: np.ndarray,
    numbers: np.ndarray,
    lanes: Any,
    room: Any,
) -> None:
    """Add the eigenvalues in some intervals to the sums above zero and the mean, by bisection.

    An interval has two ends, the numbers of eigenvalues above them, and the matrix that owns it. The arrays are
    a stack, whose first places are filled in with the owners -1 behind them.
    """
    depth = 0
    while depth < len(owner) and owner[depth] >= 0:
        depth += 1
    middles = np.empty(_N_LANES)
    chosen, above = np.empty(_N_LANES, np.int64), np.empty(_N_LANES, np.int64)
    pairs, numbers_above = np.empty((_N_LANES, 2)), np.empty((_N_LANES, 2), np.int64)
    while depth > 0:
        n_taken = 0
        while depth > 0 and n_taken < _N_LANES:
            depth -= 1
            low, high, one = ends[depth, 0], ends[depth, 1], owner[depth]
            n_values = counts[depth, 0] - counts[depth, 1]
            if n_values <= 0:
                continue
            largest, mean = numbers[one, 0], numbers[one, 4]
            if high - low <= _SUM_PRECISION * largest:
                value = 0.5 * (low + high)
                if value > 0.0:
                    numbers[one, 2] += n_values * value
                if value > mean:
                    numbers[one, 3] += n_values * (value - mean)
                continue
            pairs[n_taken, 0], pairs[n_taken, 1] = low, high
            numbers_above[n_taken] = counts[depth]
            chosen[n_taken] = one
            # All but the largest are nearer to zero than to the largest.
            middles[n_taken] = low + (0.0625 if high == largest else 0.5) * (high - low)
            n_taken += 1
        if n_taken == 0:
            return
        _count_above(matrices, chosen[:n_taken], middles[:n_taken], above[:n_taken], lanes, room)
        for lane in range(n_taken):
            n_low, n_high = numbers_above[lane]
            n_middle = min(max(above[lane], n_high), n_low)
            ends[depth, 0], ends[depth, 1], ends[depth + 1, 0] = pairs[lane, 0], middles[lane], middles[lane]
            ends[depth + 1, 1] = pairs[lane, 1]
            counts[depth, 0], counts[depth, 1] = n_low, n_middle
            counts[depth + 1, 0], counts[depth + 1, 1] = n_middle, n_high
            owner[depth], owner[depth + 1] = chosen[lane], chosen[lane]
            depth += 2


@kernel_part(f"Tuple(({_LANES}, {_ROOM}))(int64, int64)")
def _make_lanes(n: int, width: int) -> tuple[Any, Any]:
    """Make the arrays for molecules of n atoms with components up to a width."""
    lanes = np.zeros(_N_LANES, np.int64), np.zeros(_N_LANES), np.zeros(_N_LANES), np.zeros(_N_LANES)
    return lanes, (np.empty((n, 4 * _N_LANES)), np.empty((width, (width + 1) * _N_LANES)))


@kernel("boolean[::1](int32[::1], int32[::1], float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1])")
def _all_sums(
    part_start: np.ndarray,
    part_atoms: np.ndarray,
    cells: np.ndarray,
    diagonals: np.ndarray,
    numbers: np.ndarray,
    leading: np.ndarray,
) -> np.ndarray:
    """Fill in the eigenvectors [n, k] and the numbers, and return where that succeeded.

    Numbers are the largest and smallest eigenvalue, the sums above zero and the mean, and the mean.
    """
    n, n_sets = diagonals.shape
    is_found = np.zeros(n_sets, np.bool_)
    matrices = part_start, part_atoms, cells, diagonals
    blocks = part_start, part_atoms, _blocks(part_start, cells), diagonals
    width = 0
    for part in range(len(part_start) - 1):
        width = max(width, part_start[part + 1] - part_start[part])
    smallest, largest = np.empty(n_sets), np.empty(n_sets)
    find_ends(matrices, largest, smallest, leading)
    chosen, thresholds = np.empty(4 * n_sets, np.int64), np.empty(4 * n_sets)
    for one in range(n_sets):
        mean = diagonals[:, one].sum() / n
        numbers[one, 0], numbers[one, 1], numbers[one, 4] = largest[one], smallest[one], mean
        numbers[one, 2], numbers[one, 3] = largest[one], largest[one] - mean
        chosen[4 * one : 4 * one + 4] = one
        # Others must be too far below it to be seen beside it in a sum of exponentials, and all above the smallest.
        thresholds[4 * one], thresholds[4 * one + 3] = largest[one] - _LARGE, smallest[one] - _PRECISION * largest[one]
        # Lengths and diagonals are ratios of small numbers: just at zero or the mean a pivot can vanish.
        offset = _OFFSET * largest[one]
        thresholds[4 * one + 1], thresholds[4 * one + 2] = min(mean, 0.0) + offset, max(mean, 0.0) + offset
    counts = np.zeros(4 * n_sets, np.int64)
    lanes, room = _make_lanes(n, width)
    _count_above(blocks, chosen, thresholds, counts, lanes, room)
    # At most one interval is open for each eigenvalue and each of its bisections, some of which are made at once.
    ends, above = np.empty((1024 + 2 * n_sets, 2)), np.empty((1024 + 2 * n_sets, 2), np.int64)
    owner = np.full(1024 + 2 * n_sets, -1, np.int64)
    depth = 0
    for one in range(n_sets):
        n_near, n_low, n_high, n_all = counts[4 * one : 4 * one + 4]
        if not largest[one] >= _LARGE or n_near != 1 or n_all != n or n_low - 1 > n // _ATOMS_PER_VALUE:
            continue
        is_found[one] = True
        for low, high, n_above_low, n_above_high in (
            (thresholds[4 * one + 1], thresholds[4 * one + 2], n_low, n_high),
            (thresholds[4 * one + 2], largest[one], n_high, 1),
        ):
            if n_above_low > n_above_high:
                ends[depth, 0], ends[depth, 1], owner[depth] = low, high, one
                above[depth, 0], above[depth, 1] = n_above_low, n_above_high
                depth += 1
    _add_others(blocks, ends, above, owner, numbers, lanes, room)
    return is_found
