"""Self-supervised pretraining of the encoder: masked triplets, fingerprint and descriptor reconstruction."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from compact.batching import Cut, PolymerStore, shuffled_batches
from compact.features import Polymer
from compact.optimize import make_optimizer
from periogt_ray.artifacts.architecture import ModelSizes
from periogt_ray.model.collate import GraphBatch
from periogt_ray.model.network import PerioGTEncoder
from periogt_ray.polymer.triplet_graph import NodeKind, TripletGraph

__all__ = ["PretrainSettings", "TripletVocabulary", "pretrain"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PretrainSettings:
    """How to pretrain.

    Attributes
    ----------
    epochs, batch_size : int
        Passes over the polymers, each by one random cut, and polymers a batch.
    learning_rate, weight_decay, dropout : float
        Of AdamW, one-cycle schedule; dropout in the layers.
    mask_triplets : float
        Share of triplets hidden and to be told from their surroundings.
    mask_inputs : float
        Share of fingerprint bits and of descriptors set to 0.
    drop_inputs : float
        Share of graphs whose fingerprint, or descriptors, are 0 altogether.
    """

    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    dropout: float = 0.05
    mask_triplets: float = 0.3
    mask_inputs: float = 0.3
    drop_inputs: float = 0.3


class TripletVocabulary:
    """Kinds of triplets: the features of both atoms, in either order, and of the bond.

    Parameters
    ----------
    polymers : sequence of Polymer
        Kinds are numbered in the order of their first occurrence.
    """

    def __init__(self, polymers: Sequence[Polymer]) -> None:
        self._kinds: dict[bytes, int] = {}
        self._known: dict[int, np.ndarray] = {}
        for polymer in polymers:
            for graph in polymer.graphs:
                kinds = [self._kinds.setdefault(key, len(self._kinds)) for key in _triplet_keys(graph)]
                self._known[id(graph)] = np.array(kinds, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._kinds)

    def of(self, graph: TripletGraph) -> np.ndarray:
        """Return the kind of each bond triplet of a graph that the vocabulary was made of."""
        return self._known[id(graph)]


def _triplet_keys(graph: TripletGraph) -> list[bytes]:
    is_bond = graph.node_kind == NodeKind.TRIPLET
    atoms = graph.atom_features[graph.triplet_atoms[is_bond]].sum(axis=1)
    return [row.tobytes() for row in np.hstack([atoms, graph.bond_features[is_bond]])]


class _Heads(nn.Module):
    """What the encoder learns by, and is not kept."""

    def __init__(self, sizes: ModelSizes, n_kinds: int) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.randn(sizes.width) * 0.02)
        self.triplet = nn.Linear(sizes.width, n_kinds)
        self.fingerprint = nn.Linear(sizes.width, sizes.n_fingerprint_bits)
        self.descriptors = nn.Linear(sizes.width, sizes.n_descriptors)


def pretrain(
    store: PolymerStore, smiles: Sequence[str], sizes: ModelSizes, *, settings: PretrainSettings, seed: int
) -> PerioGTEncoder:
    """Train an encoder without labels.

    Parameters
    ----------
    store : PolymerStore
        Holds the polymers.
    smiles : sequence of str
        The polymers to learn from; no other is looked at.
    sizes : ModelSizes
        Of the network.
    settings : PretrainSettings
        How.
    seed : int
        Decides initial weights, order, cuts and masks.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    encoder = PerioGTEncoder(sizes, dropout=settings.dropout)
    silence_unused_inputs(encoder, store, smiles)
    vocabulary = TripletVocabulary([store.polymers[name] for name in smiles])
    heads = _Heads(sizes, len(vocabulary))
    n_steps = settings.epochs * max(1, round(len(smiles) / settings.batch_size))
    optimizer, schedule = make_optimizer([encoder, heads], settings, n_steps=n_steps)
    encoder.train()
    for epoch in range(settings.epochs):
        sums: dict[str, float] = {}
        for cuts in shuffled_batches(store, smiles, batch_size=settings.batch_size, random=random):
            losses = _losses(encoder, heads, _masked(store, cuts, vocabulary, settings, random=random))
            optimizer.zero_grad()
            torch.autograd.backward(list(losses.values()))
            nn.utils.clip_grad_norm_([*encoder.parameters(), *heads.parameters()], 1.0)
            optimizer.step()
            schedule.step()
            sums = {key: sums.get(key, 0.0) + loss.item() * len(cuts) / len(smiles) for key, loss in losses.items()}
        if epoch % 5 == 4 or epoch + 1 == settings.epochs:
            _log.info("pretraining, epoch %d: %s", epoch + 1, _listed(sums))
    return encoder.eval()


