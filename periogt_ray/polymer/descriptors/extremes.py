"""Extreme eigenvalues of a sparse symmetric matrix plus a constant, by bisection.

``A = S + c 1 1^T``, where S has the pattern of a molecular graph. A shift x is above the largest
eigenvalue if x - A is positive definite, and below the smallest if A - x is. Gaussian elimination
tells: all its pivots must be positive. Atoms are eliminated in the order of their degree, chain ends
first, so that hardly any bonds are added and one test costs a few operations an atom; the constant is
an additional row, eliminated last. Eliminating a definite matrix is stable without pivoting.
"""

from typing import Any

import numpy as np

from periogt_ray.polymer.descriptors.molecule import Graph
from periogt_ray.polymer.kernels import kernel, kernel_part

__all__ = ["Plan", "elimination_plan", "extreme_eigenvalues"]

# Order, row_start, row_atom, row_slot, target: see :func:`_plan`.
Plan = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]

# Relative to the width of the spectrum: 2^-32.
_N_BISECTIONS = 32

# Matrices and shifts that are tested at once: both ends of all twelve.
_N_LANES = 24


def elimination_plan(graph: Graph) -> Plan:
    """Return in which order atoms are eliminated, and what each of them changes."""
    plan: Plan = _plan(graph.start, graph.neighbor, graph.bond)
    return plan


def extreme_eigenvalues(plan: Plan, bonds: np.ndarray, diagonals: np.ndarray, constant: float) -> np.ndarray:
    """Return the largest and the smallest eigenvalue of S + c 1 1^T.

    Parameters
    ----------
    plan : Plan
        From :func:`elimination_plan` of the graph that is the pattern of S.
    bonds : numpy.ndarray
        float64 [m], elements of S at the bonds.
    diagonals : numpy.ndarray
        float64 [k, n], diagonal elements of S, for k matrices.
    constant : float
        c, positive.

    Returns
    -------
    numpy.ndarray
        float64 [k, 2].
    """
    extremes: np.ndarray = _bisect((*plan, bonds, diagonals, constant), _N_BISECTIONS)
    return extremes


