"""Finetuned networks that take more than a repeat unit: copolymers, and polymers with conditions.

They are the homopolymers' network over another graph (``polymer/composite_graph.py``), with virtual nodes of their own
and a wider readout. Attribute names are the keys of the published checkpoints, spelling mistakes included.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from periogt_ray.artifacts.architecture import ModelSizes
from periogt_ray.model.collate import GraphBatch
from periogt_ray.model.equal_shapes import by_blocks
from periogt_ray.model.network import MLP, PerioGTRegressor, TripletEmbedding, embedding, load_network, load_regressor
from periogt_ray.polymer.input_kinds import ARCHITECTURES, CONDITIONS, RATIOS

__all__ = ["ConditionsRegressor", "CopolymerRegressor", "load_head"]


class _CopolymerTripletEmbedding(TripletEmbedding):
    """States of ratios and architectures, too."""

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__(sizes)
        self.embedding = embedding(len(RATIOS), sizes.width)
        self.global_node_emb = embedding(len(ARCHITECTURES), sizes.width)


class _ConditionsTripletEmbedding(TripletEmbedding):
    """The state of conditions, too."""

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__(sizes)
        self.gs_proj = MLP(len(CONDITIONS), sizes.width, sizes.width)


class CopolymerRegressor(PerioGTRegressor):
    """The network of a property of copolymers.

    Its batches hold graphs of :class:`~periogt_ray.polymer.input_features.FeaturizedCopolymer`: ratios and
    architectures are rows of two tables.
    """

    n_readouts = 5

    def __init__(self, sizes: ModelSizes, *, dropout: float = 0.0) -> None:
        super().__init__(sizes, dropout=dropout)
        self.triplet_emb: _CopolymerTripletEmbedding = _CopolymerTripletEmbedding(sizes)
        # In the checkpoints, and without effect: the reference assigns it to a copy.
        self.node_attn.virutal_node_emb = embedding(1, sizes.width)

    def embed(self, batch: GraphBatch) -> Tensor:
        """Return the nodes' first states [T, D]."""
        ratios: Tensor = self.triplet_emb.embedding(batch.ratios)
        architectures: Tensor = self.triplet_emb.global_node_emb(batch.global_values)
        states = super().embed(batch).index_copy(0, batch.ratio_nodes, ratios)
        return states.index_copy(0, batch.global_nodes, architectures)

    def readout(self, states: Tensor, batch: GraphBatch) -> Tensor:
        """Return [G, 5D] in the order in which the graphs were given.

        Means of the monomers' fingerprint, descriptor and ratio nodes, the global node, the mean over bond triplets.
        """
        pairs = (batch.fingerprint_nodes, batch.descriptor_nodes, batch.ratio_nodes)
        means = [_mean_of_pairs(states[nodes]) for nodes in pairs]
        parts = [*means, states[batch.global_nodes], self.mean_of_triplets(states, batch)]
        return torch.cat(parts, dim=-1)[batch.graph_order]


class ConditionsRegressor(PerioGTRegressor):
    """The network of a property of polymers with conditions, which become the state of the global node."""

    n_readouts = 4

    def __init__(self, sizes: ModelSizes, *, dropout: float = 0.0) -> None:
        super().__init__(sizes, dropout=dropout)
        self.triplet_emb: _ConditionsTripletEmbedding = _ConditionsTripletEmbedding(sizes)
        self.node_attn.virutal_node_emb = embedding(1, sizes.width)  # as in CopolymerRegressor

    def embed(self, batch: GraphBatch) -> Tensor:
        """Return the nodes' first states [T, D]."""
        projected = by_blocks(self.triplet_emb.gs_proj, batch.global_values)
        return super().embed(batch).index_copy(0, batch.global_nodes, projected)

    def readout(self, states: Tensor, batch: GraphBatch) -> Tensor:
        """Return [G, 4D] in the order in which the graphs were given.

        States of fingerprint, descriptors and conditions, the mean over bond triplets.
        """
        virtual = [states[nodes] for nodes in (batch.fingerprint_nodes, batch.descriptor_nodes, batch.global_nodes)]
        return torch.cat([*virtual, self.mean_of_triplets(states, batch)], dim=-1)[batch.graph_order]


_LOADERS: Mapping[str, Callable[[Mapping[str, Tensor], str], PerioGTRegressor]] = {
    "common": load_regressor,
    "copolymer": lambda state, source: load_network(CopolymerRegressor, state, source),
    "conditions": lambda state, source: load_network(ConditionsRegressor, state, source),
}


def load_head(family: str, state: Mapping[str, Tensor], source: str) -> PerioGTRegressor:
    """Make the finetuned network of a family from a state dict.

    Parameters
    ----------
    family : str
        ``common``, ``copolymer`` or ``conditions``, as :class:`~periogt_ray.artifacts.properties.PropertyInfo` has it.
    state : Mapping
        Float32 tensors by key, with or without the prefix ``module.``.
    source : str
        Name of the file, for messages.

    Raises
    ------
    ModelLoadError
        If a key is missing or unknown or a shape does not fit; the message lists them.
    """
    return _LOADERS[family](state, source)


def _mean_of_pairs(states: Tensor) -> Tensor:
    """Return [G, D], the means of the states of A and B, which are neighbours in [2G, D]."""
    pairs = states.view(-1, 2, states.shape[-1])
    return (pairs[:, 0] + pairs[:, 1]) / 2
