"""Requests that wait for the features of the same polymer."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from periogt_ray.errors import RequestTimeoutError
from periogt_ray.model.predictor import Predictor
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve.service import Asked
from periogt_ray.serve.trace import Trace
from support.serve_fakes import InProcessBackend


class LateBackend(InProcessBackend):
    """Comes too late for whoever asked with less than a second to go."""

    async def featurize(self, unit: RepeatUnit, scheme: PromptScheme, *, deadline: float) -> FeaturizedPolymer:
        if (left := deadline - time.time()) < 1:
            await asyncio.sleep(left + 0.05)
            raise RequestTimeoutError("too late")
        return await super().featurize(unit, scheme, deadline=deadline)


def test_a_deadline_is_that_of_one_request_alone(served_by: Callable[..., Any], golden_predictor: Predictor) -> None:
    served = served_by(LateBackend(golden_predictor))

    async def ask(seconds: float) -> Any:
        [outcome] = await served.service.answer(
            [Asked("*CC*", "eps")], deadline=time.time() + seconds, trace=Trace(str(seconds))
        )
        return outcome

    async def both() -> list[Any]:
        return await asyncio.gather(ask(0.3), ask(60))

    hurried, patient = asyncio.run(both())
    assert hurried.error.code == "timeout"
    assert patient.value is not None
