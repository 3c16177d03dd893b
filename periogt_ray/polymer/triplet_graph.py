"""Triplet graphs, what the network sees of a molecule.

A node is a triplet (atom, bond, atom), one for every bond, and two virtual nodes that carry the
fingerprint and the descriptors. An edge joins triplets at most five bonds apart along a shortest
path, and knows the triplets in between.
"""

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdqueries

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.dimensions import N_ATOM_FEATURES, N_BOND_FEATURES, PATH_LENGTH
from periogt_ray.polymer.repeat_unit import RepeatUnit, parse_smiles
from periogt_ray.polymer.substructure import SubstructureSearch

if TYPE_CHECKING:
    import dgl

__all__ = [
    "PAD",
    "BondClasses",
    "NodeKind",
    "TripletGraph",
    "build_triplet_graph",
    "to_dgl",
]

PAD = -1

_N_COPIES = 5  # of the repeat unit in the molecule that bonds are looked up in

# Starts of the blocks of an atom's feature vector, in the order of the training data.
_ATOMIC_NUMBER, _DEGREE, _CHARGE, _RADICALS, _HYBRIDIZATION = 0, 102, 114, 115, 121
_AROMATIC, _HYDROGENS, _CHIRALITY_POSSIBLE, _CIP, _MASS = 127, 128, 134, 135, 137
_HYBRIDIZATIONS = {
    Chem.HybridizationType.SP: 0,
    Chem.HybridizationType.SP2: 1,
    Chem.HybridizationType.SP3: 2,
    Chem.HybridizationType.SP3D: 3,
    Chem.HybridizationType.SP3D2: 4,
}
_CIP_LABELS = {"R": 0, "S": 1}

_BOND_TYPE, _CONJUGATED, _IN_RING, _STEREO = 0, 5, 6, 7
_BOND_TYPES = {
    Chem.BondType.SINGLE: 0,
    Chem.BondType.DOUBLE: 1,
    Chem.BondType.TRIPLE: 2,
    Chem.BondType.AROMATIC: 3,
}
_STEREOS = {
    Chem.BondStereo.STEREONONE: 0,
    Chem.BondStereo.STEREOANY: 1,
    Chem.BondStereo.STEREOZ: 2,
    Chem.BondStereo.STEREOE: 3,
    Chem.BondStereo.STEREOCIS: 4,
    Chem.BondStereo.STEREOTRANS: 5,
}


class NodeKind(IntEnum):
    """Kind of a node."""

    TRIPLET = 0
    FINGERPRINT = 1
    DESCRIPTORS = 2


class EdgeKind(IntEnum):
    """Kind of an edge; each has its own term in the attention bias."""

    PATH = 0
    VIRTUAL = 1
    SELF_LOOP = 2


class TripletGraph(NamedTuple):
    """Triplet graph of one prompt graph; a node is (atom, bond, atom).

    A is the number of atoms, T of nodes (one a bond, then the two virtual nodes), E of edges.
    """

    atom_features: np.ndarray  # float32 [A, 138]
    triplet_atoms: np.ndarray  # int32   [T, 2], the atoms of each triplet, PAD for virtual nodes
    bond_features: np.ndarray  # float32 [T, 14], -1 for virtual nodes
    node_kind: np.ndarray  # int8    [T], see NodeKind
    bond_class: np.ndarray  # int32   [T], equal for bonds equal under the period; -1, -2 for virtual nodes
    edges: np.ndarray  # int32   [2, E], source and destination
    edge_kind: np.ndarray  # int8    [E], see EdgeKind
    paths: np.ndarray  # int32   [E, 5], PAD where shorter

    @property
    def n_triplets(self) -> int:
        """Number of nodes, virtual ones included."""
        return len(self.node_kind)


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
        for index, bond in enumerate(_bonds(chain)):
            is_inner = (
                index < _N_COPIES * n_bonds and bond.GetBeginAtom().GetAtomicNum() and bond.GetEndAtom().GetAtomicNum()
            )
            bond.SetIntProp("bond_class", index % n_bonds if is_inner else _N_COPIES * n_bonds)
        self._input = unit.smiles
        whole = _without_hydrogen(chain.GetMol())
        self._search = SubstructureSearch(whole)
        # By atoms in both orders.
        self._classes: dict[tuple[int, int], int] = {}
        for bond in _bonds(whole):
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
        classes = [self._classes[match[bond.GetBeginAtomIdx()], match[bond.GetEndAtomIdx()]] for bond in _bonds(query)]
        return np.array(classes, dtype=np.int32)

    def _query(self, smiles: str, order: tuple[int, ...]) -> Chem.Mol | None:
        parsed = Chem.MolFromSmarts(smiles)
        if parsed is None:  # an element that SMARTS has no symbol for
            return None
        pattern = Chem.RWMol(parsed)
        if smiles != self._input:
            first, second = (atom.GetIdx() for atom in _atoms(pattern) if atom.GetAtomicNum() == 0)
            elements = [pattern.GetAtomWithIdx(end).GetNeighbors()[0].GetAtomicNum() for end in (first, second)]
            for end, element in zip((second, first), elements, strict=True):
                pattern.ReplaceAtom(end, rdqueries.AtomNumEqualsQueryAtom(element))
        return Chem.RenumberAtoms(pattern.GetMol(), order)


