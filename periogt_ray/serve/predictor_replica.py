"""The class behind Serve's predictors, one actor each, and how it runs passes.

Only an actor loads torch, not the driver that names the class.
"""

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from typing import Protocol

from periogt_ray.errors import InternalError, PerioGTError
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve.calls import ExplainCall, ExplainReply, PredictCall, PredictReply
from periogt_ray.serve.featurizer_replica import NICENESS, WARM_UP, too_late
from periogt_ray.serve.model_watch import ModelFacts
from periogt_ray.settings import Settings

__all__ = ["PassRunner", "PredictorReplica"]

logger = logging.getLogger(__name__)


class _PredictsMany(Protocol):
    def predict_many(self, tasks: Sequence[Task]) -> list[Outcome]: ...


class PassRunner:
    """Runs forward passes one at a time, away from the event loop.

    Parameters
    ----------
    predictor : object with ``predict_many``
        What answers tasks.

    Attributes
    ----------
    is_free : asyncio.Lock
        Held during a pass; who waits gets it in order of arrival.
    """

    def __init__(self, predictor: _PredictsMany) -> None:
        self._predictor = predictor
        self.is_free = asyncio.Lock()

    async def predict(self, calls: Sequence[PredictCall]) -> list[PredictReply]:
        """Answer calls in one pass; calls whose deadline has passed are dropped."""
        async with self.is_free:
            started = time.perf_counter()
            now = time.time()
            live = [call for call in calls if call.deadline > now]
            # In a thread, so that the calls of the next pass can arrive meanwhile.
            found = iter(await asyncio.to_thread(self._outcomes, live))
            forward_s = time.perf_counter() - started
        return [
            PredictReply(
                next(found) if call.deadline > now else (Outcome(error=too_late()),) * len(call.tasks),
                batch_size=len(live),
                queue_s=0.0,
                forward_s=forward_s,
            )
            for call in calls
        ]

    def _outcomes(self, calls: Sequence[PredictCall]) -> list[tuple[Outcome, ...]]:
        """Answer calls in one pass; if that fails by a bug, one by one, so that only the call that has it fails."""
        if not calls:
            return []
        try:
            found = iter(self._predictor.predict_many([task for call in calls for task in call.tasks]))
            return [tuple(next(found) for _ in call.tasks) for call in calls]
        except Exception:
            # The outermost frame of a pass: the log gets the whole traceback, the answer none of it.
            logger.exception("a forward pass over %d calls failed by a bug", len(calls))
        if len(calls) == 1:
            error = InternalError("The prediction failed by a bug; the service's log has it.")
            return [(Outcome(error=error),) * len(calls[0].tasks)]
        return [outcomes for call in calls for outcomes in self._outcomes([call])]


class PredictorReplica(PassRunner):
    """A loaded model; the constructor fails where it cannot be loaded.

    Parameters
    ----------
    settings : Settings
        Names artifacts and device.
    """

    def __init__(self, settings: Settings) -> None:
        from periogt_ray.model.predictor import Predictor
        from periogt_ray.serve.explaining import ExplanationRunner

        os.nice(NICENESS)
        predictor = Predictor.load(settings)
        # The first pass of a process is far slower than others, and fails if the device does.
        polymer = featurize(RepeatUnit.parse(WARM_UP), predictor.scheme(None), engine=settings.descriptor_engine)
        [outcome] = predictor.predict_many([Task(polymer)])
        if outcome.error is not None:
            raise outcome.error
        self._device = predictor.device.type
        super().__init__(predictor)
        self._explanations = ExplanationRunner(predictor, self.is_free)

    async def explain(self, call: ExplainCall) -> ExplainReply | PerioGTError:
        """Explain a prediction; an error is a value, because a raised one comes with a traceback."""
        return await self._explanations.explain(call)

    def describe(self) -> ModelFacts:
        """Tell what is loaded; an answer means that the model can answer."""
        return ModelFacts(device=self._device)
