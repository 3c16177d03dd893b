"""The classes behind Serve's deployments that do the work; each is one actor."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ray import serve

from periogt_ray.errors import InternalError, PerioGTError, RequestTimeoutError
from periogt_ray.featurize import FeaturizedPolymer, PromptScheme, featurize
from periogt_ray.polymer import RepeatUnit
from periogt_ray.predictor import Job, Outcome, Predictor
from periogt_ray.service import PredictCall, PredictReply
from periogt_ray.settings import Settings

__all__ = ["BatchingPredictor", "FeaturizerReplica", "ModelFacts", "PredictorReplica"]

logger = logging.getLogger(__name__)

# What answers HTTP goes before what computes, or health would wait for a core.
_NICENESS = 5
_WARM_UP = "*CC*"


@dataclass(frozen=True)
class ModelFacts:
    """What a predictor says of itself once it is loaded."""

    device: str


class FeaturizerReplica:
    """Computes features on one core; its errors are values, because raised ones come with a traceback.

    Parameters
    ----------
    settings : Settings
        Names the descriptor engine.
    """

    def __init__(self, settings: Settings) -> None:
        os.nice(_NICENESS)
        self._engine = settings.descriptor_engine
        # The first polymer of a process loads compiled kernels.
        featurize(RepeatUnit.parse(_WARM_UP), PromptScheme.MONOMER, engine=self._engine)

    def parse(self, smiles: str) -> RepeatUnit | PerioGTError:
        """Validate a SMILES."""
        try:
            return RepeatUnit.parse(smiles)
        except PerioGTError as error:
            return error

    def featurize(self, unit: RepeatUnit, scheme: PromptScheme, deadline: float) -> FeaturizedPolymer | PerioGTError:
        """Compute the features of a polymer, unless its deadline has passed."""
        if time.time() >= deadline:
            return _too_late()
        try:
            return featurize(unit, scheme, engine=self._engine)
        except PerioGTError as error:
            return error


class _PredictsMany(Protocol):
    def predict_many(self, jobs: Sequence[Job]) -> list[Outcome]: ...


@dataclass(frozen=True)
class _Waiting:
    call: PredictCall
    since: float  # time.perf_counter()


class BatchingPredictor:
    """Lets calls that arrive during a forward pass share the next one.

    ``serve.batch`` forms its batches when calls arrive, not when the batched function is free: what
    arrives while a pass runs is cut into batches of one waiting time each, of one or two calls. So
    calls are held back here until the pass has ended, and enter Serve's queue together.

    Parameters
    ----------
    predictor : object with ``predict_many``
        What answers jobs.
    settings : Settings
        Batch size and waiting time.
    """

    def __init__(self, predictor: _PredictsMany, settings: Settings) -> None:
        self._predictor = predictor
        self._is_free = asyncio.Event()
        self._is_free.set()
        bounds = settings.service
        # Decorated here: on a method, the queue would belong to the class and its limits be fixed.
        batched: Any = serve.batch(max_batch_size=bounds.max_batch, batch_wait_timeout_s=bounds.batch_wait_s)
        self._forward: Callable[[_Waiting], Awaitable[PredictReply]] = batched(self._run)

    async def predict(self, call: PredictCall) -> PredictReply:
        """Answer a call together with others."""
        waiting = _Waiting(call, time.perf_counter())
        await self._is_free.wait()
        return await self._forward(waiting)

    async def _run(self, batch: list[_Waiting]) -> list[PredictReply]:
        self._is_free.clear()
        try:
            return await self._answer(batch)
        finally:
            self._is_free.set()

    async def _answer(self, batch: list[_Waiting]) -> list[PredictReply]:
        started = time.perf_counter()
        now = time.time()
        live = [waiting.call for waiting in batch if waiting.call.deadline > now]
        # In a thread, so that calls can arrive meanwhile.
        found = await asyncio.to_thread(self._outcomes, live)
        outcomes = iter(found)
        forward_s = time.perf_counter() - started
        return [
            PredictReply(
                next(outcomes)
                if waiting.call.deadline > now
                else (Outcome(error=_too_late()),) * len(waiting.call.jobs),
                batch_size=len(live),
                queue_s=started - waiting.since,
                forward_s=forward_s,
            )
            for waiting in batch
        ]

    def _outcomes(self, calls: Sequence[PredictCall]) -> list[tuple[Outcome, ...]]:
        """Answer calls in one pass; if that meets a bug, each by itself, so that it hits one alone."""
        try:
            found = iter(self._predictor.predict_many([job for call in calls for job in call.jobs]))
            return [tuple(next(found) for _ in call.jobs) for call in calls]
        except Exception:
            # The outermost frame of a pass: the bug is in the log whole, and not in the answer.
            logger.exception("a forward pass over %d calls failed by a bug", len(calls))
        if len(calls) == 1:
            error = InternalError("The prediction failed by a bug; the service's log has it.")
            return [(Outcome(error=error),) * len(calls[0].jobs)]
        return [outcomes for call in calls for outcomes in self._outcomes([call])]


class PredictorReplica(BatchingPredictor):
    """A loaded model; the constructor fails where it cannot be loaded.

    Parameters
    ----------
    settings : Settings
        Names artifacts and device.
    """

    def __init__(self, settings: Settings) -> None:
        os.nice(_NICENESS)
        predictor = Predictor.load(settings)
        # The first pass of a process is slower by far, and fails where the device does.
        polymer = featurize(RepeatUnit.parse(_WARM_UP), predictor.scheme(None), engine=settings.descriptor_engine)
        [outcome] = predictor.predict_many([Job(polymer)])
        if outcome.error is not None:
            raise outcome.error
        self._device = predictor.device.type
        super().__init__(predictor, settings)

    def describe(self) -> ModelFacts:
        """Tell what is loaded; an answer means that the model can answer."""
        return ModelFacts(device=self._device)


def _too_late() -> RequestTimeoutError:
    return RequestTimeoutError("The request's deadline passed before its work began; it was dropped.")
