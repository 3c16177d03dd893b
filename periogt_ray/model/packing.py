"""Which polymers share a pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.input_features import FeaturizedComposite

__all__ = ["Packing"]

# Memory of a pass on a card, measured at width 768; attention within large graphs takes the rest of the share.
_BYTES_PER_NODE_AND_COLUMN = 190
_MEMORY_SHARE = 0.5
# On an H100 435, 525 and 580 polymers/s at 16384, 32768 and 65536 nodes, and 496 at twice as many.
_MAX_GPU_NODES = 65536
_FIRST_GPU_NODES = 8192


@dataclass(frozen=True)
class Packing:
    """How polymers share a pass.

    Attributes
    ----------
    max_nodes : int
        Most nodes, padding aside, in one pass; a larger polymer goes alone.
    max_padding : float
        Largest share of padding nodes among graphs that share an attention.
    first_nodes : int, optional
        The same bound for the first pass, doubled with each further one: a card begins early while the
        tensors of larger passes are made.
    n_ahead : int
        Passes whose tensors are made while one is computed, and 0 where the CPU computes them itself.
    """

    max_nodes: int
    max_padding: float
    first_nodes: int | None = None
    n_ahead: int = 0

    @classmethod
    def for_device(cls, device: torch.device, *, width: int) -> "Packing":
        """Return the sizes for a device, as measured: without padding on a CPU, by its free memory on a GPU."""
        if device.type != "cuda":
            return cls(2048, 0.0)
        free_bytes, _ = torch.cuda.mem_get_info(device)
        fitting = int(_MEMORY_SHARE * free_bytes / (_BYTES_PER_NODE_AND_COLUMN * width))
        max_nodes = min(max(fitting, 2048), _MAX_GPU_NODES)
        return cls(max_nodes, max_padding=0.15, first_nodes=_FIRST_GPU_NODES, n_ahead=2)

    def passes(self, polymers: Sequence[FeaturizedPolymer]) -> Iterator[list[int]]:
        """Yield positions of polymers that share a pass, largest polymers first."""
        costs = [polymer.n_triplets for polymer in polymers]
        return self._cut(sorted(range(len(polymers)), key=lambda index: -costs[index]), costs)

    def composite_passes(self, polymers: Sequence[FeaturizedComposite]) -> Iterator[list[int]]:
        """Yield positions of composites that share a head pass, in their order: equal monomers stay together."""
        costs = [sum(monomer.graphs[0].n_triplets for monomer in polymer.monomers) for polymer in polymers]
        return self._cut(range(len(polymers)), costs)

    def _cut(self, order: Sequence[int], costs: Sequence[int]) -> Iterator[list[int]]:
        together: list[int] = []
        n_nodes, bound = 0, min(self.first_nodes or self.max_nodes, self.max_nodes)
        for position in order:
            cost = costs[position]
            if together and n_nodes + cost > bound:
                yield together
                together, n_nodes = [], 0
                bound = min(2 * bound, self.max_nodes)
            together.append(position)
            n_nodes += cost
        if together:
            yield together
