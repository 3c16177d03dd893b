"""Fails a run that leaves a process or a mount behind.

Where workers run the tests, the process that controls them adopts what loses its parent, so that everything that a
test started and did not end is below it when the workers are gone.
"""

import ctypes
import os
import signal
import time
from pathlib import Path
from types import FrameType

import pytest

from periogt_ray.runtime.processes import descendants_of

PATIENCE_S = 15.0  # processes that end by themselves may still be about it
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_MOUNTS = pytest.StashKey[set[str]]()


def pytest_sessionstart(session: pytest.Session) -> None:
    if is_in_control(session.config):
        session.config.stash[_MOUNTS] = mounts()
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "orphans cannot be adopted")
        signal.signal(signal.SIGCHLD, reap)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look once the workers have ended, with the fixtures that last for a session."""
    if not is_in_control(session.config):
        return
    deadline = time.monotonic() + PATIENCE_S
    while (left := [*processes_below(), *sorted(mounts() - session.config.stash[_MOUNTS])]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.2)
    if left:
        report = pytest.TestReport(
            nodeid="what the tests left behind",
            location=("", None, "what the tests left behind"),
            keywords={},
            outcome="failed",
            longrepr="\n".join(left),
            when="teardown",
        )
        session.config.pluginmanager.getplugin("terminalreporter").stats.setdefault("error", []).append(report)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def is_in_control(config: pytest.Config) -> bool:
    """Whether this process starts workers that run the tests."""
    return config.pluginmanager.has_plugin("dsession")


def reap(_signum: int, _frame: FrameType | None) -> None:
    """Take the status of adopted processes that have ended; a zombie looks alive to some that wait for its end."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def processes_below() -> list[str]:
    """Process ids and command lines."""
    found = []
    for pid in descendants_of(os.getpid()):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        found.append(f"process {pid}: {words}")
    return found


def mounts() -> set[str]:
    """Mount points that this process sees, with what is mounted there."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    return {"mount {1}: {0} ({2})".format(*line.split()) for line in lines}
