"""A molecule as arrays, extracted once; all descriptors are computed from them.

Shape letters: n atoms without, N atoms with all hydrogens; m and M bonds likewise. The first n atoms
and m bonds are the same in both. A hydrogen that the parser keeps (an isotope) is among the n.
"""

import functools
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdPartialCharges

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.atoms_and_bonds import atoms_of
from periogt_ray.polymer.limits import MAX_ATOMS
from periogt_ray.polymer.molecule_table import bond_orders, masses, read_table

__all__ = ["BondType", "Graph", "MoleculeArrays", "extract"]

_N_ELEMENTS = 118


class BondType:
    """RDKit's numbers of the bond types that descriptors tell apart."""

    SINGLE = int(Chem.BondType.SINGLE)
    DOUBLE = int(Chem.BondType.DOUBLE)
    TRIPLE = int(Chem.BondType.TRIPLE)
    AROMATIC = int(Chem.BondType.AROMATIC)


@dataclass(frozen=True, slots=True)
class Graph:
    """Neighbours of each atom, in the order of their bonds."""

    start: np.ndarray  # int32 [n + 1], an atom's neighbours are neighbor[start[i]:start[i + 1]]
    neighbor: np.ndarray  # int32 [2m]
    bond: np.ndarray  # int32 [2m], index of the bond to that neighbour

    @classmethod
    def from_bonds(cls, n_atoms: int, begin: np.ndarray, end: np.ndarray) -> "Graph":
        """Build from the bonds' atoms, int32 [m] each."""
        n_bonds = len(begin)
        source = np.concatenate([begin, end])
        bond = np.concatenate([np.arange(n_bonds, dtype=np.int32)] * 2)
        order = np.lexsort((bond, source))
        start = np.zeros(n_atoms + 1, dtype=np.int32)
        np.cumsum(np.bincount(source, minlength=n_atoms), out=start[1:])
        return cls(start, np.concatenate([end, begin])[order], bond[order])

    @property
    def degree(self) -> np.ndarray:
        """Number of neighbours, int32 [n]."""
        return np.diff(self.start)


@dataclass(frozen=True, slots=True)
class MoleculeArrays:
    """All that descriptors need to know of a molecule."""

    mol: Chem.Mol  # without hydrogens
    number: np.ndarray  # int64 [n], atomic number
    charge: np.ndarray  # int64 [n], formal
    n_implicit: np.ndarray  # int64 [n], hydrogens that are not atoms of ``mol``
    is_bracketed: np.ndarray  # bool [n], the hydrogens were given and not inferred
    is_aromatic: np.ndarray  # bool [n]
    in_ring: np.ndarray  # bool [n]
    hybridization: np.ndarray  # int64 [n], RDKit's numbers
    valence: np.ndarray  # int64 [n], total
    mass: np.ndarray  # float64 [n], of the isotope
    partial_charge: np.ndarray  # float64 [n], Gasteiger's
    hydrogen_charge: np.ndarray  # float64 [n], of all implicit hydrogens together
    begin: np.ndarray  # int32 [m]
    end: np.ndarray  # int32 [m]
    bond_type: np.ndarray  # int64 [m], RDKit's numbers
    bond_order: np.ndarray  # float64 [m], 1.5 where aromatic
    bond_is_aromatic: np.ndarray  # bool [m]
    kekule_type: np.ndarray  # int64 [m], of the Kekule form that RDKit chooses with all hydrogens
    kekule_order: np.ndarray  # float64 [m]
    rings: tuple[tuple[int, ...], ...]  # symmetrised smallest set of smallest rings
    outer_electrons: np.ndarray  # int64 [n], of the neutral element
    full_number: np.ndarray  # int64 [N]
    full_begin: np.ndarray  # int32 [M]
    full_end: np.ndarray  # int32 [M]
    graph: Graph  # of n atoms
    full_graph: Graph  # of N atoms
    n_hydrogens: np.ndarray  # int64 [n], all on the atom
    n_heavy_neighbors: np.ndarray  # int64 [n]

    @property
    def n_atoms(self) -> int:
        """Atoms without implicit hydrogens: n."""
        return len(self.number)

    @property
    def n_all_atoms(self) -> int:
        """Atoms with all hydrogens: N."""
        return len(self.full_number)


