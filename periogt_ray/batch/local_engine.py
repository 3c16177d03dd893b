"""A batch without Ray: the same stages in processes of this machine, for inputs that are shorter than Ray's start.

::

    driver: hands a part to each free worker, answers what stages ask of the ledger, takes finished parts
        <-> worker, one for each CPU: FeaturizePart, then PredictPart around its own Predictor
    or, with a GPU: workers featurize, and the driver's own PredictPart has the card

A worker that dies is replaced, and the part that it had is gone through polymer by polymer, as on Ray: see
:mod:`~periogt_ray.batch.ledger`. A worker ends when the driver does, because its pipe ends then.
"""

import logging
import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

import threadpoolctl

from periogt_ray.batch.failures import Message
from periogt_ray.batch.ledger import Ledger
from periogt_ray.batch.results import FinishedPart
from periogt_ray.batch.spec import BatchSpec
from periogt_ray.errors import InternalError
from periogt_ray.model.device import NO_DRIVER, choose_device, has_driver, probe_device
from periogt_ray.settings import Settings
from periogt_ray.tables.parts import Part

__all__ = ["LocalPipeline", "chosen_engine"]

logger = logging.getLogger(__name__)

# Measured on two cores with the embedded model (scripts/bench_batch.py): Ray's start costs 8 to 14 s and as many
# CPU seconds, and its stages are no faster afterwards. Beyond this many polymers that is lost in the noise, and Ray
# bounds memory and uses several GPUs.
_MOST_POLYMERS = 10_000
_POLYMERS_PER_WORKER = 48  # fewer are computed before another worker has loaded the model
_MOST_DEATHS_AT_START = 2
_MOST_DEATHS_OF_A_POLYMER = 2  # after which it is an error of its row
_POLL_S = 0.25
_END_TIMEOUT_S = 5.0


def chosen_engine(wanted: Literal["ray", "local"] | None, address: str | None, n_polymers: int) -> str:
    """Return which engine a run has: what the user wants, else local for few polymers unless a Ray is named.

    Examples
    --------
    >>> chosen_engine(None, None, 600), chosen_engine(None, "10.0.0.1:6379", 600), chosen_engine("ray", None, 600)
    ('local', 'ray', 'ray')
    """
    if wanted is not None:
        return wanted
    return "local" if address is None and n_polymers <= _MOST_POLYMERS else "ray"


