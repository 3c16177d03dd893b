"""Which bonds of a polymer's chain are equal under its period."""

from collections.abc import Sequence

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdqueries

from periogt_ray.polymer.atoms_and_bonds import atoms_of, bonds_of
from periogt_ray.polymer.molecule_table import bond_ends
from periogt_ray.polymer.prompt_molecule import PromptMolecule, atom_texts, bond_texts
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.substructure import SubstructureSearch

__all__ = ["BondClasses"]

_N_COPIES = 5  # of the repeat unit in the molecule that bonds are looked up in
_POINTS = ("*", "[*]")


class BondClasses:
    """Tells which bonds of a chain are equal under its period.

    Parameters
    ----------
    unit : RepeatUnit
        The repeat unit whose prompt graphs are looked up.
    """

    def __init__(self, unit: RepeatUnit) -> None:
        mol, n_atoms, n_bonds = unit.mol, unit.mol.GetNumAtoms(), unit.mol.GetNumBonds()
        head, tail = unit.attachment_atoms
        chain = Chem.RWMol(mol)
        for _ in range(1, _N_COPIES):
            chain.InsertMol(mol)
        for copy in range(1, _N_COPIES):
            chain.AddBond((copy - 1) * n_atoms + tail, copy * n_atoms + head, unit.connection_bond)
        ends = bond_ends(mol)
        is_outer = np.isin(ends, unit.connection_points).any(axis=0)
        outer = _N_COPIES * n_bonds
        of_unit = np.where(is_outer, outer, np.arange(n_bonds))
        classes = np.concatenate([*(of_unit,) * _N_COPIES, np.full(_N_COPIES - 1, outer)]).astype(np.int32)
        self._input = unit.smiles
        has_hydrogen = 1 in map(Chem.Atom.GetAtomicNum, atoms_of(mol))
        whole = _without_hydrogen(chain, classes, has_hydrogen=has_hydrogen)
        if has_hydrogen:
            begin, end = bond_ends(whole)
            classes = np.array([bond.GetIntProp("bond_class") for bond in bonds_of(whole)], dtype=np.int32)
        else:
            first_atoms = n_atoms * np.arange(_N_COPIES)
            begin, end = (
                np.concatenate([np.add.outer(first_atoms, one).ravel(), joints])
                for one, joints in zip(ends, (first_atoms[:-1] + tail, first_atoms[1:] + head), strict=True)
            )
        self._search = SubstructureSearch(whole, (begin, end))
        # By atoms, in both orders; the key of a pair grows with either.
        self._n_atoms = whole.GetNumAtoms()
        keys = np.concatenate([begin * self._n_atoms + end, end * self._n_atoms + begin])
        order = np.argsort(keys)
        self._keys, self._classes = keys[order], np.concatenate([classes, classes])[order]

    def of(self, prompt: PromptMolecule) -> np.ndarray | None:
        """Return the class of each bond of a prompt graph.

        Parameters
        ----------
        prompt : PromptMolecule
            The prompt graph.

        Returns
        -------
        numpy.ndarray or None
            int32, one for each bond, or None where the prompt graph is not found in the chain.

        Raises
        ------
        ValidationError
            If looking for the prompt graph takes too many steps.
        """
        try:
            match = self._match(prompt)
        except (RuntimeError, ValueError):
            return None
        if match is None:
            return None
        pairs = match[prompt.begin].astype(np.int64) * self._n_atoms + match[prompt.end]
        classes: np.ndarray = self._classes[np.searchsorted(self._keys, pairs)]
        return classes

    def _match(self, prompt: PromptMolecule) -> np.ndarray | None:
        """Return for each place of the prompt graph its atom in the chain; None if it is not found there."""
        atoms, bonds = self._atom_patterns(prompt), bond_texts(prompt)
        if atoms is not None and bonds is not None:
            return self._search.first_match_of_patterns(atoms, prompt.begin, prompt.end, bonds)
        query = self._query(prompt.smiles, prompt.order)
        if query is None or query.GetNumBonds() != len(prompt.begin):
            return None
        match = self._search.first_match(query)
        return np.array(match, dtype=np.int32) if match else None

    def _atom_patterns(self, prompt: PromptMolecule) -> Sequence[str] | None:
        """Return a SMARTS for each place of the prompt graph; None where only RDKit's parser can tell."""
        texts = atom_texts(prompt)
        if texts is None:
            return None
        if prompt.smiles != self._input:
            first, second = (index for index, text in enumerate(texts) if text in _POINTS)
            elements = [prompt.mol.GetAtomWithIdx(end).GetNeighbors()[0].GetAtomicNum() for end in (first, second)]
            texts[first], texts[second] = f"[#{elements[1]}]", f"[#{elements[0]}]"
        return [texts[index] for index in prompt.order]

    def _query(self, smiles: str, order: tuple[int, ...]) -> Chem.Mol | None:
        parsed = Chem.MolFromSmarts(smiles)
        if parsed is None:  # an element that SMARTS has no symbol for
            return None
        pattern = Chem.RWMol(parsed)
        if smiles != self._input:
            first, second = (atom.GetIdx() for atom in atoms_of(pattern) if atom.GetAtomicNum() == 0)
            elements = [pattern.GetAtomWithIdx(end).GetNeighbors()[0].GetAtomicNum() for end in (first, second)]
            for end, element in zip((second, first), elements, strict=True):
                pattern.ReplaceAtom(end, rdqueries.AtomNumEqualsQueryAtom(element))
        return Chem.RenumberAtoms(pattern.GetMol(), order)


def _without_hydrogen(chain: Chem.RWMol, classes: np.ndarray, *, has_hydrogen: bool) -> Chem.Mol:
    """Remove explicit hydrogen and sanitize, where the chain's valences allow it.

    An attachment atom keeps its connection point beside its new bond, so it may be over-valent. Where bonds may go,
    each keeps its class as a property.
    """
    if has_hydrogen:
        for bond, bond_class in zip(bonds_of(chain), classes.tolist(), strict=True):
            bond.SetIntProp("bond_class", bond_class)
    try:
        with rdBase.BlockLogs():
            return Chem.RemoveHs(chain.GetMol())
    except ValueError:
        chain.UpdatePropertyCache(strict=False)
        return chain.GetMol()