def build_triplet_graph(smiles: str, classes: BondClasses) -> TripletGraph | None:
    """Build the triplet graph of one prompt graph.

    Parameters
    ----------
    smiles : str
        A multimer of a frame shift.
    classes : BondClasses
        Of the repeat unit that the prompt graph belongs to.

    Returns
    -------
    TripletGraph or None
        None where the prompt graph cannot be parsed or is not found in the chain.

    Raises
    ------
    ValidationError
        If looking for the prompt graph in the chain takes too many steps.
    """
    try:
        mol = parse_smiles(smiles)
    except ValidationError:
        return None
    order = tuple(Chem.CanonicalRankAtoms(mol))
    bond_class = classes.of(smiles, order)
    if bond_class is None or len(bond_class) != mol.GetNumBonds():
        return None
    mol = Chem.RenumberAtoms(mol, order)
    n_bonds = mol.GetNumBonds()
    atoms = np.array([sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())) for bond in _bonds(mol)], dtype=np.int32)
    edges, kinds, paths = _edges(atoms, mol.GetNumAtoms())
    return TripletGraph(
        atom_features=_atom_features(mol),
        triplet_atoms=np.concatenate([atoms, np.full((2, 2), PAD, dtype=np.int32)]),
        bond_features=np.concatenate([_bond_features(mol), np.full((2, N_BOND_FEATURES), -1, dtype=np.float32)]),
        node_kind=np.array([NodeKind.TRIPLET] * n_bonds + [NodeKind.FINGERPRINT, NodeKind.DESCRIPTORS], dtype=np.int8),
        bond_class=np.concatenate([bond_class, np.array([-1, -2], dtype=np.int32)]),
        edges=edges,
        edge_kind=kinds,
        paths=paths,
    )


def to_dgl(graph: TripletGraph) -> "dgl.DGLGraph":
    """Return the graph as a DGL graph with the reference implementation's field names."""
    import dgl
    import torch

    source, destination = torch.from_numpy(graph.edges.astype(np.int64))
    result = dgl.graph((source, destination), num_nodes=graph.n_triplets)
    pairs = graph.atom_features[graph.triplet_atoms]
    pairs[graph.node_kind != NodeKind.TRIPLET] = -1
    result.ndata["begin_end"] = torch.from_numpy(pairs)
    result.ndata["edge"] = torch.from_numpy(graph.bond_features)
    result.ndata["vavn"] = torch.from_numpy(graph.node_kind.astype(np.int64))
    result.ndata["bid"] = torch.from_numpy(graph.bond_class.astype(np.int64))
    result.edata["path"] = torch.from_numpy(graph.paths.astype(np.int64))
    result.edata["vp"] = torch.from_numpy(graph.edge_kind == EdgeKind.VIRTUAL)
    result.edata["sl"] = torch.from_numpy(graph.edge_kind == EdgeKind.SELF_LOOP)
    return result


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


