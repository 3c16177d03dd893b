"""`periogt serve` as a process of its own, as a user runs it."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from periogt_ray.runtime.ports import port_error
from support.golden import ARTIFACTS

ROOT = Path(__file__).parents[2]
# Above the workers of `ray start`, below what Linux gives to outgoing connections.
PORTS = (20000, 32768)
START_S = 300.0  # a loaded machine is many times slower than an idle one


class ServedProcess:
    """A running service."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, log: Path, key: str | None) -> None:
        self.process = process
        self.url = url
        self.log = log
        self.client = httpx.Client(base_url=url, timeout=120, headers={"X-Api-Key": key} if key else {})

    @property
    def temp_dir(self) -> Path | None:
        """Of the Ray that the service started."""
        for owner in Path("/tmp").glob("pgt-*/owner"):
            if owner.read_text().strip() == str(self.process.pid):
                return owner.parent
        return None

    def tree(self) -> dict[int, str]:
        """Return pid and command of every process below the service."""
        return tree_below(self.process.pid)

    def replicas(self, name: str) -> list[int]:
        return [pid for pid, command in self.tree().items() if f"ServeReplica:periogt:{name}" in command]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


def tree_below(root: int) -> dict[int, str]:
    """Return pid and command of every process below one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := parent_of(int(entry.name))) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found, queue = {}, [root]
    while queue:
        for pid in children.get(queue.pop(), []):
            found[pid] = command_of(pid)
            queue.append(pid)
    return found


def parent_of(pid: int) -> int | None:
    try:
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else int(parent)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def free_port() -> int:
    """Return a free port that neither Linux nor Ray gives to a process meanwhile: both choose others."""
    chance = random.SystemRandom()
    return next(port for port in iter(lambda: chance.randrange(*PORTS), None) if port_error("0.0.0.0", port) is None)


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def start(log: Path, *, artifacts: Path = ARTIFACTS, key: str | None = None, **variables: str) -> ServedProcess:
    """Start a service; does not wait for it."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PERIOGT_", "RAY_"))}
    environment |= {
        "PERIOGT_CHECKPOINT_DIR": str(artifacts),
        "PERIOGT_DEVICE": "cpu",
        "PERIOGT_HOST": "127.0.0.1",
        "PERIOGT_PORT": str(port),
        "PYTHONPATH": str(ROOT),
        **({"PERIOGT_API_KEY": key} if key else {}),
        **variables,
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "periogt_ray", "serve"], stdout=output, stderr=output, env=environment, text=True
        )
    return ServedProcess(process, f"http://127.0.0.1:{port}", log, key)


@contextmanager
def serving(log: Path, *, key: str | None = None, **variables: str) -> Iterator[ServedProcess]:
    """Run a service until the end of the block."""
    served = start(log, key=key, **variables)
    try:
        wait_for(
            lambda: "curl http" in log.read_text() or served.process.poll() is not None, START_S, "the service is ready"
        )
        assert served.process.poll() is None, log.read_text()[-3000:]
        yield served
    finally:
        served.client.close()
        if served.process.poll() is None:
            tree = served.tree()
            temp_dir = served.temp_dir
            served.process.send_signal(signal.SIGTERM)
            try:
                served.process.wait(60)
            except subprocess.TimeoutExpired:
                for pid in [*tree, served.process.pid]:
                    if parent_of(pid) is not None:
                        os.kill(pid, signal.SIGKILL)
                if temp_dir is not None:
                    shutil.rmtree(temp_dir, ignore_errors=True)
                raise
