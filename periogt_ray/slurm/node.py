"""Ray on one node of the job: how every node starts it, and what the nodes beside the head do until the end."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from periogt_ray.errors import InternalError
from periogt_ray.runtime.network import can_connect
from periogt_ray.runtime.ports import NodePorts, reserved_ports
from periogt_ray.runtime.ray_environment import environment_of_cluster
from periogt_ray.slurm.job import SlurmJob
from periogt_ray.slurm.job_directory import JobDirectory
from periogt_ray.slurm.ray_node import NodeShare, RayNode, node_address
from periogt_ray.slurm.stop_request import StopRequest

__all__ = ["Place", "RunningNode", "run_worker", "running_node"]

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_REFUSALS = 3  # in a row, before the head counts as gone
_HEAD_POLL_S = 2.0
_STARTS = 3  # a node may fail to join while the head is still starting


@dataclass(frozen=True)
class Place:
    """Where this node's part of the cluster runs.

    Attributes
    ----------
    job : SlurmJob
        The allocation.
    files : JobDirectory
        Shared by its nodes.
    temp_dir : pathlib.Path
        On this node, private, and gone at the end.
    env : Mapping
        Of this process.
    start_timeout_s : float
        Seconds for Ray to start on all nodes.
    """

    job: SlurmJob
    files: JobDirectory
    temp_dir: Path
    env: Mapping[str, str]
    start_timeout_s: float


@dataclass(frozen=True)
class RunningNode:
    """Ray on this node.

    Attributes
    ----------
    ray : RayNode
        Its processes.
    ports : NodePorts
        Where they listen.
    address : str
        Of this node.
    environment : Mapping
        For everything that belongs to the cluster.
    """

    ray: RayNode
    ports: NodePorts
    address: str
    environment: Mapping[str, str]


@contextmanager
def running_node(place: Place, *, head: str | None) -> Iterator[RunningNode]:
    """Start Ray on this node. The caller ends the processes.

    Raises
    ------
    InternalError
        If the node has no free ports or no address.
    """
    job = place.job
    scratch = place.temp_dir / "tmp"
    scratch.mkdir(exist_ok=True)
    address = node_address(job.node, towards=head.rpartition(":")[0] if head else None)
    environment = environment_of_cluster(place.env, token_file=place.files.token_file, scratch_dir=scratch)
    share = NodeShare.here(job)
    logger.info(
        "%s: %d CPUs, %d GPUs, %.1f GiB for tasks, %.1f GiB object store; directory %s",
        *(job.node, share.n_cpus, share.n_gpus, share.memory_bytes / 2**30, share.object_store_bytes / 2**30),
        place.temp_dir,
    )
    with reserved_ports(job.job_id) as ports:
        ray = RayNode(share, ports, address=address, temp_dir=place.temp_dir, environment=environment, head=head)
        yield RunningNode(ray, ports, address, environment)


def run_worker(place: Place, stop: StopRequest, *, clock: Callable[[], float] = monotonic) -> int:
    """Join the head's Ray and stay until it is gone; return the exit status.

    Parameters
    ----------
    place : Place
        This node.
    stop : StopRequest
        Whether to end; it also pauses between looks.
    clock : Callable
        Seconds, for the limits; tests move one on.

    Raises
    ------
    InternalError
        If the head does not come up in time, or Ray ends on this node while the head lives.
    """
    head = _wait_for_head(place, stop, clock)
    if head is None:
        return 0
    deadline = clock() + place.start_timeout_s
    with running_node(place, head=head) as node:
        refusals, next_look = 0, clock()
        # A signal leaves the head time to answer what is open, for which it may need this node.
        while place.files.exists and refusals < _REFUSALS and not (stop.is_asked and stop.remaining_s == 0):
            if node.ray.has_ended and _is_up(head):
                message = f"Ray ended on {place.job.node}; the last lines of its logs:\n{node.ray.last_lines()}"
                if clock() > deadline or node.ray.n_starts == _STARTS:
                    place.files.report_failure(place.job.node, message)
                    raise InternalError(message)
                logger.warning("%s\nRay is started once more.", message)
                node.ray.start()
            if clock() >= next_look:
                refusals = 0 if _is_up(head) else refusals + 1
                next_look = clock() + (_HEAD_POLL_S if refusals == 0 else 0.0)
            stop.pause()
    logger.info("%s: the head has ended, so this node ends.", place.job.node)
    return 0


def _wait_for_head(place: Place, stop: StopRequest, clock: Callable[[], float]) -> str | None:
    """Return the head's address; None if the job ends before there is one."""
    deadline = clock() + place.start_timeout_s
    while (published := place.files.published()) is None:
        if stop.is_asked or not place.files.exists:
            return None
        if clock() > deadline:
            raise InternalError(
                f"{place.job.node} has waited {place.start_timeout_s:g} s for {place.job.nodes[0]} to start Ray. Look "
                f"at the messages of that node above, and whether {place.files.path} is the same on both."
            )
        stop.pause()
    return str(published["ray_address"])


def _is_up(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return can_connect(host, int(port), _CONNECT_TIMEOUT_S)
