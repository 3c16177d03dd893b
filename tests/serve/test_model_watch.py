"""What /v1/health says of the model follows what becomes of the predictors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from periogt_ray.errors import NotReadyError
from periogt_ray.serve.model_watch import ModelFacts, watch_model
from periogt_ray.serve.service import Service, Status
from support.serve_fakes import RecordedFigures, settings_with


class Predictors:
    """Loaded or not; as behind Serve's handles, a question waits while there is none."""

    def __init__(self) -> None:
        self.predictor_lost = asyncio.Event()
        self.n_answered = 0
        self.loaded = asyncio.Event()
        self.dies_when_asked = False

    async def describe(self) -> ModelFacts:
        await self.loaded.wait()
        if self.dies_when_asked:
            raise NotReadyError("lost")
        return ModelFacts(device="cpu")


@asynccontextmanager
async def watched(predictors: Predictors) -> AsyncIterator[Service]:
    service = Service(settings_with(), None, RecordedFigures())  # type: ignore[arg-type]  # asked nothing here
    task = asyncio.create_task(watch_model(service, predictors, period_s=0.01, timeout_s=0.05))
    try:
        yield service
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(service: Service, *, is_loaded: bool) -> None:
    async with asyncio.timeout(10):
        while (service.status is Status.READY) is not is_loaded:
            await asyncio.sleep(0.001)


def test_a_model_that_is_slow_to_load_is_waited_for() -> None:
    async def check() -> None:
        predictors = Predictors()
        async with watched(predictors) as service:
            await asyncio.sleep(0.2)  # longer than a loaded one may take to answer
            assert service.status is Status.LOADING
            predictors.loaded.set()
            await until(service, is_loaded=True)
            assert service.device == "cpu"

    asyncio.run(check())


def test_a_predictor_that_dies_idle_is_noticed_and_so_is_the_next_one() -> None:
    async def check() -> None:
        predictors = Predictors()
        predictors.loaded.set()
        async with watched(predictors) as service:
            await until(service, is_loaded=True)
            predictors.loaded.clear()
            await until(service, is_loaded=False)
            predictors.loaded.set()
            await until(service, is_loaded=True)

    asyncio.run(check())


def test_a_question_that_waits_behind_passes_does_not_refuse_requests() -> None:
    async def check() -> None:
        predictors = Predictors()
        predictors.loaded.set()
        async with watched(predictors) as service:
            await until(service, is_loaded=True)
            predictors.loaded.clear()
            for _ in range(30):  # six times as long as a question may take
                predictors.n_answered += 1
                await asyncio.sleep(0.01)
                assert service.status is Status.READY
            await until(service, is_loaded=False)  # nothing is answered any more

    asyncio.run(check())


def test_a_predictor_that_dies_at_work_is_noticed_at_once() -> None:
    async def check() -> None:
        predictors = Predictors()
        predictors.loaded.set()
        async with watched(predictors) as service:
            await until(service, is_loaded=True)
            predictors.dies_when_asked = True
            predictors.predictor_lost.set()
            await until(service, is_loaded=False)
            predictors.dies_when_asked = False
            await until(service, is_loaded=True)

    asyncio.run(check())
