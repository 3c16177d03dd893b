"""What the head node does: it starts Ray, waits for the other nodes, runs the service or the batch, and ends."""

import json
import logging
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import httpx

from periogt_ray.errors import InternalError
from periogt_ray.runtime.network import can_connect, is_loopback, local_url
from periogt_ray.runtime.processes import reap_orphans
from periogt_ray.runtime.ray_environment import write_token
from periogt_ray.settings import Settings
from periogt_ray.slurm.connection_note import ConnectionNote
from periogt_ray.slurm.node import Place, RunningNode, running_node
from periogt_ray.slurm.stop_request import StopRequest

__all__ = ["HeadOptions", "run_head"]

logger = logging.getLogger(__name__)

_KEY_BYTES = 32
_CONNECT_TIMEOUT_S = 1.0
_HEALTH_POLL_S = 2.0
_RAY_END_S = 1.0  # of the remaining time, for what comes after the service


@dataclass(frozen=True)
class HeadOptions:
    """The command that runs on the cluster.

    Attributes
    ----------
    command : str
        ``serve`` or ``batch``, of ``periogt``.
    arguments : tuple of str
        What follows it on the command line.
    repository : str
        Where slurm/ray_job.sh is.
    ready_timeout_s : float
        Seconds until the service has to answer.
    """

    command: str
    arguments: tuple[str, ...]
    repository: str
    ready_timeout_s: float


def run_head(place: Place, options: HeadOptions, stop: StopRequest, *, clock: Callable[[], float] = monotonic) -> int:
    """Start the cluster and run the command on it; return its exit status, or 0 if a service was told to end.

    Parameters
    ----------
    place : Place
        This node.
    options : HeadOptions
        What runs on the cluster.
    stop : StopRequest
        Whether to end; it also pauses between looks.
    clock : Callable
        Seconds, for the limits; tests move one on.

    Raises
    ------
    SettingsError
        If the settings cannot be used; before Ray starts.
    InternalError
        If Ray, a node or the service does not come up in time.
    """
    settings = Settings.from_env(place.env)
    write_token(place.files.token_file)
    with running_node(place, head=None) as node:
        address = f"{node.address}:{node.ports.gcs}"
        try:
            if not _Start(place, node, stop, address, clock=clock).wait():
                return 0
            return _Head(place, node, options, stop, address=address, settings=settings, clock=clock).run()
        finally:
            place.files.withdraw()


class _Start:
    """Waits for Ray on all nodes, until a deadline; an error says which node failed, and why."""

    def __init__(
        self, place: Place, node: RunningNode, stop: StopRequest, address: str, *, clock: Callable[[], float]
    ) -> None:
        self._place = place
        self._node = node
        self._stop = stop
        self._address = address
        self._clock = clock
        self._started = clock()

    def wait(self) -> bool:
        """Wait until every node of the job is part of Ray; False if the job is to end before."""
        while not can_connect(self._node.address, self._node.ports.gcs, _CONNECT_TIMEOUT_S):
            if self._is_over("its control service does not listen"):
                return False
        self._publish()
        nodes = self._place.job.nodes
        while True:
            with self._waiting(len(nodes)) as process:
                try:
                    while process.poll() is None:
                        if self._is_over(f"not all of {', '.join(nodes)} have joined"):
                            return False
                finally:
                    process.kill()
                resources = _resources(process.communicate()[0]) if process.returncode == 0 else None
            if resources is not None:
                break
            # The control service listens before everything is there that a connection needs.
            if self._is_over("no program can connect; its messages are above"):
                return False
        logger.info(
            "Ray runs on %s after %.0f s: %g CPUs, %g GPUs.",
            *(", ".join(nodes), self._clock() - self._started, resources.get("CPU", 0), resources.get("GPU", 0)),
        )
        return True

    def _waiting(self, n_nodes: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "periogt_ray.slurm", "wait", str(n_nodes)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**self._node.environment, "RAY_ADDRESS": self._address},
            start_new_session=True,
        )

    def _publish(self) -> None:
        self._place.files.publish(
            {
                "ray_address": self._address,
                "node": self._place.job.node,
                "job": self._place.job.job_id,
                "dashboard": f"http://127.0.0.1:{self._node.ports.dashboard}",
                "http_port": self._node.ports.http,
            }
        )

    def _is_over(self, what: str) -> bool:
        """Pause, and tell whether the job is to end; raise if a node failed or the time is over."""
        for failure in self._place.files.failures():
            raise InternalError(f"A node could not join. {failure}")
        limit = self._place.start_timeout_s
        if self._node.ray.has_ended or self._clock() > self._started + limit:
            happened = "has ended" if self._node.ray.has_ended else f"is not complete after {limit:g} s"
            raise InternalError(
                f"Ray on {self._place.job.node} {happened}: {what}. The last lines of its logs:\n"
                f"{self._node.ray.last_lines()}"
            )
        self._stop.pause()
        return self._stop.is_asked


