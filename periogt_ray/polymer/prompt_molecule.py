"""A prompt graph's molecule, parsed once for its features and for the search in the chain."""

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rdkit import Chem

from periogt_ray.polymer.repeat_unit import shared_molecule

if TYPE_CHECKING:
    from periogt_ray.polymer.molecule_table import MoleculeTable

__all__ = ["PromptMolecule", "atom_texts", "bond_texts", "parse_prompt"]

# Atoms in a SMILES that RDKit wrote; all others stand in brackets.
_ATOM = re.compile(r"\[[^\]]*\]|Cl|Br|[BCNOPSFIbcnops*]")

# How RDKit writes bonds by its number of their type, except a single one between two aromatic atoms, which is "-".
_SINGLE, _DOUBLE, _TRIPLE, _AROMATIC = 1, 2, 3, 12
_BOND_TEXTS = {_SINGLE: "", _AROMATIC: "", _DOUBLE: "=", _TRIPLE: "#"}


class PromptMolecule(NamedTuple):
    """A molecule and the order of its atoms in the prompt graph."""

    smiles: str
    mol: Chem.Mol  # not to be modified
    order: tuple[int, ...]  # by place in the graph the atom of the molecule
    begin: np.ndarray  # int32 [bonds], place of the bond's first atom
    end: np.ndarray  # int32 [bonds]
    table: "MoleculeTable"


def parse_prompt(smiles: str) -> PromptMolecule:
    """Parse the SMILES of a prompt graph.

    Raises
    ------
    ValidationError
        If RDKit cannot read it.
    """
    # Here, because it loads compiled kernels, which a process that only reads graphs does not need.
    from periogt_ray.polymer.molecule_table import read_table

    mol = shared_molecule(smiles)
    order = tuple(Chem.CanonicalRankAtoms(mol))
    place = np.empty(len(order), dtype=np.int32)
    place[list(order)] = np.arange(len(order), dtype=np.int32)
    table = read_table(mol)
    return PromptMolecule(smiles, mol, order, place[table.begin], place[table.end], table)


def atom_texts(prompt: PromptMolecule) -> list[str] | None:
    """Return how each atom of the molecule is written in its SMILES; None where atoms were left out of it."""
    texts = _ATOM.findall(prompt.smiles)
    return texts if len(texts) == len(prompt.order) else None


def bond_texts(prompt: PromptMolecule) -> list[str] | None:
    """Return how each bond is written; None where that does not follow from its type alone.

    That is so for bonds with a direction, dative ones and the like.
    """
    table = prompt.table
    is_written = (table.bond_type == _SINGLE) & ((table.is_aromatic[table.begin] & table.is_aromatic[table.end]) == 1)
    texts = []
    for kind, is_dash in zip(table.bond_type.tolist(), is_written.tolist(), strict=True):
        text = _BOND_TEXTS.get(kind)
        if text is None:
            return None
        texts.append("-" if is_dash else text)
    written = _ATOM.sub("", prompt.smiles)
    if any(mark in written for mark in "/\\:>$~"):
        return None
    return texts if all(written.count(mark) == texts.count(mark) for mark in "-=#") else None