def extract(mol: Chem.Mol) -> MoleculeArrays:
    """Read a molecule's arrays.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        Sanitized, one fragment; it is not modified.

    Raises
    ------
    ValidationError
        If it has several fragments, no atom, or more than 1200 atoms, hydrogens left out.
    """
    _check_size(mol)
    mol = Chem.Mol(mol)  # gets computed properties
    table = read_table(mol)
    if (table.number == 1).any():
        mol = Chem.RemoveHs(mol, updateExplicitCount=True)
        table = read_table(mol)
    number, n_implicit, n_atoms = table.number, table.n_hydrogens, len(table.number)
    begin, end, bond_type = table.begin.astype(np.int32), table.end.astype(np.int32), table.bond_type
    bond_order = bond_orders(table)
    kekule_order = _kekule_orders(mol, bond_type, bond_order)
    is_ambiguous = bond_type == BondType.AROMATIC
    kekule_type = np.where(is_ambiguous, np.where(kekule_order == 1.0, BondType.SINGLE, BondType.DOUBLE), bond_type)
    parent = np.repeat(np.arange(n_atoms, dtype=np.int32), n_implicit)
    hydrogen = np.arange(n_atoms, n_atoms + len(parent), dtype=np.int32)
    full_begin, full_end = np.concatenate([begin, parent]), np.concatenate([end, hydrogen])
    graph = Graph.from_bonds(n_atoms, begin, end)
    n_heavy_neighbors = np.bincount(begin, number[end] != 1, n_atoms) + np.bincount(end, number[begin] != 1, n_atoms)
    n_heavy_neighbors = n_heavy_neighbors.astype(np.int64)
    in_ring = np.zeros(n_atoms, dtype=bool)
    in_ring[table.ring_atoms] = True
    partial_charge, hydrogen_charge = _charges(mol)
    return MoleculeArrays(
        mol=mol,
        number=number,
        charge=table.charge,
        n_implicit=n_implicit,
        is_bracketed=table.is_bracketed.astype(bool),
        is_aromatic=table.is_aromatic.astype(bool),
        in_ring=in_ring,
        hybridization=table.hybridization,
        valence=table.valence,
        mass=masses(mol, table),
        partial_charge=partial_charge,
        hydrogen_charge=hydrogen_charge,
        begin=begin,
        end=end,
        bond_type=bond_type,
        bond_order=bond_order,
        bond_is_aromatic=table.bond_is_aromatic.astype(bool),
        kekule_type=kekule_type,
        kekule_order=kekule_order,
        rings=table.rings,
        outer_electrons=_outer_electrons()[number],
        full_number=np.concatenate([number, np.ones(len(parent), dtype=np.int64)]),
        full_begin=full_begin,
        full_end=full_end,
        graph=graph,
        full_graph=Graph.from_bonds(n_atoms + len(parent), full_begin, full_end),
        n_hydrogens=n_implicit + graph.degree - n_heavy_neighbors,
        n_heavy_neighbors=n_heavy_neighbors,
    )


def _charges(mol: Chem.Mol) -> tuple[np.ndarray, np.ndarray]:
    """Return Gasteiger charges of atoms and of all implicit hydrogens on each, float64 [n] each."""
    rdPartialCharges.ComputeGasteigerCharges(mol)
    atoms = atoms_of(mol)
    own, implicit = (
        np.array(list(map(Chem.Atom.GetDoubleProp, atoms, repeat(name))), dtype=np.float64)
        for name in ("_GasteigerCharge", "_GasteigerHCharge")
    )
    return own, implicit


def _check_size(mol: Chem.Mol) -> None:
    # Isotopes of hydrogen are atoms like any other here.
    n_atoms, n_fragments = mol.GetNumAtoms(), len(Chem.GetMolFrags(mol))
    if n_fragments != 1:
        raise ValidationError(f"The molecule has {n_fragments} fragments; descriptors need exactly one.")
    if n_atoms > MAX_ATOMS:
        raise ValidationError(
            f"The oligomer has {n_atoms} atoms, hydrogens left out; at most {MAX_ATOMS} are accepted. "
            "Give a smaller repeat unit."
        )


def _kekule_orders(mol: Chem.Mol, bond_type: np.ndarray, bond_order: np.ndarray) -> np.ndarray:
    """Return bond orders in the Kekule form that RDKit chooses, float64 [m].

    All hydrogens are added first, as in training: in one polymer of seven RDKit chooses another form without.
    """
    aromatic = np.flatnonzero(bond_type == BondType.AROMATIC)
    if not len(aromatic):
        return bond_order
    kekule = Chem.AddHs(mol)
    Chem.Kekulize(kekule)
    orders = bond_order.copy()
    bonds = [kekule.GetBondWithIdx(index) for index in aromatic.tolist()]
    orders[aromatic] = list(map(Chem.Bond.GetBondTypeAsDouble, bonds))
    return orders


@functools.cache
def _outer_electrons() -> np.ndarray:
    """Return the outer electrons of the neutral elements by atomic number, int64 [119]."""
    table = Chem.GetPeriodicTable()
    return np.array([table.GetNOuterElecs(number) for number in range(_N_ELEMENTS + 1)], dtype=np.int64)
