"""Descriptors from the eigenvalues and the leading eigenvector of matrices over the atoms."""

import numpy as np

from periogt_ray.descriptors.distances import Components, weighted_distances
from periogt_ray.descriptors.extremes import extreme_eigenvalues
from periogt_ray.descriptors.molecule import MoleculeArrays
from periogt_ray.descriptors.weights import CARBON

__all__ = ["adjacency_spectrum", "barysz_spectra", "burden_extremes", "dense_spectrum"]

N_ATTRIBUTES = 13

_FAR = 0.001  # Burden matrix, between atoms that are not bonded

# Below this size all eigenvectors cost less than finding one separately.
_SMALL = 48
_MAX_ITERATIONS = 200


def adjacency_spectrum(arrays: MoleculeArrays) -> np.ndarray:
    """Return the attributes of the adjacency matrix, float64 [13].

    Equal rings in a chain have nearly the same leading eigenvalue, and its eigenvector, which falls
    off exponentially along the chain, is then rounding noise to a large part. LAPACK is asked in the
    same way as when the checkpoints' training data was made, so that the noise is alike.
    """
    adjacency = np.zeros((arrays.n_atoms, arrays.n_atoms))
    adjacency[arrays.begin, arrays.end] = adjacency[arrays.end, arrays.begin] = 1.0
    values, vectors = np.linalg.eigh(adjacency)
    return _attributes(arrays, values, vectors[:, -1], 0.0)


def dense_spectrum(arrays: MoleculeArrays, matrix: np.ndarray) -> np.ndarray:
    """Return the attributes of a matrix whose off-diagonal elements are positive.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
    matrix : numpy.ndarray
        float64 [n, n], symmetric.

    Returns
    -------
    numpy.ndarray
        float64 [13]: SpAbs, SpMax, SpDiam, SpAD, SpMAD, LogEE, SM1, VE1, VE2, VE3, VR1, VR2, VR3.
    """
    values, leading = _leading(matrix)
    return _attributes(arrays, values, leading, float(np.trace(matrix)))


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
        matrix = weighted_distances(arrays.graph, parts, 1.0 / arrays.bond_order[None, :])[0]
        result[:] = dense_spectrum(arrays, matrix)
        return result
    matrices = weighted_distances(arrays.graph, parts, np.ascontiguousarray(lengths[known]))
    for index, matrix in zip(known, matrices, strict=True):
        np.fill_diagonal(matrix, 1.0 - carbon[index] / weights[index])
        result[index] = dense_spectrum(arrays, matrix)
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


def _leading(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all eigenvalues, ascending, and the eigenvector of the last.

    A matrix of positive off-diagonal elements has one leading eigenvalue, far from the others: the
    power method, shifted to the middle of the others, gains about half a digit a step.
    """
    n_atoms = len(matrix)
    if n_atoms <= _SMALL:
        values, vectors = np.linalg.eigh(matrix)
        return values, vectors[:, -1]
    values = np.linalg.eigvalsh(matrix)
    middle = 0.5 * (values[0] + values[-2])
    vector = np.full(n_atoms, 1.0 / np.sqrt(n_atoms))
    for _ in range(_MAX_ITERATIONS):
        product = matrix @ vector - middle * vector
        product /= np.sqrt(product @ product)
        change = np.abs(product - vector).max()
        vector = product
        if change < 1e-14:
            return values, vector
    return values, np.linalg.eigh(matrix)[1][:, -1]


def _attributes(arrays: MoleculeArrays, values: np.ndarray, leading: np.ndarray, trace: float) -> np.ndarray:
    n_atoms, largest = arrays.n_atoms, values[-1]
    deviation = np.abs(values - values.mean()).sum()
    top = max(largest, 0.0)
    coefficients = np.abs(leading).sum()
    with np.errstate(all="ignore"):
        log_estrada = top + np.log(np.exp(values - top).sum() + np.exp(-top))
        randic = ((leading[arrays.begin] * leading[arrays.end]) ** -0.5).sum()
        logs = [np.log(0.1 * n_atoms * index) if index else np.nan for index in (coefficients, randic)]
    return np.array(
        [
            np.abs(values).sum(), largest, largest - values[0], deviation, deviation / n_atoms, log_estrada, trace,
            coefficients, coefficients / n_atoms, logs[0], randic, randic / n_atoms, logs[1],
        ]
    )  # fmt: skip
