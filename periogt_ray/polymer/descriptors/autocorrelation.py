"""Autocorrelations of atom properties along the graph, all hydrogens included, lags 0..8.

ATS sums w_i w_j over the pairs of atoms at a distance, ATSC the same for w less its mean; AATS and
AATSC divide by the number of pairs; MATS (Moran) and GATS (Geary) relate them to the variance.
"""

import numpy as np

from periogt_ray.polymer.descriptors.molecule import MoleculeArrays
from periogt_ray.polymer.descriptors.weights import FIRST_ELEMENT, carbon_weights
from periogt_ray.polymer.kernels import kernel

__all__ = ["autocorrelations", "constitutional"]


def autocorrelations(arrays: MoleculeArrays, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return the blocks ``ats``, ``aats``, ``atsc``, ``aatsc``, ``mats`` and ``gats``.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
    weights : numpy.ndarray
        float64 [12, N], properties of all atoms.
    """
    n_atoms = arrays.n_all_atoms
    centered = weights - weights.mean(axis=1, keepdims=True)
    graph = arrays.full_graph
    pairs, plain, central, squared = _pair_sums(
        graph.start, graph.neighbor, np.ascontiguousarray(weights.T), np.ascontiguousarray(centered.T)
    )
    with np.errstate(all="ignore"):
        variance = (centered**2).sum(axis=1)
        plain[0], central[0] = (weights**2).sum(axis=1), variance
        plain[:, np.isnan(weights).any(axis=1)] = np.nan
        mean_plain, mean_central = plain / pairs[:, None], central / pairs[:, None]
        moran = n_atoms * mean_central[1:] / variance
        geary = squared[1:] / (2.0 * pairs[1:, None]) / (variance / (n_atoms - 1))
        moran[:, variance == 0.0] = geary[:, variance == 0.0] = np.nan
    # The charge has no uncentered columns: training left them out.
    return {
        "ats": plain[:, 1:].T.ravel(),
        "aats": mean_plain[:, 1:].T.ravel(),
        "atsc": central.T.ravel(),
        "aatsc": mean_central.T.ravel(),
        "mats": moran.T.ravel(),
        "gats": geary.T.ravel() if n_atoms > 1 else np.full(geary.size, np.nan),
    }


def constitutional(weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return the blocks ``constitutional_sum`` and ``constitutional_mean``: properties relative to carbon's.

    Parameters
    ----------
    weights : numpy.ndarray
        float64 [12, N], properties of all atoms.
    """
    sums = (weights[FIRST_ELEMENT:] / carbon_weights()[:, None]).sum(axis=1)
    return {"constitutional_sum": sums, "constitutional_mean": sums / weights.shape[1]}


@kernel(
    "Tuple((float64[::1], float64[:,::1], float64[:,::1], float64[:,::1]))"
    "(int32[::1], int32[::1], float64[:,::1], float64[:,::1])"
)
def _pair_sums(
    start: np.ndarray, neighbor: np.ndarray, weights: np.ndarray, centered: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    # Breadth-first from every atom as far as lag 8; each pair once.
    n, k = weights.shape
    pairs = np.zeros(9)
    plain = np.zeros((9, k))
    central = np.zeros((9, k))
    squared = np.zeros((9, k))
    seen = np.full(n, -1, np.int32)
    lag = np.empty(n, np.int32)
    queue = np.empty(n, np.int32)
    pairs[0] = n
    for source in range(n):
        seen[source] = source
        lag[source] = 0
        queue[0] = source
        head, tail = 0, 1
        while head < tail:
            atom = queue[head]
            head += 1
            reach = lag[atom] + 1
            if reach > 8:
                break
            for edge in range(start[atom], start[atom + 1]):
                other = neighbor[edge]
                if seen[other] == source:
                    continue
                seen[other] = source
                lag[other] = reach
                queue[tail] = other
                tail += 1
                if other > source:
                    pairs[reach] += 1.0
                    for w in range(k):
                        plain[reach, w] += weights[source, w] * weights[other, w]
                        central[reach, w] += centered[source, w] * centered[other, w]
                        difference = centered[source, w] - centered[other, w]
                        squared[reach, w] += difference * difference
    return pairs, plain, central, squared
