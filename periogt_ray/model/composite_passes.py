"""Passes of copolymers and of polymers with conditions: one prompt pass a repeat unit, one head pass an input."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.model.collate import GraphBatch, collate, collate_prompts
from periogt_ray.model.passes import HeadInput, PassTasks, head_inputs, prompt_graphs, rows_of
from periogt_ray.model.prompts import FinishedPrompts, KeptPrompts, MonomerKey, finished, monomer_key, prompt_rows
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.input_features import FeaturizedComposite, FeaturizedCopolymer

__all__ = [
    "CompositeInput",
    "MonomerInput",
    "MonomerPrompts",
    "collate_composites",
    "composite_input",
    "monomer_input",
    "monomers_of",
    "prompt_counts",
]

_PROMPT_BYTES = 512 << 20  # the 683 monomers of the published sets of copolymers, at the published width
_NOTHING = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class MonomerInput:
    """One prompt pass of repeat units.

    Attributes
    ----------
    monomers : tuple of FeaturizedPolymer
        Each once.
    batch : GraphBatch
        Their prompt graphs.
    counts : tuple of numpy.ndarray
        int64 [T] of each repeat unit, prompts of each node of its own graph.
    rows : tuple of Tensor
        int64 [sum of counts] of each repeat unit, the rows of the pass that are its prompts.
    """

    monomers: tuple[FeaturizedPolymer, ...]
    batch: GraphBatch
    counts: tuple[np.ndarray, ...]
    rows: tuple[Tensor, ...]

    def pinned(self) -> "MonomerInput":
        """Return a copy in pinned memory."""
        return replace(self, batch=self.batch.pinned(), rows=tuple(rows.pin_memory() for rows in self.rows))


@dataclass(frozen=True)
class CompositeInput(PassTasks):
    """One pass of composites of one kind and scheme, and everything of it that the CPU computes.

    Attributes
    ----------
    monomers : tuple of FeaturizedPolymer
        The repeat units of all polymers, each once; the rows that heads name are those of their prompts, end to end.
    prompts : tuple of MonomerInput
        Prompt passes of those whose prompts were not known when this was made.
    """

    monomers: tuple[FeaturizedPolymer, ...]
    prompts: tuple[MonomerInput, ...]

    def pinned(self) -> "CompositeInput":
        """Return a copy in pinned memory."""
        heads = {positions: head.pinned() for positions, head in self.heads.items()}
        return replace(self, heads=heads, prompts=tuple(one.pinned() for one in self.prompts))


def composite_input(
    polymers: Sequence[FeaturizedComposite],
    tasks: Sequence[Task],
    scaler: Scaler,
    *,
    max_padding: float,
    prompts: Iterable[MonomerInput] = (),
) -> CompositeInput:
    """Lay out the graphs of a pass.

    Parameters
    ----------
    polymers : sequence of FeaturizedComposite
        Each once, at least one, of one kind and scheme.
    tasks : sequence of Task
        Whose polymers are among them.
    scaler : Scaler
        Of the descriptors.
    max_padding : float
        As in :func:`~periogt_ray.model.collate.collate`.
    prompts : iterable of MonomerInput
        Of the repeat units whose prompts are not known.
    """
    rows = rows_of(polymers, tasks)
    monomers = monomers_of(polymers)
    counts = {monomer_key(one): prompt_rows(one, np.zeros(len(one.graphs), np.int64))[0] for one in monomers}
    n_prompts = [int(some.sum()) for some in counts.values()]
    begins = dict(zip(counts, accumulate([0, *n_prompts[:-1]]), strict=True))

    def head(positions: tuple[int, ...]) -> HeadInput:
        chosen = [polymers[index] for index in positions]
        keys = [[monomer_key(monomer) for monomer in polymer.monomers] for polymer in chosen]
        batch = collate_composites(chosen, scaler, max_padding=max_padding)
        prompts = collate_prompts(
            [prompt_counts(one, [counts[key] for key in some]) for one, some in zip(chosen, keys, strict=True)],
            [np.concatenate([begins[key] + np.arange(counts[key].sum()) for key in some]) for some in keys],
            batch.first_nodes,
        )
        return HeadInput(batch, prompts)

    heads = head_inputs(tasks, rows, head)
    return CompositeInput(tuple(polymers), tuple(tasks), rows, heads, tuple(monomers), tuple(prompts))


def monomer_input(monomers: Sequence[FeaturizedPolymer], scaler: Scaler, *, max_padding: float) -> MonomerInput:
    """Lay out a prompt pass of repeat units; parameters as in :func:`composite_input`."""
    batch, _, first_nodes = prompt_graphs(monomers, scaler, max_padding=max_padding)
    found = [prompt_rows(monomer, starts) for monomer, starts in zip(monomers, first_nodes, strict=True)]
    counts = tuple(some for some, _ in found)
    return MonomerInput(tuple(monomers), batch, counts, tuple(torch.from_numpy(rows) for _, rows in found))


def monomers_of(polymers: Iterable[FeaturizedComposite]) -> list[FeaturizedPolymer]:
    """Return the repeat units of composites, each once."""
    return list({monomer_key(monomer): monomer for polymer in polymers for monomer in polymer.monomers}.values())


class MonomerPrompts:
    """Computes the prompts of repeat units, and keeps them for the next composite that holds the same one.

    Parameters
    ----------
    encode : callable
        Returns the states [T, D] of a prompt pass.
    prepare : callable
        Lays out prompt passes of repeat units.
    device : torch.device
        Where the network runs.
    """

    def __init__(
        self,
        encode: Callable[[GraphBatch], Tensor],
        prepare: Callable[[Sequence[FeaturizedPolymer]], Iterable[MonomerInput]],
        *,
        device: torch.device,
    ) -> None:
        self._encode = encode
        self._prepare = prepare
        self._device = device
        self._kept = KeptPrompts(_PROMPT_BYTES)

    def is_kept(self, monomer: FeaturizedPolymer) -> bool:
        """Return whether the prompts of a repeat unit are known."""
        return monomer_key(monomer) in self._kept

    def states(self, given: CompositeInput) -> Tensor:
        """Return the prompts of the repeat units of a pass, end to end, float32 [sum of counts, D]."""
        found: dict[MonomerKey, FinishedPrompts] = {}
        for one in given.prompts:
            found |= self._computed(one)
        for monomer in given.monomers:
            key = monomer_key(monomer)
            if key not in found and (kept := self._kept.get(key)) is not None:
                found[key] = kept
        # Kept when the pass was planned, but dropped since.
        for one in self._prepare([monomer for monomer in given.monomers if monomer_key(monomer) not in found]):
            found |= self._computed(one)
        return torch.cat([found[monomer_key(monomer)].states for monomer in given.monomers])

    def _computed(self, given: MonomerInput) -> dict[MonomerKey, FinishedPrompts]:
        states = self._encode(given.batch.to(self._device))
        found = {}
        for monomer, counts, rows in zip(given.monomers, given.counts, given.rows, strict=True):
            chosen = states[rows.to(self._device, non_blocking=True)]
            found[monomer_key(monomer)] = FinishedPrompts(counts, finished(chosen, monomer.scheme))
        for key, prompts in found.items():
            self._kept.put(key, prompts)
        return found


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
