"""Extended topochemical atom (ETA) indices of Roy and Ghosh (J. Chem. Inf. Comput. Sci. 44, 559, 2004)."""

import math
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from periogt_ray.polymer.descriptors.elements import element_table
from periogt_ray.polymer.descriptors.molecule import BondType, MoleculeArrays
from periogt_ray.polymer.kernels import kernel

__all__ = ["eta_indices"]

# Atoms of electronegativities that differ by no more are alike.
_ALIKE = 0.3

_HYDROGEN_EPSILON = 0.3
_CARBON_CORE = 0.5
_CARBON_EPSILON = 0.3 * 4 - _CARBON_CORE

# An alkane carbon has no more neighbours; mordred has no reference alkane for a molecule with one that has.
_MOST_NEIGHBORS = 4

# Atomic number and charge to the valence that RDKit fills up with hydrogens.
_USUAL_VALENCES = {
    (5, 0): 3, (5, -1): 4, (6, 0): 4, (7, 0): 3, (7, 1): 4, (8, 0): 2, (8, -1): 1, (14, 0): 4, (15, 0): 3, (16, 0): 2,
}  # fmt: skip

_OF_ALKANE = (6, 7)  # eta_R and eta_RL among the totals


class _Atoms(NamedTuple):
    core: np.ndarray  # float64 [n], alpha
    epsilon: np.ndarray  # float64 [n], electronegativity
    sigma: np.ndarray  # float64 [n], beta_s, twice
    nonsigma: np.ndarray  # float64 [n], beta_ns without delta, twice
    delta: np.ndarray  # float64 [n], a lone pair next to an aromatic ring

    @property
    def gamma(self) -> np.ndarray:
        beta = self.sigma + self.nonsigma + self.delta
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(beta == 0.0, np.nan, self.core / beta)


def eta_indices(arrays: MoleculeArrays, distances: np.ndarray) -> np.ndarray:
    """Return the 43 ETA indices, NaN where one does not exist.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
    distances : numpy.ndarray
        int32 [n, n].
    """
    n_atoms = arrays.n_atoms
    atoms = _atoms(arrays)
    alpha = float(atoms.core.sum())
    degree = arrays.graph.degree
    shape = [float(atoms.core[degree == d].sum()) / alpha if alpha else math.nan for d in (1, 3, 4)]
    sigma, delta = float(atoms.sigma.sum()) / 2.0, float(atoms.delta.sum())
    nonsigma = float(atoms.nonsigma.sum()) / 2.0 + delta
    eta, eta_local = _composite(arrays, distances, atoms.gamma)
    has_alkane = bool((degree <= _MOST_NEIGHBORS).all() or n_atoms == 1)
    eta_r, eta_rl = _alkane_composite(arrays, distances) if has_alkane else (math.nan, math.nan)
    straight = {1: math.nan, 2: 1.0}.get(n_atoms, math.sqrt(2.0) + 0.5 * (n_atoms - 3))
    branching = straight - eta_rl
    totals = [
        sigma + nonsigma, sigma, nonsigma, delta, eta, eta_local, eta_r, eta_rl, eta_r - eta, eta_rl - eta_local,
        branching, branching + 0.086 * len(arrays.rings),
    ]  # fmt: skip
    n_carbon = int((arrays.number != 1).sum())  # of the alkane, which has no hydrogen isotopes
    means = [total / (n_carbon if k in _OF_ALKANE else n_atoms) for k, total in enumerate(totals)]
    excess = (alpha - _CARBON_CORE * n_carbon) / n_atoms if has_alkane else math.nan
    epsilon = _epsilons(arrays, atoms.epsilon)
    psi = alpha / (n_atoms * epsilon[1]) if epsilon[1] else math.nan
    return np.array(
        [
            alpha, alpha / n_atoms, *shape, *(value for pair in zip(totals, means, strict=True) for value in pair),
            np.maximum(excess, 0.0), np.maximum(-excess, 0.0), *epsilon,
            epsilon[0] - epsilon[2], epsilon[0] - epsilon[3], epsilon[2] - epsilon[3], epsilon[1] - epsilon[4],
            nonsigma - sigma, (nonsigma - sigma) / n_atoms,
            psi, np.maximum(0.714 - psi, 0.0), np.maximum(psi - 0.714, 0.0),
        ]
    )  # fmt: skip


