"""Descriptors from the eigenvalues and the leading eigenvector of matrices over the atoms."""

import numpy as np

from periogt_ray.polymer.descriptors.adjacency import adjacency_sums
from periogt_ray.polymer.descriptors.distances import Components, component_distances
from periogt_ray.polymer.descriptors.extremes import Plan, extreme_eigenvalues
from periogt_ray.polymer.descriptors.molecule import MoleculeArrays
from periogt_ray.polymer.descriptors.path_spectra import SpectralSums, dense_sums, path_sums
from periogt_ray.polymer.descriptors.weights import CARBON

__all__ = ["adjacency_spectrum", "burden_extremes", "path_spectra"]

N_ATTRIBUTES = 13

_FAR = 0.001  # Burden matrix, between atoms that are not bonded


def adjacency_spectrum(arrays: MoleculeArrays, plan: Plan) -> np.ndarray:
    """Return the attributes of the adjacency matrix, float64 [13].

    Equal rings in a chain have nearly the same leading eigenvalue, and its eigenvector, which falls
    off exponentially along the chain, is then rounding noise to a large part. There LAPACK is asked in the
    same way as when the checkpoints' training data was made, so that the noise is alike.
    """
    sums = adjacency_sums(arrays.graph, plan) if arrays.n_atoms > 1 else None
    if sums is not None:
        (largest, smallest, absolute, estrada), leading = sums[0][:, None], sums[1][None]
        none = np.zeros(1)
        return _attributes(arrays, SpectralSums(largest, smallest, absolute, absolute, estrada, none, leading))[0]
    adjacency = np.zeros((arrays.n_atoms, arrays.n_atoms))
    adjacency[arrays.begin, arrays.end] = adjacency[arrays.end, arrays.begin] = 1.0
    return _attributes(arrays, dense_sums(adjacency[None]))[0]


def path_spectra(
    arrays: MoleculeArrays, parts: Components, lengths: np.ndarray, weights: np.ndarray, carbon: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the attributes of matrices of path lengths, zero on the diagonal, and of Barysz matrices.

    A Barysz matrix has off the diagonal the length of the shortest path, where a bond of order b between atoms
    of properties p and q is C^2 / (p q b) long; on it 1 - C / p.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
    parts : Components
        Of its graph.
    lengths : numpy.ndarray
        float64 [j, cells], path lengths within each component.
    weights : numpy.ndarray
        float64 [k, n], properties of the atoms.
    carbon : numpy.ndarray
        float64 [k], the properties of carbon.

    Returns
    -------
    tuple of numpy.ndarray
        float64 [j, 13] and [k, 13], NaN where a property is unknown: SpAbs, SpMax, SpDiam, SpAD, SpMAD, LogEE, SM1,
        VE1, VE2, VE3, VR1, VR2, VR3.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        products = weights[:, arrays.begin] * weights[:, arrays.end] * arrays.bond_order
        bonds = (carbon * carbon)[:, None] / products
        diagonals = 1.0 - carbon[:, None] / weights
    known = np.flatnonzero(np.isfinite(weights).all(axis=1) & np.isfinite(bonds).all(axis=1))
    to_matrix = np.arange(len(known))
    if (arrays.number == CARBON).all():
        # All properties are those of carbon and cancel: one matrix.
        bonds, diagonals = 1.0 / arrays.bond_order[None, :], np.zeros((1, arrays.n_atoms))
        to_matrix[:] = 0
    else:
        bonds, diagonals = np.ascontiguousarray(bonds[known]), diagonals[known]
    cells = np.concatenate([lengths, component_distances(arrays.graph, parts, bonds)])
    diagonals = np.concatenate([np.zeros((len(lengths), arrays.n_atoms)), diagonals])
    attributes = _attributes(arrays, path_sums(parts, cells, diagonals))
    barysz = np.full((len(weights), N_ATTRIBUTES), np.nan)
    barysz[known] = attributes[len(lengths) :][to_matrix]
    return attributes[: len(lengths)], barysz


def burden_extremes(arrays: MoleculeArrays, plan: Plan, weights: np.ndarray) -> np.ndarray:
    """Return the highest and the lowest eigenvalue of Burden matrices.

    A tenth of the bond order for bonded atoms, 0.01 more where one of them is terminal, 0.001 for
    all other pairs, a property on the diagonal.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
    plan : Plan
        How its atoms are eliminated.
    weights : numpy.ndarray
        float64 [k, n], properties of the atoms.

    Returns
    -------
    numpy.ndarray
        float64 [k, 2], NaN where a property is unknown.
    """
    degree = arrays.graph.degree
    is_terminal = (degree[arrays.begin] == 1) | (degree[arrays.end] == 1)
    bonds = arrays.bond_order / 10.0 + 0.01 * is_terminal - _FAR
    result = np.full((len(weights), 2), np.nan)
    known = np.isfinite(weights).all(axis=1)
    result[known] = extreme_eigenvalues(plan, bonds, weights[known] - _FAR, _FAR)
    return result


def _attributes(arrays: MoleculeArrays, sums: SpectralSums) -> np.ndarray:
    """Return the attributes, float64 [k, 13], from sums over k spectra."""
    n_atoms, leading = arrays.n_atoms, sums.leading
    coefficients = np.abs(leading).sum(axis=1)
    with np.errstate(all="ignore"):
        randic = (1.0 / np.sqrt(leading[:, arrays.begin] * leading[:, arrays.end])).sum(axis=1)
        # A logarithm of zero is a missing value, not minus infinity.
        logs = [np.log(0.1 * n_atoms * np.where(index == 0.0, np.nan, index)) for index in (coefficients, randic)]
    return np.stack(
        [
            sums.absolute, sums.largest, sums.largest - sums.smallest, sums.deviation, sums.deviation / n_atoms,
            sums.log_estrada, sums.trace, coefficients, coefficients / n_atoms, logs[0], randic, randic / n_atoms,
            logs[1],
        ],
        axis=1,
    )  # fmt: skip
