"""The service that scripts/soak.py asks: its start, the kills, updates of the weights, memory.

Only processes below this one are ever killed: those of the Ray that was started here.
"""

import asyncio
import itertools
import os
import random
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from periogt_ray.runtime.local_ray import local_ray
from periogt_ray.runtime.processes import descendants_of
from periogt_ray.runtime.shared_socket import sharing
from periogt_ray.settings import Settings

KILLED = ("Predictor", "Featurizer", "Ingress")
_START_S = 600.0
_POLL_S = 0.25
_SETTLE_S = 2.0  # an old predictor answers what it has when the new ones are there


@dataclass
class Disturbance:
    """Something that was done to the service.

    Attributes
    ----------
    kind : str
        Of the process that was killed, or ``update``.
    began, replaced : float
        When, and when there were as many processes as before; seconds of the monotonic clock, infinite before that.
    """

    kind: str
    began: float
    replaced: float = float("inf")


@dataclass
class Versions:
    """Which weights an answer may come from; both sets while an update is under way."""

    directories: tuple[Path, ...]
    accepted: frozenset[int] = frozenset({0})
    current: int = 0


class Soaked:
    """A running service, on a Ray of this process.

    Parameters
    ----------
    url : str
        Where it answers.
    settings : Settings
        That it was started with.
    socket_name : str
        Under which its socket is shared.
    """

    def __init__(self, url: str, settings: Settings, socket_name: str) -> None:
        self.url = url
        self._settings = settings
        self._socket_name = socket_name

    def processes(self) -> dict[str, list[int]]:
        """Return process ids by kind; what is none of the three kinds is Ray's own."""
        found: dict[str, list[int]] = {kind: [] for kind in (*KILLED, "Ray")}
        for pid in descendants_of(os.getpid()):
            command = _command_line(pid)
            kind = next((one for one in KILLED if f"ServeReplica:periogt:{one}" in command), "Ray")
            found[kind].append(pid)
        return found

    def memory_mib(self) -> dict[str, float]:
        """Return the proportional share of memory, by kind of process, MiB."""
        return {kind: sum(map(_pss_mib, pids)) for kind, pids in self.processes().items()}

    async def kill(self, kind: str, chance: random.Random, *, within_s: float) -> Disturbance:
        """Kill one process of a kind and wait until there are as many as before."""
        before = self.processes()[kind]
        event = Disturbance(kind, time.monotonic())
        if not before:
            return event
        killed = chance.choice(before)
        with suppress(ProcessLookupError):
            os.kill(killed, signal.SIGKILL)
        while time.monotonic() < event.began + within_s:
            await asyncio.sleep(_POLL_S)
            now = await asyncio.to_thread(self.processes)
            if len(set(now[kind]) - {killed}) >= len(before):
                event.replaced = time.monotonic()
                break
        return event

    async def update(self, versions: Versions, *, within_s: float) -> Disturbance:
        """Let Serve replace every process by one with the other weights."""
        before = set(self.processes()["Predictor"])
        event = Disturbance("update", time.monotonic())
        new = (versions.current + 1) % len(versions.directories)
        versions.accepted = frozenset({versions.current, new})
        await asyncio.to_thread(self._deploy, versions.directories[new])
        while time.monotonic() < event.began + within_s:
            await asyncio.sleep(_POLL_S)
            now = set((await asyncio.to_thread(self.processes))["Predictor"])
            if len(now) >= len(before) and not now & before and await asyncio.to_thread(_is_running):
                event.replaced = time.monotonic()
                await asyncio.sleep(_SETTLE_S)
                versions.current, versions.accepted = new, frozenset({new})
                break
        return event

    def _deploy(self, artifacts: Path) -> None:
        from periogt_ray.serve.run import start_application

        start_application(replace(self._settings, checkpoint_dir=artifacts), socket_name=self._socket_name)


@dataclass
class Disturber:
    """Kills in turn, and updates where there are several versions.

    Attributes
    ----------
    done : list of Disturbance
        What was done, in order.
    """

    soaked: Soaked
    versions: Versions
    chance: random.Random
    done: list[Disturbance] = field(default_factory=list)

    async def run(self, *, every_s: float, until: float) -> None:
        """Disturb until the last interval, in which nothing is done, so that the service can recover."""
        kinds = (*KILLED, "update") if len(self.versions.directories) > 1 else KILLED
        last = time.monotonic()
        for kind in itertools.cycle(kinds):
            await asyncio.sleep(max(0.0, last + every_s - time.monotonic()))
            last = time.monotonic()
            if last > until - every_s:
                return
            if kind == "update":
                self.done.append(await self.soaked.update(self.versions, within_s=until - time.monotonic()))
            else:
                self.done.append(await self.soaked.kill(kind, self.chance, within_s=every_s))


@contextmanager
def serving(artifacts: Path) -> Iterator[Soaked]:
    """Serve on a Ray of this process, on a free port of 127.0.0.1, until the block ends."""
    from ray import serve

    from periogt_ray.serve.run import start_application

    given = {
        **{name: value for name, value in os.environ.items() if name != "PERIOGT_API_KEY"},
        "PERIOGT_CHECKPOINT_DIR": str(artifacts),
        "PERIOGT_DEVICE": "cpu",  # values are compared with those of this process to the last digit
        "PERIOGT_HOST": "127.0.0.1",
        "PERIOGT_PORT": str(free_port()),
    }
    settings = Settings.from_env(given)
    url = f"http://127.0.0.1:{settings.port}"
    with local_ray(), sharing(settings.host, settings.port) as shared:
        start_application(settings, socket_name=shared.name)
        try:
            _wait_until_ready(url)
            yield Soaked(url, settings, shared.name)
        finally:
            shared.close()
            serve.shutdown()


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/v1/health", timeout=5).json()["model_loaded"]:
                return
        time.sleep(_POLL_S)
    raise SystemExit(f"The service was not ready after {_START_S:g} s.")


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def served_name(url: str, headers: Mapping[str, str]) -> str:
    """Return the name of the model that a service has, once it is loaded."""
    response = httpx.get(f"{url}/v1/health", timeout=30, headers=dict(headers))
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise SystemExit(f"The service at {url} wants its key in PERIOGT_API_KEY.")
    answer = response.json()
    if not answer["model_loaded"]:
        raise SystemExit(f"The service at {url} has no model yet; try again once it is ready.")
    return str(answer["artifacts"])


def _is_running() -> bool:
    from ray import serve

    from periogt_ray.serve.application import APP_NAME

    status = serve.status().applications.get(APP_NAME)
    return status is not None and status.status == "RUNNING"


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _pss_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
