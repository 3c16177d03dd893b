"""The outermost eigenvalues of matrices of path lengths, by the method of Lanczos.

From a start vector each step multiplies by the matrix and makes the product orthogonal to the two vectors before. In
these vectors the matrix is tridiagonal, and its outermost eigenvalues soon are those of the matrix (C. Lanczos, J. Res.
Natl. Bur. Stand. 45, 255, 1950). All but a few eigenvalues of a matrix of path lengths lie near zero, so that takes
some nine steps; how close one is says its residual. That none is missed is for the caller to prove, by the signs of
pivots. See ``path_spectra`` for the matrices.
"""

from typing import Any

import numpy as np

from periogt_ray.polymer.kernels import kernel, kernel_part

__all__ = ["find_ends", "multiply"]

# Steps before the eigenvalues are looked at, and again, and at most: after many the vectors are no longer orthogonal.
_N_FIRST_STEPS, _N_MORE_STEPS, _N_MOST_STEPS = 9, 2, 25

# Residuals, relative to the largest eigenvalue, at which it and its eigenvector are exact, and the smallest one, whose
# error is the square of that over the distance to the next one; and what rounding makes of the first.
_LARGEST_RESIDUAL, _SMALLEST_RESIDUAL = 2e-13, 1e-7
_CHECKED_RESIDUAL = 1e-11

_N_BISECTIONS = 54

# Components' start and atoms; lengths within them [cells, k], diagonals [n, k].
_MATRICES = "Tuple((int32[::1], int32[::1], float64[:,::1], float64[:,::1]))"


@kernel(f"void({_MATRICES}, float64[:,::1], float64[:,::1], float64[:,::1])")
def multiply(matrices: Any, vectors: np.ndarray, products: np.ndarray, sums: np.ndarray) -> None:
    """Multiply each of k matrices by a vector: sums over all that hangs on an atom, then from the root outwards.

    ``matrices`` as in ``path_spectra``, ``vectors`` [n, k]; fills in ``products`` [n, k]; ``sums`` [n, k] is scratch.
    """
    part_start, part_atoms, cells, diagonals = matrices
    n_parts, root, n_sets = len(part_start) - 1, part_atoms[0], cells.shape[1]
    sums[:] = vectors
    products[root] = 0.0
    cell = len(cells)
    for part in range(n_parts - 1, -1, -1):
        first = part_start[part]
        joint, size = part_atoms[first], part_start[part + 1] - first
        cell -= size * size
        for i in range(1, size):
            atom = part_atoms[first + i]
            for one in range(n_sets):
                sums[joint, one] += sums[atom, one]
                products[root, one] += cells[cell + i, one] * sums[atom, one]
    outside = np.empty(n_sets)
    for part in range(n_parts):
        first = part_start[part]
        joint, size = part_atoms[first], part_start[part + 1] - first
        outside[:] = sums[root]
        for i in range(1, size):
            for one in range(n_sets):
                outside[one] -= sums[part_atoms[first + i], one]
        for i in range(1, size):
            atom, row = part_atoms[first + i], cell + i * size
            for one in range(n_sets):
                products[atom, one] = products[joint, one] + cells[row, one] * outside[one]
            for j in range(1, size):
                other = part_atoms[first + j]
                for one in range(n_sets):
                    products[atom, one] += (cells[row + j, one] - cells[cell + j, one]) * sums[other, one]
        cell += size * size
    for atom in range(len(diagonals)):
        for one in range(n_sets):
            products[atom, one] += diagonals[atom, one] * vectors[atom, one]


@kernel_part("void(float64[:,::1], float64[:,::1], int64, float64, float64[::1], float64[:,::1])")
def _ritz(
    alpha: np.ndarray, beta: np.ndarray, n_steps: int, side: float, values: np.ndarray, vectors: np.ndarray
) -> None:
    """Fill in the largest (side 1) or smallest (side -1) eigenvalues of tridiagonal matrices, and vectors [steps, k].

    By bisection: beyond an eigenvalue all pivots have one sign. The eigenvectors, of length 1, are built up from
    their last element, which is the smallest one.
    """
    n_sets = alpha.shape[1]
    inner, outer, pivot = np.empty(n_sets), np.empty(n_sets), np.empty(n_sets)
    is_outside = np.empty(n_sets)
    for one in range(n_sets):
        inner[one], bound = side * alpha[0, one], 0.0
        for step in range(n_steps):
            reach = abs(alpha[step, one]) + beta[step, one] + (beta[step - 1, one] if step > 0 else 0.0)
            bound = max(bound, reach)
        outer[one] = bound
    for _ in range(_N_BISECTIONS):
        for one in range(n_sets):
            values[one] = 0.5 * (inner[one] + outer[one])
            pivot[one] = values[one] - side * alpha[0, one]
            is_outside[one] = 1.0 if pivot[one] > 0.0 else 0.0
        for step in range(1, n_steps):
            for one in range(n_sets):
                below = pivot[one] if pivot[one] != 0.0 else 1e-300
                pivot[one] = values[one] - side * alpha[step, one] - beta[step - 1, one] * beta[step - 1, one] / below
                is_outside[one] = is_outside[one] if pivot[one] > 0.0 else 0.0
        for one in range(n_sets):
            inner[one] = inner[one] if is_outside[one] > 0.0 else values[one]
            outer[one] = values[one] if is_outside[one] > 0.0 else outer[one]
    for one in range(n_sets):
        values[one] = side * outer[one]
        vectors[n_steps - 1, one] = square = 1.0
        for step in range(n_steps - 1, 0, -1):
            value = (values[one] - alpha[step, one]) * vectors[step, one]
            if step < n_steps - 1:
                value -= beta[step, one] * vectors[step + 1, one]
            vectors[step - 1, one] = value / max(beta[step - 1, one], 1e-300)
            square += vectors[step - 1, one] * vectors[step - 1, one]
        square = 1.0 / np.sqrt(square)
        for step in range(n_steps):
            vectors[step, one] *= square


