"""What descriptors need of the spectrum of an adjacency matrix A, without its eigenvalues.

All follows from eliminating the atoms of a sparse matrix in the order of ``extremes``, a few operations an atom:

- the signs of the pivots of x - A count the eigenvalues on either side of x, and bisection ends at the outermost;
- the eigenvector of the largest one comes by inverse iteration, in which all numbers are positive;
- the sum of absolute eigenvalues is ``1/pi`` times the integral of ``ln |det(1 + i y A)|^2 / y^2`` over positive y
  (after Coulson, Proc. Camb. Phil. Soc. 36, 201, 1940). With y = e^t each eigenvalue adds the same smooth bump,
  shifted, so the trapezoidal rule converges exponentially with its step: to 3e-10 for 0.45;
- the sum of exponentials is a series of Chebyshev polynomials, whose traces are products of vectors around each atom.
"""

from typing import Any

import numpy as np

from periogt_ray.polymer.descriptors.extremes import Plan
from periogt_ray.polymer.descriptors.molecule import Graph
from periogt_ray.polymer.kernels import kernel, kernel_part

__all__ = ["adjacency_sums"]

_N_BISECTIONS = 48

# Beyond the largest eigenvalue, relative to it, for inverse iteration; its steps.
_SHIFT, _N_INVERSE = 1e-9, 4

# Points of y: step and ends of ln y, in vectors of so many.
_STEP, _FIRST, _N_POINTS, _N_LANES = 0.45, -11.5, 80, 8

_N_POLYNOMIALS = 8  # vectors of the series, for polynomials of twice the degree; the next term is below 1e-10

# LAPACK's eigenvector has an absolute error of about 5e-17 over the distance to the next eigenvalue. Where that may
# be seen in its smallest element, training saw rounding noise, and only LAPACK has the same.
_LEAST_CLEAR = 5e-10


def adjacency_sums(graph: Graph, plan: Plan) -> tuple[np.ndarray, np.ndarray] | None:
    """Return sums over the eigenvalues of an adjacency matrix and the leading eigenvector.

    Parameters
    ----------
    graph : Graph
        Connected, of two atoms or more.
    plan : Plan
        How its atoms are eliminated.

    Returns
    -------
    tuple of numpy.ndarray or None
        Largest and smallest eigenvalue, sum of absolute values, ln(1 + sum of exponentials), float64 [4]; the
        eigenvector of the largest, positive and of length 1, float64 [n]. None where LAPACK's eigenvector
        is rounding noise in part.
    """
    n_bonds = len(graph.bond) // 2
    largest, smallest, leading, is_clear = _extremes(plan, n_bonds)
    if not is_clear:
        return None
    absolute = _absolute_sum(plan, n_bonds)
    estrada = np.log(1.0 + _exponential_sum(graph.start, graph.neighbor, max(largest, -smallest)))
    return np.array([largest, smallest, absolute, estrada]), leading


# Order, row_start, row_atom, row_slot, target: see ``extremes._plan``.
_PLAN = "Tuple((int32[::1], int32[::1], int32[::1], int32[::1], int32[::1]))"


@kernel_part(f"int64({_PLAN}, int64, float64, float64[::1], float64[::1])")
def _factor(plan: Any, n_bonds: int, shift: float, pivot: np.ndarray, element: np.ndarray) -> int:
    """Fill in pivots [n] and eliminated elements [slots] of shift - A; return how many pivots are negative."""
    order, row_start, row_atom, row_slot, target = plan
    pivot[:] = shift
    element[:n_bonds] = -1.0
    element[n_bonds:] = 0.0
    n_negative, position = 0, 0
    for step in range(len(order)):
        atom = order[step]
        if pivot[atom] == 0.0:
            pivot[atom] = -1e-300
        n_negative += pivot[atom] < 0.0
        first = row_start[step]
        for i in range(first, row_start[step + 1]):
            factor = element[row_slot[i]] / pivot[atom]
            pivot[row_atom[i]] -= factor * element[row_slot[i]]
            for j in range(first, i):
                element[target[position]] -= factor * element[row_slot[j]]
                position += 1
    return n_negative


