"""Triplet graphs as DGL graphs, for further work in DGL; predictions do not need them.

DGL is no longer maintained and installs on Python 3.11 only. This is the only module that imports it, when a graph is
converted.
"""

import os
from typing import TYPE_CHECKING

import numpy as np

from periogt_ray.polymer.triplet_graph import EdgeKind, NodeKind, TripletGraph

if TYPE_CHECKING:
    import dgl

__all__ = ["to_dgl"]


def to_dgl(graph: TripletGraph) -> "dgl.DGLGraph":
    """Return a triplet graph as a DGL graph with the reference implementation's field names.

    Raises
    ------
    ImportError
        If DGL is not installed.
    """
    # DGL picks its backend from the environment, and asks for one on the terminal where it finds none.
    os.environ.setdefault("DGLBACKEND", "pytorch")
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
