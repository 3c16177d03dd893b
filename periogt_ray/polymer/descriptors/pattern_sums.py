"""Sums over an oligomer's patterns that RDKit finds by substructure search, and those of a longer chain.

Each is a sum over the atoms (or bonds) of a chain of what their surroundings say: whether an atom is an acid, a base, a
donor or an acceptor, whether a bond turns, an atom's contribution to logP and to the surface areas that are sorted by
it. Surroundings reach no farther than five bonds beyond the atom's own ring system, which lies within its
repeat unit. Where a unit's backbone has five atoms or more, they reach only into the next unit, so all units but the
outer two count the same, and each further unit adds the same amount. That was compared with RDKit's own sums of 9-mers.

Crippen's contributions (J. Chem. Inf. Comput. Sci. 39, 868, 1999) and Labute's areas say of an atom and its hydrogens
no more than what elements lie within two bonds. So one unit between two others adds what every further one does
from a backbone of two atoms on, and what it adds is read off the atoms of a 3-mer.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from periogt_ray.polymer.atoms_and_bonds import atoms_of

__all__ = [
    "CrippenSums",
    "PatternSums",
    "crippen_grows_evenly",
    "crippen_sums",
    "grow_evenly",
    "has_few_matches",
    "longer_sums",
    "pattern_sums",
]

_ACID = "[$([O;H1]-[C,S,P]=O),$([*;-;!$(*~[*;+])]),$([NH](S(=O)=O)C(F)(F)F),$(n1nnnc1)]"
_BASE = "[$([NH2]-[CX4]),$([NH](-[CX4])-[CX4]),$(N(-[CX4])(-[CX4])-[CX4]),$([*;+;!$(*~[*;-])]),$(N=C-N),$(N-C=N)]"

_LEAST_BACKBONE = 5
_LEAST_BACKBONE_OF_CRIPPEN = 2

# Upper ends of the bins that surface areas are sorted into, by refractivity and by logP (RDKit's MolSurf.cpp).
_REFRACTIVITY_BINS = np.array([1.29, 1.82, 2.24, 2.45, 2.75, 3.05, 3.63, 3.8, 4.0])
_LOG_P_BINS = np.array([-0.4, -0.2, 0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6])

# RDKit's search for a pattern ends after 1000 matches, also for those of Crippen's contributions, where each order of
# an atom's neighbours is one. That many, and a sum no longer grows evenly.
_MOST_COUNTED = 1000


class PatternSums:
    """Sums over the patterns of one molecule.

    Attributes
    ----------
    counts : numpy.ndarray
        int64 [5]: acids, bases, acceptors, donors, rotatable bonds.
    crippen : numpy.ndarray
        float64 [2]: logP and molar refractivity.
    areas : numpy.ndarray
        float64 [20]: surface areas by refractivity (9), then by logP (11).
    """

    __slots__ = ("areas", "counts", "crippen")

    def __init__(self, counts: np.ndarray, crippen: np.ndarray, areas: np.ndarray) -> None:
        self.counts, self.crippen, self.areas = counts, crippen, areas


class CrippenSums(NamedTuple):
    """Crippen's sums of a chain, and how they grow.

    A sum is logP, the refractivity, then the surface areas by refractivity (9) and by logP (11).
    """

    n_units: int
    of_chain: np.ndarray  # float64 [22]
    of_unit: np.ndarray  # float64 [22], what each further unit adds

    def of_longer(self, n_units: int) -> np.ndarray:
        """Return the sums of a chain of so many units, float64 [22]."""
        longer: np.ndarray = self.of_chain + (n_units - self.n_units) * self.of_unit
        return longer


def crippen_sums(mol: Chem.Mol, units: np.ndarray) -> CrippenSums:
    """Return the sums of three repeat units, and how those of a longer chain grow.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        Three repeat units, without explicit hydrogen.
    units : numpy.ndarray
        int64 [n], the repeat unit of each atom: 0 to 2.

    Examples
    --------
    >>> three, four = (Chem.MolFromSmiles("CO" * n) for n in (3, 4))
    >>> sums = crippen_sums(three, np.arange(6) // 2)
    >>> round(sums.of_longer(4)[0], 9) == round(rdMolDescriptors.CalcCrippenDescriptors(four)[0], 9)
    True
    """
    n_atoms = len(units)
    n_hydrogens = list(map(Chem.Atom.GetTotalNumHs, atoms_of(mol)))
    # Hydrogens are added in the order of their atoms; with or without them an atom contributes the same.
    log_p, refractivity = np.array(rdMolDescriptors._CalcCrippenContribs(Chem.AddHs(mol))).T
    areas = np.array(rdMolDescriptors._CalcLabuteASAContribs(mol, True)[0])
    of_all = np.concatenate([units, np.repeat(units, n_hydrogens)])
    by_unit = [
        np.bincount(of_all, log_p, 3)[:, None],
        np.bincount(of_all, refractivity, 3)[:, None],
        _binned(areas, refractivity[:n_atoms], _REFRACTIVITY_BINS, units),
        _binned(areas, log_p[:n_atoms], _LOG_P_BINS, units),
    ]
    sums = np.concatenate(by_unit, axis=1)
    return CrippenSums(3, sums.sum(axis=0), sums[1])


def _binned(areas: np.ndarray, values: np.ndarray, bins: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Sum areas by unit and by the bins that values fall into, but for the last; float64 [3, bins]."""
    width = len(bins) + 1
    places = width * units + np.searchsorted(bins, values, side="right")
    sums: np.ndarray = np.bincount(places, areas, 3 * width).reshape(3, width)[:, :-1]
    return sums


def pattern_sums(mol: Chem.Mol, *, crippen: np.ndarray | None = None) -> PatternSums:
    """Return the sums as RDKit finds them.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        The molecule.
    crippen : numpy.ndarray, optional
        float64 [22], Crippen's sums, if they are known.
    """
    counts = [
        *(len(mol.GetSubstructMatches(pattern)) for pattern in _acid_base()),
        rdMolDescriptors.CalcNumHBA(mol),
        rdMolDescriptors.CalcNumHBD(mol),
        rdMolDescriptors.CalcNumRotatableBonds(mol),
    ]
    if crippen is None:
        areas = [*rdMolDescriptors.SMR_VSA_(mol)[:9], *rdMolDescriptors.SlogP_VSA_(mol)[:11]]
        crippen = np.array([*rdMolDescriptors.CalcCrippenDescriptors(mol), *areas])
    return PatternSums(np.array(counts, dtype=np.int64), crippen[:2], crippen[2:])


def crippen_grows_evenly(n_backbone: int, connection_bond: Chem.BondType) -> bool:
    """Tell whether each repeat unit beyond the third adds to Crippen's sums what the second one does.

    Parameters
    ----------
    n_backbone : int
        Atoms of the repeat unit on the shortest path from one connection point to the other.
    connection_bond : rdkit.Chem.BondType
        Between repeat units.
    """
    return n_backbone >= _LEAST_BACKBONE_OF_CRIPPEN and connection_bond == Chem.BondType.SINGLE


def grow_evenly(n_backbone: int, connection_bond: Chem.BondType) -> bool:
    """Tell whether each repeat unit beyond the third adds the same to the sums.

    Parameters
    ----------
    n_backbone : int
        Atoms of the repeat unit on the shortest path from one connection point to the other.
    connection_bond : rdkit.Chem.BondType
        Between repeat units. A double one takes part in what is aromatic.
    """
    return n_backbone >= _LEAST_BACKBONE and connection_bond == Chem.BondType.SINGLE


def has_few_matches(unit: Chem.Mol, n_units: int) -> bool:
    """Tell whether no pattern can have so many matches in a chain that RDKit's search ends.

    Parameters
    ----------
    unit : rdkit.Chem.Mol
        The repeat unit.
    n_units : int
        Number of repeat units in the chain.
    """
    n_orders = sum(math.factorial(atom.GetDegree()) for atom in atoms_of(unit))
    return n_units * max(n_orders, unit.GetNumAtoms(onlyExplicit=False)) < _MOST_COUNTED


def longer_sums(shorter: PatternSums, longer: PatternSums) -> PatternSums | None:
    """Return the sums of a chain that is longer by as many units as the second is longer than the first.

    Only for polymers whose sums grow evenly. None where RDKit's own counts might end before they are complete.

    Examples
    --------
    >>> sums = [pattern_sums(Chem.MolFromSmiles("C" * n + "O")) for n in (15, 30, 45)]
    >>> longer_sums(sums[0], sums[1]).counts.tolist() == sums[2].counts.tolist()
    True
    """
    counts = 2 * longer.counts - shorter.counts
    if counts.max() >= _MOST_COUNTED:
        return None
    return PatternSums(counts, 2.0 * longer.crippen - shorter.crippen, 2.0 * longer.areas - shorter.areas)


@functools.cache
def _acid_base() -> tuple[Chem.Mol, Chem.Mol]:
    return Chem.MolFromSmarts(_ACID), Chem.MolFromSmarts(_BASE)