def _atoms(mol: Chem.Mol) -> list[Chem.Atom]:
    """Return a molecule's atoms; several times faster than iterating over ``GetAtoms()``."""
    return [mol.GetAtomWithIdx(index) for index in range(mol.GetNumAtoms())]


def _bonds(mol: Chem.Mol) -> list[Chem.Bond]:
    return [mol.GetBondWithIdx(index) for index in range(mol.GetNumBonds())]


def _atom_features(mol: Chem.Mol) -> np.ndarray:
    """Return float32 [A, 138]: one-hot blocks, each with a last place for other values, and scalars."""
    features = np.zeros((mol.GetNumAtoms(), N_ATOM_FEATURES), dtype=np.float32)
    for row, atom in zip(features, _atoms(mol), strict=True):
        row[_ATOMIC_NUMBER + min(atom.GetAtomicNum(), 101)] = 1
        row[_DEGREE + min(atom.GetDegree(), 11)] = 1
        row[_CHARGE] = atom.GetFormalCharge()
        row[_RADICALS + min(atom.GetNumRadicalElectrons(), 5)] = 1
        row[_HYBRIDIZATION + _HYBRIDIZATIONS.get(atom.GetHybridization(), 5)] = 1
        row[_AROMATIC] = atom.GetIsAromatic()
        row[_HYDROGENS + min(atom.GetTotalNumHs(), 5)] = 1
        row[_CHIRALITY_POSSIBLE] = atom.HasProp("_ChiralityPossible")
        if atom.HasProp("_CIPCode") and atom.GetProp("_CIPCode") in _CIP_LABELS:
            row[_CIP + _CIP_LABELS[atom.GetProp("_CIPCode")]] = 1
        row[_MASS] = atom.GetMass() * 0.01
    return features


def _bond_features(mol: Chem.Mol) -> np.ndarray:
    """Return float32 [T, 14] for the triplets of real bonds."""
    features = np.zeros((mol.GetNumBonds(), N_BOND_FEATURES), dtype=np.float32)
    for row, bond in zip(features, _bonds(mol), strict=True):
        row[_BOND_TYPE + _BOND_TYPES.get(bond.GetBondType(), 4)] = 1
        row[_CONJUGATED] = bond.GetIsConjugated()
        row[_IN_RING] = bond.IsInRing()
        row[_STEREO + _STEREOS.get(bond.GetStereo(), 6)] = 1
    return features


def _edges(atoms: np.ndarray, n_atoms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return edges int32 [2, E], their kinds int8 [E] and paths int32 [E, 5].

    Parameters
    ----------
    atoms : numpy.ndarray
        int32 [number of bonds, 2], the atoms of each bond.
    n_atoms : int
        Number of atoms.
    """
    from periogt_ray.polymer.triplet_paths import triplet_paths

    n_bonds = len(atoms)
    bonds = np.arange(n_bonds, dtype=np.int32)
    virtual = np.full((4, n_bonds, PATH_LENGTH), PAD, dtype=np.int32)
    for to_virtual, from_virtual, node in ((virtual[0], virtual[1], n_bonds), (virtual[2], virtual[3], n_bonds + 1)):
        to_virtual[:, 0] = from_virtual[:, -1] = bonds
        to_virtual[:, -1] = from_virtual[:, 0] = node
    loops = np.full((n_bonds + 2, PATH_LENGTH), PAD, dtype=np.int32)
    loops[:, 0] = loops[:, -1] = np.arange(n_bonds + 2)
    chains = triplet_paths(atoms, n_atoms)
    paths = np.concatenate([chains, virtual.reshape(-1, PATH_LENGTH), loops])
    kinds = np.repeat(
        np.array([EdgeKind.PATH, EdgeKind.VIRTUAL, EdgeKind.SELF_LOOP], dtype=np.int8),
        [len(chains), 4 * n_bonds, len(loops)],
    )
    return np.ascontiguousarray(paths[:, [0, -1]].T), kinds, paths