def _resources(printed: bytes) -> dict[str, float] | None:
    """Read what a program that waited has printed; None if that is not it, as where Ray ends it as it connects."""
    try:
        found = json.loads(printed)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class _Head:
    """Runs the command on a cluster that has started."""

    def __init__(
        self,
        place: Place,
        node: RunningNode,
        options: HeadOptions,
        stop: StopRequest,
        *,
        address: str,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._place = place
        self._node = node
        self._options = options
        self._stop = stop
        self._clock = clock
        self._environment = {**node.environment, "RAY_ADDRESS": address}
        self._host = settings.host
        # A port that the user chose goes before that of the job's block.
        self._port = settings.port if place.env.get("PERIOGT_PORT") else node.ports.http
        self._key = settings.api_key or secrets.token_urlsafe(_KEY_BYTES)
        if options.command == "serve":
            place.files.write_private(place.files.key_file.name, self._key)
            self._environment |= {"PERIOGT_API_KEY": self._key, "PERIOGT_PORT": str(self._port)}

    def run(self) -> int:
        """Run the command to its end, or to that of the job."""
        process = subprocess.Popen(
            [sys.executable, "-m", "periogt_ray", self._options.command, *self._options.arguments],
            stdin=subprocess.DEVNULL,
            env=self._environment,
            start_new_session=True,
        )
        is_serving = self._options.command == "serve"
        is_ready, next_look = not is_serving, self._clock()
        deadline = next_look + self._options.ready_timeout_s
        while process.poll() is None and not self._stop.is_asked:
            self._check_ray()
            if not is_ready and self._clock() >= next_look:
                next_look = self._clock() + _HEALTH_POLL_S
                if is_ready := self._answers():
                    self._announce()
            if not is_ready and self._clock() > deadline:
                raise InternalError(
                    f"The service has not answered within {self._options.ready_timeout_s:g} s; its messages are above. "
                    f"The last lines of Ray's logs:\n{self._node.ray.last_lines()}"
                )
            reap_orphans({process.pid, self._node.ray.process.pid})
            self._stop.pause()
        self._place.files.withdraw()
        if process.poll() is None:
            self._end(process)
        if is_serving and self._stop.is_asked:
            return 0
        return process.returncode if process.returncode >= 0 else 128 - process.returncode

    def _check_ray(self) -> None:
        if self._node.ray.has_ended:
            raise InternalError(
                f"Ray ended on {self._place.job.node}, the head; the last lines of its logs:\n"
                f"{self._node.ray.last_lines()}"
            )

    def _answers(self) -> bool:
        """Whether the service has its model."""
        url = f"{local_url(self._host, self._port)}/v1/health"
        try:
            answer = httpx.get(url, headers={"X-Api-Key": self._key}, timeout=5, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and answer.json()["status"] == "ok"

    def _announce(self) -> None:
        """Say how to reach the service, in the job's log and in its directory."""
        place = self._place
        note = ConnectionNote(
            job_id=place.job.job_id,
            node=place.job.node,
            port=self._port,
            key_file=place.files.key_file,
            directory=place.files.path,
            repository=self._options.repository,
            login=ConnectionNote.login_of(place.env),
            is_loopback=is_loopback(self._host),
        ).text()
        place.files.write_private(place.files.connection_file.name, note)
        print(f"\nThe service is ready ({place.files.connection_file}):\n\n{note}", flush=True)

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        """Let the command answer what is open, or keep what is finished, as long as there is time."""
        logger.info("Ending; %.0f s are left for open requests.", self._stop.remaining_s)
        process.terminate()
        while process.poll() is None and self._stop.is_asked and self._stop.remaining_s > _RAY_END_S:
            self._stop.pause()
        if process.poll() is None:
            logger.warning("The command did not end in time and is killed.")
            process.kill()
            process.wait()
