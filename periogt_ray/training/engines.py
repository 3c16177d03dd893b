"""What trains the networks of a run: this process one after the other, or tasks of a Ray."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

from periogt_ray.training.members import Context, Job, Member, OnEpoch, read_member, train_member
from periogt_ray.training.trainer import Stopped

__all__ = ["Engine", "LocalEngine", "RayEngine"]

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


class Engine(Protocol):
    """Trains networks."""

    def train_all(
        self,
        jobs: Sequence[Job],
        context: Context,
        *,
        on_epoch: OnEpoch,
        is_stopping: Callable[[], bool],
        ends_at: float | None,
    ) -> list[Member]:
        """Train networks, those that are not finished yet; return all of them in order.

        Parameters
        ----------
        jobs : sequence of Job
            What to train.
        context : Context
            What they share.
        on_epoch : callable
            Takes a job and each of its epochs.
        is_stopping : callable
            Whether to stop.
        ends_at : float or None
            ``time.monotonic()`` at which they have to be finished.

        Raises
        ------
        Stopped
            It was told to stop; the same call goes on.
        """


class LocalEngine:
    """Trains in this process."""

    def train_all(
        self,
        jobs: Sequence[Job],
        context: Context,
        *,
        on_epoch: OnEpoch,
        is_stopping: Callable[[], bool],
        ends_at: float | None,
    ) -> list[Member]:
        """Train one network after the other, each with its share of the time that is left."""
        found = []
        for number, job in enumerate(jobs):
            budget = None if ends_at is None else max(0.0, ends_at - time.monotonic()) / (len(jobs) - number)
            found.append(train_member(job, context, on_epoch=on_epoch, is_stopping=is_stopping, budget_s=budget))
        return found


class RayEngine:
    """Tasks of a Ray, a network each, which read and write the run's directory: all nodes have to see it.

    Parameters
    ----------
    address : str or None
        Of a Ray that runs; None: one of this machine, for as long as it trains.
    has_gpus : bool
        Whether each takes a GPU, else a CPU.
    """

    def __init__(self, address: str | None, *, has_gpus: bool) -> None:
        self._address = address
        self._has_gpus = has_gpus

    def train_all(
        self,
        jobs: Sequence[Job],
        context: Context,
        *,
        on_epoch: OnEpoch,
        is_stopping: Callable[[], bool],
        ends_at: float | None,
    ) -> list[Member]:
        """Train as many networks at a time as there are GPUs or CPUs; raises as :class:`Engine` says."""
        import ray

        from periogt_ray.runtime.local_ray import local_ray

        waiting = [job for job in jobs if read_member(job, context) is None]
        if waiting:
            with nullcontext() if ray.is_initialized() else local_ray(address=self._address):
                self._train(waiting, context, on_epoch, is_stopping, ends_at)
        return [train_member(job, context) for job in jobs]

    def _train(
        self,
        waiting: list[Job],
        context: Context,
        on_epoch: OnEpoch,
        is_stopping: Callable[[], bool],
        ends_at: float | None,
    ) -> None:
        import ray

        cluster: Any = ray  # not annotated throughout
        kind = "GPU" if self._has_gpus else "CPU"
        room = max(1, int(cluster.cluster_resources().get(kind, 1)))
        resources = {"num_gpus": 1} if self._has_gpus else {"num_cpus": 1}
        # What a lost node has not finished goes on elsewhere from its last snapshot.
        task = cluster.remote(max_retries=3, **resources)(_train_remotely)
        shared = cluster.put(context)
        running: dict[Any, Job] = {}
        while waiting or running:
            while waiting and len(running) < room:
                budget = None if ends_at is None else max(0.0, ends_at - time.monotonic()) / -(-len(waiting) // room)
                job = waiting.pop(0)
                running[task.remote(job, shared, budget)] = job
            done, _ = cluster.wait(list(running), timeout=_LOOK_EVERY_S)
            for reference in done:
                job, member = running.pop(reference), cluster.get(reference)
                for epoch in member.history:
                    on_epoch(job, epoch)
            if is_stopping():
                for reference in running:
                    cluster.cancel(reference, force=True)
                raise Stopped


def _train_remotely(job: Job, context: Context, budget_s: float | None) -> Member:
    return train_member(job, context, budget_s=budget_s)
