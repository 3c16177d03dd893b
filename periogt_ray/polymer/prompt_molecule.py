"""A prompt graph's molecule, parsed once for its features and for the search in the chain."""

import re
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from periogt_ray.polymer.atoms_and_bonds import bonds_of
from periogt_ray.polymer.repeat_unit import parse_smiles

__all__ = ["PromptMolecule", "atom_texts", "bond_texts", "parse_prompt"]

# Atoms in a SMILES that RDKit wrote; all others stand in brackets.
_ATOM = re.compile(r"\[[^\]]*\]|Cl|Br|[BCNOPSFIbcnops*]")

# How RDKit writes bonds, except a single one between two aromatic atoms, which is "-".
_BOND_TEXTS = {
    Chem.BondType.SINGLE: "",
    Chem.BondType.AROMATIC: "",
    Chem.BondType.DOUBLE: "=",
    Chem.BondType.TRIPLE: "#",
}


class PromptMolecule(NamedTuple):
    """A molecule and the order of its atoms in the prompt graph."""

    smiles: str
    mol: Chem.Mol
    order: tuple[int, ...]  # by place in the graph the atom of the molecule
    begin: np.ndarray  # int32 [bonds], place of the bond's first atom
    end: np.ndarray  # int32 [bonds]
    bonds: list[Chem.Bond]


def parse_prompt(smiles: str) -> PromptMolecule:
    """Parse the SMILES of a prompt graph.

    Raises
    ------
    ValidationError
        If RDKit cannot read it.
    """
    mol = parse_smiles(smiles)
    order = tuple(Chem.CanonicalRankAtoms(mol))
    place = np.empty(len(order), dtype=np.int32)
    place[list(order)] = np.arange(len(order), dtype=np.int32)
    bonds = bonds_of(mol)
    begin = place[list(map(Chem.Bond.GetBeginAtomIdx, bonds))]
    end = place[list(map(Chem.Bond.GetEndAtomIdx, bonds))]
    return PromptMolecule(smiles, mol, order, begin, end, bonds)


def atom_texts(prompt: PromptMolecule) -> list[str] | None:
    """Return how each atom of the molecule is written in its SMILES; None where atoms were left out of it."""
    texts = _ATOM.findall(prompt.smiles)
    return texts if len(texts) == len(prompt.order) else None


def bond_texts(prompt: PromptMolecule) -> list[str] | None:
    """Return how each bond is written; None where that does not follow from its type alone.

    That is so for bonds with a direction, dative ones and the like.
    """
    texts: list[str] = []
    for bond, kind in zip(prompt.bonds, map(Chem.Bond.GetBondType, prompt.bonds), strict=True):
        text = _BOND_TEXTS.get(kind)
        if text is None:
            return None
        if kind == Chem.BondType.SINGLE and bond.GetBeginAtom().GetIsAromatic() and bond.GetEndAtom().GetIsAromatic():
            text = "-"
        texts.append(text)
    written = _ATOM.sub("", prompt.smiles)
    if any(mark in written for mark in "/\\:>$~"):
        return None
    return texts if all(written.count(mark) == texts.count(mark) for mark in "-=#") else None
