"""Serve's handles behind the service's Backend protocol: calls to featurizers and predictors, and their errors."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from ray.exceptions import RayActorError, RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator

from periogt_ray.errors import InternalError, NotReadyError, OverloadedError, PerioGTError
from periogt_ray.polymer.drawing import Theme
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve.batcher import Batcher
from periogt_ray.serve.model_watch import ModelFacts
from periogt_ray.serve.service import FEATURIZING_EACH, PredictCall, PredictReply
from periogt_ray.settings import ServiceSettings

__all__ = ["ServeBackend"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


class ServeBackend:
    """Featurizers and predictors behind Serve's handles; a :class:`~periogt_ray.serve.service.Backend`.

    Attributes
    ----------
    predictor_lost : asyncio.Event
        Set when a predictor died at work.
    """

    def __init__(
        self, featurizer: DeploymentHandle[Any], predictor: DeploymentHandle[Any], bounds: ServiceSettings
    ) -> None:
        self._featurizer = featurizer
        self._predictor = predictor
        self._batcher = Batcher(self._forward, bounds)
        # Places 8 and 11 of the list in serve/service.py.
        self._featurizer_room = asyncio.Semaphore(FEATURIZING_EACH * (bounds.n_featurizers or 1))
        self._drawing_room = asyncio.Semaphore(bounds.n_featurizers or 1)
        self.predictor_lost = asyncio.Event()

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

    async def _forward(self, calls: Sequence[PredictCall]) -> Sequence[PredictReply]:
        try:
            replies: Sequence[PredictReply] = await _result(self._predictor.predict.remote(calls))
        except NotReadyError:
            self.predictor_lost.set()
            raise
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
    except asyncio.CancelledError:
        call.cancel()  # type: ignore[no-untyped-call]
        raise
    except BackPressureError as error:
        raise OverloadedError("The queue of the service is full; send the request again later.") from error
    except (RayActorError, DeploymentUnavailableError, TaskCancelledError) as error:
        logger.warning("a replica was lost: %s", type(error).__name__)
        raise NotReadyError("The process that worked on the request was lost; send the request again.") from error
    except (RayTaskError, RayError, RayServeException) as error:
        logger.exception("a replica failed by a bug")
        raise InternalError("The request failed by a bug; the service's log has it.") from error


def _value(value: _T | PerioGTError) -> _T:
    if isinstance(value, PerioGTError):
        raise value
    return value
