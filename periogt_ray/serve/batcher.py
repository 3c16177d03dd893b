"""Gathers calls while predictors are at work, so that one message to a predictor carries a batch."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from ray import serve

from periogt_ray.serve.service import PredictCall, PredictReply
from periogt_ray.settings import ServiceSettings

__all__ = ["Batcher"]

# A predictor works on one batch while the next is on its way to it.
_IN_FLIGHT = 2


class Batcher:
    """Dynamic batching in front of the predictors.

    It sits in the ingress, because there a message to a predictor costs more than a small forward
    pass (scripts/bench_serve.py), and is paid once a batch.

    ``serve.batch`` forms its batches when calls arrive, not when a predictor is free: what arrives
    while passes run is cut into batches of one waiting time each, of one or two calls. So calls are
    held back here until a batch has come back, and enter Serve's queue together.

    Parameters
    ----------
    forward : callable
        Has a batch of calls answered by a predictor; one reply a call, in order.
    bounds : ServiceSettings
        Batch size, waiting time, number of predictors.
    """

    def __init__(
        self, forward: Callable[[Sequence[PredictCall]], Awaitable[Sequence[PredictReply]]], bounds: ServiceSettings
    ) -> None:
        self._forward = forward
        self._limit = _IN_FLIGHT * (bounds.n_predictors or 1)
        self._n_in_flight = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        # Decorated here: on a method, the queue would belong to the class and its limits be fixed.
        batched: Any = serve.batch(
            max_batch_size=bounds.max_batch,
            batch_wait_timeout_s=bounds.batch_wait_s,
            max_concurrent_batches=self._limit,
        )
        self._join: Callable[[PredictCall], Awaitable[PredictReply]] = batched(self._send)

    async def predict(self, call: PredictCall) -> PredictReply:
        """Answer a call together with others; ``queue_s`` of the reply is all but the forward pass."""
        started = time.perf_counter()
        await self._has_room.wait()
        reply = await self._join(call)
        return replace(reply, queue_s=max(0.0, time.perf_counter() - started - reply.forward_s))

    async def _send(self, batch: list[PredictCall]) -> Sequence[PredictReply]:
        self._n_in_flight += 1
        if self._n_in_flight >= self._limit:
            self._has_room.clear()
        try:
            return await self._forward(batch)
        finally:
            self._n_in_flight -= 1
            self._has_room.set()
