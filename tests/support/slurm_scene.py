"""A node of a job in this process: programs in place of Ray and of the service, and a clock that is moved on.

The head and the node start everything with this Python. A scene puts another program in its place, which does at once
what a test says; all else is real: processes, signals, ports, the job's directory. Each look at them moves the clock
half a second on, so that limits of minutes are over in a moment; while a program is on its way, the clock stands still.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from periogt_ray.slurm.job import SlurmJob
from periogt_ray.slurm.job_directory import JobDirectory
from periogt_ray.slurm.node import Place
from periogt_ray.slurm.stop_request import StopRequest

__all__ = ["START_TIMEOUT_S", "Scene"]

START_TIMEOUT_S = 300.0
_LOOK_S = 0.5
_YIELD_S = 0.001  # real, for the programs
_MOST_S = 2000.0

_PROGRAM = f"""#!{sys.executable} -SE
import http.server, json, os, signal, socket, sys
from pathlib import Path

scene = Path(os.environ["SCENE"])
words = " ".join(sys.argv[1:])
role = "ray" if "ray.scripts.scripts" in words else "wait" if "periogt_ray.slurm wait" in words else "command"
with (scene / f"{{role}}.calls").open("a") as calls:
    calls.write(f"{{os.getpid()}} {{words}}\\n")
n_calls = len((scene / f"{{role}}.calls").read_text().splitlines())


def note(name, text=""):
    (scene / "part").write_text(text)
    (scene / "part").rename(scene / name)


def listens():
    port = next(word.partition("=")[2] for word in sys.argv if word.startswith("--port="))
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=4096)
    os.set_inheritable(listener.fileno(), True)
    globals()["kept"] = listener


def settles():
    (scene / f"settled.{{os.getpid()}}").touch()


def stays():
    settles()
    while True:
        signal.pause()


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_known = self.headers["X-Api-Key"] == os.environ["PERIOGT_API_KEY"]
        loading = (scene / "loading").exists()
        self.send_response(401 if not is_known else 503 if loading else 200)
        self.end_headers()
        self.wfile.write(json.dumps({{"status": "loading" if loading else "ok"}}).encode())

    def log_message(self, *_):
        pass


def answers():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PERIOGT_PORT"])), Health)
    settles()
    server.serve_forever()


exec((scene / role).read_text())
"""


class Scene:
    """One node, and what its programs do.

    Parameters
    ----------
    folder : pathlib.Path
        For everything.
    monkeypatch : pytest.MonkeyPatch
        Puts the program in the place of Python.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder / "scene"
        self._folder.mkdir()
        program = self._folder / "python"
        program.write_text(_PROGRAM)
        program.chmod(0o755)
        started: list[subprocess.Popen[bytes]] = []
        self._started = started

        class Kept(subprocess.Popen):  # type: ignore[type-arg]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                started.append(self)

        monkeypatch.setattr(subprocess, "Popen", Kept)
        monkeypatch.setattr(sys, "executable", str(program))
        monkeypatch.setattr("periogt_ray.slurm.node.node_address", lambda *_, **__: "127.0.0.1")
        directory = folder / "job"
        directory.mkdir(mode=0o700)
        self.files = JobDirectory(directory)
        self.env = {
            "PATH": os.defpath,
            "HOME": str(folder),
            "SCENE": str(self._folder),
            "PERIOGT_HOST": "127.0.0.1",
            "PERIOGT_DEVICE": "cpu",
        }
        self.start_timeout_s = START_TIMEOUT_S
        self.now = 0.0
        self._events: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self.plays("ray", "listens(); stays()")
        self.plays("wait", """print('{"CPU": 4.0}')""")

    def place(self, *, index: int = 0, nodes: tuple[str, ...] = ("n1",)) -> Place:
        job = SlurmJob(job_id=os.getpid(), nodes=nodes, node_index=index, n_cpus=2)
        temp_dir = self._folder / "tmp"
        temp_dir.mkdir(exist_ok=True)
        return Place(job, self.files, temp_dir, self.env, self.start_timeout_s)

    def clock(self) -> float:
        return self.now

    def stop(self, *, kill_wait_s: float = 30, drain_s: float = 90) -> StopRequest:
        return _Stop(self, kill_wait_s=kill_wait_s, drain_s=drain_s)

    def plays(self, role: str, program: str) -> None:
        """Say what ``ray``, ``wait`` (for the nodes) or ``command`` does: Python, with the functions above."""
        (self._folder / role).write_text(program)

    def when(self, condition: Callable[[], object], event: Callable[[], object]) -> None:
        """Let something happen once, at the first look at which the condition holds."""
        self._events.append((condition, event))

    def calls(self, role: str) -> list[str]:
        """Return the arguments of each start."""
        return [line.partition(" ")[2] for line in self._lines(role)]

    def pids(self, role: str) -> list[int]:
        return [int(line.partition(" ")[0]) for line in self._lines(role)]

    def noted(self, name: str) -> str | None:
        path = self._folder / name
        return path.read_text() if path.exists() else None

    def note(self, name: str) -> None:
        (self._folder / name).touch()

    def unnote(self, name: str) -> None:
        (self._folder / name).unlink()

    def kill(self, role: str) -> None:
        os.kill(self.pids(role)[-1], signal.SIGKILL)

    def asks_to_stop(self) -> None:
        """Do what the batch script does when Slurm warns."""
        (self.files.path / "stop").touch()

    def look(self) -> None:
        """Let time pass, and what is to happen."""
        time.sleep(_YIELD_S)
        if not all(map(self._is_settled, self._started)):
            return
        self.now += _LOOK_S
        assert self.now < _MOST_S, "it does not end"
        for pair in [pair for pair in self._events if pair[0]()]:
            self._events.remove(pair)
            pair[1]()

    def _is_settled(self, process: "subprocess.Popen[bytes]") -> bool:
        """Whether a program has got as far as it will without being asked; the clock stands still until then."""
        return self.noted(f"settled.{process.pid}") is not None or process.poll() is not None

    def end(self) -> None:
        """End the programs, as the process does in which a node runs."""
        for process in self._started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _lines(self, role: str) -> list[str]:
        return (self.noted(f"{role}.calls") or "").splitlines()


class _Stop(StopRequest):
    def __init__(self, scene: Scene, *, kill_wait_s: float, drain_s: float) -> None:
        super().__init__(scene.files, kill_wait_s=kill_wait_s, drain_s=drain_s)
        self._scene = scene

    def pause(self) -> None:
        self._scene.look()


class Listener:
    """Somebody at a port, who can go and come back."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port: int = self._socket.getsockname()[1]

    def goes(self) -> None:
        self._socket.close()

    def comes_back(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self.port), backlog=4096)