def _atoms(arrays: MoleculeArrays) -> _Atoms:
    number, outer = arrays.number, arrays.outer_electrons
    begin, end, n_atoms = arrays.begin, arrays.end, arrays.n_atoms
    with np.errstate(divide="ignore", invalid="ignore"):
        core = (number - outer) / (outer * (element_table().period[number] - 1.0))
    core[number == 1] = 0.0
    core[~np.isfinite(core)] = np.nan
    epsilon = 0.3 * outer - core
    is_alike = np.abs(epsilon[begin] - epsilon[end]) <= _ALIKE
    sigma = np.where(is_alike, 0.5, 0.75)
    multiplicity = np.where(arrays.kekule_type == BondType.TRIPLE, 2.0, 1.0)
    kind = np.where(arrays.bond_is_aromatic, 2.0, np.where(is_alike, 1.0, 1.5))
    nonsigma = np.where(arrays.kekule_type == BondType.SINGLE, 0.0, kind * multiplicity)
    # A bond counts for an atom if its other end is no hydrogen.
    to_begin, to_end = number[end] != 1, number[begin] != 1

    def at_atoms(bonds: np.ndarray) -> np.ndarray:
        return np.bincount(begin, bonds * to_begin, n_atoms) + np.bincount(end, bonds * to_end, n_atoms)

    next_to_aromatic = np.zeros(n_atoms, dtype=bool)
    next_to_aromatic[end[arrays.is_aromatic[begin]]] = True
    next_to_aromatic[begin[arrays.is_aromatic[end]]] = True
    has_lone_pair = ~(arrays.is_aromatic | arrays.in_ring) & (outer - arrays.valence > 0)
    delta = np.where(has_lone_pair & next_to_aromatic, 0.5, 0.0)
    return _Atoms(core, epsilon, at_atoms(sigma), at_atoms(nonsigma), delta)


def _composite(arrays: MoleculeArrays, distances: np.ndarray, gamma: np.ndarray) -> tuple[float, float]:
    """Sum sqrt(gamma_i gamma_j) / distance over all pairs, and over the bonded ones."""
    if arrays.n_atoms == 1:
        return 0.0, 0.0
    root = np.sqrt(gamma)
    return _over_distances(root, distances), float(root[arrays.begin] @ root[arrays.end])


@kernel("float64(float64[::1], int32[:,::1])")
def _over_distances(values: np.ndarray, distances: np.ndarray) -> float:
    """Sum the products of two atoms' values over their distance, each pair once."""
    n = len(values)
    inverse = 1.0 / np.arange(1, n + 1)
    total = 0.0
    for i in range(n):
        row = 0.0
        for j in range(i):
            row += values[j] * inverse[distances[i, j] - 1]
        total += values[i] * row
    return total


def _alkane_composite(arrays: MoleculeArrays, distances: np.ndarray) -> tuple[float, float]:
    """Return the composite indices of the alkane with the same skeleton."""
    with np.errstate(divide="ignore"):
        gamma = np.where(arrays.number == 1, np.nan, 1.0 / arrays.n_heavy_neighbors)
    if (arrays.number != 1).all():
        return _composite(arrays, distances, gamma)
    kept = np.flatnonzero(arrays.number != 1)
    if len(kept) == 1:
        return 0.0, 0.0
    root = np.sqrt(gamma[kept])
    between = distances[np.ix_(kept, kept)].astype(np.float64)
    np.fill_diagonal(between, np.inf)
    pairs = np.outer(root, root) / between
    return 0.5 * float(pairs.sum()), 0.5 * float(pairs[between == 1.0].sum())


