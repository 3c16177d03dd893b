"""Who computes what in a batch, and over which polymers workers died.

The ledger gives every polymer to the first part that asks for it, and counts attempts: when a worker has
died over a part, the next worker goes through it polymer by polymer, and a polymer over which two
more workers die is given up. On Ray it is one small actor on the driver's node, which also holds parts
back while enough are under way; without Ray it is in the driver. :class:`Guard` is the side of it that workers use.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from periogt_ray.batch.failures import contained
from periogt_ray.errors import InternalError
from periogt_ray.tables.predictions import RowFailure

__all__ = ["Guard", "Ledger", "LedgerActor", "RayLedger", "StageLedger"]

_MAX_DEATHS = 2

_T = TypeVar("_T")


class Ledger:
    """Who computes what, and over what workers died."""

    def __init__(self) -> None:
        self._claims = sqlite3.connect("", isolation_level=None)
        self._claims.execute("PRAGMA journal_mode = OFF")
        self._claims.execute("CREATE TABLE claims (key TEXT PRIMARY KEY, part INTEGER) WITHOUT ROWID")
        self._attempts: Counter[tuple[str, int]] = Counter()
        self._touched: Counter[tuple[str, int, str]] = Counter()

    def begin(self, stage: str, part: int) -> bool:
        """Note that a part is begun; return whether a worker has died over it in this stage."""
        self._attempts[stage, part] += 1
        return self._attempts[stage, part] > 1

    def finish(self, part: int) -> None:
        """Note that a part is kept; its entries go, so that the ledger does not grow."""
        for stage, number in list(self._attempts):
            if number == part:
                del self._attempts[stage, number]
        for stage, number, item in list(self._touched):
            if number == part:
                del self._touched[stage, number, item]

    def touch(self, stage: str, part: int, item: str) -> int:
        """Note that an item is begun by itself; return how many workers have died over it before."""
        deaths = self._touched[stage, part, item]
        self._touched[stage, part, item] += 1
        return deaths

    def done(self, stage: str, part: int, item: str) -> None:
        """Note that an item was survived."""
        self._touched[stage, part, item] = 0

    def claim(self, part: int, keys: Sequence[str]) -> list[str]:
        """Return those polymers that this part is to compute: those that no other part does."""
        self._claims.executemany("INSERT OR IGNORE INTO claims VALUES (?, ?)", [(key, part) for key in keys])
        query = "SELECT part FROM claims WHERE key = ?"
        return [key for key in keys if self._claims.execute(query, (key,)).fetchone()[0] == part]


class LedgerActor:
    """A ledger in a process of its own, which also holds parts back.

    Parameters
    ----------
    n_under_way : int
        Most parts that are begun and not yet kept: what a killed run has to compute again.
    """

    def __init__(self, n_under_way: int) -> None:
        self._ledger = Ledger()
        self._n_under_way = n_under_way
        self._under_way: set[int] = set()
        self._room = asyncio.Condition()

    async def begin(self, stage: str, part: int) -> bool:
        """Wait until a part may be begun; return whether a worker has died over it in this stage."""
        async with self._room:
            await self._room.wait_for(lambda: part in self._under_way or len(self._under_way) < self._n_under_way)
            self._under_way.add(part)
        return self._ledger.begin(stage, part)

    async def finish(self, part: int) -> None:
        """Note that a part is kept, so that another may be begun."""
        async with self._room:
            self._under_way.discard(part)
            self._room.notify_all()
        self._ledger.finish(part)

    async def touch(self, stage: str, part: int, item: str) -> int:
        """As :meth:`Ledger.touch`."""
        return self._ledger.touch(stage, part, item)

    async def done(self, stage: str, part: int, item: str) -> None:
        """As :meth:`Ledger.done`."""
        self._ledger.done(stage, part, item)

    async def claim(self, part: int, keys: Sequence[str]) -> list[str]:
        """As :meth:`Ledger.claim`."""
        return self._ledger.claim(part, keys)


class StageLedger(Protocol):
    """What a stage asks of the ledger, wherever that is."""

    def begin(self, stage: str, part: int) -> bool:
        """As :meth:`Ledger.begin`."""

    def touch(self, stage: str, part: int, item: str) -> int:
        """As :meth:`Ledger.touch`."""

    def done(self, stage: str, part: int, item: str) -> None:
        """As :meth:`Ledger.done`."""

    def claim(self, part: int, keys: Sequence[str]) -> list[str]:
        """As :meth:`Ledger.claim`."""


@dataclass(frozen=True)
class RayLedger:
    """A :class:`LedgerActor` as the stages of Ray's workers use it."""

    actor: Any

    def begin(self, stage: str, part: int) -> bool:
        """As :meth:`LedgerActor.begin`."""
        return bool(self._ask("begin", stage, part))

    def touch(self, stage: str, part: int, item: str) -> int:
        """As :meth:`Ledger.touch`."""
        return int(self._ask("touch", stage, part, item))

    def done(self, stage: str, part: int, item: str) -> None:
        """As :meth:`Ledger.done`."""
        self._ask("done", stage, part, item)

    def claim(self, part: int, keys: Sequence[str]) -> list[str]:
        """As :meth:`Ledger.claim`."""
        return list(self._ask("claim", part, keys))

    def _ask(self, name: str, *given: object) -> Any:
        import ray

        return ray.get(getattr(self.actor, name).remote(*given))


@dataclass(frozen=True)
class Guard:
    """Goes through the items of a part so that one that kills its worker is found."""

    ledger: StageLedger
    stage: Literal["parse", "featurize", "predict"]
    part: int
    is_careful: bool

    def run(self, item: str, compute: Callable[[], _T]) -> _T | RowFailure:
        """Compute one item; a failure of the item is returned, an error of the run raised."""
        if self.is_careful:
            if self.ledger.touch(self.stage, self.part, item) >= _MAX_DEATHS:
                return RowFailure.of(
                    InternalError("The process that computed this polymer ended abruptly, each time it was tried.")
                )
            try:
                return contained(compute)
            finally:
                self.ledger.done(self.stage, self.part, item)
        return contained(compute)