def silence_unused_inputs(encoder: PerioGTEncoder, store: PolymerStore, smiles: Sequence[str]) -> None:
    """Set to 0 the first weights of fingerprint bits and descriptors that never vary.

    They get no gradient, so they stay 0, and a value first met in a prediction has no effect
    rather than a random one.
    """
    polymers = [store.polymers[name] for name in smiles]
    bits = np.stack([polymer.fingerprint for polymer in polymers])
    values = np.stack([polymer.descriptors for polymer in polymers])
    with torch.no_grad():
        for layer, inputs in (
            (encoder.triplet_emb.fp_proj.in_proj, bits),
            (encoder.triplet_emb.md_proj.in_proj, values),
        ):
            layer.weight[:, torch.from_numpy(np.ptp(inputs, axis=0) == 0)] = 0.0


@dataclass(frozen=True)
class _MaskedBatch:
    """A batch with inputs hidden, and what was hidden."""

    graphs: GraphBatch
    hidden_nodes: Tensor  # int64 [M]
    hidden_kinds: Tensor  # int64 [M]
    fingerprints: Tensor  # float32 [G, 1191]
    descriptors: Tensor  # float32 [G, 1613]


def _masked(
    store: PolymerStore,
    cuts: Sequence[Cut],
    vocabulary: TripletVocabulary,
    settings: PretrainSettings,
    *,
    random: np.random.Generator,
) -> _MaskedBatch:
    """Collate cuts and hide triplets, bits and descriptors."""
    batch = store.graph_batch(cuts)
    nodes, kinds = [], []
    for cut, first in zip(cuts, batch.first_nodes, strict=True):
        triplets = vocabulary.of(store.polymers[cut.smiles].graphs[cut.graph])
        chosen = np.flatnonzero(random.random(len(triplets)) < settings.mask_triplets)
        nodes.append(first + chosen)
        kinds.append(triplets[chosen])

    def hide(values: Tensor) -> Tensor:
        keep = random.random(values.shape) >= settings.mask_inputs
        keep &= random.random((len(values), 1)) >= settings.drop_inputs
        return values * torch.from_numpy(keep)

    fingerprints, descriptors = batch.fingerprints, batch.descriptors
    hidden = {"fingerprints": hide(fingerprints), "descriptors": hide(descriptors)}
    return _MaskedBatch(
        graphs=GraphBatch(**{**vars(batch), **hidden}),
        hidden_nodes=torch.from_numpy(np.concatenate(nodes)),
        hidden_kinds=torch.from_numpy(np.concatenate(kinds)),
        fingerprints=fingerprints,
        descriptors=descriptors,
    )


def _losses(encoder: PerioGTEncoder, heads: _Heads, batch: _MaskedBatch) -> Mapping[str, Tensor]:
    graphs = batch.graphs
    states = encoder.embed(graphs)
    states = states.index_copy(0, batch.hidden_nodes, heads.mask.expand(len(batch.hidden_nodes), -1))
    states = encoder.model(states, graphs)
    bits = heads.fingerprint(states[graphs.fingerprint_nodes])
    values = heads.descriptors(states[graphs.descriptor_nodes])
    losses = {
        "fingerprint": 5.0 * functional.binary_cross_entropy_with_logits(bits, batch.fingerprints),
        "descriptors": functional.smooth_l1_loss(values, batch.descriptors),
    }
    if len(batch.hidden_nodes):
        kinds = heads.triplet(states[batch.hidden_nodes])
        losses["triplet"] = 0.3 * functional.cross_entropy(kinds, batch.hidden_kinds)
    return losses


def _listed(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {value:.3f}" for key, value in losses.items())
