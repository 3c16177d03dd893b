"""Gathers calls while predictors are at work, so that one message to a predictor carries the calls of a pass."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from ray import serve

from periogt_ray.serve.calls import PredictCall, PredictReply
from periogt_ray.settings import ServiceSettings

__all__ = ["Batcher"]

# For each predictor: it works on one pass while the calls of the next are on their way to it.
_PASSES_EACH = 2


class Batcher:
    """Dynamic batching in front of the predictors.

    It sits in the ingress, because a message to a predictor costs more than a small forward pass
    (scripts/bench_serve.py). Here that is paid once for each pass.

    ``serve.batch`` groups calls when they arrive, not when a predictor is free: calls that arrive while
    passes run would be cut into groups of one waiting time each, of one or two calls. So they are held
    back here until a pass has come back, and enter the queue of ``serve.batch`` together.

    A call that comes while no pass is on its way does not wait for others: those that come during its pass share the
    next one.

    Parameters
    ----------
    forward : callable
        Has calls answered by a predictor in one pass; one reply for each call, in order.
    bounds : ServiceSettings
        Calls in a pass, waiting time beside a pass, number of predictors.
    """

    def __init__(
        self, forward: Callable[[Sequence[PredictCall]], Awaitable[Sequence[PredictReply]]], bounds: ServiceSettings
    ) -> None:
        self._forward = forward
        self._max_in_flight = _PASSES_EACH * (bounds.n_predictors or 1)
        self._n_in_flight = 0
        self._wait_s = bounds.batch_wait_s
        self._has_room = asyncio.Event()
        self._has_room.set()
        # Decorated here: a decorated method's queue would belong to the class, with fixed limits.
        batched: Any = serve.batch(
            max_batch_size=bounds.calls_per_pass,
            batch_wait_timeout_s=bounds.batch_wait_s,
            max_concurrent_batches=self._max_in_flight,
        )
        self._join: Any = batched(self._send)

    async def predict(self, call: PredictCall) -> PredictReply:
        """Answer a call together with others; ``queue_s`` of the reply is the time outside the forward pass."""
        started = time.perf_counter()
        await self._has_room.wait()
        self._join.set_batch_wait_timeout_s(self._wait_s if self._n_in_flight else 0.0)
        reply: PredictReply = await self._join(call)
        return replace(reply, queue_s=max(0.0, time.perf_counter() - started - reply.forward_s))

    async def _send(self, calls: list[PredictCall]) -> Sequence[PredictReply]:
        self._n_in_flight += 1
        if self._n_in_flight >= self._max_in_flight:
            self._has_room.clear()
        try:
            return await self._forward(calls)
        finally:
            self._n_in_flight -= 1
            self._has_room.set()
