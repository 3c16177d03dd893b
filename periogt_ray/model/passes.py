"""What a pass needs from the CPU: graphs laid out as tensors, made ahead of the card.

A card waits for the CPU unless the tensors of its next pass are ready. :func:`made_ahead` makes them in
a thread, in pinned memory, so that their copies to the card need no waiting.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch

from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.model.collate import GraphBatch, PromptBatch, collate, collate_prompts, match_prompts
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import FeaturizedPolymer

__all__ = ["HeadInput", "PassInput", "made_ahead", "pass_input"]

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class HeadInput:
    """What the head passes of some polymers need.

    Attributes
    ----------
    batch : GraphBatch
        Each polymer's own graph.
    prompts : PromptBatch
        Rows of the prompt pass that each node gets.
    """

    batch: GraphBatch
    prompts: PromptBatch

    def pinned(self) -> "HeadInput":
        """Return a copy in pinned memory."""
        return HeadInput(self.batch.pinned(), self.prompts.pinned())

    def to(self, device: torch.device) -> "HeadInput":
        """Return the same on another device."""
        return HeadInput(self.batch.to(device), self.prompts.to(device))


@dataclass(frozen=True)
class PassInput:
    """One pass: polymers that are computed together, and everything of it that the CPU computes.

    Attributes
    ----------
    polymers : tuple of FeaturizedPolymer
        Each once.
    tasks : tuple of Task
        What is asked of them.
    rows : tuple of int
        Position among the polymers of each task's polymer.
    prompt_batch : GraphBatch
        The prompt graphs of all polymers.
    own_graphs : numpy.ndarray
        int64 [polymers], which of the graphs is each polymer's own.
    heads : dict of tuple of int to HeadInput
        By the positions of the polymers that a head pass is for: those of all properties that are asked of the same
        polymers are one.
    """

    polymers: tuple[FeaturizedPolymer, ...]
    tasks: tuple[Task, ...]
    rows: tuple[int, ...]
    prompt_batch: GraphBatch
    own_graphs: np.ndarray
    heads: dict[tuple[int, ...], HeadInput]

    def positions(self, property_id: str) -> tuple[int, ...]:
        """Return the positions of the polymers of which a property is asked, in ascending order."""
        return _positions(self.tasks, self.rows, property_id)

    @property
    def properties(self) -> tuple[str, ...]:
        """Properties that are asked, each once."""
        return _properties(self.tasks)

    def pinned(self) -> "PassInput":
        """Return a copy in pinned memory, from which copies to a card need no waiting."""
        heads = {positions: head.pinned() for positions, head in self.heads.items()}
        return PassInput(self.polymers, self.tasks, self.rows, self.prompt_batch.pinned(), self.own_graphs, heads)


def pass_input(
    polymers: Sequence[FeaturizedPolymer], tasks: Sequence[Task], scaler: Scaler, *, max_padding: float
) -> PassInput:
    """Lay out the graphs of a pass.

    Parameters
    ----------
    polymers : sequence of FeaturizedPolymer
        Each once, at least one.
    tasks : sequence of Task
        Whose polymers are among them.
    scaler : Scaler
        Of the descriptors.
    max_padding : float
        As in :func:`~periogt_ray.model.collate.collate`.
    """
    position = {(polymer.smiles, polymer.scheme): index for index, polymer in enumerate(polymers)}
    rows = tuple(position[task.polymer.smiles, task.polymer.scheme] for task in tasks)
    n_graphs = [len(polymer.graphs) for polymer in polymers]
    scaled = [{n: scaler.transform(f.descriptors) for n, f in p.oligomers.items()} for p in polymers]
    prompt_batch = collate(
        [graph for polymer in polymers for graph in polymer.graphs],
        [polymer.oligomers[n].fingerprint for polymer in polymers for n in polymer.n_units],
        [values[n] for polymer, values in zip(polymers, scaled, strict=True) for n in polymer.n_units],
        max_padding=max_padding,
    )
    own_graphs = np.cumsum(n_graphs) - n_graphs
    first_nodes = np.split(prompt_batch.first_nodes, own_graphs[1:])
    heads: dict[tuple[int, ...], HeadInput] = {}
    for positions in {_positions(tasks, rows, property_id) for property_id in _properties(tasks)}:
        chosen = [polymers[index] for index in positions]
        batch = collate(
            [polymer.graphs[0] for polymer in chosen],
            [polymer.oligomers[1].fingerprint for polymer in chosen],
            [scaled[index][1] for index in positions],
            max_padding=max_padding,
        )
        counts, nodes = zip(*(_prompts_of(polymers[index], first_nodes[index]) for index in positions), strict=True)
        heads[positions] = HeadInput(batch, collate_prompts(counts, nodes, batch.first_nodes))
    return PassInput(tuple(polymers), tuple(tasks), rows, prompt_batch, own_graphs, heads)


def made_ahead(make: Callable[[_Item], _Made], items: Sequence[_Item], *, n_ahead: int) -> Iterator[_Made]:
    """Yield ``make(item)`` for each item, in order; up to ``n_ahead`` of them are made before they are asked for.

    Examples
    --------
    >>> list(made_ahead(str, [1, 2, 3], n_ahead=2))
    ['1', '2', '3']
    """
    if n_ahead == 0 or len(items) < 2:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="periogt-collate") as executor:
        left = iter(items)
        waiting: list[Future[_Made]] = [executor.submit(make, item) for item in islice(left, 1 + n_ahead)]
        try:
            while waiting:
                yield waiting.pop(0).result()
                waiting += [executor.submit(make, item) for item in islice(left, 1)]
        finally:
            for future in waiting:
                future.cancel()


def _properties(tasks: Sequence[Task]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(task.property_id for task in tasks if task.property_id is not None))


def _positions(tasks: Sequence[Task], rows: Sequence[int], property_id: str) -> tuple[int, ...]:
    return tuple(sorted({row for row, task in zip(rows, tasks, strict=True) if task.property_id == property_id}))


def _prompts_of(polymer: FeaturizedPolymer, first_nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many prompts each node of a polymer's own graph gets, and their rows in the prompt pass."""
    counts, nodes = match_prompts([graph.bond_class for graph in polymer.graphs], polymer.scheme.max_prompts)
    places = [start + np.arange(graph.n_triplets) for start, graph in zip(first_nodes, polymer.graphs, strict=True)]
    return counts, np.concatenate(places)[nodes]
