"""Periodicity prompts of the training polymers: computed once by the pretrained network, constant afterwards."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.model.collate import collate, match_prompts
from periogt_ray.model.network import PerioGTEncoder
from periogt_ray.model.packing import Packing
from periogt_ray.model.prompts import finished, path_origins
from periogt_ray.polymer.features import FeaturizedPolymer

__all__ = ["Encoded", "Prompts", "encode", "prompt_rows"]

# Prompts of more bytes go to disk in float16, half the size; rounding changed predictions by less than 1e-3 of a
# standard deviation.
MOST_BYTES_IN_MEMORY = 1 << 30


class Prompts(NamedTuple):
    """The periodicity prompts of one polymer.

    Attributes
    ----------
    counts : numpy.ndarray
        int64 [T], prompts of each node of the polymer's own graph.
    rows : numpy.ndarray
        int64 [sum of counts], rows of ``states``, node by node.
    states : numpy.ndarray
        float32 or float16 [R, D], each state once.
    """

    counts: np.ndarray
    rows: np.ndarray
    states: np.ndarray


class Encoded(NamedTuple):
    """What the pretrained network makes of a polymer: its prompts, and its embedding, float32 [3D]."""

    prompts: Prompts
    embedding: np.ndarray


def prompt_rows(polymer: FeaturizedPolymer) -> tuple[np.ndarray, np.ndarray]:
    """Return how many prompts each node has, and which nodes of all prompt graphs they are."""
    return match_prompts([graph.bond_class for graph in polymer.graphs], polymer.scheme.max_prompts)


def encode(
    encoder: PerioGTEncoder,
    polymers: Sequence[FeaturizedPolymer],
    scaler: Scaler,
    *,
    packing: Packing,
    device: torch.device,
    spill: Path | None = None,
    on_pass: Callable[[int], None] = lambda _: None,
) -> list[Encoded]:
    """Run the pretrained network over all prompt graphs.

    Parameters
    ----------
    encoder : PerioGTEncoder
        In eval mode, on ``device``.
    polymers : sequence of FeaturizedPolymer
        Of one scheme.
    scaler : Scaler
        For the descriptors.
    packing : Packing
        How polymers share a pass.
    device : torch.device
        Where the network runs.
    spill : pathlib.Path, optional
        File for prompts that do not fit into memory; None keeps them in memory.
    on_pass : callable
        Takes how many polymers are done.

    Returns
    -------
    list of Encoded
        In the order of the polymers.
    """
    store = _Store(polymers, encoder.sizes.width, spill)
    found: dict[int, Encoded] = {}
    with torch.inference_mode():
        for pack in packing.passes(polymers):
            chosen = [polymers[position] for position in pack]
            for position, encoded in zip(pack, _encode_pack(encoder, chosen, scaler, packing, device), strict=True):
                found[position] = encoded._replace(prompts=store.keep(encoded.prompts))
            on_pass(len(found))
    return [found[position] for position in range(len(polymers))]


def _encode_pack(
    encoder: PerioGTEncoder,
    polymers: Sequence[FeaturizedPolymer],
    scaler: Scaler,
    packing: Packing,
    device: torch.device,
) -> Iterator[Encoded]:
    graphs = [graph for polymer in polymers for graph in polymer.graphs]
    scaled = [{n: scaler.transform(f.descriptors) for n, f in p.oligomers.items()} for p in polymers]
    batch = collate(
        graphs,
        [polymer.oligomers[n].fingerprint for polymer in polymers for n in polymer.n_units],
        [values[n] for polymer, values in zip(polymers, scaled, strict=True) for n in polymer.n_units],
        max_padding=packing.max_padding,
        path_origins=path_origins(polymers),
    )
    on_device = batch.to(device)
    states = encoder(on_device)
    embeddings = encoder.readout(states, on_device).cpu().numpy()
    states = states.cpu().numpy()
    first = 0
    for polymer in polymers:
        starts = batch.first_nodes[first : first + len(polymer.graphs)]
        nodes = [start + np.arange(graph.n_triplets) for start, graph in zip(starts, polymer.graphs, strict=True)]
        counts, chosen = prompt_rows(polymer)
        used, rows = np.unique(np.concatenate(nodes)[chosen], return_inverse=True)
        prompts = finished(torch.from_numpy(states[used]), polymer.scheme).numpy()
        yield Encoded(Prompts(counts, rows.astype(np.int64), prompts), embeddings[first])
        first += len(polymer.graphs)


class _Store:
    """Keeps states in memory, or appends them to a file in float16 where there are many."""

    def __init__(self, polymers: Sequence[FeaturizedPolymer], width: int, spill: Path | None) -> None:
        n_rows = sum(polymer.n_triplets for polymer in polymers)
        is_large = spill is not None and n_rows * width * 4 > MOST_BYTES_IN_MEMORY
        self._file = (
            np.lib.format.open_memmap(spill, "w+", np.float16, (n_rows, width))
            if spill is not None and is_large
            else None
        )
        self._n_kept = 0

    def keep(self, prompts: Prompts) -> Prompts:
        if self._file is None:
            return prompts
        kept = self._file[self._n_kept : self._n_kept + len(prompts.states)]
        kept[:] = prompts.states
        self._n_kept += len(prompts.states)
        return prompts._replace(states=kept)
