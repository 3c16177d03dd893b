"""Dynamic batching: what shares a forward pass."""

import asyncio
import time
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.serve.batcher import Batcher
from periogt_ray.serve.calls import PredictCall, PredictReply
from periogt_ray.serve.predictor_replica import PassRunner
from support.serve_fakes import RecordingPredictor, settings_with


@pytest.fixture(autouse=True)
def replica_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """serve.batch asks its replica for one number, to warn if batches could not fill."""
    context = SimpleNamespace(_deployment_config=SimpleNamespace(max_ongoing_requests=1024))
    monkeypatch.setattr("ray.serve.get_replica_context", lambda: context)


def call_of(*smiles: str, property_id: str = "eps", deadline_s: float = 60.0) -> PredictCall:
    tasks = tuple(Task(FeaturizedPolymer(one, PromptScheme.MONOMER, (), (), {}), property_id) for one in smiles)
    return PredictCall(tasks, time.time() + deadline_s)


def batched(predictor: RecordingPredictor, **bounds: object) -> Batcher:
    """What a call passes, from the ingress to a predictor, without Ray between them."""
    return Batcher(PassRunner(predictor).predict, settings_with(**bounds).service)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def test_batches_fill_while_a_pass_runs() -> None:
    """64 clients that ask one after another: the mean batch is at least half the maximum."""
    predictor = RecordingPredictor(forward_s=0.2)

    async def clients() -> list[PredictReply]:
        batching = batched(predictor, max_batch=16)

        async def client(number: int) -> list[PredictReply]:
            # Not all at once: as over HTTP, one after the other within a pass or two.
            await asyncio.sleep(number * 0.004)
            return [await batching.predict(call_of("*" + "C" * (number + 1) + "*")) for _ in range(4)]

        return [reply for replies in await asyncio.gather(*map(client, range(64))) for reply in replies]

    replies = run(clients())
    assert len(replies) == 256
    assert sum(predictor.batches) == 256
    assert max(predictor.batches) <= 16
    assert sum(predictor.batches) / len(predictor.batches) >= 8
    assert {reply.batch_size for reply in replies} == set(predictor.batches)


def test_every_call_gets_its_own_answer() -> None:
    async def ask() -> list[PredictReply]:
        batching = batched(RecordingPredictor(0.01), max_batch=4)
        calls = [call_of(*("*" + "C" * length + "*" for length in range(n, n + 3))) for n in range(20)]
        return await asyncio.gather(*map(batching.predict, calls))

    for n, reply in enumerate(run(ask())):
        assert [outcome.checkpoint for outcome in reply.outcomes] == [
            "*" + "C" * length + "*" for length in range(n, n + 3)
        ]


def test_a_call_waits_for_others_only_beside_a_pass() -> None:
    """The first one goes at once, however long the wait; the second one waits for the third."""
    predictor = RecordingPredictor(forward_s=0.5)

    async def ask() -> list[PredictReply]:
        batching = batched(predictor, batch_wait_s=60.0, max_batch=2)
        first = asyncio.create_task(batching.predict(call_of("*CC*")))
        while not predictor.batches:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(batching.predict(call_of("*CCC*")))
        reply = await first
        await asyncio.sleep(0.1)
        assert not second.done()
        return [reply, *await asyncio.gather(second, batching.predict(call_of("*CCCC*")))]

    assert [reply.batch_size for reply in run(ask())] == [1, 2, 2]


def test_work_that_nobody_waits_for_is_dropped() -> None:
    predictor = RecordingPredictor(forward_s=0.2)

    async def ask() -> list[PredictReply]:
        batching = batched(predictor, max_batch=4)
        first = asyncio.create_task(batching.predict(call_of("*CC*")))
        await asyncio.sleep(0.1)  # it is in its pass by now, or soon
        return await asyncio.gather(
            first, batching.predict(call_of("*CCC*", deadline_s=-1.0)), batching.predict(call_of("*CCCC*"))
        )

    _, late, in_time = run(ask())
    assert late.outcomes[0].error is not None
    assert late.outcomes[0].error.code == "timeout"
    assert in_time.outcomes[0].value == 6.0
    assert sum(predictor.batches) == 2


def test_the_loop_stays_free_during_a_pass() -> None:
    async def ask() -> int:
        batching = batched(RecordingPredictor(forward_s=0.5))
        task = asyncio.create_task(batching.predict(call_of("*CC*")))
        n_turns = 0
        while not task.done():
            await asyncio.sleep(0.001)
            n_turns += 1
        return n_turns

    assert run(ask()) > 20


def test_a_bug_hits_only_the_call_that_has_it(caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> list[PredictReply]:
        batching = batched(RecordingPredictor(0.05, bug="cursed"), max_batch=8)
        calls = [call_of("*CC*"), call_of("*CCC*", property_id="cursed"), call_of("*CCCC*")]
        return await asyncio.gather(*map(batching.predict, calls))

    good, bad, other = run(ask())
    assert (good.outcomes[0].value, other.outcomes[0].value) == (4.0, 6.0)
    assert bad.outcomes[0].error is not None
    assert bad.outcomes[0].error.code == "internal_error"
    assert "/root" not in bad.outcomes[0].error.message
    assert "ZeroDivisionError" in caplog.text