@kernel_part(f"void({_MATRICES}, int64, int64, float64[:,:,::1], float64[:,::1], float64[:,::1])")
def _extend(matrices: Any, begin: int, end: int, basis: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> None:
    """Take the steps from begin to end."""
    n, n_sets = basis.shape[1:]
    sums, squares = np.empty((n, n_sets)), np.empty(n_sets)
    for step in range(begin, end):
        now, following = basis[step], basis[step + 1]
        multiply(matrices, now, following, sums)
        alpha[step], squares[:] = 0.0, 0.0
        if step > 0:
            before, last = basis[step - 1], beta[step - 1]
            for atom in range(n):
                for one in range(n_sets):
                    following[atom, one] -= last[one] * before[atom, one]
        for atom in range(n):
            for one in range(n_sets):
                alpha[step, one] += following[atom, one] * now[atom, one]
        for atom in range(n):
            for one in range(n_sets):
                following[atom, one] -= alpha[step, one] * now[atom, one]
                squares[one] += following[atom, one] * following[atom, one]
        for one in range(n_sets):
            beta[step, one] = np.sqrt(squares[one])
            # 0 where all that can be reached is spanned; what follows then does not matter.
            squares[one] = 1.0 / max(beta[step, one], 1e-300)
        for atom in range(n):
            for one in range(n_sets):
                following[atom, one] *= squares[one]


@kernel(f"void({_MATRICES}, float64[::1], float64[:,::1], float64[:,::1], float64[:,::1])")
def _check(matrices: Any, largest: np.ndarray, vectors: np.ndarray, products: np.ndarray, sums: np.ndarray) -> None:
    """Bring the vectors to length 1, and replace eigenvalues by NaN whose residual is not that of an exact one."""
    n, n_sets = vectors.shape
    squares, residuals = np.zeros(n_sets), np.zeros(n_sets)
    for atom in range(n):
        for one in range(n_sets):
            squares[one] += vectors[atom, one] * vectors[atom, one]
    for one in range(n_sets):
        squares[one] = 1.0 / np.sqrt(squares[one])
    for atom in range(n):
        for one in range(n_sets):
            vectors[atom, one] *= squares[one]
    multiply(matrices, vectors, products, sums)
    for atom in range(n):
        for one in range(n_sets):
            difference = products[atom, one] - largest[one] * vectors[atom, one]
            residuals[one] += difference * difference
    for one in range(n_sets):
        if not residuals[one] <= (_CHECKED_RESIDUAL * largest[one]) ** 2:
            largest[one] = np.nan


@kernel(f"void({_MATRICES}, float64[::1], float64[::1], float64[:,::1])")
def find_ends(matrices: Any, largest: np.ndarray, smallest: np.ndarray, vectors: np.ndarray) -> None:
    """Fill in the outermost eigenvalues of k matrices: ``largest`` [k], NaN where it is not found, ``smallest`` [k].

    ``vectors`` [n, k] become the eigenvectors of the largest ones.
    """
    n, n_sets = vectors.shape
    n_most = min(_N_MOST_STEPS, n - 1)
    basis = np.empty((n_most + 1, n, n_sets))
    alpha, beta = np.empty((n_most, n_sets)), np.empty((n_most, n_sets))
    top, bottom = np.empty((n_most, n_sets)), np.empty((n_most, n_sets))
    # A slope along the chain, as atoms are numbered along it: no symmetry of the molecule leaves it alone.
    for atom in range(n):
        basis[0, atom] = n + atom
    basis[0] /= np.sqrt((basis[0, :, 0] * basis[0, :, 0]).sum())
    n_steps, is_open = 0, True
    while is_open and n_steps < n_most:
        begin, n_steps = n_steps, min(n_most, n_steps + (_N_MORE_STEPS if n_steps > 0 else _N_FIRST_STEPS))
        _extend(matrices, begin, n_steps, basis, alpha, beta)
        _ritz(alpha, beta, n_steps, 1.0, largest, top)
        _ritz(alpha, beta, n_steps, -1.0, smallest, bottom)
        is_open = False
        for one in range(n_sets):
            residual = beta[n_steps - 1, one] / largest[one]
            is_open |= not (
                residual * abs(top[n_steps - 1, one]) <= _LARGEST_RESIDUAL
                and residual * abs(bottom[n_steps - 1, one]) <= _SMALLEST_RESIDUAL
            )
    vectors[:] = 0.0
    for step in range(n_steps):
        for atom in range(n):
            for one in range(n_sets):
                vectors[atom, one] += basis[step, atom, one] * top[step, one]
    _check(matrices, largest, vectors, basis[0], basis[1])
