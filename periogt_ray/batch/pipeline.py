"""The Ray Data pipeline of a batch: from parts of a file to finished parts, as they come.

::

    one Dataset whose rows are parts (where they are in the file, not their content)
        -> FeaturizePart, CPU tasks: read the part, canonicalise, claim, featurize
        -> PredictPart, pool of actors, each around one Predictor
        -> a thread that takes what comes out and hands it to the driver's loop
"""

import logging
import math
import queue
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from periogt_ray.batch.csv_input import Part
from periogt_ray.batch.featurize_stage import BatchSpec, FeaturizePart, Ledger, PartMessage
from periogt_ray.batch.parts import PartResult
from periogt_ray.errors import CudaUnavailableError, InternalError, PerioGTError

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["Pipeline", "Shares"]

logger = logging.getLogger(__name__)

# Most that a worker asks for; the two differ, or Ray Data fuses the stages.
_FEATURIZER_CPUS = 0.5
_PREDICTOR_TO_FEATURIZER = 0.9
_LEAST_CPUS = 0.02  # that are worth dividing
# Of a GPU that a service shares; it takes a little more than half, so that two of either never meet.
_SHARED_GPU = 0.49
_MAX_CALLS = 10_000  # that wait in the ledger at a time; more than there can be workers
_END = None
_POLL_S = 0.25
_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Shares:
    """How the processors of a Ray are divided.

    On CPUs there are as many featurizers as CPUs and half as many predictors, and each asks for less
    than one: which of the stages needs more depends on the model, and the operating system knows.
    Beside a service, workers ask for less still, so that they find room next to it.
    """

    n_featurizers: int
    n_predictors: int
    predictor_gpus: float
    featurizer_cpus: float
    predictor_cpus: float

    @property
    def device(self) -> str:
        """Where the network runs."""
        return "cuda" if self.predictor_gpus else "cpu"

    @property
    def n_workers(self) -> int:
        """Featurizers and predictors."""
        return self.n_featurizers + self.n_predictors

    @classmethod
    def of(
        cls,
        resources: Mapping[str, float],
        free: Mapping[str, float],
        device: str | None,
        *,
        n_predictors: int | None,
    ) -> "Shares":
        """Divide the resources of a Ray.

        Parameters
        ----------
        resources, free : Mapping
            What that Ray has, and what of it nothing else holds, by Ray's names.
        device : str or None
            ``cpu``, ``cuda``, or None for a GPU where there is one.
        n_predictors : int or None
            What was asked for.

        Raises
        ------
        CudaUnavailableError
            If CUDA was asked for and that Ray has no GPU.
        """
        n_cpus, n_gpus = max(1, int(resources.get("CPU", 0))), int(resources.get("GPU", 0))
        if device == "cuda" and n_gpus == 0:
            raise CudaUnavailableError(
                "PERIOGT_DEVICE is cuda and Ray has no GPU. Request one from Slurm (--gres=gpu:1), run the container "
                "with --nv, or set PERIOGT_DEVICE=cpu."
            )
        predictor_gpus = 0.0
        if device != "cpu" and n_gpus > 0:
            n_predictors = min(n_predictors or n_gpus, n_gpus)
            predictor_gpus = 1.0 if free.get("GPU", 0) >= n_predictors else _SHARED_GPU
        else:
            n_predictors = n_predictors or (n_cpus + 1) // 2
        room = free.get("CPU", 0)
        if room < _LEAST_CPUS or (predictor_gpus and free.get("GPU", 0) < _SHARED_GPU * n_predictors):
            logger.warning(
                "Others hold %s of this Ray's CPUs and GPUs; the batch waits until there is room. "
                "`ray status` shows who holds them.",
                "all" if room < _LEAST_CPUS else "too many",
            )
            room = resources.get("CPU", 1)
        # However many predictors there are, one featurizer finds room beside them.
        featurizer_cpus = _floor(min(_FEATURIZER_CPUS, room / 2))
        predictor_cpus = _floor(
            min(_PREDICTOR_TO_FEATURIZER * featurizer_cpus, (room - featurizer_cpus) / n_predictors)
        )
        return cls(n_cpus, n_predictors, predictor_gpus, featurizer_cpus, predictor_cpus)


def _floor(cpus: float) -> float:
    return math.floor(1000 * cpus) / 1000


