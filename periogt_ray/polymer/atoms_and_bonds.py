"""The atoms and bonds of an RDKit molecule as lists.

RDKit's own sequences, ``GetAtoms()`` and ``GetBonds()``, check their length at each step; by index it is several
times faster.
"""

from rdkit import Chem

__all__ = ["atoms_of", "bonds_of"]


def atoms_of(mol: Chem.Mol) -> list[Chem.Atom]:
    """Return a molecule's atoms in the order of their indices."""
    return [mol.GetAtomWithIdx(index) for index in range(mol.GetNumAtoms())]


def bonds_of(mol: Chem.Mol) -> list[Chem.Bond]:
    """Return a molecule's bonds in the order of their indices."""
    return [mol.GetBondWithIdx(index) for index in range(mol.GetNumBonds())]
