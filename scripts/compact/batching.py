"""Mini-batches: polymers, each by the prompt graph of one of its cuts, with the frozen encoder's prompts.

The same chain may be cut at several backbone bonds. In training, each cut serves as the
polymer's own graph in turn (its graph moves to the front of the prompt graphs); fingerprint and
descriptors stay those of the canonical cut. Predictions use the canonical cut alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from compact.features import SCHEME, Polymer
from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.model.collate import GraphBatch, PromptBatch, collate, collate_prompts, match_prompts
from periogt_ray.model.network import PerioGTEncoder

__all__ = ["Cut", "PolymerBatch", "PolymerStore", "shuffled_batches"]

# Share of padding that costs less than a further group of graphs.
_MAX_PADDING = 0.3
_ENCODER_BATCH = 64


class Cut(NamedTuple):
    """A polymer by the graph of one of its cuts; 0 is the canonical one."""

    smiles: str
    graph: int = 0


class PolymerBatch(NamedTuple):
    """What a regressor's ``predict`` takes."""

    graphs: GraphBatch
    prompts: Tensor  # float32 [R, D]
    prompt_places: PromptBatch


class PolymerStore:
    """Polymers, their scaled descriptors, and the states that a frozen encoder gives their nodes.

    Parameters
    ----------
    polymers : Mapping of str to Polymer
        By canonical SMILES.
    scaler : Scaler
        For the descriptors.
    """

    def __init__(self, polymers: Mapping[str, Polymer], scaler: Scaler) -> None:
        self.polymers = polymers
        self._descriptors = {name: scaler.transform(polymer.descriptors) for name, polymer in polymers.items()}
        self._states: dict[str, Tensor] = {}
        self._prompts: dict[Cut, tuple[np.ndarray, Tensor]] = {}

    def graph_batch(self, cuts: Sequence[Cut]) -> GraphBatch:
        """Collate the graphs of some cuts."""
        return collate(
            [self.polymers[cut.smiles].graphs[cut.graph] for cut in cuts],
            [self.polymers[cut.smiles].fingerprint for cut in cuts],
            [self._descriptors[cut.smiles] for cut in cuts],
            max_padding=_MAX_PADDING,
        )

    def cuts(self, smiles: Sequence[str]) -> list[Cut]:
        """Return every cut of some polymers."""
        return [Cut(name, graph) for name in smiles for graph in range(len(self.polymers[name].graphs))]

    def encode(self, encoder: PerioGTEncoder) -> None:
        """Let a frozen encoder make the prompts of all polymers, as a prediction does."""
        self._prompts.clear()
        encoder.eval()
        cuts = sorted(self.cuts(list(self.polymers)), key=self._n_nodes)
        states: dict[Cut, Tensor] = {}
        with torch.inference_mode():
            for begin in range(0, len(cuts), _ENCODER_BATCH):
                chosen = cuts[begin : begin + _ENCODER_BATCH]
                batch = self.graph_batch(chosen)
                nodes = encoder(batch)
                for cut, first in zip(chosen, batch.first_nodes, strict=True):
                    states[cut] = nodes[first : first + self._n_nodes(cut)].clone()
        self._states = {
            name: torch.cat([states[Cut(name, graph)] for graph in range(len(polymer.graphs))])
            for name, polymer in self.polymers.items()
        }

    def batch(self, cuts: Sequence[Cut]) -> PolymerBatch:
        """Collate cuts with their prompts; :meth:`encode` comes first."""
        graphs = self.graph_batch(cuts)
        counts, prompts = zip(*(self._prompts_of(cut) for cut in cuts), strict=True)
        ends = np.cumsum([len(states) for states in prompts])  # the prompts are gathered already
        rows = [np.arange(end - len(states), end) for end, states in zip(ends, prompts, strict=True)]
        places = collate_prompts(counts, rows, graphs.first_nodes)
        # Copies, because tensors made under inference mode take no part in training.
        return PolymerBatch(graphs, torch.cat(prompts).clone(), places)

    def _n_nodes(self, cut: Cut) -> int:
        return self.polymers[cut.smiles].graphs[cut.graph].n_triplets

    def _prompts_of(self, cut: Cut) -> tuple[np.ndarray, Tensor]:
        """Return how many prompts each node of a cut's graph has, and all of them."""
        if cut not in self._prompts:
            graphs = self.polymers[cut.smiles].graphs
            order = [cut.graph, *(index for index in range(len(graphs)) if index != cut.graph)]
            firsts = np.cumsum([0, *(graph.n_triplets for graph in graphs)])
            counts, nodes = match_prompts([graphs[index].bond_class for index in order], SCHEME.max_prompts)
            flat = np.concatenate([np.arange(firsts[index], firsts[index + 1]) for index in order])[nodes]
            self._prompts[cut] = counts, self._states[cut.smiles][torch.from_numpy(flat)]
        return self._prompts[cut]


def shuffled_batches(
    store: PolymerStore, smiles: Sequence[str], *, batch_size: int, random: np.random.Generator
) -> Iterator[list[Cut]]:
    """Yield each polymer once, by a random one of its cuts, in random order; batches are about equal in size."""
    order = random.permutation(len(smiles))
    for chosen in np.array_split(order, max(1, round(len(order) / batch_size))):
        yield [Cut(smiles[index], int(random.integers(len(store.polymers[smiles[index]].graphs)))) for index in chosen]