@kernel("Tuple((int32[::1], int32[::1], int32[::1], int32[::1], int32[::1]))(int32[::1], int32[::1], int32[::1])")
def _plan(
    start: np.ndarray, neighbor: np.ndarray, bond: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    # Eliminate the atom of lowest degree, join its neighbours, and so on. For each step: the atom, the
    # elements of its row (row_start), and for each pair of them where the update goes. An element is
    # named by its slot; the first m slots are the bonds.
    n, m = len(start) - 1, len(bond) // 2
    slot = np.full((n, n), -1, np.int32)
    degree = np.zeros(n, np.int32)
    for atom in range(n):
        degree[atom] = start[atom + 1] - start[atom]
        for k in range(start[atom], start[atom + 1]):
            slot[atom, neighbor[k]] = bond[k]
    order = np.empty(n, np.int32)
    row_start = np.zeros(n + 1, np.int32)
    capacity = 4 * n + 4 * m + 16
    row_atom = np.empty(capacity, np.int32)
    row_slot = np.empty(capacity, np.int32)
    target = np.empty(4 * capacity, np.int32)
    is_gone = np.zeros(n, np.bool_)
    n_slots, n_rows, n_targets = m, 0, 0
    for step in range(n):
        best = -1
        for atom in range(n):
            if not is_gone[atom] and (best < 0 or degree[atom] < degree[best]):
                best = atom
                if degree[atom] <= 1:
                    break
        order[step] = best
        is_gone[best] = True
        if n_rows + n >= len(row_atom):
            row_atom = np.concatenate((row_atom, np.empty_like(row_atom), np.empty(n, np.int32)))
            row_slot = np.concatenate((row_slot, np.empty_like(row_slot), np.empty(n, np.int32)))
        first = n_rows
        for atom in range(n):
            if not is_gone[atom] and slot[best, atom] >= 0:
                row_atom[n_rows] = atom
                row_slot[n_rows] = slot[best, atom]
                n_rows += 1
                degree[atom] -= 1
        size = n_rows - first
        if n_targets + size * size >= len(target):
            target = np.concatenate((target, np.empty_like(target), np.empty(size * size, np.int32)))
        for i in range(first, n_rows):
            for j in range(first, i):
                a, b = row_atom[i], row_atom[j]
                if slot[a, b] < 0:
                    slot[a, b] = slot[b, a] = n_slots
                    n_slots += 1
                    degree[a] += 1
                    degree[b] += 1
                target[n_targets] = slot[a, b]
                n_targets += 1
        row_start[step + 1] = n_rows
    return order, row_start, row_atom[:n_rows].copy(), row_slot[:n_rows].copy(), target[:n_targets].copy()


# What the kernels hand each other: the plan, then elements at the bonds and diagonals [k, n].
_MATRICES = "Tuple((int32[::1], int32[::1], int32[::1], int32[::1], int32[::1], float64[::1], float64[:,::1], float64))"
# A matrix, a shift and a sign for each lane; room for pivots, the additional row and elements; the verdict.
_LANES = "Tuple((int64[::1], float64[::1], float64[::1], float64[:,::1], float64[:,::1], float64[:,::1], boolean[::1]))"


@kernel_part(f"void({_MATRICES}, {_LANES})")
def _are_definite(matrices: Any, lanes: Any) -> None:
    # Of sign * (S + c 1 1^T - shift), as the bordered matrix [[sign * (S - shift), 1], [1^T, -sign / c]]: its last
    # pivot has to turn out negative for sign > 0, positive for sign < 0. The constant can lift one eigenvalue of S,
    # and only upwards: for sign > 0 one pivot before the last may be negative.
    # Each loop over the lanes has few arrays, or the compiler cannot tell that they do not overlap.
    order, row_start, row_atom, row_slot, target, bonds, diagonals, constant = matrices
    which, shifts, signs, pivot, border, element, is_definite = lanes
    n_lanes = len(shifts)
    corner, n_negative = np.empty(n_lanes), np.zeros(n_lanes)
    inverse, factor = np.empty(n_lanes), np.empty(n_lanes)
    for lane in range(n_lanes):
        corner[lane] = -signs[lane] / constant
    for atom in range(len(order)):
        for lane in range(n_lanes):
            pivot[atom, lane] = signs[lane] * (diagonals[which[lane], atom] - shifts[lane])
            border[atom, lane] = 1.0
    for k in range(len(element)):
        for lane in range(n_lanes):
            element[k, lane] = signs[lane] * bonds[k] if k < len(bonds) else 0.0
    position = 0
    for step in range(len(order)):
        atom = order[step]
        for lane in range(n_lanes):
            d = pivot[atom, lane]
            inverse[lane] = 1.0 / (min(d, -1e-200) if d <= 0.0 else d)
        for lane in range(n_lanes):
            n_negative[lane] += 1.0 if inverse[lane] <= 0.0 else 0.0
        for lane in range(n_lanes):
            corner[lane] -= border[atom, lane] * border[atom, lane] * inverse[lane]
        first, last = row_start[step], row_start[step + 1]
        for i in range(first, last):
            slot, other = row_slot[i], row_atom[i]
            for lane in range(n_lanes):
                factor[lane] = element[slot, lane] * inverse[lane]
            for lane in range(n_lanes):
                pivot[other, lane] -= factor[lane] * element[slot, lane]
            for lane in range(n_lanes):
                border[other, lane] -= factor[lane] * border[atom, lane]
            for j in range(first, i):
                to, by = target[position], row_slot[j]
                for lane in range(n_lanes):
                    element[to, lane] -= factor[lane] * element[by, lane]
                position += 1
    for lane in range(n_lanes):
        if signs[lane] < 0.0:
            is_definite[lane] = n_negative[lane] == 0 and corner[lane] > 0.0
        else:
            is_definite[lane] = n_negative[lane] <= 1 and (corner[lane] < 0.0) != (n_negative[lane] == 1)


@kernel(f"float64[:,::1]({_MATRICES}, int64)")
def _bisect(matrices: Any, n_bisections: int) -> np.ndarray:
    order, row_start, row_atom, row_slot, target, bonds, diagonals, constant = matrices
    n_sets, n = diagonals.shape
    n_slots = len(bonds)
    for k in range(len(target)):
        n_slots = max(n_slots, target[k] + 1)
    radius = np.full(n, constant * n)  # of Gershgorin's circles
    for step in range(n):
        for k in range(row_start[step], row_start[step + 1]):
            if row_slot[k] < len(bonds):
                radius[order[step]] += abs(bonds[row_slot[k]])
                radius[row_atom[k]] += abs(bonds[row_slot[k]])
    lanes = (
        np.empty(_N_LANES, np.int64), np.empty(_N_LANES), np.empty(_N_LANES), np.empty((n, _N_LANES)),
        np.empty((n, _N_LANES)), np.empty((n_slots, _N_LANES)), np.empty(_N_LANES, np.bool_),
    )  # fmt: skip
    which, shifts, signs, _, _, _, is_definite = lanes
    # The inner end is among the eigenvalues, the outer one beyond them.
    inner, outer = np.empty(_N_LANES), np.empty(_N_LANES)
    result = np.empty((n_sets, 2))
    for begin in range(0, 2 * n_sets, _N_LANES):
        for lane in range(_N_LANES):
            index = min(begin + lane, 2 * n_sets - 1)
            which[lane], signs[lane] = index // 2, -1.0 if index % 2 == 0 else 1.0
            diagonal = diagonals[which[lane]]
            if index % 2 == 0:
                inner[lane], outer[lane] = np.max(diagonal), np.max(diagonal + radius)
            else:
                inner[lane], outer[lane] = np.min(diagonal) + constant, np.min(diagonal - radius)
        for _ in range(n_bisections):
            for lane in range(_N_LANES):
                shifts[lane] = 0.5 * (inner[lane] + outer[lane])
            _are_definite(matrices, lanes)
            for lane in range(_N_LANES):
                outer[lane] = shifts[lane] if is_definite[lane] else outer[lane]
                inner[lane] = inner[lane] if is_definite[lane] else shifts[lane]
        for lane in range(_N_LANES):
            result[which[lane], 0 if signs[lane] < 0.0 else 1] = 0.5 * (inner[lane] + outer[lane])
    return result
