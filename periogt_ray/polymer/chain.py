"""The infinite chain of a repeat unit, independent of where it was cut."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from math import gcd

from rdkit import Chem, rdBase

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["chain_key"]


def chain_key(unit: RepeatUnit) -> str:
    """Return a SMILES that is equal for all repeat units of one chain.

    Other cuts, several repeat units in one, and the mirror image give the same text, so that the same polymer is not
    on both sides of a split.

    Parameters
    ----------
    unit : RepeatUnit
        One of the chain's units.

    Examples
    --------
    >>> [chain_key(RepeatUnit.parse(smiles)) for smiles in ("*CC*", "*CCCC*", "*CCO*", "*COC*")]
    ['*C*', '*C*', '*CCO*', '*CCO*']
    """
    key = _first_cut(unit)
    n_atoms = unit.mol.GetNumAtoms() - 2
    counts = Counter(atom.GetAtomicNum() for atom in unit.mol.GetAtoms() if atom.GetAtomicNum())
    n_most = gcd(*counts.values())
    for n_units in range(n_most, 1, -1):
        if n_most % n_units:
            continue
        for part in _pieces(RepeatUnit(key), n_atoms // n_units):
            if _first_cut(RepeatUnit(part.multimer(n_units))) == key:
                return _first_cut(part)
    return key


def _first_cut(unit: RepeatUnit) -> str:
    """Return the first, in the order of texts, of the canonical SMILES of all cuts and of their mirror images."""
    if unit.connection_bond == Chem.BondType.SINGLE and not any(mark in unit.smiles for mark in "@/\\"):
        return min([unit.smiles, *map(_canonical_of_cut, unit.shifted_cuts())])
    units = [unit] if "@" not in unit.smiles else [unit, unit.mirror_image()]
    return min(_canonical(cut) for each in units for cut in each.frame_shifts())


def _canonical_of_cut(cut: Chem.Mol) -> str:
    """Return the canonical SMILES of a cut without stereo labels, of a unit that is joined by single bonds.

    A cut of a single bond changes neither valences nor rings, so the molecule need not be read again, which takes two
    thirds of the time. A cut of a double bond may make a ring aromatic.
    """
    if cut.GetAtomWithIdx(cut.GetNumAtoms() - 1).GetBonds()[0].GetBondType() != Chem.BondType.SINGLE:
        return _canonical(str(Chem.MolToSmiles(cut)))
    cut.UpdatePropertyCache(False)
    Chem.FastFindRings(cut)
    return str(Chem.MolToSmiles(cut))


def _canonical(smiles: str) -> str:
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    # A cut that cannot be read again, such as one between aromatic atoms, stands for itself.
    return smiles if mol is None else str(Chem.MolToSmiles(mol))


def _pieces(unit: RepeatUnit, n_atoms: int) -> Iterator[RepeatUnit]:
    """Yield what lies before a bond of the chain, where it has so many atoms and could be a repeat unit."""
    mol = unit.mol
    (first, second), (head, _) = unit.connection_points, unit.attachment_atoms
    path = Chem.GetShortestPath(mol, first, second)
    for left, right in pairwise(path[1:-1]):
        bond = mol.GetBondBetweenAtoms(left, right)
        if bond.IsInRing() or bond.GetBondType() != unit.connection_bond:
            continue
        broken = Chem.FragmentOnBonds(mol, [bond.GetIdx()], dummyLabels=[(0, 0)])
        atoms = next(group for group in Chem.GetMolFrags(broken) if head in group)
        if len(atoms) - 2 != n_atoms:
            continue
        try:
            yield RepeatUnit.parse(Chem.MolFragmentToSmiles(broken, atoms))
        except ValidationError:
            continue
