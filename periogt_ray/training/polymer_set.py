"""The polymers of a training as batches of tensors."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.model.collate import GraphBatch, PromptBatch, collate, collate_prompts
from periogt_ray.model.network import PerioGTRegressor
from periogt_ray.model.packing import Packing
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.triplet_graph import TripletGraph
from periogt_ray.training.prompts import Prompts

__all__ = ["TRAINING_PADDING", "PolymerBatch", "PolymerSet"]

# Largest share of padding among graphs that share an attention in an update. There, fewer calls are worth more than the
# padding costs; answers do not depend on it.
TRAINING_PADDING = 0.3


class PolymerBatch(NamedTuple):
    """What :meth:`~periogt_ray.model.network.PerioGTRegressor.predict` takes."""

    graphs: GraphBatch
    prompt_states: Tensor  # float32 [R, D]
    prompts: PromptBatch


class PolymerSet:
    """Polymers with their prompts.

    Parameters
    ----------
    graphs : sequence of TripletGraph
        Each polymer's own graph.
    fingerprints, descriptors : sequence of numpy.ndarray
        [1191] and scaled [1613] of each polymer's 3-mer.
    prompts : sequence of Prompts
        Of each polymer.
    packing : Packing
        How polymers share a pass that trains nothing.
    device : torch.device
        Where batches go.
    """

    def __init__(
        self,
        graphs: Sequence[TripletGraph],
        fingerprints: Sequence[np.ndarray],
        descriptors: Sequence[np.ndarray],
        prompts: Sequence[Prompts],
        *,
        packing: Packing,
        device: torch.device,
    ) -> None:
        self._graphs = graphs
        self._fingerprints = fingerprints
        self._descriptors = descriptors
        self._prompts = prompts
        self._packing = packing
        self.device = device
        self.kind = InputKind.HOMOPOLYMER

    @classmethod
    def of(
        cls,
        polymers: Sequence[FeaturizedPolymer],
        prompts: Sequence[Prompts],
        scaler: Scaler,
        *,
        packing: Packing,
        device: torch.device,
    ) -> "PolymerSet":
        """Make a set from featurized polymers and their prompts."""
        return cls(
            [polymer.graphs[0] for polymer in polymers],
            [polymer.oligomers[1].fingerprint for polymer in polymers],
            [scaler.transform(polymer.oligomers[1].descriptors) for polymer in polymers],
            prompts,
            packing=packing,
            device=device,
        )

    def __len__(self) -> int:
        return len(self._graphs)

    def batch(self, chosen: Sequence[int], *, max_padding: float = TRAINING_PADDING) -> PolymerBatch:
        """Return some polymers as one batch, in the order given."""
        graphs = collate(
            [self._graphs[i] for i in chosen],
            [self._fingerprints[i] for i in chosen],
            [self._descriptors[i] for i in chosen],
            max_padding=max_padding,
        )
        parts = [self._prompts[i] for i in chosen]
        firsts = np.cumsum([0, *(len(part.states) for part in parts)])
        places = collate_prompts(
            [part.counts for part in parts],
            [part.rows + first for part, first in zip(parts, firsts[:-1], strict=True)],
            graphs.first_nodes,
        )
        states = torch.from_numpy(np.concatenate([part.states for part in parts]).astype(np.float32))
        return PolymerBatch(graphs.to(self.device), states.to(self.device), places.to(self.device))

    def predict(self, network: PerioGTRegressor, chosen: Sequence[int]) -> np.ndarray:
        """Return the network's normalized predictions of some polymers, float32 [n]; a pass is packed as in serving."""
        found = np.empty(len(chosen), np.float32)
        network.eval()
        with torch.inference_mode():
            for pack in self._passes(chosen):
                batch = self.batch([chosen[position] for position in pack], max_padding=self._packing.max_padding)
                found[pack] = network.predict(*batch).cpu().numpy()
        return found

    def _n_nodes(self, position: int) -> int:
        return self._graphs[position].n_triplets

    def _passes(self, chosen: Sequence[int]) -> Iterator[list[int]]:
        """Yield positions that share a pass."""
        together: list[int] = []
        n_nodes = 0
        for position in sorted(range(len(chosen)), key=lambda index: -self._n_nodes(chosen[index])):
            n_nodes += self._n_nodes(chosen[position])
            if together and n_nodes > self._packing.max_nodes:
                yield together
                together, n_nodes = [], self._n_nodes(chosen[position])
            together.append(position)
        if together:
            yield together
