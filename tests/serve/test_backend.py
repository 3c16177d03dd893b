"""Calls to predictors: by which way they go, and what becomes of errors."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, TaskCancelledError
from ray.serve.exceptions import BackPressureError

from periogt_ray.errors import InternalError, NotReadyError, OverloadedError
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.polymer.features import FeaturizedPolymer, OligomerFeatures
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.serve.backend import ServeBackend
from periogt_ray.serve.calls import PredictCall, PredictReply
from support.serve_fakes import settings_with


@pytest.fixture(autouse=True)
def replica_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """serve.batch asks its replica for one number, to warn if batches could not fill."""
    context = SimpleNamespace(_deployment_config=SimpleNamespace(max_ongoing_requests=1024))
    monkeypatch.setattr("ray.serve.get_replica_context", lambda: context)


class Predictors:
    """A handle that records by which way it is called, and fails as it is told."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.predict = self
        self.ways: list[str] = []
        self._failure = failure
        self._way = "by reference"

    def options(self, *, _by_reference: bool) -> "Predictors":
        other = Predictors(self._failure)
        other.ways, other._way = self.ways, "by reference" if _by_reference else "by gRPC"
        return other

    def remote(self, calls: Sequence[PredictCall]) -> "Reply":
        self.ways.append(self._way)
        return Reply(
            [PredictReply((Outcome(value=1.0),) * len(call.tasks), 1, 0.0, 0.0) for call in calls], self._failure
        )


class Reply:
    def __init__(self, replies: list[PredictReply], failure: BaseException | None) -> None:
        self._replies, self._failure = replies, failure

    def __await__(self) -> Generator[Any, None, list[PredictReply]]:
        if self._failure is not None:
            raise self._failure
        yield from asyncio.sleep(0).__await__()
        return self._replies

    def cancel(self) -> None:
        """Nothing is under way."""


def call_of(n_bytes: int) -> PredictCall:
    oligomers = {1: OligomerFeatures(np.zeros(n_bytes, np.uint8), np.zeros(0, np.float32))}
    polymer = FeaturizedPolymer("*CC*", PromptScheme.MONOMER, (), (), oligomers)
    return PredictCall((Task(polymer, "eps"),), time.time() + 60)


def predicted(predictors: Predictors, call: PredictCall) -> tuple[PredictReply, ServeBackend]:
    async def ask() -> tuple[PredictReply, ServeBackend]:
        handle: Any = predictors
        backend = ServeBackend(handle, handle, settings_with().service)
        return await backend.predict(call), backend

    return asyncio.run(ask())


@pytest.mark.parametrize(("n_bytes", "way"), [(20_000, "by gRPC"), (5_000_000, "by reference")])
def test_what_is_too_large_for_a_message_goes_by_reference(n_bytes: int, way: str) -> None:
    predictors = Predictors()
    reply, _ = predicted(predictors, call_of(n_bytes))
    assert reply.outcomes[0].value == 1.0
    assert predictors.ways == [way]


def rpc_error(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (ActorDiedError(), NotReadyError),
        (ActorUnavailableError("gone", b"0" * 16), NotReadyError),
        (TaskCancelledError(), NotReadyError),
        (asyncio.CancelledError(), NotReadyError),
        (rpc_error(grpc.StatusCode.CANCELLED), NotReadyError),
        (rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED), InternalError),
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), OverloadedError),
        (ZeroDivisionError("a bug at /srv/secret"), InternalError),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, BaseException) else "",
)
def test_errors_of_another_process(failure: BaseException, expected: type[Exception]) -> None:
    """What was lost may be asked again; a bug says nothing of where it was."""
    with pytest.raises(expected) as caught:
        predicted(Predictors(failure), call_of(100))
    assert "secret" not in str(caught.value)


class Silent(Predictors):
    """Never answers, and records that a call was cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.describe = self
        self.n_cancelled = 0

    def remote(self, *_: object) -> Any:
        return self

    def __await__(self) -> Generator[Any, None, None]:
        return asyncio.sleep(60).__await__()

    def cancel(self) -> None:
        self.n_cancelled += 1


def test_a_caller_that_leaves_cancels_its_call() -> None:
    silent: Any = Silent()

    async def ask() -> None:
        backend = ServeBackend(silent, silent, settings_with().service)
        asked = asyncio.create_task(backend.describe())
        await asyncio.sleep(0.01)
        asked.cancel()
        await asked

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(ask())
    assert silent.n_cancelled == 1


# A server and a call to it, as from an ingress to a predictor.
CALL = """
import asyncio, grpc
from periogt_ray.runtime.local_ray import reach_nodes_directly

async def answer(request, context):
    return b"reply"

async def main():
    server = grpc.aio.server()
    methods = {"predict": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("predictor", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    reach_nodes_directly()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        print(await channel.unary_unary("/predictor/predict")(b"call", timeout=60))
    await server.stop(0)

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_proxy_of_the_environment_is_passed_by() -> None:
    """Nothing answers at that proxy; many clusters set one."""
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment = {**kept, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    result = subprocess.run([sys.executable, "-c", CALL], capture_output=True, text=True, check=False, env=environment)
    assert result.stdout == "b'reply'\n", result.stderr
