"""Triplet graphs, what the network sees of a molecule.

A node is a triplet (atom, bond, atom), one for every bond, and two virtual nodes that carry the
fingerprint and the descriptors. An edge joins triplets at most five bonds apart along a shortest
path, and knows the triplets in between.
"""

import functools
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdqueries

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.dimensions import N_ATOM_FEATURES, N_BOND_FEATURES, PATH_LENGTH
from periogt_ray.polymer.prompt_molecule import PromptMolecule, parse_prompt

if TYPE_CHECKING:
    from periogt_ray.polymer.bond_classes import BondClasses

__all__ = [
    "PAD",
    "NodeKind",
    "TripletGraph",
    "build_triplet_graph",
    "build_triplet_graphs",
    "triplet_features",
]

PAD = -1

# Starts of the blocks of an atom's feature vector, in the order of the training data.
_ATOMIC_NUMBER, _DEGREE, _CHARGE, _RADICALS, _HYBRIDIZATION = 0, 102, 114, 115, 121
_AROMATIC, _HYDROGENS, _CHIRALITY_POSSIBLE, _CIP, _MASS = 127, 128, 134, 135, 137
_CIP_LABELS = {"R": 0, "S": 1}
_HYBRIDIZATIONS = "SP SP2 SP3 SP3D SP3D2"

_BOND_TYPE, _CONJUGATED, _IN_RING, _STEREO = 0, 5, 6, 7
_BOND_TYPES = "SINGLE DOUBLE TRIPLE AROMATIC"
_STEREOS = "STEREONONE STEREOANY STEREOZ STEREOE STEREOCIS STEREOTRANS"


@functools.cache
def _places(kinds: Any, names: str) -> np.ndarray:
    """Return by RDKit's number of a kind its place among the named ones, or the last place, int64."""
    named = names.split()
    places = np.full(max(map(int, kinds.values)) + 1, len(named))
    places[[int(getattr(kinds, name)) for name in named]] = np.arange(len(named))
    return places


class NodeKind(IntEnum):
    """Kind of a node."""

    TRIPLET = 0
    FINGERPRINT = 1
    DESCRIPTORS = 2
    RATIO = 3  # of a monomer in a copolymer
    GLOBAL = 4  # the architecture of a copolymer, or conditions


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


def build_triplet_graph(smiles: str, classes: "BondClasses") -> TripletGraph | None:
    """Build the triplet graph of one prompt graph; see :func:`build_triplet_graphs`."""
    return build_triplet_graphs([smiles], classes)[0]


def build_triplet_graphs(texts: Sequence[str], classes: "BondClasses") -> list[TripletGraph | None]:
    """Build the triplet graphs of a polymer's prompt graphs.

    Features of all of them are read from RDKit in one pass.

    Parameters
    ----------
    texts : sequence of str
        Multimers of frame shifts.
    classes : BondClasses
        Of the repeat unit that the prompt graphs belong to.

    Returns
    -------
    list of TripletGraph or None
        None where a prompt graph cannot be parsed or is not found in the chain.

    Raises
    ------
    ValidationError
        If looking for a prompt graph in the chain takes too many steps.
    """
    found: dict[int, tuple[PromptMolecule, np.ndarray]] = {}
    for index, text in enumerate(texts):
        try:
            prompt = parse_prompt(text)
        except ValidationError:
            continue
        if (bond_class := classes.of(prompt)) is not None:
            found[index] = prompt, bond_class
    graphs: list[TripletGraph | None] = [None] * len(texts)
    if not found:
        return graphs
    prompts = [prompt for prompt, _ in found.values()]
    atom_features, bond_features = triplet_features(prompts)
    first_atom = np.cumsum([0, *(len(prompt.order) for prompt in prompts)])
    first_bond = np.cumsum([0, *(len(prompt.begin) for prompt in prompts)])
    for k, (index, (prompt, bond_class)) in enumerate(found.items()):
        graphs[index] = _graph(
            prompt,
            bond_class,
            atom_features[first_atom[k] : first_atom[k + 1]],
            bond_features[first_bond[k] : first_bond[k + 1]],
        )
    return graphs


