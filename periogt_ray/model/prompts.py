"""Periodicity prompts of repeat units: which states of the prompt pass they are, and those that are kept.

Many copolymers share a monomer, and its prompts depend only on the monomer. So they are kept, within a
bound, and the prompt pass is run once a monomer.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from periogt_ray.model.collate import match_prompts
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme

__all__ = ["FinishedPrompts", "KeptPrompts", "MonomerKey", "finished", "monomer_key", "path_origins", "prompt_rows"]

MonomerKey: TypeAlias = tuple[str, PromptScheme]


class FinishedPrompts(NamedTuple):
    """The prompts of a repeat unit's own graph, as a property's network gets them."""

    counts: np.ndarray  # int64   [T], prompts of each node
    states: Tensor  # float32 [sum of counts, D]


def monomer_key(polymer: FeaturizedPolymer) -> MonomerKey:
    """Return the key of a repeat unit's prompts: everything that they depend on."""
    return polymer.smiles, polymer.scheme


def path_origins(polymers: Sequence[FeaturizedPolymer]) -> list[int]:
    """Return where the numbers in paths count from in a prompt pass, for each graph of all polymers.

    The graph itself, or by a scheme without shifted paths the first graph of its polymer; see
    :func:`~periogt_ray.model.collate.collate`.

    Examples
    --------
    >>> from periogt_ray.polymer.features import featurize
    >>> from periogt_ray.polymer.repeat_unit import RepeatUnit
    >>> unit = RepeatUnit.parse("*CC*")
    >>> schemes = (PromptScheme.RELEASE, PromptScheme.RELEASE_UNSHIFTED)
    >>> path_origins([featurize(unit, scheme) for scheme in schemes])
    [0, 1, 2, 3, 3, 3]
    """
    n_graphs = [len(polymer.graphs) for polymer in polymers]
    origins: list[int] = []
    for polymer, begin in zip(polymers, accumulate([0, *n_graphs[:-1]]), strict=True):
        numbers = range(begin, begin + len(polymer.graphs))
        origins += numbers if polymer.scheme.has_shifted_paths else [begin] * len(polymer.graphs)
    return origins


def prompt_rows(polymer: FeaturizedPolymer, first_nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the prompts of each node of a polymer's own graph, and the rows of the prompt pass that they are.

    Parameters
    ----------
    polymer : FeaturizedPolymer
        The polymer.
    first_nodes : numpy.ndarray
        Where the nodes of each of its prompt graphs start in the pass.

    Returns
    -------
    counts, rows : numpy.ndarray
        int64 [T] and [sum of counts].
    """
    counts, nodes = match_prompts([graph.bond_class for graph in polymer.graphs], polymer.scheme.max_prompts)
    nodes_of = [start + np.arange(graph.n_triplets) for start, graph in zip(first_nodes, polymer.graphs, strict=True)]
    return counts, np.concatenate(nodes_of)[nodes]


def finished(states: Tensor, scheme: PromptScheme) -> Tensor:
    """Return states as the property's network gets them: rounded to float16, where the scheme says so."""
    return states.to(torch.float16).to(torch.float32) if scheme.is_rounded_to_half else states


class KeptPrompts:
    """The least recently used prompts of repeat units, within a number of bytes; those of one call at least.

    Parameters
    ----------
    max_bytes : int
        Memory for the states.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[MonomerKey, FinishedPrompts] = OrderedDict()
        self._used_bytes = 0

    def __contains__(self, key: MonomerKey) -> bool:
        return key in self._held

    def get(self, key: MonomerKey) -> FinishedPrompts | None:
        """Return prompts that are held."""
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, key: MonomerKey, prompts: FinishedPrompts) -> None:
        """Hold prompts; the least recently used ones go."""
        if key in self._held:
            self._used_bytes -= _n_bytes(self._held.pop(key))
        self._held[key] = prompts
        self._used_bytes += _n_bytes(prompts)
        while self._used_bytes > self._max_bytes and len(self._held) > 1:
            _, dropped = self._held.popitem(last=False)
            self._used_bytes -= _n_bytes(dropped)


def _n_bytes(prompts: FinishedPrompts) -> int:
    return prompts.states.numel() * prompts.states.element_size()
