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

from periogt_ray.polymer.dimensions import N_BOND_FEATURES, PATH_LENGTH
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
    groups, starts = _group(sizes[order], max_padding)
    n_total = groups[-1].start + groups[-1].n_graphs * groups[-1].n_nodes
    n_atoms = np.cumsum([0, *(len(graphs[index].atom_features) for index in order)])
    triplet_atoms = np.zeros((n_total, 2), dtype=np.int64)
    bond_features = np.zeros((n_total, N_BOND_FEATURES), dtype=np.float32)
    weights = np.zeros(n_total, dtype=np.float32)
    for position, (index, start) in enumerate(zip(order, starts, strict=True)):
        graph, nodes = graphs[index], slice(start, start + sizes[index])
        is_bond = graph.node_kind == NodeKind.TRIPLET
        triplet_atoms[nodes] = np.where(is_bond[:, None], graph.triplet_atoms + n_atoms[position], 0)
        bond_features[nodes] = graph.bond_features
        weights[nodes] = is_bond / is_bond.sum()
    first_nodes, rank = np.empty_like(starts), np.empty_like(order)
    first_nodes[order], rank[order] = starts, np.arange(len(order))
    path_nodes = _path_nodes(sizes, first_nodes, path_origins)
    edges = _collate_edges(graphs, order, groups, path_nodes, n_total=n_total)
    kinds = np.concatenate([graphs[index].node_kind for index in order])
    nodes_in_order = np.concatenate([start + np.arange(sizes[i]) for i, start in zip(order, starts, strict=True)])
    nodes_of = {kind: torch.from_numpy(nodes_in_order[kinds == kind]) for kind in NodeKind}
    return GraphBatch(
        atom_features=torch.from_numpy(np.concatenate([graphs[index].atom_features for index in order])),
        triplet_atoms=torch.from_numpy(triplet_atoms),
        bond_features=torch.from_numpy(bond_features),
        fingerprint_nodes=nodes_of[NodeKind.FINGERPRINT],
        descriptor_nodes=nodes_of[NodeKind.DESCRIPTORS],
        fingerprints=_in_order(fingerprints, order, np.float32),
        descriptors=_in_order(descriptors, order, np.float32),
        ratio_nodes=nodes_of[NodeKind.RATIO],
        ratios=_in_order(ratios, order, np.int64),
        global_nodes=nodes_of[NodeKind.GLOBAL],
        global_values=_in_order(global_values, order, np.int64 if len(ratios) else np.float32),
        triplet_weights=torch.from_numpy(weights),
        **edges,
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


def _in_order(values: Sequence[Any], order: np.ndarray, dtype: type) -> Tensor:
    """Return values, one or more a graph, with the graphs in another order."""
    if not len(values):
        return torch.from_numpy(np.zeros(0, dtype))
    found: np.ndarray = np.asarray(values, dtype=dtype)
    each = found.reshape(len(order), -1, *found.shape[1:])
    return torch.from_numpy(np.ascontiguousarray(each[order].reshape(found.shape)))


def _path_nodes(sizes: np.ndarray, first_nodes: np.ndarray, path_origins: Sequence[int] | None) -> list[np.ndarray]:
    """Return, for each graph as given, the nodes of the batch that the numbers in its paths mean."""
    if path_origins is None:
        return [start + np.arange(size) for start, size in zip(first_nodes, sizes, strict=True)]
    through = np.concatenate([start + np.arange(size) for start, size in zip(first_nodes, sizes, strict=True)])
    begins = np.cumsum(sizes) - sizes
    return [through[begins[origin] :] for origin in path_origins]


def _collate_edges(
    graphs: Sequence[TripletGraph],
    order: np.ndarray,
    groups: Sequence[Group],
    path_nodes: Sequence[np.ndarray],
    *,
    n_total: int,
) -> dict[str, Tensor]:
    """Return the edge fields of a :class:`GraphBatch`; padding nodes get a self loop, so that softmax is defined."""
    slots, paths, distances = [], [], []
    block = position = 0
    for group in groups:
        for _ in range(group.n_graphs):
            graph, nodes = graphs[order[position]], path_nodes[order[position]]
            source, destination = graph.edges.astype(np.int64)
            pad = np.arange(graph.n_triplets, group.n_nodes)
            slots += [block + destination * group.n_nodes + source, block + pad * (group.n_nodes + 1)]
            paths.append(np.where(graph.paths == PAD, n_total, nodes[graph.paths]))  # PAD reads some node, not used
            paths.append(np.full((len(pad), PATH_LENGTH), n_total, dtype=np.int64))
            n_used = (graph.paths != PAD).sum(axis=1)
            distances.append(
                np.select(
                    [graph.edge_kind == EdgeKind.VIRTUAL, graph.edge_kind == EdgeKind.SELF_LOOP],
                    [VIRTUAL_DISTANCE, SELF_LOOP_DISTANCE],
                    n_used,
                )
            )
            distances.append(np.full(len(pad), SELF_LOOP_DISTANCE))
            block += group.n_nodes**2
            position += 1
    all_paths = np.concatenate(paths)
    n_valid = np.maximum((all_paths < n_total).sum(axis=1, keepdims=True), 1)
    return {
        "edge_slots": torch.from_numpy(np.concatenate(slots)),
        "edge_paths": torch.from_numpy(all_paths),
        "edge_distance": torch.from_numpy(np.concatenate(distances).astype(np.int64)),
        "n_valid_slots": torch.from_numpy(n_valid.astype(np.float32)),
    }
