"""Serve's handles behind the service's Backend protocol: calls to featurizers and predictors, and their errors."""

import asyncio
import importlib
import logging
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator

from periogt_ray.errors import InternalError, NotReadyError, OverloadedError, PerioGTError
from periogt_ray.polymer.drawing import Theme
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve.batcher import Batcher
from periogt_ray.serve.calls import ExplainCall, ExplainReply, PredictCall, PredictReply
from periogt_ray.serve.feature_cache import n_bytes
from periogt_ray.serve.model_watch import ModelFacts
from periogt_ray.serve.service import FEATURIZING_EACH
from periogt_ray.settings import ServiceSettings

__all__ = ["ServeBackend"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
grpc: Any = importlib.import_module("grpc")  # Serve's own; it has no stubs

# Serve takes messages of up to 4 MB by gRPC. Features are most of a call, embeddings most of its reply.
_MOST_BY_GRPC_BYTES = 2 << 20
_TASK_BYTES = 16 << 10
_BUG = "The request failed by a bug; the service's log has it."
_LOST = "The process that worked on the request was lost; send the request again."


class ServeBackend:
    """Featurizers and predictors behind Serve's handles; a :class:`~periogt_ray.serve.calls.Backend`.

    Attributes
    ----------
    predictor_lost : asyncio.Event
        Set when a predictor died at work.
    n_answered : int
        Passes and explanations that predictors have answered.
    """

    def __init__(
        self, featurizer: DeploymentHandle[Any], predictor: DeploymentHandle[Any], bounds: ServiceSettings
    ) -> None:
        self._featurizer = featurizer
        self._predictor = predictor
        # One message there and one back, without Ray's object store and the owners of two objects.
        self._predictor_by_grpc = predictor.options(_by_reference=False)
        self._batcher = Batcher(self._forward, bounds)
        # Places 8 and 11 of the list in serve/service.py.
        self._featurizer_room = asyncio.Semaphore(FEATURIZING_EACH * (bounds.n_featurizers or 1))
        self._drawing_room = asyncio.Semaphore(bounds.n_featurizers or 1)
        self._explaining_room = asyncio.Semaphore(bounds.n_predictors or 1)  # place 15
        self.predictor_lost = asyncio.Event()
        self.n_answered = 0

    async def parse(self, smiles: str) -> RepeatUnit:
        """Validate a long SMILES."""
        return _value(await _result(self._featurizer.parse.remote(smiles)))

    async def draw(self, unit: RepeatUnit, theme: Theme) -> str:
        """Draw a repeat unit as SVG."""
        async with self._drawing_room:
            return _value(await _result(self._featurizer.draw.remote(unit, theme)))

    async def featurize(self, unit: RepeatUnit, scheme: PromptScheme, *, deadline: float) -> FeaturizedPolymer:
        """Compute the features of a polymer."""
        async with self._featurizer_room:
            return _value(await _result(self._featurizer.featurize.remote(unit, scheme, deadline)))

    async def predict(self, call: PredictCall) -> PredictReply:
        """Answer tasks in a pass together with other calls."""
        return await self._batcher.predict(call)

    async def explain(self, call: ExplainCall) -> ExplainReply:
        """Explain a prediction."""
        is_small = n_bytes(call.polymer) + _TASK_BYTES <= _MOST_BY_GRPC_BYTES
        handle = self._predictor_by_grpc if is_small else self._predictor
        async with self._explaining_room:
            try:
                reply: ExplainReply = _value(await _result(handle.explain.remote(call)))
            except NotReadyError:
                self.predictor_lost.set()
                raise
        self.n_answered += 1
        return reply

    async def _forward(self, calls: Sequence[PredictCall]) -> Sequence[PredictReply]:
        try:
            is_small = _message_bytes(calls) <= _MOST_BY_GRPC_BYTES
            handle = self._predictor_by_grpc if is_small else self._predictor
            replies: Sequence[PredictReply] = await _result(handle.predict.remote(calls))
        except NotReadyError:
            self.predictor_lost.set()
            raise
        self.n_answered += 1
        return replies

    async def describe(self) -> ModelFacts:
        """Wait for a predictor that is loaded."""
        facts: ModelFacts = await _result(self._predictor.describe.remote())
        return facts


async def _result(response: DeploymentResponse[Any] | DeploymentResponseGenerator[Any]) -> Any:
    """Wait for a call; if the caller is cancelled, cancel the call.

    Raises
    ------
    OverloadedError, NotReadyError, InternalError
        In place of Serve's and Ray's own, whose text may hold tracebacks.
    """
    call = cast("DeploymentResponse[Any]", response)  # none of these methods is a generator
    try:
        return await call
    except asyncio.CancelledError as error:
        call.cancel()  # type: ignore[no-untyped-call]
        waiting = asyncio.current_task()
        if waiting is None or waiting.cancelling():
            raise
        # By gRPC the other side's cancellation, when it ends, arrives as if it were one of this task.
        raise NotReadyError(_LOST) from error
    except BackPressureError as error:
        raise OverloadedError("The queue of the service is full; send the request again later.") from error
    except (RayActorError, DeploymentUnavailableError, TaskCancelledError) as error:
        logger.warning("a replica was lost: %s", type(error).__name__)
        raise NotReadyError(_LOST) from error
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:  # a message that is too large stays so
            logger.warning("a replica was lost: %s", error.code().name)
            raise NotReadyError(_LOST) from error
        logger.exception("a message to a replica failed")
        raise InternalError(_BUG) from error
    except Exception as error:  # by gRPC an exception of a replica arrives as it is
        logger.exception("a replica failed by a bug")
        raise InternalError(_BUG) from error


def _message_bytes(calls: Sequence[PredictCall]) -> int:
    """Return an upper bound on the size of a message and of its reply, bytes."""
    tasks = [task for call in calls for task in call.tasks]
    polymers = (task.polymer for task in tasks)
    monomers = (
        one
        for polymer in polymers
        for one in ([polymer] if isinstance(polymer, FeaturizedPolymer) else polymer.monomers)
    )
    return len(tasks) * _TASK_BYTES + sum(map(n_bytes, monomers))


def _value(value: _T | PerioGTError) -> _T:
    if isinstance(value, PerioGTError):
        raise value
    return value
