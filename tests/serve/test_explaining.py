"""Explanations between predictions, in a predictor's process."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from periogt_ray.errors import InternalError, RequestTimeoutError, ValidationError
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve import explaining
from periogt_ray.serve.calls import ExplainCall, ExplainReply, PredictCall
from periogt_ray.serve.explaining import ExplanationRunner
from periogt_ray.serve.predictor_replica import PassRunner
from support.serve_fakes import STYRENE


def call_for(smiles: str = STYRENE, **changes: Any) -> ExplainCall:
    unit = RepeatUnit.parse(smiles)
    call = ExplainCall(smiles, unit, featurize(unit), "eps", passes=60, has_drawing=False, deadline=time.time() + 600)
    return replace(call, **changes)


def runner_of(predictor: Predictor) -> tuple[PassRunner, ExplanationRunner]:
    passes = PassRunner(predictor)
    return passes, ExplanationRunner(predictor, passes.is_free)


def test_a_prediction_waits_for_one_group_of_passes_at_most(
    golden_predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of what happens: a prediction that arrives during a group is answered right after it."""
    happened: list[str] = []
    steps_of = explaining.explanation_steps

    def told_steps(*args: Any, **given: Any) -> Any:
        for step in steps_of(*args, **given):
            happened.append("group" if step is None else "explained")
            yield step

    monkeypatch.setattr(explaining, "explanation_steps", told_steps)

    async def run() -> None:
        passes, explanations = runner_of(golden_predictor)
        explained = asyncio.create_task(explanations.explain(call_for()))
        for _ in range(3):
            n_before = len(happened)
            while len(happened) == n_before:
                await asyncio.sleep(0)
            # Between two groups, or in the next one already.
            task = Task(call_for("*CC*").polymer, "eps")
            await passes.predict([PredictCall((task,), time.time() + 600)])
            happened.append("predicted")
            assert happened[n_before:].count("group") <= 2
        assert isinstance(await explained, ExplainReply)

    asyncio.run(run())
    assert happened.count("predicted") == 3
    assert happened[-1] == "explained"
    assert happened.index("predicted") < len(happened) - 3


def test_explanations_come_one_after_the_other(golden_predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    steps_of = explaining.explanation_steps

    def told_steps(*args: Any, **given: Any) -> Any:
        for step in steps_of(*args, **given):
            seen.append(given["smiles"])
            yield step

    monkeypatch.setattr(explaining, "explanation_steps", told_steps)

    async def run() -> list[Any]:
        _, explanations = runner_of(golden_predictor)
        return await asyncio.gather(*(explanations.explain(call_for(one)) for one in (STYRENE, "*CC(*)c1ccccc1C")))

    replies = asyncio.run(run())
    assert all(isinstance(reply, ExplainReply) for reply in replies)
    assert len(seen) > 4
    assert seen == sorted(seen, key=[STYRENE, "*CC(*)c1ccccc1C"].index)


def test_an_explanation_ends_at_its_deadline_and_leaves_the_predictor_free(golden_predictor: Predictor) -> None:
    async def run() -> Any:
        passes, explanations = runner_of(golden_predictor)
        found = await explanations.explain(call_for(deadline=time.time() - 1))
        assert not passes.is_free.locked()
        assert isinstance(await explanations.explain(call_for("*CC*", passes=None)), ExplainReply)
        return found

    found = asyncio.run(run())
    assert isinstance(found, RequestTimeoutError)
    assert "fewer passes" in found.message


def test_errors_are_values_and_a_bug_is_told_without_its_text(
    golden_predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, explanations = runner_of(golden_predictor)
    found = asyncio.run(explanations.explain(call_for(passes=3)))
    assert isinstance(found, ValidationError)

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a bug at /srv/secret")

    monkeypatch.setattr(explaining, "explanation_steps", broken)
    found = asyncio.run(runner_of(golden_predictor)[1].explain(call_for()))
    assert isinstance(found, InternalError)
    assert "secret" not in found.message


@pytest.mark.usefixtures("cannot_draw")
def test_without_libraries_that_draw_there_is_an_answer_without_a_drawing(golden_predictor: Predictor) -> None:
    _, explanations = runner_of(golden_predictor)
    found = asyncio.run(explanations.explain(call_for("*CC*", passes=None, has_drawing=True)))
    assert isinstance(found, ExplainReply)
    assert found.drawing is None
