"""Processes that featurize parts of a table for the feature store, without Ray.

They read the store and write nothing: what they compute goes through a pipe to the process that started them, which is
the one writer. So they may be killed at any moment. A worker says which text of its part it begins; when it dies, the
next one takes the part again, where the store already has what was computed, and a text over which two have died is
given up.
"""

import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from periogt_ray.batch.failures import Message, contained
from periogt_ray.batch.featurize_stage import parsed
from periogt_ray.errors import InternalError
from periogt_ray.polymer.feature_store import FeatureStore
from periogt_ray.polymer.features import computed_unit, featurize
from periogt_ray.polymer.packed_features import packed
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings
from periogt_ray.tables.csv_table import CsvTable
from periogt_ray.tables.parts import Part, TableRow
from periogt_ray.tables.predictions import RowFailure

__all__ = ["ComputedFeatures", "FeaturizeSpec", "FeaturizeWorkers", "FilledPart"]

_MAX_DEATHS = 2
_POLL_S = 0.25


@dataclass(frozen=True)
class FeaturizeSpec:
    """What every worker needs to know."""

    table: CsvTable
    store: Path
    schemes: tuple[PromptScheme, ...]
    settings: Settings


class BegunText(NamedTuple):
    """A worker begins a text of its part."""

    text: str


class ComputedFeatures(NamedTuple):
    """Features that were not in the store, packed."""

    smiles: str
    scheme: PromptScheme
    content: bytes


@dataclass(frozen=True)
class FilledPart:
    """A part is done.

    Attributes
    ----------
    n_rows : int
        Of it.
    failures : collections.Counter
        Rows without features, by the code of their error.
    """

    n_rows: int
    failures: Counter[str]


Said: TypeAlias = BegunText | ComputedFeatures | FilledPart


class FeaturizeWorkers:
    """Several workers; use it in a ``with`` block, whose end ends them.

    Parameters
    ----------
    spec : FeaturizeSpec
        What they need to know.
    n : int
        How many.
    """

    def __init__(self, spec: FeaturizeSpec, n: int) -> None:
        self._spec = spec
        self._n = n
        # A copy of this process would have its threads' locks, and its writer.
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._deaths: Counter[tuple[int, str]] = Counter()

    def __enter__(self) -> "FeaturizeWorkers":
        return self

    def __exit__(self, *_error: object) -> None:
        for worker in self._workers:
            worker.end()

    def results(
        self, parts: Sequence[Part], *, is_stopped: Callable[[], bool]
    ) -> Iterator[ComputedFeatures | FilledPart | None]:
        """Yield what the workers compute, and None a few times a second; ends early when ``is_stopped`` says so.

        Raises
        ------
        PerioGTError
            What concerns the run and not a row.
        """
        waiting = deque(parts)
        self._workers = [self._start() for _ in range(min(self._n, len(parts)))]
        while not is_stopped():
            for worker in self._workers:
                if worker.part is None and waiting:
                    worker.begin(waiting.popleft(), self._given_up)
            busy = {worker.connection: worker for worker in self._workers if worker.part is not None}
            if not busy:
                return
            ready = wait(list(busy), timeout=_POLL_S)
            if not ready:
                yield None
            for worker in (busy[connection] for connection in ready if isinstance(connection, Connection)):
                said = worker.heard()
                if said is not None:
                    yield from self._noted(worker, said.take())
                    continue
                self._note_death(worker)
                waiting.appendleft(worker.part_that_failed())
                self._workers[self._workers.index(worker)] = self._start()

    def _start(self) -> "_Worker":
        return _Worker(self._context, self._spec)

    def _noted(self, worker: "_Worker", said: Said) -> Iterator[ComputedFeatures | FilledPart]:
        if isinstance(said, BegunText):
            worker.text = said.text
            return
        if isinstance(said, FilledPart):
            worker.part = None
        yield said

    def _note_death(self, worker: "_Worker") -> None:
        worker.end()
        part = worker.part_that_failed()
        self._deaths[part.number, worker.text] += 1
        if not worker.text and self._deaths[part.number, ""] >= _MAX_DEATHS:
            raise InternalError(
                "The featurizing processes end at their start; their messages are above. The usual cause is too little "
                "memory: request more, or use fewer processes with --workers."
            )

    def _given_up(self, part: Part) -> frozenset[str]:
        """Return the texts of a part over which workers have died too often."""
        return frozenset(
            text for (number, text), n in self._deaths.items() if number == part.number and n >= _MAX_DEATHS
        )


