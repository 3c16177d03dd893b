"""Extreme eigenvalues of a sparse symmetric matrix plus a constant, by bisection.

``A = S + c 1 1^T``, where S has the pattern of a molecular graph. A shift x is above the largest
eigenvalue if x - A is positive definite, and below the smallest if A - x is. Gaussian elimination
tells: all its pivots must be positive. Atoms are eliminated in the order of their degree, chain ends
first, so that hardly any bonds are added and one test costs a few operations an atom; the constant is
an additional row, eliminated last. Eliminating a definite matrix is stable without pivoting.
"""

import numpy as np

from periogt_ray.polymer.descriptors.molecule import Graph
from periogt_ray.polymer.kernels import kernel

__all__ = ["extreme_eigenvalues"]

# Relative to the width of the spectrum: 2^-45.
_N_BISECTIONS = 45


def extreme_eigenvalues(graph: Graph, bonds: np.ndarray, diagonals: np.ndarray, constant: float) -> np.ndarray:
    """Return the largest and the smallest eigenvalue of S + c 1 1^T.

    Parameters
    ----------
    graph : Graph
        Pattern of S.
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
    plan = _plan(graph.start, graph.neighbor, graph.bond)
    extremes: np.ndarray = _bisect(*plan, bonds, diagonals, constant, _N_BISECTIONS)
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


@kernel(
    "boolean(int32[::1], int32[::1], int32[::1], int32[::1], int32[::1], float64[::1], float64[::1], float64,"
    " float64, float64, float64[::1], float64[::1], float64[::1])"
)
def _is_definite(
    order: np.ndarray,
    row_start: np.ndarray,
    row_atom: np.ndarray,
    row_slot: np.ndarray,
    target: np.ndarray,
    bonds: np.ndarray,
    diagonal: np.ndarray,
    constant: float,
    shift: float,
    sign: float,
    pivot: np.ndarray,
    border: np.ndarray,
    element: np.ndarray,
) -> bool:
    # Of sign * (S + c 1 1^T - shift), as the bordered matrix [[sign * (S - shift), 1], [1^T, -sign / c]]: its last
    # pivot has to turn out negative for sign > 0, positive for sign < 0.
    n = len(order)
    for atom in range(n):
        pivot[atom] = sign * (diagonal[atom] - shift)
        border[atom] = 1.0
    for k in range(len(bonds)):
        element[k] = sign * bonds[k]
    for k in range(len(bonds), len(element)):
        element[k] = 0.0
    corner = -sign / constant
    position = 0
    n_negative = 0
    for step in range(n):
        atom = order[step]
        d = pivot[atom]
        if d <= 0.0:
            # The constant can lift one eigenvalue of S, and only upwards.
            n_negative += 1
            if sign < 0.0 or n_negative > 1:
                return False
            d = min(d, -1e-200)
        inverse = 1.0 / d
        scaled = border[atom] * inverse
        corner -= border[atom] * scaled
        first, last = row_start[step], row_start[step + 1]
        for i in range(first, last):
            factor = element[row_slot[i]] * inverse
            other = row_atom[i]
            pivot[other] -= factor * element[row_slot[i]]
            border[other] -= factor * border[atom]
            for j in range(first, i):
                element[target[position]] -= factor * element[row_slot[j]]
                position += 1
    if sign < 0.0:
        return corner > 0.0
    return (corner < 0.0) != (n_negative == 1)


@kernel(
    "float64[:,::1](int32[::1], int32[::1], int32[::1], int32[::1], int32[::1], float64[::1], float64[:,::1], float64,"
    " int64)"
)
def _bisect(
    order: np.ndarray,
    row_start: np.ndarray,
    row_atom: np.ndarray,
    row_slot: np.ndarray,
    target: np.ndarray,
    bonds: np.ndarray,
    diagonals: np.ndarray,
    constant: float,
    n_bisections: int,
) -> np.ndarray:
    n = len(order)
    result = np.empty((len(diagonals), 2))
    pivot, border = np.empty(n), np.empty(n)
    n_slots = len(bonds)
    for k in range(len(target)):
        n_slots = max(n_slots, target[k] + 1)
    element = np.empty(n_slots)
    radius = np.full(n, constant * n)  # of Gershgorin's circles
    for step in range(n):
        for k in range(row_start[step], row_start[step + 1]):
            if row_slot[k] < len(bonds):
                radius[order[step]] += abs(bonds[row_slot[k]])
                radius[row_atom[k]] += abs(bonds[row_slot[k]])
    for which in range(len(diagonals)):
        diagonal = diagonals[which]
        top, bottom = np.max(diagonal + radius), np.min(diagonal - radius)
        low, high = np.max(diagonal), top
        for _ in range(n_bisections):
            middle = 0.5 * (low + high)
            if _is_definite(
                order,
                row_start,
                row_atom,
                row_slot,
                target,
                bonds,
                diagonal,
                constant,
                middle,
                -1.0,
                pivot,
                border,
                element,
            ):
                high = middle
            else:
                low = middle
        result[which, 0] = 0.5 * (low + high)
        low, high = bottom, np.min(diagonal) + constant
        for _ in range(n_bisections):
            middle = 0.5 * (low + high)
            if _is_definite(
                order,
                row_start,
                row_atom,
                row_slot,
                target,
                bonds,
                diagonal,
                constant,
                middle,
                1.0,
                pivot,
                border,
                element,
            ):
                low = middle
            else:
                high = middle
        result[which, 1] = 0.5 * (low + high)
    return result
