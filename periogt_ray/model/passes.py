"""The CPU's work for a pass: it lays out graphs as tensors while the card computes the pass before.

A card waits for the CPU unless the tensors of its next pass are ready. :func:`made_ahead` makes them in
a thread, in pinned memory, so that their copies to the card need no waiting.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.model.collate import GraphBatch, PromptBatch, collate, collate_prompts
from periogt_ray.model.prompts import path_origins, prompt_rows
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.input_features import Featurized

__all__ = [
    "HeadInput",
    "PassInput",
    "PassTasks",
    "PromptGraphs",
    "head_inputs",
    "made_ahead",
    "pass_input",
    "prompt_graphs",
    "rows_of",
]

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class HeadInput:
    """The inputs of the head passes of some polymers.

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


class PromptGraphs(NamedTuple):
    """The prompt graphs of polymers, laid out, and where they are in the batch."""

    batch: GraphBatch
    own_graphs: np.ndarray  # int64 [polymers], which of the graphs is each polymer's own
    first_nodes: list[np.ndarray]  # of each polymer, where the nodes of its graphs start


@dataclass(frozen=True)
class PassTasks:
    """What is computed together, and which results are needed.

    Attributes
    ----------
    polymers : tuple
        Each once.
    tasks : tuple of Task
        What is asked of them.
    rows : tuple of int
        Position among the polymers of each task's polymer.
    heads : dict of tuple of int to HeadInput
        By the positions of the polymers that a head pass is for: those of all properties that are asked of the same
        polymers are one.
    """

    polymers: tuple[Featurized, ...]
    tasks: tuple[Task, ...]
    rows: tuple[int, ...]
    heads: dict[tuple[int, ...], HeadInput]

    def positions(self, property_id: str) -> tuple[int, ...]:
        """Return the positions of the polymers of which a property is asked, in ascending order."""
        return _positions(self.tasks, self.rows, property_id)

    @property
    def properties(self) -> tuple[str, ...]:
        """The requested properties, each once."""
        return _properties(self.tasks)


@dataclass(frozen=True)
class PassInput(PassTasks):
    """One pass of homopolymers, and everything of it that the CPU computes.

    Attributes
    ----------
    prompt_batch : GraphBatch
        The prompt graphs of all polymers.
    own_graphs : numpy.ndarray
        int64 [polymers], which of the graphs is each polymer's own.
    """

    prompt_batch: GraphBatch
    own_graphs: np.ndarray

    def pinned(self) -> "PassInput":
        """Return a copy in pinned memory, from which copies to a card need no waiting."""
        heads = {positions: head.pinned() for positions, head in self.heads.items()}
        return replace(self, heads=heads, prompt_batch=self.prompt_batch.pinned())


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
    rows = rows_of(polymers, tasks)
    prompt_batch, own_graphs, first_nodes = prompt_graphs(polymers, scaler, max_padding=max_padding)

    def head(positions: tuple[int, ...]) -> HeadInput:
        chosen = [polymers[index] for index in positions]
        batch = collate(
            [polymer.graphs[0] for polymer in chosen],
            [polymer.oligomers[1].fingerprint for polymer in chosen],
            [scaler.transform(polymer.oligomers[1].descriptors) for polymer in chosen],
            max_padding=max_padding,
        )
        counts, nodes = zip(*(prompt_rows(polymers[index], first_nodes[index]) for index in positions), strict=True)
        return HeadInput(batch, collate_prompts(counts, nodes, batch.first_nodes))

    heads = head_inputs(tasks, rows, head)
    return PassInput(tuple(polymers), tuple(tasks), rows, heads, prompt_batch, own_graphs)


def prompt_graphs(polymers: Sequence[FeaturizedPolymer], scaler: Scaler, *, max_padding: float) -> PromptGraphs:
    """Lay out the prompt graphs of polymers; parameters as in :func:`pass_input`."""
    scaled = [{n: scaler.transform(f.descriptors) for n, f in p.oligomers.items()} for p in polymers]
    batch = collate(
        [graph for polymer in polymers for graph in polymer.graphs],
        [polymer.oligomers[n].fingerprint for polymer in polymers for n in polymer.n_units],
        [values[n] for polymer, values in zip(polymers, scaled, strict=True) for n in polymer.n_units],
        max_padding=max_padding,
        path_origins=path_origins(polymers),
    )
    n_graphs = [len(polymer.graphs) for polymer in polymers]
    own_graphs = np.cumsum(n_graphs) - n_graphs
    return PromptGraphs(batch, own_graphs, np.split(batch.first_nodes, own_graphs[1:]))


def rows_of(polymers: Sequence[Featurized], tasks: Sequence[Task]) -> tuple[int, ...]:
    """Return the position among the polymers, all of one kind, of each task's polymer."""
    position = {(polymer.key, polymer.scheme): index for index, polymer in enumerate(polymers)}
    return tuple(position[task.polymer.key, task.polymer.scheme] for task in tasks)


def head_inputs(
    tasks: Sequence[Task], rows: Sequence[int], make: Callable[[tuple[int, ...]], HeadInput]
) -> dict[tuple[int, ...], HeadInput]:
    """Make the inputs of head passes, once for all properties that are requested for the same polymers."""
    return {
        positions: make(positions)
        for positions in {_positions(tasks, rows, property_id) for property_id in _properties(tasks)}
    }


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