class LocalPipeline:
    """Computes parts in processes of this machine; has the methods of :class:`~periogt_ray.batch.pipeline.Pipeline`.

    Parameters
    ----------
    spec : BatchSpec
        What the workers need to know.
    device : str
        ``cpu`` or ``cuda``.
    n_workers : int
        Most processes.
    """

    def __init__(self, spec: BatchSpec, *, device: Literal["cpu", "cuda"], n_workers: int) -> None:
        self._predicts_here = device != "cpu"
        copies = 1 if self._predicts_here else n_workers
        weights_bytes = spec.settings.weights_bytes // copies
        self._spec = replace(spec, settings=replace(spec.settings, weights_bytes=weights_bytes, device=device))
        self._n_workers = n_workers
        self._ledger = Ledger()
        self._deaths: Counter[int] = Counter()  # by part

    @staticmethod
    def device_for(settings: Settings) -> Literal["cpu", "cuda"]:
        """Return where the network will run; looks for a GPU only where there is a driver for one.

        Raises
        ------
        CudaUnavailableError, GPUUnsupportedError, DriverIncompatibleError
            If CUDA was asked for and cannot be used.
        """
        if settings.device == "cpu":
            return "cpu"
        if settings.device is None and not has_driver():
            logger.warning(NO_DRIVER)
            return "cpu"
        choice = choose_device(settings.device, probe_device(), min_driver=settings.min_driver)
        if choice.warning:
            logger.warning("%s", choice.warning)
        return choice.device

    def claim(self, part: int, keys: Sequence[str]) -> None:
        """Note that an earlier run has computed polymers."""
        self._ledger.claim(part, keys)

    def finish(self, part: int) -> None:
        """Note that a part is kept."""
        self._ledger.finish(part)

    def results(self, parts: Sequence[Part], *, is_stopped: Callable[[], bool]) -> Iterator[FinishedPart | None]:
        """Yield finished parts in the order in which they end, and None a few times a second.

        Ends early when ``is_stopped`` says so.

        Raises
        ------
        PerioGTError
            What ends the run. InternalError if workers die before they begin.
        """
        waiting = deque(parts)
        n_workers = max(1, min(self._n_workers, len(parts), -(-sum(p.n_rows for p in parts) // _POLYMERS_PER_WORKER)))
        predict = self._predict_stage() if self._predicts_here else None
        with _workers(self._spec, n_workers, predicts=predict is None) as workers:
            while (waiting or any(worker.part for worker in workers)) and not is_stopped():
                for worker in workers:
                    if worker.part is None and waiting:
                        worker.begin(waiting.popleft())
                message = self._heard(workers, waiting)
                if message is None:
                    yield None
                elif predict is None:
                    yield message.take()
                else:
                    yield predict({"message": message})["message"].take()

    def _predict_stage(self) -> Any:
        # Here, because it loads torch, which a driver without a card does without.
        from periogt_ray.batch.predict_stage import PredictPart

        return PredictPart(self._spec, self._ledger)

    def _heard(self, workers: "list[_Worker]", waiting: deque[Part]) -> Message[Any] | None:
        """Wait for a worker: return the part that it finished, answer what it asks, replace it where it died."""
        busy = {worker.connection: worker for worker in workers if worker.part is not None}
        for connection in wait(list(busy), timeout=_POLL_S):
            worker = busy[connection]  # type: ignore[index]
            try:
                said = worker.connection.recv()
            except (EOFError, OSError):
                waiting.appendleft(worker.taken_part())
                self._count_death(worker.taken_part())
                workers[workers.index(worker)] = worker.replaced()
                continue
            worker.has_begun = True
            if isinstance(said, Message):
                worker.part = None
                return said
            name, given = said
            with suppress(OSError):  # a worker that died meanwhile is found next time
                worker.connection.send(getattr(self._ledger, name)(*given))
        return None

    def _count_death(self, part: Part) -> None:
        """Raise InternalError where more workers died over a part than its polymers can account for."""
        self._deaths[part.number] += 1
        if self._deaths[part.number] > _MOST_DEATHS_OF_A_POLYMER * (part.n_rows + 1):
            raise InternalError(
                f"The computing processes end again and again over the rows {part.first_row + 1} to "
                f"{part.first_row + part.n_rows}, at any polymer; their messages are above. The usual cause is too "
                "little memory: request more, or use fewer processes with --workers."
            )


@dataclass
class _Worker:
    """A process, as the driver sees it."""

    spec: BatchSpec
    predicts: bool
    n_deaths_at_start: int = 0
    part: Part | None = None
    has_begun: bool = False
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        # A forked process would share the locks of this one's threads.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self.spec, self.predicts), daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, part: Part) -> None:
        """Hand a part to the worker; where it is dead, that shows when it is listened to."""
        self.part = part
        with suppress(OSError):
            self.connection.send(part)

    def taken_part(self) -> Part:
        """Return the part that the worker has."""
        assert self.part is not None, "only workers with a part are listened to"
        return self.part

    def replaced(self) -> "_Worker":
        """Return a new worker in place of one that died.

        Raises
        ------
        InternalError
            If workers die before they begin anything.
        """
        n_deaths = 0 if self.has_begun else self.n_deaths_at_start + 1
        self.end()
        if n_deaths >= _MOST_DEATHS_AT_START:
            raise InternalError(
                "The computing processes end at their start; their messages are above. The usual cause is too little "
                "memory: request more, or use fewer processes with --workers."
            )
        logger.warning("a computing process ended abruptly; its part is computed again")
        return _Worker(self.spec, self.predicts, n_deaths)

    def end(self) -> None:
        """Kill it; it writes nothing."""
        self._process.kill()
        self._process.join(_END_TIMEOUT_S)
        self.connection.close()


@contextmanager
def _workers(spec: BatchSpec, n: int, *, predicts: bool) -> "Iterator[list[_Worker]]":
    """Start workers, and end those that are there at the end."""
    workers = [_Worker(spec, predicts) for _ in range(n)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.end()


class _RemoteLedger:
    """The driver's ledger as the stages of a worker use it: one question at a time, through the pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._ask, name)

    def _ask(self, name: str, *given: object) -> Any:
        try:
            self._connection.send((name, given))
            return self._connection.recv()
        except (EOFError, OSError):
            os._exit(1)  # the driver is gone, and nobody is left to tell


def _work(connection: Connection, spec: BatchSpec, predicts: bool) -> None:
    """Compute parts until the driver is gone."""
    # Whoever ends the run, by the terminal or Slurm, signals all of its processes; the driver decides.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Here, because the driver does without what these load.
    from periogt_ray.batch.featurize_stage import FeaturizePart

    ledger = _RemoteLedger(connection)
    featurize = FeaturizePart(spec, ledger)
    predict: Callable[..., dict[str, Message[FinishedPart]]] | None = None
    if predicts:
        from periogt_ray.batch.predict_stage import PredictPart

        predict = PredictPart(spec, ledger)
    # As many workers as CPUs, a thread each.
    with threadpoolctl.threadpool_limits(1), suppress(EOFError, OSError):
        while True:
            part: Part = connection.recv()
            message = featurize(part._asdict())["message"]
            connection.send(message if predict is None else predict({"message": message})["message"])
