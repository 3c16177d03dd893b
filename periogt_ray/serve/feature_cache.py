"""Features of polymers already seen, bounded in memory.

A polymer that comes again, in another spelling or for another property of the same prompt scheme, is
not featurized again. Requests for a polymer that is being featurized wait for that result.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import NamedTuple

from periogt_ray.polymer.dimensions import FEATURE_VERSION
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme

__all__ = ["FeatureCache", "FeatureKey", "n_bytes"]


class FeatureKey(NamedTuple):
    """What features depend on."""

    smiles: str  # canonical
    scheme: PromptScheme
    engine: str
    version: int = FEATURE_VERSION


class _Flight:
    """A computation under way and how many wait for it."""

    def __init__(self, task: "asyncio.Task[FeaturizedPolymer]") -> None:
        self.task = task
        self.n_waiting = 0


class FeatureCache:
    """Least recently used features, within a number of bytes.

    Parameters
    ----------
    max_bytes : int
        Memory for the arrays; 0 keeps nothing.

    Attributes
    ----------
    used_bytes : int
        Memory of the arrays held now.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[FeatureKey, FeaturizedPolymer] = OrderedDict()
        self._flights: dict[FeatureKey, _Flight] = {}
        self.used_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    async def get(
        self, key: FeatureKey, compute: Callable[[], Awaitable[FeaturizedPolymer]]
    ) -> tuple[FeaturizedPolymer, bool]:
        """Return features, and whether they were held or already being computed.

        A computation goes on as long as one caller waits for it, then it is cancelled. Its error goes to
        all callers and is not kept.
        """
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key], True
        flight = self._flights.get(key)
        is_shared = flight is not None
        if flight is None:
            flight = self._start(key, compute)
        flight.n_waiting += 1
        try:
            return await asyncio.shield(flight.task), is_shared
        finally:
            flight.n_waiting -= 1
            if flight.n_waiting == 0 and not flight.task.done():
                self._flights.pop(key, None)
                flight.task.cancel()

    def _start(self, key: FeatureKey, compute: Callable[[], Awaitable[FeaturizedPolymer]]) -> _Flight:
        async def run() -> FeaturizedPolymer:
            return await compute()

        # In a context of its own: Serve cancels what a cancelled request started, and this is shared.
        flight = _Flight(asyncio.get_running_loop().create_task(run(), context=Context()))
        self._flights[key] = flight
        flight.task.add_done_callback(lambda task: self._land(key, flight, task))
        return flight

    def _land(self, key: FeatureKey, flight: _Flight, task: "asyncio.Task[FeaturizedPolymer]") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        # Asking for the exception marks it as seen where nobody waits any longer.
        if not task.cancelled() and task.exception() is None:
            self._keep(key, task.result())

    def _keep(self, key: FeatureKey, polymer: FeaturizedPolymer) -> None:
        size = n_bytes(polymer)
        if key in self._held or size > self._max_bytes:
            return
        self._held[key] = polymer
        self.used_bytes += size
        while self.used_bytes > self._max_bytes:
            _, dropped = self._held.popitem(last=False)
            self.used_bytes -= n_bytes(dropped)


def n_bytes(polymer: FeaturizedPolymer) -> int:
    """Return the memory of a polymer's arrays, bytes."""
    arrays = [array for graph in polymer.graphs for array in graph]
    arrays += [array for features in polymer.oligomers.values() for array in features]
    return sum(array.nbytes for array in arrays)
