"""Descriptors from the topological distances and degrees of the atoms, hydrogens left out."""

import math
import sys

import numpy as np

from periogt_ray.polymer.descriptors.molecule import MoleculeArrays
from periogt_ray.polymer.kernels import kernel

__all__ = ["topology_descriptors"]

# mordred 1.2.0 multiplied distances in float64: where the product overflows, training saw a zero.
_LOG_MAX_FLOAT = math.log(sys.float_info.max)

_EDGE_ELEMENTS = ((6, 4), (8, 2), (7, 3))  # atomic number, highest number of neighbours


def topology_descriptors(arrays: MoleculeArrays, distances: np.ndarray) -> dict[str, list[float] | np.ndarray]:
    """Return the blocks that need no more than distances and degrees.

    ``connectivity``, ``balaban_j``, ``eccentric_connectivity``, ``distance_edge``,
    ``topological_charge``, ``shape``, ``walk_count``, ``wiener`` and ``zagreb``.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
    distances : numpy.ndarray
        int32 [n, n].
    """
    degree = arrays.graph.degree.astype(np.int64)
    eccentricity = distances.max(axis=0).astype(np.int64)
    total = distances.sum(axis=0, dtype=np.int64)
    n_third, charge, charge_mean = _distance_sums(arrays.graph.start, arrays.graph.neighbor, distances)
    return {
        "connectivity": _connectivity(arrays, degree, distances),
        "balaban_j": [_balaban(arrays, total)],
        "eccentric_connectivity": [float((eccentricity * degree).sum())],
        "distance_edge": _distance_edges(arrays, degree, distances),
        "topological_charge": np.concatenate([charge, charge_mean, [charge_mean.sum()]]),
        "shape": _shape(int(eccentricity.max()), int(eccentricity.min())),
        "walk_count": _walk_counts(arrays),
        "wiener": [float(total.sum() // 2), float(n_third)],
        "zagreb": _zagreb(arrays, degree),
    }


def _connectivity(arrays: MoleculeArrays, degree: np.ndarray, distances: np.ndarray) -> list[float]:
    """Atom-bond connectivity, by degrees and by the numbers of atoms nearer to either end."""
    left, right = degree[arrays.begin], degree[arrays.end]
    nearer_left, nearer_right = _nearer(arrays.begin, arrays.end, distances)
    return [float(np.sqrt((a + b - 2.0) / (a * b)).sum()) for a, b in ((left, right), (nearer_left, nearer_right))]


def _balaban(arrays: MoleculeArrays, total: np.ndarray) -> float:
    n_bonds = len(arrays.begin)
    sums = total.astype(np.float64)
    return float(
        n_bonds / (n_bonds - arrays.n_atoms + 2) * (1.0 / np.sqrt(sums[arrays.begin] * sums[arrays.end])).sum()
    )


def _shape(diameter: int, radius: int) -> list[float]:
    return [
        diameter,
        radius,
        (diameter - radius) / radius if radius else math.nan,
        (diameter - radius) / diameter if diameter else math.nan,
    ]


def _zagreb(arrays: MoleculeArrays, degree: np.ndarray) -> list[float]:
    product = (degree[arrays.begin] * degree[arrays.end]).astype(np.float64)
    squares = degree.astype(np.float64) ** 2
    inverse = float((1.0 / squares).sum()) if degree.all() else math.nan
    return [float(squares.sum()), float(product.sum()), inverse, float((1.0 / product).sum())]


def _distance_edges(arrays: MoleculeArrays, degree: np.ndarray, distances: np.ndarray) -> list[float]:
    """Molecular distance edges: pairs of atoms of an element and two degrees, over their squared mean distance."""
    values = []
    for element, highest in _EDGE_ELEMENTS:
        atoms = np.flatnonzero((arrays.number == element) & (degree >= 1) & (degree <= highest)).astype(np.int32)
        counts, logs = _log_distances(atoms, degree, distances)
        for first in range(1, highest + 1):
            for second in range(first, highest + 1):
                count, log = counts[first, second], logs[first, second]
                if count == 0:
                    values.append(math.nan)
                else:
                    values.append(0.0 if log > _LOG_MAX_FLOAT else count / math.exp(log / count))
    return values


def _walk_counts(arrays: MoleculeArrays) -> np.ndarray:
    """Count walks of 1..10 steps and in all, then those that return; all but the first in logarithms."""
    walks, returning = _walks(arrays.graph.start, arrays.graph.neighbor)
    counts = np.log(walks + 1.0)
    counts[0] = 0.5 * walks[0]
    returns = np.log(returning[1:] + 1.0)
    n_atoms = arrays.n_atoms
    return np.concatenate([counts, [n_atoms + counts.sum()], returns, [n_atoms + returns.sum()]])


@kernel("Tuple((int64[::1], int64[::1]))(int32[::1], int32[::1], int32[:,::1])")
def _nearer(begin: np.ndarray, end: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n, m = len(distances), len(begin)
    left = np.zeros(m, np.int64)
    right = np.zeros(m, np.int64)
    for bond in range(m):
        a, b = distances[begin[bond]], distances[end[bond]]
        n_left = n_right = 0
        for atom in range(n):
            n_left += a[atom] < b[atom]
            n_right += b[atom] < a[atom]
        left[bond], right[bond] = n_left, n_right
    return left, right


@kernel("Tuple((int64, float64[::1], float64[::1]))(int32[::1], int32[::1], int32[:,::1])")
def _distance_sums(
    start: np.ndarray, neighbor: np.ndarray, distances: np.ndarray
) -> tuple[np.int64, np.ndarray, np.ndarray]:
    # The charge term of a pair is what the neighbours of each would feel of the other: the difference of
    # the sums of 1 / distance^2 (Galvez et al., J. Chem. Inf. Comput. Sci. 34, 520, 1994).
    n = len(distances)
    inverse = np.zeros(n + 2)
    for d in range(1, n + 2):
        inverse[d] = 1.0 / (d * d)
    count = np.zeros(11)
    charge = np.zeros(10)
    for i in range(n):
        row = distances[i]
        for j in range(i):
            d = row[j]
            if d > 10:
                continue
            count[d] += 1.0
            term = 0.0
            for k in range(start[i], start[i + 1]):
                term += inverse[distances[j, neighbor[k]]]
            for k in range(start[j], start[j + 1]):
                term -= inverse[row[neighbor[k]]]
            charge[d - 1] += abs(term)
    mean = np.zeros(10)
    for d in range(10):
        if count[d + 1] > 0.0:
            mean[d] = charge[d] / count[d + 1]
    return np.int64(count[3]), charge, mean


@kernel("Tuple((int64[:,::1], float64[:,::1]))(int32[::1], int64[::1], int32[:,::1])")
def _log_distances(atoms: np.ndarray, degree: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = np.zeros((5, 5), np.int64)
    total = np.zeros((5, 5))
    logs = np.zeros(len(distances) + 1)
    for d in range(1, len(logs)):
        logs[d] = np.log(d)
    for i in range(len(atoms)):
        for j in range(i):
            a, b = degree[atoms[i]], degree[atoms[j]]
            low, high = min(a, b), max(a, b)
            count[low, high] += 1
            total[low, high] += logs[distances[atoms[i], atoms[j]]]
    return count, total


@kernel("Tuple((float64[::1], float64[::1]))(int32[::1], int32[::1])")
def _walks(start: np.ndarray, neighbor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Walks of up to 5 steps from one atom at a time; a returning walk of p + q steps is one of p steps
    # and one of q steps to the same atom.
    n = len(start) - 1
    walks = np.zeros(10)
    returning = np.zeros(10)
    now = np.ones(n)
    for step in range(10):
        following = np.zeros(n)
        for atom in range(n):
            for k in range(start[atom], start[atom + 1]):
                following[atom] += now[neighbor[k]]
        now = following
        walks[step] = now.sum()
    ways = np.zeros((6, n))
    reached = np.empty((6, n), np.int32)
    for source in range(n):
        reached[0, 0] = source
        ways[0, source] = 1.0
        n_reached = 1
        for step in range(1, 6):
            n_next = 0
            for index in range(n_reached):
                atom = reached[step - 1, index]
                for k in range(start[atom], start[atom + 1]):
                    other = neighbor[k]
                    if ways[step, other] == 0.0:
                        reached[step, n_next] = other
                        n_next += 1
                    ways[step, other] += ways[step - 1, atom]
            odd = even = 0.0
            for index in range(n_next):
                atom = reached[step, index]
                even += ways[step, atom] * ways[step, atom]
                odd += ways[step, atom] * ways[step - 1, atom]
            returning[2 * step - 1] += even
            returning[2 * step - 2] += odd
            for index in range(n_reached):
                ways[step - 1, reached[step - 1, index]] = 0.0
            n_reached = n_next
        for index in range(n_reached):
            ways[5, reached[5, index]] = 0.0
    return walks, returning
