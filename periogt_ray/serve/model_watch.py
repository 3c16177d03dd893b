"""Keeps the status of the service true, also while no request arrives."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from periogt_ray.errors import PerioGTError
from periogt_ray.serve.service import Service, Status

__all__ = ["ModelFacts", "Watched", "watch_model"]

_PERIOD_S = 3.0
_TIMEOUT_S = 5.0  # a loaded predictor answers beside its passes; without one, the call waits for the next
_RETRY_S = 1.0


@dataclass(frozen=True)
class ModelFacts:
    """What a predictor tells once it is loaded."""

    device: str


class Watched(Protocol):
    """Predictors, seen from the service.

    Attributes
    ----------
    predictor_lost : asyncio.Event
        Set when a predictor died at work.
    n_answered : int
        Calls that predictors have answered.
    """

    predictor_lost: asyncio.Event
    n_answered: int

    async def describe(self) -> ModelFacts:
        """Wait for a predictor that is loaded."""
        ...


async def watch_model(
    service: Service, predictors: Watched, *, period_s: float = _PERIOD_S, timeout_s: float = _TIMEOUT_S
) -> None:
    """Note in ``service`` whether a predictor is loaded, until cancelled; to be cancelled before the service drains.

    While none is loaded, requests are refused at once rather than held until their deadline.
    """
    while True:
        predictors.predictor_lost.clear()
        n_answered = predictors.n_answered
        try:
            # The first predictor takes as long as the weights take to read.
            async with asyncio.timeout(timeout_s if service.status is Status.READY else None):
                facts = await predictors.describe()
        except (PerioGTError, TimeoutError) as error:
            # On a busy machine the question may wait behind passes; a predictor that answers those is loaded.
            if isinstance(error, TimeoutError) and predictors.n_answered > n_answered:
                continue
            service.become(Status.LOADING)
            await asyncio.sleep(_RETRY_S)
            continue
        service.become(Status.READY, device="cuda" if facts.device == "cuda" else "cpu")
        with suppress(TimeoutError):
            # Not wait_for, which in Python 3.11 may swallow a cancellation.
            async with asyncio.timeout(period_s):
                await predictors.predictor_lost.wait()
            service.become(Status.LOADING)
