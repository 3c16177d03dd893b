"""The infinite chain of a repeat unit, independent of where it was cut."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from math import gcd

from rdkit import Chem, rdBase

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["chain_key", "spellings"]

_FEWEST_UNITS, _MOST_ATOMS = 3, 24


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


def spellings(unit: RepeatUnit) -> Iterator[str]:
    """Yield the canonical SMILES of repeat units of one chain, the key first.

    They are all cuts, with their mirror images, of one to three of the smallest repeat units, of more of them up to 24
    atoms, and with stereocentres of one. This finds a chain again among texts of which only hashes are kept.

    Parameters
    ----------
    unit : RepeatUnit
        One of the chain's units.

    Examples
    --------
    >>> list(spellings(RepeatUnit.parse("*CCCC*")))[:4]
    ['*C*', '*CC*', '*CCC*', '*CCCC*']
    """
    key = chain_key(unit)
    smallest = RepeatUnit(key)
    both_hands = (smallest, smallest.mirror_image())
    cuts = dict.fromkeys((key, *(_canonical(cut) for one in both_hands for cut in one.frame_shifts())))
    n_units = max(_FEWEST_UNITS, _MOST_ATOMS // (smallest.mol.GetNumAtoms() - 2))
    if "@" in key:
        n_units = 1  # the labels of joined units depend on the order of their atoms
    for cut in cuts:
        yield cut
        try:
            one = RepeatUnit.parse(cut)
        except ValidationError:
            continue
        yield from (_canonical(one.multimer(n)) for n in range(2, n_units + 1))


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
