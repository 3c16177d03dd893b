"""The Ray Data pipeline of a batch: from parts of a file to finished parts, as they come.

::

    one Dataset whose rows are parts (where they are in the file, not their content)
        -> FeaturizePart, CPU tasks: read the part, canonicalise, claim, featurize
        -> PredictPart, pool of actors, each around one Predictor
        -> a thread that takes what comes out and hands it to the driver's loop

The messages between them hold parts, or an error that ends the run: :mod:`~periogt_ray.batch.failures` says
which errors are a row's, which a part's and which the run's.
"""

import logging
import queue
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from periogt_ray.batch.failures import Message, run_error
from periogt_ray.batch.ledger import LedgerActor, RayLedger
from periogt_ray.batch.results import FinishedPart
from periogt_ray.batch.shares import Shares
from periogt_ray.batch.spec import BatchSpec
from periogt_ray.errors import InternalError
from periogt_ray.tables.parts import Part

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["Pipeline"]

_MAX_CALLS = 10_000  # that wait in the ledger at a time; more than there can be workers
_END = None
_POLL_S = 0.25
_STOP_TIMEOUT_S = 5.0


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
        actor: Any = ray.remote(LedgerActor)
        options = {"num_cpus": 0, "max_concurrency": _MAX_CALLS, "scheduling_strategy": here}
        self._ledger = actor.options(**options).remote(shares.n_workers)

    def claim(self, part: int, keys: Sequence[str]) -> None:
        """Note that an earlier run has computed polymers."""
        self._ledger.claim.remote(part, list(keys))

    def finish(self, part: int) -> None:
        """Note that a part is kept, so that another may be begun."""
        self._ledger.finish.remote(part)

    def results(self, parts: Sequence[Part], *, is_stopped: Callable[[], bool]) -> Iterator[FinishedPart | None]:
        """Yield finished parts in the order in which they end, and None a few times a second.

        Ends early when ``is_stopped`` says so.

        Raises
        ------
        PerioGTError
            What ends the run; see :mod:`~periogt_ray.batch.failures`. InternalError if Ray gave up or lost parts.
        """
        missing = {part.number for part in parts}
        with _quiet_ray_data(), _consumed(self._dataset(parts)) as messages:
            while not is_stopped():
                try:
                    message = messages.get(timeout=_POLL_S)
                except queue.Empty:
                    yield None
                    continue
                if message is _END:
                    break
                finished = message.take()
                missing.discard(finished.number)
                yield finished
            else:
                return
        if missing:
            raise InternalError(f"{len(missing)} parts did not come back from Ray. Run again with --resume.")

    def _dataset(self, parts: Sequence[Part]) -> "Dataset":
        import ray.data

        # Here, because the driver does without what it loads until it starts Ray.
        from periogt_ray.batch.featurize_stage import FeaturizePart
        from periogt_ray.batch.predict_stage import PredictPart

        n_featurizers = min(self._shares.n_featurizers, len(parts))
        n_predictors = min(self._shares.n_predictors, len(parts))
        rows = ray.data.from_items([part._asdict() for part in parts], override_num_blocks=len(parts))
        featurized = rows.map(
            FeaturizePart(self._spec, RayLedger(self._ledger)),
            compute=ray.data.TaskPoolStrategy(size=n_featurizers),
            num_cpus=self._shares.featurizer_cpus,
            ray_remote_args_fn=_retried_for_ever,
        )
        predict: Any = PredictPart  # Ray's annotations have no callable classes
        return featurized.map(
            predict,
            fn_constructor_args=(self._spec, RayLedger(self._ledger)),
            compute=ray.data.ActorPoolStrategy(size=n_predictors, max_tasks_in_flight_per_actor=2),
            num_cpus=self._shares.predictor_cpus,
            num_gpus=self._shares.predictor_gpus or None,
        )


def _retried_for_ever() -> dict[str, int]:
    """Let a task be tried again when its worker died, as actors are; the ledger sees that it ends."""
    return {"max_retries": -1}


@contextmanager
def _quiet_ray_data() -> Iterator[None]:
    """Keep Ray Data's own bars and messages off the terminal."""
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
def _consumed(dataset: "Dataset") -> "Iterator[queue.Queue[Message[FinishedPart] | None]]":
    """Run a dataset in a thread, so that the caller can look at the clock and at signals."""
    messages: queue.Queue[Message[FinishedPart] | None] = queue.Queue()
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
            # Whatever Ray raises ends the run.
            messages.put(Message(error=run_error(error, "Ray gave up")))
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