@kernel_part(f"void({_PLAN}, float64[::1], float64[::1], float64[::1])")
def _solve(plan: Any, pivot: np.ndarray, element: np.ndarray, vector: np.ndarray) -> None:
    """Solve for a right-hand side in place."""
    order, row_start, row_atom, row_slot, _ = plan
    for step in range(len(order)):
        scaled = vector[order[step]] / pivot[order[step]]
        for i in range(row_start[step], row_start[step + 1]):
            vector[row_atom[i]] -= element[row_slot[i]] * scaled
    for step in range(len(order) - 1, -1, -1):
        value = vector[order[step]]
        for i in range(row_start[step], row_start[step + 1]):
            value -= element[row_slot[i]] * vector[row_atom[i]]
        vector[order[step]] = value / pivot[order[step]]


@kernel(f"Tuple((float64, float64, float64[::1], boolean))({_PLAN}, int64)")
def _extremes(plan: Any, n_bonds: int) -> tuple[float, float, np.ndarray, bool]:
    """Return the outermost eigenvalues, the leading eigenvector, and whether it stands clear of rounding noise."""
    n, n_slots = len(plan[0]), n_bonds
    for k in range(len(plan[4])):
        n_slots = max(n_slots, plan[4][k] + 1)
    pivot, element, degree = np.empty(n), np.empty(n_slots), np.zeros(n)
    for step in range(n):
        for i in range(plan[1][step], plan[1][step + 1]):
            if plan[3][i] < n_bonds:
                degree[plan[0][step]] += 1.0
                degree[plan[2][i]] += 1.0
    bound = degree.max()
    ends = np.empty(2)
    for side in range(2):
        inner, outer = 0.0, bound * 1.001
        for _ in range(_N_BISECTIONS):
            middle = 0.5 * (inner + outer)
            n_negative = _factor(plan, n_bonds, middle if side == 0 else -middle, pivot, element)
            is_outside = n_negative == 0 if side == 0 else n_negative == n
            inner, outer = (inner, middle) if is_outside else (middle, outer)
        ends[side] = outer
    _factor(plan, n_bonds, ends[0] * (1.0 + _SHIFT), pivot, element)
    vector = np.ones(n)
    for _ in range(_N_INVERSE):
        _solve(plan, pivot, element, vector)
        vector /= np.sqrt((vector * vector).sum())
    least = vector.min()
    if not least > 0.0:
        return ends[0], -ends[1], vector, False
    n_above = _factor(plan, n_bonds, ends[0] - _LEAST_CLEAR / least, pivot, element)
    return ends[0], -ends[1], vector, n_above == 1


@kernel_part(f"void({_PLAN}, int64, float64[::1], float64[:,:,::1], float64[:,:,::1], float64[::1])")
def _log_determinants(
    plan: Any, n_bonds: int, points: np.ndarray, pivot: np.ndarray, element: np.ndarray, logs: np.ndarray
) -> None:
    """Fill in ln |det(1 + i y A)|^2 for some y at once; pivots [n, 2, y] and elements [slots, 2, y] are room."""
    # Each loop over the lanes has few arrays, or the compiler cannot tell that they do not overlap.
    order, row_start, row_atom, row_slot, target = plan
    n_lanes, position = len(points), 0
    pivot[:, 0], pivot[:, 1], element[:, 0], element[:, 1] = 1.0, 0.0, 0.0, 0.0
    for slot in range(n_bonds):
        element[slot, 1] = points
    real, imaginary, product = np.empty(n_lanes), np.empty(n_lanes), np.ones(n_lanes)
    factor = np.empty((2, n_lanes))
    logs[:] = 0.0
    for step in range(len(order)):
        one = pivot[order[step]]
        for lane in range(n_lanes):
            # No pivot is below 1, but for rounding at the largest y, where hardly anything is added.
            square = max(one[0, lane] * one[0, lane] + one[1, lane] * one[1, lane], 1.0)
            product[lane] *= square
            real[lane], imaginary[lane] = one[0, lane] / square, -one[1, lane] / square
        # No pivot is above 1 + y^2, so no product of four squares overflows.
        if step % 4 == 3 or step == len(order) - 1:
            for lane in range(n_lanes):
                logs[lane] += np.log(product[lane])
                product[lane] = 1.0
        first = row_start[step]
        for i in range(first, row_start[step + 1]):
            row, other = element[row_slot[i]], pivot[row_atom[i]]
            for lane in range(n_lanes):
                factor[0, lane] = row[0, lane] * real[lane] - row[1, lane] * imaginary[lane]
                factor[1, lane] = row[0, lane] * imaginary[lane] + row[1, lane] * real[lane]
            for lane in range(n_lanes):
                other[0, lane] -= factor[0, lane] * row[0, lane] - factor[1, lane] * row[1, lane]
                other[1, lane] -= factor[0, lane] * row[1, lane] + factor[1, lane] * row[0, lane]
            for j in range(first, i):
                to, by = element[target[position]], element[row_slot[j]]
                for lane in range(n_lanes):
                    to[0, lane] -= factor[0, lane] * by[0, lane] - factor[1, lane] * by[1, lane]
                    to[1, lane] -= factor[0, lane] * by[1, lane] + factor[1, lane] * by[0, lane]
                position += 1