def _epsilons(arrays: MoleculeArrays, epsilon: np.ndarray) -> list[float]:
    """Mean electronegativities: all atoms, without hydrogens, the alkane, the skeleton made saturated, 2 with XH."""
    n_implicit, number = arrays.n_implicit, arrays.number
    heavy, n_hydrogens = float(epsilon.sum()), int(n_implicit.sum())
    every = (heavy + _HYDROGEN_EPSILON * n_hydrogens) / arrays.n_all_atoms
    degree = arrays.graph.degree + n_implicit
    is_carbon_like = number != 1
    n_carbon = int(is_carbon_like.sum())
    alkane = math.nan
    if (
        degree[np.concatenate([arrays.begin, np.flatnonzero(n_implicit).astype(np.int32), arrays.end])]
        <= _MOST_NEIGHBORS
    ).all():
        n_alkane = int((4 - arrays.n_heavy_neighbors[is_carbon_like]).sum())
        alkane = (_CARBON_EPSILON * n_carbon + _HYDROGEN_EPSILON * n_alkane) / (n_carbon + n_alkane)
    n_saturated = _saturated_hydrogens(arrays)
    saturated = math.nan
    if n_saturated is not None:
        saturated = (float(epsilon[is_carbon_like].sum()) + _HYDROGEN_EPSILON * n_saturated) / (n_carbon + n_saturated)
    n_polar = int(n_implicit[number != 6].sum())
    # A hydrogen that is an atom of its own counts unless its neighbour is carbon.
    on_carbon = np.zeros(arrays.n_atoms, dtype=bool)
    on_carbon[arrays.begin[(number[arrays.begin] == 1) & (number[arrays.end] == 6)]] = True
    on_carbon[arrays.end[(number[arrays.end] == 1) & (number[arrays.begin] == 6)]] = True
    polar_sum = float(epsilon[~on_carbon].sum()) + _HYDROGEN_EPSILON * n_polar
    polar = polar_sum / (int((~on_carbon).sum()) + n_polar)
    return [every, heavy / arrays.n_atoms, alkane, saturated, polar]


def _saturated_hydrogens(arrays: MoleculeArrays) -> int | None:
    """Count the hydrogens once all bonds between carbons are single; None if there are no valid valences."""
    given = zip(
        arrays.number[arrays.is_bracketed].tolist(),
        arrays.charge[arrays.is_bracketed].tolist(),
        arrays.valence[arrays.is_bracketed].tolist(),
        strict=True,
    )
    if not all(_USUAL_VALENCES.get((number, charge)) == valence for number, charge, valence in given):
        return _rebuilt_hydrogens(arrays)
    # Each atom has the hydrogens that its valence asks for: two more for each pair of electrons set free.
    between_carbons = (arrays.number[arrays.begin] == 6) & (arrays.number[arrays.end] == 6)
    return int(arrays.n_implicit.sum() + 2.0 * (arrays.kekule_order[between_carbons] - 1.0).sum())


def _rebuilt_hydrogens(arrays: MoleculeArrays) -> int | None:
    """Count as RDKit does for a molecule that is built anew and knows nothing of the old hydrogens."""
    saturated = Chem.RWMol()
    index = np.cumsum(arrays.number != 1) - 1
    for number, charge in zip(arrays.number.tolist(), arrays.charge.tolist(), strict=True):
        if number != 1:
            atom = Chem.Atom(number)
            if charge:
                atom.SetFormalCharge(charge)
            saturated.AddAtom(atom)
    types = Chem.BondType.values
    for begin, end, kind in zip(arrays.begin.tolist(), arrays.end.tolist(), arrays.kekule_type.tolist(), strict=True):
        left, right = int(arrays.number[begin]), int(arrays.number[end])
        if left != 1 and right != 1:
            between_carbons = left == right == 6
            saturated.AddBond(int(index[begin]), int(index[end]), types[BondType.SINGLE if between_carbons else kind])
    if Chem.SanitizeMol(saturated, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
        return None
    return sum(atom.GetTotalNumHs() for atom in saturated.GetAtoms())
