"""Descriptors from the eigenvalues and the leading eigenvector of matrices over the atoms."""

import numpy as np

from periogt_ray.polymer.descriptors.distances import Components, weighted_distances
from periogt_ray.polymer.descriptors.extremes import extreme_eigenvalues
from periogt_ray.polymer.descriptors.molecule import MoleculeArrays
from periogt_ray.polymer.descriptors.weights import CARBON

__all__ = ["adjacency_spectrum", "barysz_spectra", "burden_extremes", "dense_spectra"]

N_ATTRIBUTES = 13

_FAR = 0.001  # Burden matrix, between atoms that are not bonded

# Below this size all eigenvectors cost less than finding one separately.
_SMALL = 48
_MAX_ITERATIONS = 200
_CONVERGED = 1e-14


def adjacency_spectrum(arrays: MoleculeArrays) -> np.ndarray:
    """Return the attributes of the adjacency matrix, float64 [13].

    Equal rings in a chain have nearly the same leading eigenvalue, and its eigenvector, which falls
    off exponentially along the chain, is then rounding noise to a large part. LAPACK is asked in the
    same way as when the checkpoints' training data was made, so that the noise is alike.
    """
    adjacency = np.zeros((arrays.n_atoms, arrays.n_atoms))
    adjacency[arrays.begin, arrays.end] = adjacency[arrays.end, arrays.begin] = 1.0
    values, vectors = np.linalg.eigh(adjacency)
    return _attributes(arrays, values[None], vectors[None, :, -1], np.zeros(1))[0]


def dense_spectra(arrays: MoleculeArrays, matrices: np.ndarray) -> np.ndarray:
    """Return the attributes of matrices whose off-diagonal elements are positive.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
    matrices : numpy.ndarray
        float64 [k, n, n], symmetric.

    Returns
    -------
    numpy.ndarray
        float64 [k, 13]: SpAbs, SpMax, SpDiam, SpAD, SpMAD, LogEE, SM1, VE1, VE2, VE3, VR1, VR2, VR3.
    """
    values, leading = _leading(matrices)
    return _attributes(arrays, values, leading, np.trace(matrices, axis1=1, axis2=2))


def barysz_spectra(arrays: MoleculeArrays, parts: Components, weights: np.ndarray, carbon: np.ndarray) -> np.ndarray:
    """Return the attributes of Barysz matrices.

    Off the diagonal the length of the shortest path, where a bond of order b between atoms of
    properties p and q is C^2 / (p q b) long; on it 1 - C / p.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
    parts : Components
        Of its graph.
    weights : numpy.ndarray
        float64 [k, n], properties of the atoms.
    carbon : numpy.ndarray
        float64 [k], the properties of carbon.

    Returns
    -------
    numpy.ndarray
        float64 [k, 13], NaN where a property is unknown.
    """
    result = np.full((len(weights), N_ATTRIBUTES), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        products = weights[:, arrays.begin] * weights[:, arrays.end] * arrays.bond_order
        lengths = (carbon * carbon)[:, None] / products
    known = np.flatnonzero(np.isfinite(weights).all(axis=1) & np.isfinite(lengths).all(axis=1))
    if (arrays.number == CARBON).all():
        # All properties are those of carbon and cancel: one matrix.
        result[:] = dense_spectra(arrays, weighted_distances(arrays.graph, parts, 1.0 / arrays.bond_order[None, :]))
        return result
    matrices = weighted_distances(arrays.graph, parts, np.ascontiguousarray(lengths[known]))
    matrices[:, range(arrays.n_atoms), range(arrays.n_atoms)] = 1.0 - carbon[known, None] / weights[known]
    result[known] = dense_spectra(arrays, matrices)
    return result


def burden_extremes(arrays: MoleculeArrays, weights: np.ndarray) -> np.ndarray:
    """Return the highest and the lowest eigenvalue of Burden matrices.

    A tenth of the bond order for bonded atoms, 0.01 more where one of them is terminal, 0.001 for
    all other pairs, a property on the diagonal.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
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
    result[known] = extreme_eigenvalues(arrays.graph, bonds, weights[known] - _FAR, _FAR)
    return result


def _leading(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all eigenvalues, ascending [k, n], and the eigenvectors of the last ones [k, n].

    A matrix of positive off-diagonal elements has one leading eigenvalue, far from the others: the
    power method, shifted to the middle of the others, gains about half a digit a step.
    """
    n_atoms = matrices.shape[1]
    if n_atoms <= _SMALL:
        values, vectors = np.linalg.eigh(matrices)
        return values, vectors[:, :, -1]
    values = np.linalg.eigvalsh(matrices)
    middle = 0.5 * (values[:, :1] + values[:, -2:-1])
    vector = np.full(values.shape, 1.0 / np.sqrt(n_atoms))
    for _ in range(_MAX_ITERATIONS):
        product = (matrices @ vector[:, :, None])[:, :, 0] - middle * vector
        product /= np.sqrt((product * product).sum(axis=1, keepdims=True))
        change = np.abs(product - vector).max(initial=0.0)
        vector = product
        if change < _CONVERGED:
            return values, vector
    return values, np.linalg.eigh(matrices)[1][:, :, -1]


def _attributes(arrays: MoleculeArrays, values: np.ndarray, leading: np.ndarray, trace: np.ndarray) -> np.ndarray:
    """Return the attributes, float64 [k, 13], from eigenvalues [k, n], leading eigenvectors [k, n] and traces [k]."""
    n_atoms, largest = arrays.n_atoms, values[:, -1]
    deviation = np.abs(values - values.mean(axis=1, keepdims=True)).sum(axis=1)
    top = np.maximum(largest, 0.0)
    coefficients = np.abs(leading).sum(axis=1)
    with np.errstate(all="ignore"):
        log_estrada = top + np.log(np.exp(values - top[:, None]).sum(axis=1) + np.exp(-top))
        randic = ((leading[:, arrays.begin] * leading[:, arrays.end]) ** -0.5).sum(axis=1)
        # A logarithm of zero is a missing value, not minus infinity.
        logs = [np.log(0.1 * n_atoms * np.where(index == 0.0, np.nan, index)) for index in (coefficients, randic)]
    return np.stack(
        [
            np.abs(values).sum(axis=1), largest, largest - values[:, 0], deviation, deviation / n_atoms, log_estrada,
            trace, coefficients, coefficients / n_atoms, logs[0], randic, randic / n_atoms, logs[1],
        ],
        axis=1,
    )  # fmt: skip
