"""Electrotopological states: atom types, indices, and the surface areas sorted by them.

Hall and Kier, J. Chem. Inf. Comput. Sci. 35, 1039 (1995); Labute, J. Mol. Graph. Model. 18, 464 (2000).
"""

import functools
import math
import re

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from periogt_ray.polymer.descriptors.columns import ESTATE_TYPES
from periogt_ray.polymer.descriptors.elements import element_table
from periogt_ray.polymer.descriptors.molecule import BondType, MoleculeArrays
from periogt_ray.polymer.kernels import kernel

__all__ = ["estate_descriptors"]

_ESTATE_BINS = np.array([-0.390, 0.290, 0.717, 1.165, 1.540, 1.807, 2.05, 4.69, 9.17, 15.0])
_AREA_BINS = np.array([4.78, 5.00, 5.410, 5.740, 6.00, 6.07, 6.45, 7.00, 11.0])

_BOND_LETTERS = "sdta"

# Types of these take any number of hydrogens: nothing else distinguishes them.
_ANY_HYDROGENS = frozenset({"sLi", "ssBe", "ssssBe", "sssB", "ssssB", "sF", "sCl", "sBr", "sI"})

# The search for a pattern ends after so many matches, where each order of an atom's neighbours is one: of carbons
# with four single bonds only the first 42 count. So it was in training.
_MOST_MATCHES = 1000

# An atom as far as types go: atomic number, aromatic, neighbours, hydrogens, bonds of each letter (other kinds
# last), terminal oxygens without hydrogen, and how many of those are bound by a single bond.
_Environment = tuple[int, bool, int, int, tuple[int, int, int, int, int], int, int]


def estate_descriptors(arrays: MoleculeArrays, distances: np.ndarray) -> dict[str, np.ndarray]:
    """Return the block ``estate``, and ``EState_VSA``, ``VSA_EState`` and the areas for the block ``surface``.

    Parameters
    ----------
    arrays : MoleculeArrays
        The molecule.
    distances : numpy.ndarray
        int32 [n, n].
    """
    indices = _indices(arrays, distances)
    table = np.full((4, len(ESTATE_TYPES)), np.nan)
    table[:2] = 0.0
    found: dict[int, list[float]] = {}
    n_matches = [0] * len(ESTATE_TYPES)
    for value, environment in zip(indices.tolist(), _environments(arrays), strict=True):
        for kind, n_ways in _types(environment):
            if n_matches[kind] < _MOST_MATCHES:
                n_matches[kind] += n_ways
                found.setdefault(kind, []).append(value)
    for kind, values in found.items():
        table[:, kind] = len(values), sum(values), max(values), min(values)
    areas = np.array(rdMolDescriptors._CalcLabuteASAContribs(arrays.mol, True)[0])
    by_state = np.bincount(np.searchsorted(_ESTATE_BINS, indices, side="right"), areas, len(_ESTATE_BINS) + 1)
    by_area = np.bincount(np.searchsorted(_AREA_BINS, areas, side="right"), indices, len(_AREA_BINS) + 1)
    return {"estate": table.ravel(), "EState_VSA": by_state[:10], "VSA_EState": by_area[:9], "areas": areas}


def _indices(arrays: MoleculeArrays, distances: np.ndarray) -> np.ndarray:
    """Intrinsic states, each perturbed by all others over the square of the distance, float64 [n]."""
    degree = arrays.graph.degree
    period = element_table().period[arrays.number]
    valence = arrays.outer_electrons - arrays.n_implicit
    with np.errstate(divide="ignore", invalid="ignore"):
        states = np.where(degree > 0, (4.0 / (period * period) * valence + 1.0) / degree, 0.0)
    perturbed: np.ndarray = _perturbed(states, distances)
    return perturbed


@kernel("float64[::1](float64[::1], int32[:,::1])")
def _perturbed(states: np.ndarray, distances: np.ndarray) -> np.ndarray:
    n = len(states)
    result = np.zeros(n)
    inverse = np.empty(n + 1)
    for d in range(n + 1):
        inverse[d] = 1.0 / ((d + 1.0) * (d + 1.0))
    for i in range(n):
        total = 0.0
        for j in range(n):
            total += (states[i] - states[j]) * inverse[distances[i, j]]
        result[i] = states[i] + total
    return result


