"""Which bonds of a polymer's chain cannot be told apart, and which atoms of two spellings are the same."""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from periogt_ray.polymer.atoms_and_bonds import atoms_of, bonds_of
from periogt_ray.polymer.interrupts import undisturbed
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["ChainBond", "atoms_in", "chain_bonds", "equivalent_bonds"]


class ChainBond(NamedTuple):
    """A bond of the infinite chain.

    Attributes
    ----------
    begin, end : int
        Atoms of the repeat unit; for the bond between units its attachment atoms.
    in_smiles : tuple of int
        Bonds of the repeat unit's molecule that stand for it: one, or both bonds to connection points.
    """

    begin: int
    end: int
    in_smiles: tuple[int, ...]

    @property
    def is_between_units(self) -> bool:
        """Whether it joins two repeat units."""
        return len(self.in_smiles) > 1


def chain_bonds(unit: RepeatUnit) -> list[ChainBond]:
    """Return the bonds of a repeat unit in the order of its SMILES, and last the bond to the next unit, once.

    Examples
    --------
    >>> [(bond.begin, bond.end) for bond in chain_bonds(RepeatUnit.parse("*CCO*"))]
    [(1, 2), (2, 3), (1, 3)]
    """
    points = unit.connection_points
    inner, outer = [], []
    for bond in bonds_of(unit.mol):
        ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if ends[0] in points or ends[1] in points:
            outer.append(bond.GetIdx())
        else:
            inner.append(ChainBond(*ends, (bond.GetIdx(),)))
    return [*inner, ChainBond(*unit.attachment_atoms, tuple(outer))]


def equivalent_bonds(unit: RepeatUnit) -> np.ndarray:
    """Find the classes of equivalent bonds of the chain.

    Atoms get colours by element, charge, hydrogens, stereo label and rings. Colours are refined by those of neighbours
    in the infinite chain until they no longer split (Weisfeiler and Leman). Where the chain was cut makes no
    difference.

    Returns
    -------
    numpy.ndarray
        int64, one class for each of :func:`chain_bonds`; equal for equivalent bonds.

    Examples
    --------
    >>> equivalent_bonds(RepeatUnit.parse("*CC*")).tolist()
    [0, 0]
    >>> equivalent_bonds(RepeatUnit.parse("*CCO*")).tolist()
    [0, 1, 1]
    """
    mol, bonds = unit.mol, chain_bonds(unit)
    kinds = [_bond_kind(mol.GetBondWithIdx(bond.in_smiles[0])) for bond in bonds]
    points = unit.connection_points
    colours = _numbered({atom.GetIdx(): _atom_kind(atom) for atom in atoms_of(mol) if atom.GetIdx() not in points})
    while True:
        around: dict[int, list[tuple[str, int]]] = {atom: [] for atom in colours}
        for bond, kind in zip(bonds, kinds, strict=True):
            around[bond.begin].append((kind, colours[bond.end]))
            around[bond.end].append((kind, colours[bond.begin]))
        refined = _numbered({atom: (colours[atom], *sorted(around[atom])) for atom in colours})
        if len(set(refined.values())) == len(set(colours.values())):
            break
        colours = refined
    ends = [tuple(sorted((colours[bond.begin], colours[bond.end]))) for bond in bonds]
    found = _numbered(dict(enumerate(zip(kinds, ends, strict=True))))
    return np.array([found[index] for index in range(len(bonds))], dtype=np.int64)


@undisturbed
def atoms_in(unit: RepeatUnit, computed: RepeatUnit) -> tuple[int, ...]:
    """Return for each atom of a repeat unit's mirror image, or of the unit itself, the atom of the unit.

    Parameters
    ----------
    unit, computed : RepeatUnit
        The second one is the first or its mirror image.

    Examples
    --------
    >>> unit = RepeatUnit.parse("*CC*")
    >>> atoms_in(unit, unit)
    (0, 1, 2, 3)
    """
    if computed == unit:
        return tuple(range(unit.mol.GetNumAtoms()))
    mirrored = Chem.Mol(unit.mol)
    for atom in atoms_of(mirrored):
        atom.InvertChirality()
    found = mirrored.GetSubstructMatch(computed.mol, useChirality=True)
    return tuple(found or unit.mol.GetSubstructMatch(computed.mol))


def _atom_kind(atom: Chem.Atom) -> tuple[Hashable, ...]:
    rings = atom.GetOwningMol().GetRingInfo().AtomRingSizes(atom.GetIdx())
    label = atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else ""
    charge, n_radicals = atom.GetFormalCharge(), atom.GetNumRadicalElectrons()
    return atom.GetAtomicNum(), charge, n_radicals, atom.GetTotalNumHs(), label, tuple(sorted(rings))


def _bond_kind(bond: Chem.Bond) -> str:
    rings = bond.GetOwningMol().GetRingInfo().BondRingSizes(bond.GetIdx())
    return f"{bond.GetBondType()} {bond.GetStereo()} {sorted(rings)}"


def _numbered(kinds: Mapping[int, Hashable]) -> dict[int, int]:
    """Return a number for each kind, in the order in which they first occur."""
    numbers: dict[Hashable, int] = {}
    return {key: numbers.setdefault(kind, len(numbers)) for key, kind in kinds.items()}
