"""Passes of copolymers and of polymers with conditions: one prompt pass a repeat unit, one head pass an input."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch

from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.errors import GPUOutOfMemoryError, PerioGTError
from periogt_ray.model.collate import GraphBatch, collate, collate_prompts
from periogt_ray.model.network import PerioGTRegressor
from periogt_ray.model.prompts import FinishedPrompts, KeptPrompts, MonomerKey, monomer_key
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.input_features import FeaturizedComposite, FeaturizedCopolymer

__all__ = ["CompositePasses", "collate_composites", "prompt_counts"]

logger = logging.getLogger(__name__)

_PROMPT_BYTES = 512 << 20  # the 683 monomers of the published sets of copolymers, at the published width
_NOTHING = np.zeros(0, dtype=np.int64)


class CompositePasses:
    """Computes composites; a monomer's prompts are kept for the next one that holds it.

    Parameters
    ----------
    encode : callable
        Runs the prompt pass over some repeat units that share it, and returns their prompts.
    share : callable
        Yields positions of repeat units that share a prompt pass.
    scaler : Scaler
        Of descriptors.
    device : torch.device
        Where the networks run.
    max_nodes : int
        Most nodes in one head pass; a larger input goes alone.
    max_padding : float
        Largest share of padding nodes among graphs that share an attention.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[FeaturizedPolymer]], list[FinishedPrompts]],
        share: Callable[[Sequence[FeaturizedPolymer]], Iterator[list[int]]],
        *,
        scaler: Scaler,
        device: torch.device,
        max_nodes: int,
        max_padding: float,
    ) -> None:
        self._encode = encode
        self._share = share
        self._scaler = scaler
        self._device = device
        self._max_nodes = max_nodes
        self._max_padding = max_padding
        self._kept = KeptPrompts(_PROMPT_BYTES)

    def normalized(
        self, network: PerioGTRegressor, polymers: Sequence[FeaturizedComposite]
    ) -> list[float | PerioGTError]:
        """Return the network's output for each input, or why there is none for this input."""
        found: dict[int, float | PerioGTError] = {}
        for chosen in self._together(polymers):
            found |= zip(chosen, self._or_split(network, [polymers[i] for i in chosen]), strict=True)
        return [found[i] for i in range(len(polymers))]

    def _together(self, polymers: Sequence[FeaturizedComposite]) -> Iterator[list[int]]:
        """Yield positions of inputs that share a head pass, in their order, so that equal monomers stay together."""
        together: list[int] = []
        n_nodes = 0
        for position, polymer in enumerate(polymers):
            cost = sum(monomer.graphs[0].n_triplets for monomer in polymer.monomers)
            if together and n_nodes + cost > self._max_nodes:
                yield together
                together, n_nodes = [], 0
            together.append(position)
            n_nodes += cost
        if together:
            yield together

    def _or_split(
        self, network: PerioGTRegressor, polymers: Sequence[FeaturizedComposite]
    ) -> list[float | PerioGTError]:
        """Run a head pass; where memory is short, in two halves."""
        try:
            prompts = self._prompts([monomer for polymer in polymers for monomer in polymer.monomers])
            return list(self._head_pass(network, polymers, prompts).tolist())
        except torch.cuda.OutOfMemoryError:
            # The exception holds the frames whose tensors fill the memory, so go on outside.
            pass
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if len(polymers) == 1:
            names = " and ".join(repr(monomer.smiles) for monomer in polymers[0].monomers)
            return [
                GPUOutOfMemoryError(
                    f"{names} do not fit into the GPU's memory on their own. Use a larger GPU or PERIOGT_DEVICE=cpu."
                )
            ]
        logger.warning("out of GPU memory with %d inputs in a pass: splitting", len(polymers))
        middle = len(polymers) // 2
        return self._or_split(network, polymers[:middle]) + self._or_split(network, polymers[middle:])

    def _prompts(self, monomers: Sequence[FeaturizedPolymer]) -> dict[MonomerKey, FinishedPrompts]:
        """Return the prompts of repeat units, computed or kept."""
        distinct = {monomer_key(monomer): monomer for monomer in monomers}
        found = {key: kept for key in distinct if (kept := self._kept.get(key)) is not None}
        missing = [monomer for key, monomer in distinct.items() if key not in found]
        for chosen in self._share(missing):
            some = [missing[i] for i in chosen]
            for monomer, prompts in zip(some, self._encode(some), strict=True):
                found[monomer_key(monomer)] = prompts
                self._kept.put(monomer_key(monomer), prompts)
        return found

    def _head_pass(
        self,
        network: PerioGTRegressor,
        polymers: Sequence[FeaturizedComposite],
        prompts: Mapping[MonomerKey, FinishedPrompts],
    ) -> np.ndarray:
        """Return the network's output, float32 [polymers]."""
        begins: dict[MonomerKey, int] = {}
        n_rows = 0
        for key, one in prompts.items():
            begins[key] = n_rows
            n_rows += len(one.states)
        states = torch.cat([one.states for one in prompts.values()])
        counts, rows = [], []
        for polymer in polymers:
            keys = [monomer_key(monomer) for monomer in polymer.monomers]
            counts.append(prompt_counts(polymer, [prompts[key].counts for key in keys]))
            rows.append(np.concatenate([begins[key] + np.arange(len(prompts[key].states)) for key in keys]))
        batch = collate_composites(polymers, self._scaler, max_padding=self._max_padding)
        chosen = collate_prompts(counts, rows, batch.first_nodes)
        found = network.predict(batch.to(self._device), states, chosen.to(self._device))
        return np.asarray(found.cpu().numpy())


def collate_composites(
    polymers: Sequence[FeaturizedComposite], scaler: Scaler, *, max_padding: float = 0.0
) -> GraphBatch:
    """Collate the graphs of composites of one kind, for prediction or training.

    Parameters
    ----------
    polymers : sequence of FeaturizedComposite
        At least one.
    scaler : Scaler
        Of descriptors.
    max_padding : float
        As :func:`~periogt_ray.model.collate.collate` takes it.
    """
    monomers = [monomer for polymer in polymers for monomer in polymer.monomers]
    ratios = [ratio for one in polymers if isinstance(one, FeaturizedCopolymer) for ratio in one.ratios]
    values = [one.architecture if isinstance(one, FeaturizedCopolymer) else one.conditions for one in polymers]
    return collate(
        [polymer.graph for polymer in polymers],
        [monomer.oligomers[1].fingerprint for monomer in monomers],
        [scaler.transform(monomer.oligomers[1].descriptors) for monomer in monomers],
        max_padding=max_padding,
        ratios=ratios,
        global_values=values,
    )


def prompt_counts(polymer: FeaturizedComposite, of_monomers: Sequence[np.ndarray]) -> np.ndarray:
    """Return the prompts of each node of a composite's graph, int64 [T]: none for ratios and for the global node.

    Parameters
    ----------
    polymer : FeaturizedComposite
        The composite.
    of_monomers : sequence of numpy.ndarray
        Prompts of each node of the graph of each of its repeat units.
    """
    none = np.zeros(1, dtype=np.int64)
    between = none if isinstance(polymer, FeaturizedCopolymer) else _NOTHING
    return np.concatenate([part for counts in of_monomers for part in (counts, between)] + [none])
