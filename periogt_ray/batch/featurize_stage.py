"""What the featurizers of a batch do, and the ledger; what predictors do is in batch_predict.

The ledger is one small actor on the driver's node. It hands every polymer to the first part that
asks for it, holds parts back while enough are under way, and counts attempts: when a worker has
died over a part, the next one goes through it polymer by polymer, and a polymer over which two more
die is given up.
"""

import asyncio
import logging
import sqlite3
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from periogt_ray.batch.csv_input import Part, read_part
from periogt_ray.batch.parts import PartResult
from periogt_ray.errors import GPUOutOfMemoryError, InternalError, PerioGTError, ValidationError
from periogt_ray.polymer.feature_store import featurized
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings

__all__ = ["ROW_ERRORS", "BatchSpec", "FeaturizePart", "Guard", "Ledger", "PartMessage", "Work", "contained"]

logger = logging.getLogger(__name__)

_MAX_DEATHS = 2
# What concerns one polymer; any other error concerns the run and ends it.
ROW_ERRORS = (ValidationError, InternalError, GPUOutOfMemoryError)

_T = TypeVar("_T")


@dataclass(frozen=True)
class BatchSpec:
    """What every worker needs to know of a run."""

    input: Path
    smiles_column: int
    id_column: int | None
    properties: tuple[tuple[str, PromptScheme], ...]
    settings: Settings

    @property
    def schemes(self) -> tuple[PromptScheme, ...]:
        """The distinct prompt schemes of the properties."""
        return tuple(dict.fromkeys(scheme for _, scheme in self.properties))


# Without repr: Ray Data asks for that of every object that it takes into a table, all its arrays included.
@dataclass(frozen=True, repr=False)
class Work:
    """A part between the stages; a class of its own, so that Ray Data keeps it whole."""

    rows: list[list[str | None]] = field(default_factory=list)
    polymers: dict[str, dict[PromptScheme, FeaturizedPolymer] | PerioGTError] = field(default_factory=dict)
    fatal: PerioGTError | None = None


@dataclass(frozen=True, repr=False)
class PartMessage:
    """What the driver gets for a part: its result, or the error that ends the run."""

    result: PartResult | None = None
    fatal: PerioGTError | None = None


class Ledger:
    """Who computes what, and over what workers died.

    Parameters
    ----------
    n_under_way : int
        Most parts that are begun and not yet kept: what a killed run has to compute again.
    """

    def __init__(self, n_under_way: int) -> None:
        self._claims = sqlite3.connect("", isolation_level=None)
        self._claims.execute("PRAGMA journal_mode = OFF")
        self._claims.execute("CREATE TABLE claims (key TEXT PRIMARY KEY, part INTEGER) WITHOUT ROWID")
        self._n_under_way = n_under_way
        self._under_way: set[int] = set()
        self._room = asyncio.Condition()
        self._attempts: Counter[tuple[str, int]] = Counter()
        self._touched: Counter[tuple[str, int, str]] = Counter()

    async def begin(self, stage: str, part: int) -> bool:
        """Wait until a part may be begun; return whether a worker has died over it in this stage."""
        async with self._room:
            await self._room.wait_for(lambda: part in self._under_way or len(self._under_way) < self._n_under_way)
            self._under_way.add(part)
        self._attempts[stage, part] += 1
        return self._attempts[stage, part] > 1

    async def finish(self, part: int) -> None:
        """Note that a part is kept; its entries go, so that the ledger does not grow."""
        async with self._room:
            self._under_way.discard(part)
            self._room.notify_all()
        for entry in [entry for entry in self._attempts if entry[1] == part]:
            del self._attempts[entry]
        for touched in [touched for touched in self._touched if touched[1] == part]:
            del self._touched[touched]

    async def touch(self, stage: str, part: int, item: str) -> int:
        """Note that an item is begun alone; return how many workers have died over it before."""
        deaths = self._touched[stage, part, item]
        self._touched[stage, part, item] += 1
        return deaths

    async def done(self, stage: str, part: int, item: str) -> None:
        """Note that an item was survived."""
        self._touched[stage, part, item] = 0

    async def claim(self, part: int, keys: Sequence[str]) -> list[str]:
        """Return those polymers that this part is to compute: those that no other part does."""
        self._claims.executemany("INSERT OR IGNORE INTO claims VALUES (?, ?)", [(key, part) for key in keys])
        query = "SELECT part FROM claims WHERE key = ?"
        return [key for key in keys if self._claims.execute(query, (key,)).fetchone()[0] == part]


@dataclass(frozen=True)
class Guard:
    """Goes through the items of a part so that one that kills its worker is found."""

    ledger: Any  # handle of a Ledger
    stage: Literal["parse", "featurize", "predict"]
    part: int
    is_careful: bool

    def run(self, item: str, compute: Callable[[], _T]) -> _T | PerioGTError:
        """Compute one item; an error of the item is returned, one of the run raised."""
        import ray

        if self.is_careful:
            if ray.get(self.ledger.touch.remote(self.stage, self.part, item)) >= _MAX_DEATHS:
                return InternalError("The process that computed this polymer ended abruptly, each time it was tried.")
            try:
                return contained(compute)
            finally:
                ray.get(self.ledger.done.remote(self.stage, self.part, item))
        return contained(compute)


def contained(compute: Callable[[], _T]) -> _T | PerioGTError:
    """Compute something for one polymer, or for several together; what fails for them is a value."""
    try:
        return compute()
    except ROW_ERRORS as error:
        return error
    except PerioGTError:
        raise
    except Exception:
        # A bug with one polymer must not cost the others; its cause is in the worker's log.
        traceback.print_exc()
        return InternalError("An unexpected failure; its cause is in the log of the worker.")


class FeaturizePart:
    """CPU stage: ``{"part": Part fields}`` to rows and the features of the polymers it claims."""

    def __init__(self, spec: BatchSpec, ledger: Any) -> None:
        self._spec = spec
        self._ledger = ledger

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Featurize one part; what concerns the run is passed on."""
        part = Part(*map(int, row["part"]))
        try:
            work = self._work(part)
        except PerioGTError as error:
            work = Work(fatal=error)
        return {"part": part.number, "work": work}

    def _work(self, part: Part) -> Work:
        import ray

        spec = self._spec
        is_careful = ray.get(self._ledger.begin.remote("featurize", part.number))
        given = read_part(spec.input, part, smiles_column=spec.smiles_column, id_column=spec.id_column)
        guard = Guard(self._ledger, "parse", part.number, is_careful)
        units = [guard.run(str(i), partial(RepeatUnit.parse, item.smiles)) for i, item in enumerate(given)]
        keys = dict.fromkeys(unit.smiles for unit in units if isinstance(unit, RepeatUnit))
        mine = ray.get(self._ledger.claim.remote(part.number, list(keys))) if keys else []
        guard = Guard(self._ledger, "featurize", part.number, is_careful)
        return Work(
            rows=[_row(item.id, item.smiles, unit) for item, unit in zip(given, units, strict=True)],
            polymers={key: guard.run(key, partial(self._featurize, key)) for key in mine},
        )

    def _featurize(self, key: str) -> dict[PromptScheme, FeaturizedPolymer]:
        unit = RepeatUnit(key)
        return {scheme: featurized(unit, scheme, self._spec.settings)[0] for scheme in self._spec.schemes}


def _row(identifier: str, smiles: str, unit: RepeatUnit | PerioGTError) -> list[str | None]:
    if isinstance(unit, PerioGTError):
        return [identifier, smiles, None, unit.code, unit.message]
    return [identifier, smiles, unit.smiles]
