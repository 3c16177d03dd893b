"""From triplet graphs (numpy) to one batch of tensors.

Graphs are sorted by size and laid end to end, so that linear layers see one matrix. Attention is
dense within a graph: graphs of one size, or of nearly one size padded to the largest, form a group
whose nodes are a view [G, n, ...] of the whole. No node of one graph ever meets one of another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from periogt_ray.polymer.dimensions import PATH_LENGTH
from periogt_ray.polymer.triplet_graph import PAD, EdgeKind, NodeKind, TripletGraph

__all__ = ["GraphBatch", "Group", "PromptBatch", "PromptGroup", "collate", "collate_prompts", "match_prompts"]

# Index of an edge's entry in the table of distance embeddings: 0 to 5 valid path slots, then these.
VIRTUAL_DISTANCE = PATH_LENGTH + 1
SELF_LOOP_DISTANCE = PATH_LENGTH + 2
# Slots of a node's prompts come in multiples of it: few shapes, little room unused, and each node's scores
# (8 heads of 4 bytes a slot) start at a multiple of 64 bytes.
_SLOT_MULTIPLE = 4


class Group(NamedTuple):
    """Graphs that share one dense attention."""

    n_graphs: int
    n_nodes: int  # of each graph, padding included
    start: int  # the group's first node in the batch


@dataclass(frozen=True)
class _OnDevice:
    """Tensors that move together."""

    def to(self, device: torch.device) -> Self:
        """Return the same batch on another device."""
        moved = {
            field.name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for field in fields(self)
            for value in [getattr(self, field.name)]
        }
        return type(self)(**moved)

    def pinned(self) -> Self:
        """Return a copy in pinned memory."""
        copied = {
            field.name: value.pin_memory() if isinstance(value, Tensor) else value
            for field in fields(self)
            for value in [getattr(self, field.name)]
        }
        return type(self)(**copied)


@dataclass(frozen=True)
class GraphBatch(_OnDevice):
    """Triplet graphs as tensors; T counts padding nodes too, G graphs are in order of size.

    Attributes
    ----------
    atom_features : Tensor
        float32 [A, 138].
    triplet_atoms : Tensor
        int64 [T, 2]; 0 where a node has no atoms.
    bond_features : Tensor
        float32 [T, 14].
    fingerprint_nodes, descriptor_nodes : Tensor
        int64 [M], the virtual nodes of the M repeat units: one a graph, of copolymers two.
    fingerprints, descriptors : Tensor
        float32 [M, 1191] and [M, 1613], what they carry.
    ratio_nodes, ratios : Tensor
        int64 [M], of copolymers; else [0]. The virtual nodes, and rows of the network's table.
    global_nodes : Tensor
        int64 [G], of copolymers and polymers with conditions; else [0].
    global_values : Tensor
        What the global nodes carry: of copolymers int64 [G], rows of the network's table of architectures; else
        conditions, float32 [G, number of conditions].
    triplet_weights : Tensor
        float32 [T], 1 / (number of bond triplets of the node's graph) for bond triplets, else 0.
    edge_slots : Tensor
        int64 [E], place of an edge among the groups' dense [n destinations, n sources] blocks.
    edge_paths : Tensor
        int64 [E, 5], nodes; T where a slot is unused.
    edge_distance : Tensor
        int64 [E], row of the table of distance embeddings.
    n_valid_slots : Tensor
        float32 [E, 1], used slots of each path.
    groups : tuple of Group
        In order of their nodes.
    n_slots : int
        Sum of n_graphs * n_nodes ** 2 over the groups.
    first_nodes : numpy.ndarray
        int64 [G], where each graph's nodes start, in the order in which the graphs were given.
    graph_order : Tensor
        int64 [G], row of each given graph in results, which are in order of size.
    """

    atom_features: Tensor
    triplet_atoms: Tensor
    bond_features: Tensor
    fingerprint_nodes: Tensor
    descriptor_nodes: Tensor
    fingerprints: Tensor
    descriptors: Tensor
    ratio_nodes: Tensor
    ratios: Tensor
    global_nodes: Tensor
    global_values: Tensor
    triplet_weights: Tensor
    edge_slots: Tensor
    edge_paths: Tensor
    edge_distance: Tensor
    n_valid_slots: Tensor
    groups: tuple[Group, ...]
    n_slots: int
    first_nodes: np.ndarray
    graph_order: Tensor


@dataclass(frozen=True)
class PromptGroup(_OnDevice):
    """Nodes of a :class:`GraphBatch` that have room for equally many prompts.

    Attributes
    ----------
    nodes : Tensor
        int64 [N].
    rows : Tensor
        int64 [N, S - 1], rows of the prompt pass whose states are the prompts; where a node has fewer, its first again.
    mask : Tensor
        float32 [N, S], 0 for the class token, which is first, and for prompts, -inf for the rest.
    """

    nodes: Tensor
    rows: Tensor
    mask: Tensor


@dataclass(frozen=True)
class PromptBatch:
    """Periodicity prompts of the nodes of a :class:`GraphBatch`.

    How much room a node's prompts take follows from their number alone, never from other nodes: sums over another
    number of slots may round differently.
    """

    groups: tuple[PromptGroup, ...]

    def to(self, device: torch.device) -> "PromptBatch":
        """Return the same batch on another device."""
        return PromptBatch(tuple(group.to(device) for group in self.groups))

    def pinned(self) -> "PromptBatch":
        """Return a copy in pinned memory."""
        return PromptBatch(tuple(group.pinned() for group in self.groups))


def collate(
    graphs: Sequence[TripletGraph],
    fingerprints: Sequence[np.ndarray],
    descriptors: Sequence[np.ndarray],
    *,
    max_padding: float = 0.0,
    path_origins: Sequence[int] | None = None,
    ratios: Sequence[int] = (),
    global_values: Sequence[int | tuple[float, ...]] = (),
) -> GraphBatch:
    """Lay graphs end to end.

    Parameters
    ----------
    graphs : sequence of TripletGraph
        At least one.
    fingerprints, descriptors : sequence of numpy.ndarray
        [1191] and scaled [1613] of each graph; of copolymers of A and B of each graph in turn.
    max_padding : float
        Largest share of padding nodes in a group; 0 puts only graphs of equal size together.
    path_origins : sequence of int, optional
        For each graph the number of the graph from whose first node the numbers in its paths count, through the nodes
        of the graphs in the order given. None: each graph's own.
    ratios : sequence of int
        Of copolymers: as fingerprints.
    global_values : sequence
        What the global node of each graph carries, where there is one.
    """
    sizes = np.array([graph.n_triplets for graph in graphs])
    order = np.argsort(-sizes, kind="stable")
    ordered, sizes = [graphs[index] for index in order], sizes[order]
    groups, starts = _group(sizes, max_padding)
    n_total = groups[-1].start + groups[-1].n_graphs * groups[-1].n_nodes
    nodes = np.repeat(starts, sizes) + _ranges(sizes)
    triplet_atoms, bond_features, weights = _collate_nodes(ordered, sizes)
    first_nodes, rank = np.empty_like(starts), np.empty_like(order)
    first_nodes[order], rank[order] = starts, np.arange(len(order))
    path_nodes, origins = _path_nodes(nodes, order, sizes, first_nodes=first_nodes, path_origins=path_origins)
    kinds = np.concatenate([graph.node_kind for graph in ordered])
    nodes_of = {kind: torch.from_numpy(nodes[kinds == kind]) for kind in NodeKind}
    return GraphBatch(
        atom_features=torch.from_numpy(np.concatenate([graph.atom_features for graph in ordered])),
        triplet_atoms=torch.from_numpy(_placed(triplet_atoms, nodes, n_total)),
        bond_features=torch.from_numpy(_placed(bond_features, nodes, n_total)),
        fingerprint_nodes=nodes_of[NodeKind.FINGERPRINT],
        descriptor_nodes=nodes_of[NodeKind.DESCRIPTORS],
        fingerprints=_in_order(fingerprints, order, np.float32),
        descriptors=_in_order(descriptors, order, np.float32),
        ratio_nodes=nodes_of[NodeKind.RATIO],
        ratios=_in_order(ratios, order, np.int64),
        global_nodes=nodes_of[NodeKind.GLOBAL],
        global_values=_in_order(global_values, order, np.int64 if len(ratios) else np.float32),
        triplet_weights=torch.from_numpy(_placed(weights, nodes, n_total)),
        **_collate_edges(ordered, groups, path_nodes, origins, n_total=n_total),
        groups=groups,
        n_slots=sum(group.n_graphs * group.n_nodes**2 for group in groups),
        first_nodes=first_nodes,
        graph_order=torch.from_numpy(rank),
    )


def match_prompts(bond_classes: Sequence[np.ndarray], limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the prompts of a polymer's own graph, the first of its prompt graphs.

    Parameters
    ----------
    bond_classes : sequence of numpy.ndarray
        ``bond_class`` of each prompt graph.
    limit : int
        Most prompts a node gets.

    Returns
    -------
    counts : numpy.ndarray
        int64 [T], prompts of each node of the first graph.
    nodes : numpy.ndarray
        int64 [sum of counts], their nodes, counted through all prompt graphs, node by node.
    """
    classes = np.concatenate(bond_classes)
    by_class = np.argsort(classes, kind="stable")
    ranked = classes[by_class]
    begins = np.searchsorted(ranked, bond_classes[0], side="left")
    counts = np.minimum(np.searchsorted(ranked, bond_classes[0], side="right") - begins, limit)
    return counts, by_class[np.repeat(begins, counts) + _ranges(counts)]


def collate_prompts(counts: Sequence[np.ndarray], rows: Sequence[np.ndarray], first_nodes: np.ndarray) -> PromptBatch:
    """Put the prompts of several graphs into one batch.

    Parameters
    ----------
    counts : sequence of numpy.ndarray
        Prompts of each node, one array a graph; a node may have none, a graph has some.
    rows : sequence of numpy.ndarray
        int64 [sum of counts], rows of the prompt pass, node by node, one array a graph.
    first_nodes : numpy.ndarray
        Where each graph's nodes start in the batch that the prompts are for.
    """
    n_prompts, flat = np.concatenate(counts), np.concatenate(rows)
    nodes = np.concatenate([first + np.arange(len(count)) for count, first in zip(counts, first_nodes, strict=True)])
    # A node without prompts names one of its own graph, behind the mask, so that no other polymer touches it.
    last = np.repeat(np.cumsum([len(some) for some in rows]) - 1, [len(count) for count in counts])
    begins = np.minimum(np.cumsum(n_prompts) - n_prompts, last)
    n_slots = -(-(1 + n_prompts) // _SLOT_MULTIPLE) * _SLOT_MULTIPLE
    groups = []
    for size in np.unique(n_slots):
        chosen = np.flatnonzero(n_slots == size)
        slot = np.arange(size - 1)
        is_used = slot < n_prompts[chosen, None]
        mask = np.zeros((len(chosen), size), dtype=np.float32)
        mask[:, 1:][~is_used] = -np.inf
        groups.append(
            PromptGroup(
                nodes=torch.from_numpy(nodes[chosen]),
                rows=torch.from_numpy(flat[begins[chosen, None] + np.where(is_used, slot, 0)]),
                mask=torch.from_numpy(mask),
            )
        )
    return PromptBatch(tuple(groups))


def _ranges(counts: np.ndarray) -> np.ndarray:
    """Return 0..c-1 for each count c, end to end."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)


def _group(sizes: np.ndarray, max_padding: float) -> tuple[tuple[Group, ...], np.ndarray]:
    """Cut descending sizes into groups; return them and where each graph's nodes start."""
    groups: list[Group] = []
    starts = np.empty(len(sizes), dtype=np.int64)
    begin = node = 0
    while begin < len(sizes):
        largest = int(sizes[begin])
        padding = 1 - np.cumsum(sizes[begin:]) / (largest * np.arange(1, len(sizes) - begin + 1))
        n_graphs = int(np.searchsorted(padding > max_padding, True)) if (padding > max_padding).any() else len(padding)
        groups.append(Group(n_graphs, largest, node))
        starts[begin : begin + n_graphs] = node + largest * np.arange(n_graphs)
        begin += n_graphs
        node += n_graphs * largest
    return tuple(groups), starts


def _placed(rows: np.ndarray, nodes: np.ndarray, n_total: int) -> np.ndarray:
    """Return an array of ``n_total`` rows with the given ones at ``nodes`` and zeros in between."""
    if len(rows) == n_total:
        return rows
    placed = np.zeros((n_total, *rows.shape[1:]), dtype=rows.dtype)
    placed[nodes] = rows
    return placed


def _in_order(values: Sequence[Any], order: np.ndarray, dtype: type) -> Tensor:
    """Return values, one or more a graph, with the graphs in another order."""
    if not len(values):
        return torch.from_numpy(np.zeros(0, dtype))
    found: np.ndarray = np.asarray(values, dtype=dtype)
    each = found.reshape(len(order), -1, *found.shape[1:])
    return torch.from_numpy(np.ascontiguousarray(each[order].reshape(found.shape)))


def _collate_nodes(graphs: Sequence[TripletGraph], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return atoms int64 [N, 2], bond features and readout weights of all nodes, graph by graph, without padding."""
    n_atoms = np.cumsum([0, *(len(graph.atom_features) for graph in graphs[:-1])])
    is_bond = np.concatenate([graph.node_kind for graph in graphs]) == NodeKind.TRIPLET
    atoms = np.concatenate([graph.triplet_atoms for graph in graphs]) + np.repeat(n_atoms, sizes)[:, None]
    atoms[~is_bond] = 0
    n_bonds = np.add.reduceat(is_bond, np.cumsum(sizes) - sizes, dtype=np.int64)
    weights = np.where(is_bond, np.repeat(1 / n_bonds, sizes), 0).astype(np.float32)
    return atoms, np.concatenate([graph.bond_features for graph in graphs]), weights


def _path_nodes(
    nodes: np.ndarray,
    order: np.ndarray,
    sizes: np.ndarray,
    *,
    first_nodes: np.ndarray,
    path_origins: Sequence[int] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes of the batch and, for each graph in order of size, the first of those that its paths count."""
    if path_origins is None:
        return nodes, np.cumsum(sizes) - sizes
    given = np.empty_like(sizes)
    given[order] = sizes
    begins = np.cumsum(given) - given
    return np.repeat(first_nodes, given) + _ranges(given), begins[np.asarray(path_origins)[order]]


def _collate_edges(
    graphs: Sequence[TripletGraph],
    groups: Sequence[Group],
    path_nodes: np.ndarray,
    origins: np.ndarray,
    *,
    n_total: int,
) -> dict[str, Tensor]:
    """Return the edge fields of a :class:`GraphBatch`; padding nodes get a self loop, so that softmax is defined."""
    n_graphs = [group.n_graphs for group in groups]
    rows = np.repeat([group.n_nodes for group in groups], n_graphs)  # of each graph's block
    blocks = np.cumsum(rows**2) - rows**2
    n_edges = [graph.edges.shape[1] for graph in graphs]
    source, destination = np.concatenate([graph.edges for graph in graphs], axis=1)
    slots = np.repeat(blocks, n_edges) + destination * np.repeat(rows, n_edges) + source
    paths = np.concatenate([graph.paths for graph in graphs])
    is_used = paths != PAD
    n_used = is_used.sum(axis=1)
    kinds = np.concatenate([graph.edge_kind for graph in graphs])
    distances = n_used.copy()
    distances[kinds == EdgeKind.VIRTUAL] = VIRTUAL_DISTANCE
    distances[kinds == EdgeKind.SELF_LOOP] = SELF_LOOP_DISTANCE
    numbers = np.where(is_used, paths + np.repeat(origins, n_edges)[:, None], 0)
    paths = np.where(is_used, path_nodes[numbers], n_total)

    sizes = np.array([graph.n_triplets for graph in graphs])
    n_padding = rows - sizes
    padding = np.repeat(sizes, n_padding) + _ranges(n_padding)
    loops = np.repeat(blocks, n_padding) + padding * (np.repeat(rows, n_padding) + 1)
    return {
        "edge_slots": torch.from_numpy(np.concatenate([slots, loops])),
        "edge_paths": torch.from_numpy(np.concatenate([paths, np.full((len(loops), PATH_LENGTH), n_total)])),
        "edge_distance": torch.from_numpy(np.concatenate([distances, np.full(len(loops), SELF_LOOP_DISTANCE)])),
        "n_valid_slots": torch.from_numpy(
            np.concatenate([np.maximum(n_used, 1), np.ones(len(loops))]).astype(np.float32)[:, None]
        ),
    }