class Pipeline:
    """Computes parts; make one inside a connection to Ray.

    Parameters
    ----------
    spec : BatchSpec
        What the workers need to know.
    shares : Shares
        How many of them there are.
    """

    def __init__(self, spec: BatchSpec, shares: Shares) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # Every predictor keeps its own copy of the weights.
        weights_bytes = spec.settings.weights_bytes // shares.n_predictors
        self._spec = replace(spec, settings=replace(spec.settings, weights_bytes=weights_bytes))
        self._shares = shares
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor: Any = ray.remote(Ledger)
        options = {"num_cpus": 0, "max_concurrency": _MAX_CALLS, "scheduling_strategy": here}
        self._ledger = actor.options(**options).remote(shares.n_workers)

    def claim(self, part: int, keys: Sequence[str]) -> None:
        """Note that an earlier run has computed polymers."""
        self._ledger.claim.remote(part, list(keys))

    def finish(self, part: int) -> None:
        """Note that a part is kept, so that another may be begun."""
        self._ledger.finish.remote(part)

    def results(self, parts: Sequence[Part], *, is_stopped: Callable[[], bool]) -> Iterator[PartResult | None]:
        """Yield finished parts in the order in which they end, and None a few times a second.

        Ends early when ``is_stopped`` says so.

        Raises
        ------
        PerioGTError
            What a worker found to be wrong with the run; InternalError if Ray gave up.
        """
        with _quiet_ray_data(), _consumed(self._dataset(parts)) as messages:
            while not is_stopped():
                try:
                    message = messages.get(timeout=_POLL_S)
                except queue.Empty:
                    yield None
                    continue
                if message is _END:
                    return
                if message.fatal is not None:
                    raise message.fatal
                yield message.result

    def _dataset(self, parts: Sequence[Part]) -> "Dataset":
        import ray.data

        n_featurizers = min(self._shares.n_featurizers, len(parts))
        n_predictors = min(self._shares.n_predictors, len(parts))
        rows = ray.data.from_items([{"part": list(part)} for part in parts], override_num_blocks=len(parts))
        featurized = rows.map(
            FeaturizePart(self._spec, self._ledger),
            compute=ray.data.TaskPoolStrategy(size=n_featurizers),
            num_cpus=self._shares.featurizer_cpus,
            ray_remote_args_fn=_retried_for_ever,
        )
        from periogt_ray.batch.predict_stage import PredictPart

        predict: Any = PredictPart  # Ray's annotations have no callable classes
        return featurized.map(
            predict,
            fn_constructor_args=(self._spec, self._ledger),
            compute=ray.data.ActorPoolStrategy(size=n_predictors, max_tasks_in_flight_per_actor=2),
            num_cpus=self._shares.predictor_cpus,
            num_gpus=self._shares.predictor_gpus or None,
        )


def _retried_for_ever() -> dict[str, int]:
    """Let a task be tried again when its worker died, as actors are; the ledger sees that it ends."""
    return {"max_retries": -1}


@contextmanager
def _quiet_ray_data() -> Iterator[None]:
    """Keep Ray Data's own bars and messages away from ours."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = False
    # What ends a run arrives as an exception; what is logged of it is a second copy.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        # Retries of tasks have no other parameter in this version of Ray.
        warnings.filterwarnings("ignore", message=".*ray_remote_args_fn.*", category=DeprecationWarning)
        yield


@contextmanager
def _consumed(dataset: "Dataset") -> "Iterator[queue.Queue[PartMessage | None]]":
    """Run a dataset in a thread, so that the caller can look at the clock and at signals."""
    messages: queue.Queue[PartMessage | None] = queue.Queue()
    is_left = threading.Event()

    def consume() -> None:
        try:
            # Blocks as they come: with prefetching, each would wait for the next one to be finished.
            blocks: Any = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
            for block in blocks:
                for message in block["message"].to_pylist():
                    if is_left.is_set():
                        return
                    messages.put(message)
        except Exception as error:
            # Whatever Ray raises ends the run; the driver's loop tells it.
            messages.put(PartMessage(fatal=_ray_failure(error)))
        messages.put(_END)

    thread = threading.Thread(target=consume, name="batch-results", daemon=True)
    thread.start()
    try:
        yield messages
    finally:
        is_left.set()
        # Left early, the executor would go on, and complain when Ray ends under it. This is the one
        # method of a dataset that stops it.
        stoppable: Any = dataset
        stoppable._synchronize_progress_bar()
        thread.join(_STOP_TIMEOUT_S)


def _ray_failure(error: BaseException) -> PerioGTError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PerioGTError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    return InternalError(f"Ray gave up: {type(error).__name__}: {lines[-1].strip()}")
