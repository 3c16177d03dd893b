"""The graph of a copolymer, or of a polymer with conditions, from the graphs of its repeat units.

Repeat units are laid side by side, each with virtual nodes of its own. They meet only in one further node, the global
virtual node. It has no self loop, and no virtual node is joined to another one.
"""

from collections.abc import Sequence

import numpy as np

from periogt_ray.polymer.dimensions import N_BOND_FEATURES, PATH_LENGTH
from periogt_ray.polymer.triplet_graph import PAD, EdgeKind, NodeKind, TripletGraph

__all__ = ["compose"]


def compose(graphs: Sequence[TripletGraph], *, has_ratios: bool) -> TripletGraph:
    """Join the graphs of repeat units in a global virtual node.

    Parameters
    ----------
    graphs : sequence of TripletGraph
        Each repeat unit's own graph, of A and B, or of one.
    has_ratios : bool
        Whether each repeat unit gets a third virtual node, for its ratio.

    Returns
    -------
    TripletGraph
        For each repeat unit its bonds, fingerprint, descriptors and, with ratios, ratio; last the global node. Numbers
        of nodes in paths count through the whole graph. Bond classes are PAD: prompts are found in the graphs of the
        repeat units.

    Examples
    --------
    >>> from periogt_ray.polymer.features import featurize
    >>> from periogt_ray.polymer.repeat_unit import RepeatUnit
    >>> graph = featurize(RepeatUnit.parse("*CC*")).graphs[0]
    >>> compose([graph, graph], has_ratios=True).node_kind.tolist()
    [0, 0, 0, 1, 2, 3, 0, 0, 0, 1, 2, 3, 4]
    """
    local = (NodeKind.FINGERPRINT, NodeKind.DESCRIPTORS) + ((NodeKind.RATIO,) if has_ratios else ())
    n_bonds = [int((graph.node_kind == NodeKind.TRIPLET).sum()) for graph in graphs]
    first = np.cumsum([0, *(n + len(local) for n in n_bonds)])
    first_atom = np.cumsum([0, *(len(graph.atom_features) for graph in graphs)])
    parts: list[tuple[EdgeKind, np.ndarray]] = []
    for graph, n, start in zip(graphs, n_bonds, first[:-1], strict=True):
        own = graph.paths[graph.edge_kind == EdgeKind.PATH]
        bonds = start + np.arange(n, dtype=np.int32)
        nodes = start + np.arange(n + len(local), dtype=np.int32)
        parts.append((EdgeKind.PATH, np.where(own == PAD, PAD, own + start)))
        parts += [(EdgeKind.VIRTUAL, _to_and_fro(node, bonds)) for node in nodes[n:]]
        parts.append((EdgeKind.SELF_LOOP, _direct(nodes, nodes)))
    all_bonds = np.concatenate([start + np.arange(n) for n, start in zip(n_bonds, first[:-1], strict=True)])
    parts.append((EdgeKind.VIRTUAL, _to_and_fro(first[-1], all_bonds)))
    paths = np.concatenate([part for _, part in parts]).astype(np.int32)
    kinds = [kind for n in n_bonds for kind in ([NodeKind.TRIPLET] * n, local)]
    node_kind = np.array([one for some in kinds for one in some] + [NodeKind.GLOBAL], dtype=np.int8)
    is_bond = node_kind == NodeKind.TRIPLET
    atoms = np.full((len(node_kind), 2), PAD, dtype=np.int32)
    atoms[is_bond] = np.concatenate(
        [graph.triplet_atoms[:n] + atom for graph, n, atom in zip(graphs, n_bonds, first_atom[:-1], strict=True)]
    )
    bond_features = np.full((len(node_kind), N_BOND_FEATURES), -1, dtype=np.float32)
    bond_features[is_bond] = np.concatenate([graph.bond_features[:n] for graph, n in zip(graphs, n_bonds, strict=True)])
    return TripletGraph(
        atom_features=np.concatenate([graph.atom_features for graph in graphs]),
        triplet_atoms=atoms,
        bond_features=bond_features,
        node_kind=node_kind,
        bond_class=np.full(len(node_kind), PAD, dtype=np.int32),
        edges=np.ascontiguousarray(paths[:, [0, -1]].T),
        edge_kind=np.repeat(np.array([kind for kind, _ in parts], np.int8), [len(part) for _, part in parts]),
        paths=paths,
    )


def _direct(sources: np.ndarray, destinations: np.ndarray) -> np.ndarray:
    """Return the paths [n, 5] of edges without triplets in between."""
    paths = np.full((len(sources), PATH_LENGTH), PAD, dtype=np.int64)
    paths[:, 0], paths[:, -1] = sources, destinations
    return paths


def _to_and_fro(node: int, bonds: np.ndarray) -> np.ndarray:
    """Return paths [2n, 5]: for each bond from the virtual node to it, then back."""
    nodes = np.full_like(bonds, node)
    both = np.stack([_direct(nodes, bonds), _direct(bonds, nodes)], axis=1)
    return both.reshape(-1, PATH_LENGTH)
