"""Which bonds of a polymer's chain are equal under its period."""

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdqueries

from periogt_ray.polymer.atoms_and_bonds import atoms_of, bonds_of
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.substructure import SubstructureSearch

__all__ = ["BondClasses"]

_N_COPIES = 5  # of the repeat unit in the molecule that bonds are looked up in


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
        for index, bond in enumerate(bonds_of(chain)):
            is_inner = (
                index < _N_COPIES * n_bonds and bond.GetBeginAtom().GetAtomicNum() and bond.GetEndAtom().GetAtomicNum()
            )
            bond.SetIntProp("bond_class", index % n_bonds if is_inner else _N_COPIES * n_bonds)
        self._input = unit.smiles
        whole = _without_hydrogen(chain.GetMol())
        self._search = SubstructureSearch(whole)
        # By atoms in both orders.
        self._classes: dict[tuple[int, int], int] = {}
        for bond in bonds_of(whole):
            ends, bond_class = (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()), bond.GetIntProp("bond_class")
            self._classes[ends] = self._classes[ends[::-1]] = bond_class

    def of(self, smiles: str, order: tuple[int, ...]) -> np.ndarray | None:
        """Return the class of each bond of a prompt graph.

        Parameters
        ----------
        smiles : str
            SMILES of the prompt graph.
        order : tuple of int
            Its atoms in the order of the graph.

        Returns
        -------
        numpy.ndarray or None
            int32, one a bond, or None where the prompt graph is not found in the chain.

        Raises
        ------
        ValidationError
            If looking for the prompt graph takes too many steps.
        """
        try:
            with rdBase.BlockLogs():
                query = self._query(smiles, order)
                match = () if query is None else self._search.first_match(query)
        except (RuntimeError, ValueError):
            return None
        if query is None or not match:
            return None
        ends = [(match[bond.GetBeginAtomIdx()], match[bond.GetEndAtomIdx()]) for bond in bonds_of(query)]
        return np.array([self._classes[pair] for pair in ends], dtype=np.int32)

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


def _without_hydrogen(chain: Chem.Mol) -> Chem.Mol:
    """Remove explicit hydrogen and sanitize, where the chain's valences allow it.

    An attachment atom keeps its connection point beside its new bond, so it may be over-valent.
    """
    try:
        with rdBase.BlockLogs():
            return Chem.RemoveHs(chain)
    except ValueError:
        chain.UpdatePropertyCache(strict=False)
        return chain