@kernel(f"float64({_PLAN}, int64)")
def _absolute_sum(plan: Any, n_bonds: int) -> float:
    """Return the sum of the eigenvalues' absolute values."""
    n, n_slots = len(plan[0]), n_bonds
    for k in range(len(plan[4])):
        n_slots = max(n_slots, plan[4][k] + 1)
    pivot, element = np.empty((n, 2, _N_LANES)), np.empty((n_slots, 2, _N_LANES))
    points, logs = np.empty(_N_LANES), np.empty(_N_LANES)
    # Below the first point the logarithm is the sum of squared eigenvalues times y^2: a geometric series.
    total = 2.0 * n_bonds * np.exp(_FIRST - _STEP) / (1.0 - np.exp(-_STEP))
    for begin in range(0, _N_POINTS, _N_LANES):
        for lane in range(_N_LANES):
            points[lane] = np.exp(_FIRST + _STEP * (begin + lane))
        _log_determinants(plan, n_bonds, points, pivot, element, logs)
        for lane in range(_N_LANES):
            total += logs[lane] / points[lane]
    return total * _STEP / np.pi


@kernel_part("float64(int64, float64)")
def _bessel(order: int, x: float) -> float:
    """Return the modified Bessel function of the first kind, for small x."""
    term = 1.0
    for k in range(1, order + 1):
        term *= 0.5 * x / k
    total = term
    for k in range(1, 30):
        term *= 0.25 * x * x / (k * (k + order))
        total += term
    return total


@kernel("float64(int32[::1], int32[::1], float64)")
def _exponential_sum(start: np.ndarray, neighbor: np.ndarray, radius: float) -> float:
    """Return the sum of the eigenvalues' exponentials; none of them is farther from zero than the radius."""
    n = len(start) - 1
    ball, seen = np.empty(n, np.int32), np.full(n, -1, np.int32)
    before, now = np.zeros(n), np.zeros(n)
    # Traces of T_0 to T_15 of A / radius: the trace of T_(j+k) + T_|j-k| is twice that of T_j T_k.
    traces = np.zeros(2 * _N_POLYNOMIALS)
    for source in range(n):
        ball[0], seen[source] = source, source
        now[source] = 1.0
        n_ball, n_before = 1, 0
        for degree in range(1, _N_POLYNOMIALS):
            n_last = n_ball
            for index in range(n_before, n_last):
                for k in range(start[ball[index]], start[ball[index] + 1]):
                    if seen[neighbor[k]] != source:
                        seen[neighbor[k]] = source
                        ball[n_ball] = neighbor[k]
                        n_ball += 1
            n_before = n_last
            scale = 1.0 / radius if degree == 1 else 2.0 / radius
            square = product = 0.0
            for index in range(n_ball):
                atom, value = ball[index], 0.0
                for k in range(start[atom], start[atom + 1]):
                    value += now[neighbor[k]]
                before[atom] = scale * value - before[atom]
                square += before[atom] * before[atom]
                product += before[atom] * now[atom]
            traces[2 * degree] += 2.0 * square
            traces[2 * degree - 1] += 2.0 * product
            before, now = now, before
        for index in range(n_ball):
            before[ball[index]] = now[ball[index]] = 0.0
    # T_0 has the trace n, T_1 none.
    total = n * _bessel(0, radius)
    for degree in range(1, 2 * _N_POLYNOMIALS - 1):
        trace = traces[degree] - (n if degree % 2 == 0 else 0.0)
        total += 2.0 * _bessel(degree, radius) * trace
    return total