@dataclass
class _Worker:
    """A process, seen from the one that started it."""

    context: Any
    spec: FeaturizeSpec
    part: Part | None = None
    text: str = ""  # begun last; empty: none of this part
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.connection, theirs = self.context.Pipe()
        self._process = self.context.Process(target=_work, args=(theirs, self.spec), daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, part: Part, given_up: Callable[[Part], frozenset[str]]) -> None:
        """Hand a part to the worker; where it is dead, that shows when it is listened to."""
        self.part, self.text = part, ""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send((part, given_up(part)))

    def heard(self) -> "Message[Said] | None":
        """Return what it said; None if it is dead."""
        try:
            said: Message[Said] = self.connection.recv()
        except (EOFError, ConnectionResetError):
            return None
        return said

    def part_that_failed(self) -> Part:
        """Return the part that it had when it died."""
        if self.part is None:
            raise InternalError("A process that featurizes ended without a part; this is a bug.")
        return self.part

    def end(self) -> None:
        """Kill it; it writes nothing."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self.connection.close()


def _work(connection: Connection, spec: FeaturizeSpec) -> None:
    """Featurize parts until the other side is gone."""
    # Whoever ends the run, by the terminal or Slurm, signals all of its processes; the one that started them decides.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    store = FeatureStore(spec.store, spec.settings.feature_store_bytes)
    done: set[str] = set()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            part, given_up = connection.recv()
            connection.send(Message.of(partial(_filled, part, given_up, spec, store, connection, done)))


def _filled(
    part: Part,
    given_up: frozenset[str],
    spec: FeaturizeSpec,
    store: FeatureStore,
    connection: Connection,
    done: set[str],
) -> FilledPart:
    rows = spec.table.read(part)
    failed: dict[str, str] = {}
    texts = [_texts(row, spec.table) for row in rows]
    for text in dict.fromkeys(text for some in texts for text in some if text not in done):
        connection.send(Message(BegunText(text)))
        if text in given_up:
            failed[text] = InternalError.code
            continue
        failure = contained(partial(_fill, text, spec, store, connection))
        if isinstance(failure, RowFailure):
            failed[text] = failure.code
        elif spec.table.columns.others:
            done.add(text)  # few monomers stand in many parts
    codes = (next((failed[text] for text in some if text in failed), None) for some in texts)
    return FilledPart(len(rows), Counter(code for code in codes if code is not None))


def _texts(row: TableRow, table: CsvTable) -> tuple[str, ...]:
    """Return the repeat units of a row: one, or both monomers of a copolymer, whose ratio changes no feature."""
    return (row.smiles, row.kept[0]) if table.columns.others else (row.smiles,)


def _fill(text: str, spec: FeaturizeSpec, store: FeatureStore, connection: Connection) -> RowFailure | None:
    """Compute the features of a text that are not in the store, and hand them on."""
    given = parsed(text)
    if not isinstance(given, RepeatUnit):
        return given
    engine = spec.settings.descriptor_engine
    for scheme in spec.schemes:
        unit = computed_unit(given, scheme)
        if not store.has(unit, scheme, engine=engine):
            content = packed(featurize(unit, scheme, engine=engine))
            connection.send(Message(ComputedFeatures(unit.smiles, scheme, content)))
    return None