def triplet_features(prompts: Sequence[PromptMolecule]) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of atoms, float32 [A, 138] by place, and of bonds, [bonds, 14], molecule by molecule."""
    return _atom_features(prompts), _bond_features(prompts)


def _graph(
    prompt: PromptMolecule, bond_class: np.ndarray, atom_features: np.ndarray, bond_features: np.ndarray
) -> TripletGraph:
    """Put a graph together; features are those of its atoms in its order, and of its bonds."""
    n_bonds = len(bond_class)
    atoms = np.full((n_bonds + 2, 2), PAD, dtype=np.int32)
    np.minimum(prompt.begin, prompt.end, out=atoms[:-2, 0])
    np.maximum(prompt.begin, prompt.end, out=atoms[:-2, 1])
    with_virtual = np.full((n_bonds + 2, N_BOND_FEATURES), -1, dtype=np.float32)
    with_virtual[:-2] = bond_features
    node_kind = np.full(n_bonds + 2, NodeKind.TRIPLET, dtype=np.int8)
    node_kind[-2:] = NodeKind.FINGERPRINT, NodeKind.DESCRIPTORS
    with_classes = np.empty(n_bonds + 2, dtype=np.int32)
    with_classes[:-2], with_classes[-2:] = bond_class, (-1, -2)
    edges, kinds, paths = _edges(atoms[:-2], len(atom_features))
    return TripletGraph(
        atom_features=atom_features,
        triplet_atoms=atoms,
        bond_features=with_virtual,
        node_kind=node_kind,
        bond_class=with_classes,
        edges=edges,
        edge_kind=kinds,
        paths=paths,
    )


def _atom_features(prompts: Sequence[PromptMolecule]) -> np.ndarray:
    """Return float32 [A, 138]: one-hot blocks, each with a last place for other values, and scalars."""
    from periogt_ray.polymer.molecule_table import masses

    starts = np.cumsum([0, *(len(prompt.order) for prompt in prompts)])
    order = np.concatenate([start + np.array(prompt.order) for start, prompt in zip(starts, prompts, strict=False)])
    degrees = [np.bincount(np.concatenate([one.begin, one.end]), minlength=len(one.order)) for one in prompts]
    features = np.zeros((len(order), N_ATOM_FEATURES), dtype=np.float32)
    rows = np.arange(len(order))
    for first, last, values in (
        (_ATOMIC_NUMBER, 101, _joined(prompts, "number")[order]),
        (_DEGREE, 11, np.concatenate(degrees)),
        (_RADICALS, 5, _joined(prompts, "n_radicals")[order]),
        (_HYDROGENS, 5, _joined(prompts, "n_hydrogens")[order]),
    ):
        features[rows, first + np.minimum(values, last)] = 1
    features[
        rows,
        _HYBRIDIZATION + _places(Chem.HybridizationType, _HYBRIDIZATIONS)[_joined(prompts, "hybridization")[order]],
    ] = 1
    features[:, _CHARGE] = _joined(prompts, "charge")[order]
    features[:, _AROMATIC] = _joined(prompts, "is_aromatic")[order]
    features[:, _MASS] = np.concatenate([masses(prompt.mol, prompt.table) for prompt in prompts])[order] * 0.01
    row_of = np.empty_like(order)
    row_of[order] = rows
    _mark_stereo(prompts, starts, row_of, features)
    return features


def _mark_stereo(
    prompts: Sequence[PromptMolecule], starts: np.ndarray, row_of: np.ndarray, features: np.ndarray
) -> None:
    """Fill in which atoms may be stereocentres, and the labels of those that are.

    RDKit is asked for the few atoms that have such a property, as matches of a query, as its sequence of atoms is slow.
    ``starts`` are the prompts' first atoms, ``row_of`` says which row of the features an atom has.
    """
    is_possible, has_label = _stereo_queries()
    for start, prompt in zip(starts.tolist(), prompts, strict=False):
        n_atoms = len(prompt.order)
        for (atom,) in prompt.mol.GetSubstructMatches(is_possible, maxMatches=n_atoms):
            features[row_of[start + atom], _CHIRALITY_POSSIBLE] = 1
        for (atom,) in prompt.mol.GetSubstructMatches(has_label, maxMatches=n_atoms):
            if (label := _CIP_LABELS.get(prompt.mol.GetAtomWithIdx(atom).GetProp("_CIPCode"))) is not None:
                features[row_of[start + atom], _CIP + label] = 1


@functools.cache
def _stereo_queries() -> tuple[Chem.Mol, ...]:
    """Return queries for atoms that may be stereocentres, and for those with a label."""
    queries = []
    for name in ("_ChiralityPossible", "_CIPCode"):
        query = Chem.RWMol()
        query.AddAtom(rdqueries.HasPropQueryAtom(name))
        queries.append(query.GetMol())
    return tuple(queries)


def _bond_features(prompts: Sequence[PromptMolecule]) -> np.ndarray:
    """Return float32 [bonds, 14]."""
    from periogt_ray.polymer.molecule_table import bonds_in_rings

    kinds = _joined(prompts, "bond_type")
    features = np.zeros((len(kinds), N_BOND_FEATURES), dtype=np.float32)
    rows = np.arange(len(kinds))
    features[rows, _BOND_TYPE + _places(Chem.BondType, _BOND_TYPES)[kinds]] = 1
    features[rows, _STEREO + _places(Chem.BondStereo, _STEREOS)[_joined(prompts, "stereo")]] = 1
    features[:, _CONJUGATED] = _joined(prompts, "is_conjugated")
    features[:, _IN_RING] = np.concatenate([bonds_in_rings(prompt.table) for prompt in prompts])
    return features


def _joined(prompts: Sequence[PromptMolecule], column: str) -> np.ndarray:
    """Join a column of the molecules' tables."""
    joined: np.ndarray = np.concatenate([getattr(prompt.table, column) for prompt in prompts])
    return joined


def _edges(atoms: np.ndarray, n_atoms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return edges int32 [2, E], their kinds int8 [E] and paths int32 [E, 5].

    Parameters
    ----------
    atoms : numpy.ndarray
        int32 [number of bonds, 2], the atoms of each bond.
    n_atoms : int
        Number of atoms.
    """
    # Here, because it loads compiled kernels, which a process that only reads graphs does not need.
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
