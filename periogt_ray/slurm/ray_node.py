"""``ray start`` on one node of a Slurm job: its resources, ports and directory.

Ray reads none of Slurm's limits and shares its default directory and ports with every other Ray of the
node, so all of them are stated here. A killed Ray leaves processes behind, and ``ray stop`` would end
every Ray of the user on the node. So :mod:`periogt_ray.slurm.__main__` ends all processes below its own.
"""

import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from periogt_ray.errors import InternalError
from periogt_ray.runtime.cpus import usable_cpus
from periogt_ray.runtime.ports import NodePorts
from periogt_ray.runtime.ray_environment import object_store_size
from periogt_ray.runtime.temp_dir import sessions_dir
from periogt_ray.slurm.job import SlurmJob

__all__ = [
    "NodeShare",
    "RayNode",
    "node_address",
]

logger = logging.getLogger(__name__)

_MIB = 1 << 20
_LEAST_STORE_BYTES = 128 * _MIB  # a job may be small, and Slurm ends it when it takes more memory than it has
_RAY_ITSELF_BYTES = 1024 * _MIB  # of a head without replicas, measured: 860 MB
_LOG_LINES = 15
_LOGS = ("gcs_server.out", "gcs_server.err", "raylet.out", "raylet.err")


@dataclass(frozen=True)
class NodeShare:
    """What Ray may use of a node.

    Attributes
    ----------
    n_cpus, n_gpus : int
        As allocated.
    object_store_bytes : int
        Of the memory, in shared memory.
    memory_bytes : int
        For tasks and actors that ask for memory.
    """

    n_cpus: int
    n_gpus: int
    object_store_bytes: int
    memory_bytes: int

    @classmethod
    def of(
        cls,
        job: SlurmJob,
        *,
        node_memory_bytes: int,
        node_cpus: int,
        shared_memory_bytes: int,
        n_usable_cpus: int | None = None,
    ) -> "NodeShare":
        """Divide the memory of a job on a node; where Slurm does not state it, the job's share of CPUs counts.

        Parameters
        ----------
        job : SlurmJob
            The allocation.
        node_memory_bytes, node_cpus : int
            What the whole node has.
        shared_memory_bytes : int
            What is free in /dev/shm.
        n_usable_cpus : int, optional
            What affinity and cgroups leave to this process of the job's CPUs; None: all of them.
        """
        n_bytes = job.memory_bytes or node_memory_bytes * min(job.n_cpus, node_cpus) // max(1, node_cpus)
        store = object_store_size(n_bytes, shared_memory_bytes=shared_memory_bytes, least_bytes=_LEAST_STORE_BYTES)
        rest = max(_LEAST_STORE_BYTES, n_bytes - store - _RAY_ITSELF_BYTES)
        n_cpus = job.n_cpus if n_usable_cpus is None else min(job.n_cpus, n_usable_cpus)
        return cls(n_cpus, job.n_gpus, store, rest)

    @classmethod
    def here(cls, job: SlurmJob) -> "NodeShare":
        """Divide the memory of a job on this node."""
        cpus = usable_cpus({})  # Slurm's number is the job's
        return cls.of(
            job,
            node_memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            node_cpus=cpus.n_machine,
            shared_memory_bytes=shutil.disk_usage("/dev/shm").free,
            n_usable_cpus=cpus.n,
        )


def node_address(hostname: str, *, towards: str | None = None) -> str:
    """Return this node's address on the cluster's network.

    Parameters
    ----------
    hostname : str
        This node's name, as Slurm knows it.
    towards : str, optional
        The head's address; decides between networks where the name does not lead to one.

    Raises
    ------
    InternalError
        If the name leads to no address that other nodes can reach.
    """
    try:
        found = socket.gethostbyname(hostname)
    except OSError:
        found = "127.0.0.1"
    if not found.startswith("127."):
        return found
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing; chooses the address that packets to there would come from.
            probe.connect((towards or "10.255.255.255", 9))
            found = str(probe.getsockname()[0])
        except OSError as error:
            raise InternalError(f"{hostname} has no address that other nodes can reach ({error.strerror}).") from error
    return found


class RayNode:
    """``ray start --block`` on this node.

    Parameters
    ----------
    share : NodeShare
        What Ray may use.
    ports : NodePorts
        Where it listens.
    address : str
        Of this node.
    temp_dir : pathlib.Path
        For sessions, sockets and logs.
    environment : Mapping
        See :func:`~periogt_ray.runtime.ray_environment.environment_of_cluster`.
    head : str or None
        Address of the cluster to join, ``host:port``; None starts one.
    """

    def __init__(
        self,
        share: NodeShare,
        ports: NodePorts,
        *,
        address: str,
        temp_dir: Path,
        environment: Mapping[str, str],
        head: str | None,
    ) -> None:
        self._temp_dir = temp_dir
        self._log = temp_dir / "ray-start.log"
        self._environment = environment
        joins = [f"--address={head}", f"--node-ip-address={address}"]
        self._options = [
            *(_head_options(ports, address) if head is None else joins),
            *_common_options(share, ports, temp_dir),
        ]
        self.n_starts = 0
        self.start()

    def start(self) -> None:
        """Start Ray, also again after it has ended."""
        self.n_starts += 1
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"),
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,  # signals to a job's process group are ours to pass on
            )

    @property
    def has_ended(self) -> bool:
        """Whether Ray on this node is gone."""
        return self.process.poll() is not None

    def last_lines(self) -> str:
        """Return the last lines of each log that is not empty."""
        logs = [self._log, *(sessions_dir(self._temp_dir) / "session_latest" / "logs" / name for name in _LOGS)]
        shown = []
        for log in logs:
            try:
                lines = [line for line in log.read_text(errors="replace").splitlines() if _says_something(line)]
            except OSError:
                continue
            if lines:
                shown.append("\n".join([f"--- {log.name}", *lines[-_LOG_LINES:]]))
        return "\n".join(shown) or "(Ray wrote no log)"


def _says_something(line: str) -> bool:
    """Whether a line of a log has text, and not only an address of a stack trace."""
    return bool(line.strip()) and "(+0x" not in line


def _head_options(ports: NodePorts, address: str) -> list[str]:
    return [
        "--head",
        f"--node-ip-address={address}",
        f"--port={ports.gcs}",
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",  # jobs are submitted on the head node itself
        f"--dashboard-port={ports.dashboard}",
        f"--ray-client-server-port={ports.client_server}",
        "--no-monitor",  # an allocation does not grow, and the autoscaler serves figures to everybody
    ]


def _common_options(share: NodeShare, ports: NodePorts, temp_dir: Path) -> list[str]:
    return [
        f"--num-cpus={share.n_cpus}",
        f"--num-gpus={share.n_gpus}",
        f"--memory={share.memory_bytes}",
        f"--object-store-memory={share.object_store_bytes}",
        f"--temp-dir={sessions_dir(temp_dir)}",
        f"--node-manager-port={ports.node_manager}",
        f"--object-manager-port={ports.object_manager}",
        f"--runtime-env-agent-port={ports.runtime_env_agent}",
        f"--dashboard-agent-grpc-port={ports.agent_grpc}",
        f"--dashboard-agent-listen-port={ports.agent_http}",
        # 0: the kernel gives each worker a free port; a range of our own would bound their number.
        "--min-worker-port=0",
        "--max-worker-port=0",
    ]
