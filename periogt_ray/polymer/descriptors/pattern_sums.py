"""Sums over an oligomer's patterns that RDKit finds by substructure search, and those of a longer chain.

Each is a sum over the atoms (or bonds) of a chain of what their surroundings say: whether an atom is an acid, a base, a
donor or an acceptor, whether a bond turns, an atom's contribution to logP and to the surface areas that are sorted by
it. Surroundings reach no farther than five bonds beyond the atom's own ring system, which lies within its
repeat unit. Where a unit's backbone has five atoms or more, they reach only into the next unit, so all units but the
outer two count the same, and each further unit adds the same amount. That was compared with RDKit's own sums of 9-mers.
"""

import functools
import math

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from periogt_ray.polymer.atoms_and_bonds import atoms_of

__all__ = ["PatternSums", "grow_evenly", "has_few_matches", "longer_sums", "pattern_sums"]

_ACID = "[$([O;H1]-[C,S,P]=O),$([*;-;!$(*~[*;+])]),$([NH](S(=O)=O)C(F)(F)F),$(n1nnnc1)]"
_BASE = "[$([NH2]-[CX4]),$([NH](-[CX4])-[CX4]),$(N(-[CX4])(-[CX4])-[CX4]),$([*;+;!$(*~[*;-])]),$(N=C-N),$(N-C=N)]"

_LEAST_BACKBONE = 5

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


def pattern_sums(mol: Chem.Mol) -> PatternSums:
    """Return the sums as RDKit finds them."""
    counts = [
        *(len(mol.GetSubstructMatches(pattern)) for pattern in _acid_base()),
        rdMolDescriptors.CalcNumHBA(mol),
        rdMolDescriptors.CalcNumHBD(mol),
        rdMolDescriptors.CalcNumRotatableBonds(mol),
    ]
    areas = [*rdMolDescriptors.SMR_VSA_(mol)[:9], *rdMolDescriptors.SlogP_VSA_(mol)[:11]]
    return PatternSums(
        np.array(counts, dtype=np.int64),
        np.array(rdMolDescriptors.CalcCrippenDescriptors(mol)),
        np.array(areas, dtype=np.float64),
    )


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
