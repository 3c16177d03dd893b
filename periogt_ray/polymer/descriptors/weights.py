"""Properties of the atoms that descriptors are weighted with.

Twelve of them, in this order: partial charge, valence electrons, sigma electrons, intrinsic state,
then eight of the element alone: atomic number, mass, van der Waals volume, Sanderson's, Pauling's
and Allred and Rochow's electronegativity, polarizability, ionisation potential.
"""

import functools

import numpy as np

from periogt_ray.polymer.descriptors.elements import element_table
from periogt_ray.polymer.descriptors.molecule import MoleculeArrays

__all__ = ["CARBON", "N_WEIGHTS", "SIGMA", "VALENCE", "atom_weights", "carbon_weights", "full_weights"]

N_WEIGHTS = 12
VALENCE, SIGMA = 1, 2  # rows of the valence and of the sigma electrons
FIRST_ELEMENT = 4  # row of the first property of the element alone
CARBON = 6


@functools.cache
def _by_element() -> np.ndarray:
    """Properties of the element, float64 [8, 119]."""
    table = element_table()
    numbers = np.arange(len(table.mass), dtype=np.float64)
    return np.stack(
        [
            numbers, table.mass, table.vdw_volume, table.sanderson, table.pauling, table.allred_rochow,
            table.polarizability, table.ionization_potential,
        ]
    )  # fmt: skip


def carbon_weights() -> np.ndarray:
    """Return the eight properties of carbon, float64 [8]."""
    weights: np.ndarray = _by_element()[:, CARBON]
    return weights


def atom_weights(arrays: MoleculeArrays) -> np.ndarray:
    """Return the properties of the atoms without hydrogens.

    Returns
    -------
    numpy.ndarray
        float64 [12, n], NaN where a property is unknown.
    """
    weights = np.empty((N_WEIGHTS, arrays.n_atoms))
    weights[0] = arrays.partial_charge + arrays.hydrogen_charge
    weights[1:FIRST_ELEMENT] = _electronic(arrays)
    weights[FIRST_ELEMENT:] = _by_element()[:, arrays.number]
    return weights


def full_weights(arrays: MoleculeArrays, plain: np.ndarray) -> np.ndarray:
    """Return the properties of the atoms with all hydrogens.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
    plain : numpy.ndarray
        float64 [12, n] from :func:`atom_weights`; all but the charges hold for the full molecule.

    Returns
    -------
    numpy.ndarray
        float64 [12, N], NaN where a property is unknown.
    """
    n_atoms = arrays.n_atoms
    weights = np.empty((N_WEIGHTS, arrays.n_all_atoms))
    weights[0, :n_atoms] = arrays.partial_charge
    # The hydrogens of an atom share their charge; an atom without any is not repeated.
    each = arrays.hydrogen_charge / np.maximum(arrays.n_implicit, 1)
    weights[0, n_atoms:] = np.repeat(each, arrays.n_implicit)
    weights[1:, :n_atoms] = plain[1:]
    # A hydrogen has no valence electrons to spare, one sigma bond, hence an intrinsic state of 1.
    weights[1:FIRST_ELEMENT, n_atoms:] = np.array([0.0, 1.0, 1.0])[:, None]
    weights[FIRST_ELEMENT:, n_atoms:] = _by_element()[:, 1:2]
    return weights


def _electronic(arrays: MoleculeArrays) -> np.ndarray:
    """Valence electrons, sigma electrons and intrinsic state (Kier and Hall), float64 [3, n]."""
    number, outer = arrays.number, arrays.outer_electrons
    with np.errstate(divide="ignore", invalid="ignore"):
        valence = (outer - arrays.charge - arrays.n_hydrogens) / (number - outer - 1)
        valence[number == 1] = 0.0
        sigma = arrays.n_heavy_neighbors.astype(np.float64)
        period = element_table().period[number]
        state = ((2.0 / period) ** 2 * valence + 1.0) / sigma
    state[sigma == 0.0] = np.nan
    return np.stack([valence, sigma, state])