def _environments(arrays: MoleculeArrays) -> list[_Environment]:
    n_atoms, degree = arrays.n_atoms, arrays.graph.degree
    letter = np.full(int(arrays.bond_type.max(initial=BondType.AROMATIC)) + 1, len(_BOND_LETTERS))
    letter[[BondType.SINGLE, BondType.DOUBLE, BondType.TRIPLE, BondType.AROMATIC]] = range(4)
    kind = letter[arrays.bond_type]
    atom = np.concatenate([arrays.begin, arrays.end])
    bonds = np.bincount(atom * 5 + np.tile(kind, 2), minlength=5 * n_atoms).reshape(n_atoms, 5)
    is_end_oxygen = (arrays.number == 8) & ~arrays.is_aromatic & (degree == 1) & (arrays.n_hydrogens == 0)
    to_oxygen = is_end_oxygen[np.concatenate([arrays.end, arrays.begin])]
    n_oxygen = np.bincount(atom, to_oxygen, n_atoms).astype(np.int64)
    n_single_oxygen = np.bincount(atom, to_oxygen & np.tile(kind == 0, 2), n_atoms).astype(np.int64)
    return list(
        zip(
            arrays.number.tolist(), arrays.is_aromatic.tolist(), degree.tolist(), arrays.n_hydrogens.tolist(),
            map(tuple, bonds.tolist()), n_oxygen.tolist(), n_single_oxygen.tolist(), strict=True,
        )
    )  # fmt: skip


@functools.lru_cache(maxsize=4096)
def _types(environment: _Environment) -> tuple[tuple[int, int], ...]:
    """Return which types an atom has, rarely more than one, and in how many ways its bonds match each."""
    ways = [_n_ways(name, environment) for name in ESTATE_TYPES]
    return tuple((kind, n_ways) for kind, n_ways in enumerate(ways) if n_ways > 0)


@functools.cache
def _parsed(name: str) -> tuple[tuple[int, ...], int, int]:
    """Bonds of each letter, atomic number and hydrogens that the name of a type states."""
    match = re.fullmatch(r"([sdta]+)([A-Z][a-z]?)(H?)(\d?)", name)
    if match is None:
        raise ValueError(f"{name} does not name a type of atom")
    letters, symbol, hydrogen, n_hydrogens = match.groups()
    bonds = tuple(letters.count(letter) for letter in _BOND_LETTERS)
    return bonds, Chem.GetPeriodicTable().GetAtomicNumber(symbol), int(n_hydrogens or 1) if hydrogen else 0


def _n_ways(name: str, environment: _Environment) -> int:
    """Count the orders in which the neighbours of an atom match a type's pattern; 0 if it is of another type."""
    bonds, element, stated_hydrogens = _parsed(name)
    number, is_aromatic, degree, n_hydrogens, has, n_oxygen, n_single_oxygen = environment
    if number != element or (name not in _ANY_HYDROGENS and n_hydrogens != stated_hydrogens):
        return 0
    n_single, _, _, n_aromatic, _ = has
    if name == "ddsN":
        # Nitro, however its bonds are drawn: two end oxygens and one more single or aromatic bond.
        if is_aromatic or degree != 3:
            return 0
        n_others = n_single + n_aromatic - n_single_oxygen
        return math.perm(n_oxygen, 2) * n_others + n_single_oxygen * math.perm(max(n_oxygen - 1, 0), 2)
    if name == "ddssS":
        # Sulfone and its like: two end oxygens, of which k by single bonds, and two more single bonds.
        if is_aromatic or degree != 4:
            return 0
        n_double = n_oxygen - n_single_oxygen
        pairs = (math.perm(n_double, 2), 2 * n_double * n_single_oxygen, math.perm(n_single_oxygen, 2))
        return sum(n_pairs * math.perm(max(n_single - k, 0), 2) for k, n_pairs in enumerate(pairs))
    if name == "aasN":
        # The third bond may be aromatic too.
        return math.perm(n_aromatic, 2) * (n_single + n_aromatic - 2) if is_aromatic and degree == 3 else 0
    if degree != sum(bonds) or has != (*bonds, 0):
        return 0
    return math.prod(map(math.factorial, bonds))
