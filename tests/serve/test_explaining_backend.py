"""Calls for explanations to predictors: one at a time for each, and what becomes of errors."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError

from periogt_ray.errors import NotReadyError, ValidationError
from periogt_ray.polymer.features import FeaturizedPolymer, OligomerFeatures
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve.backend import ServeBackend
from periogt_ray.serve.calls import ExplainCall
from support.serve_fakes import settings_with


@pytest.fixture(autouse=True)
def replica_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """serve.batch asks its replica for one number, to warn if batches could not fill."""
    context = SimpleNamespace(_deployment_config=SimpleNamespace(max_ongoing_requests=1024))
    monkeypatch.setattr("ray.serve.get_replica_context", lambda: context)


class Predictors:
    """A handle that answers what it is given, and records by which way and how many at a time it is called."""

    def __init__(self, answer: Any) -> None:
        self.explain = self
        self.ways: list[str] = []
        self.n_at_once = self.most_at_once = 0
        self._answer = answer

    def options(self, *, _by_reference: bool) -> Any:
        return SimpleNamespace(explain=SimpleNamespace(remote=lambda _: self._called("by gRPC")))

    def remote(self, _: ExplainCall) -> Any:
        return self._called("by reference")

    async def _called(self, way: str) -> Any:
        self.ways.append(way)
        self.n_at_once += 1
        self.most_at_once = max(self.most_at_once, self.n_at_once)
        for _ in range(10):
            await asyncio.sleep(0)
        self.n_at_once -= 1
        if isinstance(self._answer, ActorDiedError):
            raise self._answer
        return self._answer


def call_of(n_bytes: int) -> ExplainCall:
    oligomers = {1: OligomerFeatures(np.zeros(n_bytes, np.uint8), np.zeros(0, np.float32))}
    polymer = FeaturizedPolymer("*CC*", PromptScheme.MONOMER, (), (), oligomers)
    return ExplainCall("*CC*", RepeatUnit("*CC*"), polymer, "eps", None, False, time.time() + 60)


def explained(predictors: Any, *n_bytes: int, n_predictors: int = 1) -> tuple[list[Any], ServeBackend]:
    async def ask() -> tuple[list[Any], ServeBackend]:
        backend = ServeBackend(predictors, predictors, settings_with(n_predictors=n_predictors).service)
        calls = (backend.explain(call_of(one)) for one in n_bytes)
        return await asyncio.gather(*calls, return_exceptions=True), backend

    return asyncio.run(ask())


@pytest.mark.parametrize("n_predictors", [1, 2])
def test_each_predictor_has_one_explanation_at_a_time(n_predictors: int) -> None:
    predictors = Predictors("explained")
    found, _ = explained(predictors, 1, 1, 1, 1, n_predictors=n_predictors)
    assert found == ["explained"] * 4
    assert predictors.most_at_once == n_predictors


def test_what_is_too_large_for_a_message_goes_by_reference() -> None:
    predictors = Predictors("explained")
    explained(predictors, 20_000, 5_000_000)
    assert predictors.ways == ["by gRPC", "by reference"]


def test_errors_are_raised_and_leave_room_for_the_next_one() -> None:
    found, backend = explained(Predictors(ValidationError("no")), 1, 1)
    assert [type(one) for one in found] == [ValidationError] * 2
    assert not backend.predictor_lost.is_set()


def test_a_lost_predictor_is_told() -> None:
    found, backend = explained(Predictors(ActorDiedError()), 1)
    assert [type(one) for one in found] == [NotReadyError]
    assert backend.predictor_lost.is_set()
