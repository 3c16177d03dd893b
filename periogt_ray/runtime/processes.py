"""Find, adopt and end the processes below this one, and let this one end at once."""

import atexit
import ctypes
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

__all__ = [
    "adopt_orphans",
    "descendants_of",
    "end_quickly",
    "end_with_parent",
    "kill_descendants",
    "reap_orphans",
    "still_alive",
]

logger = logging.getLogger(__name__)

_PAUSE_S = 0.05
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)


def descendants_of(pid: int, *, marked: str = "") -> dict[int, str]:
    """Return pid and start time of children whose command line holds a mark, and of all below them."""
    children: dict[int, list[int]] = {}
    born: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := _parent_and_start(int(entry.name))) is not None:
            parent, born[int(entry.name)] = found
            children.setdefault(parent, []).append(int(entry.name))
    queue = [child for child in children.get(pid, []) if marked in _command_line(child)]
    reached: dict[int, str] = {}
    while queue:
        child = queue.pop()
        reached[child] = born[child]
        queue += children.get(child, [])
    return reached


def still_alive(started: Mapping[int, str]) -> list[int]:
    """Return those that still run; a pid that was given to another process has another start time."""
    found = ((pid, _parent_and_start(pid)) for pid in started)
    return [pid for pid, now in found if now is not None and now[1] == started[pid]]


def kill_descendants(*, timeout_s: float) -> list[int]:
    """Kill all processes below this one, also those that start meanwhile; return those that are left."""
    deadline = time.monotonic() + timeout_s
    while left := descendants_of(os.getpid()):
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(_PAUSE_S)
    return list(left)


def end_quickly() -> None:
    """Let this process end without looking for cycles of references in what it still holds.

    An interpreter does that three times at its end, for nothing: 0.45 s of a core where torch is loaded, 0.3 s where
    Ray Data is. Workers that Ray kills need it not; those that hold a predictor of a batch end by themselves.
    """
    # Among the first to be registered, so among the last to be called: what others do at the end comes before.
    atexit.register(gc.freeze)


def end_with_parent() -> None:
    """Let this process be killed when the thread that forked it is gone, on Linux; elsewhere do nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of orphans below this process, so that all of them can be found and ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        logger.warning("Orphans cannot be adopted (%s).", os.strerror(ctypes.get_errno()))


def reap_orphans(own: set[int]) -> None:
    """Take the status of adopted processes that have ended; of those started here, their owner does.

    Parameters
    ----------
    own : set of int
        Process ids of those.
    """
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:
            return
        os.waitpid(ended.si_pid, 0)


def _parent_and_start(pid: int) -> tuple[int, str] | None:
    """Return parent and start time (ticks since boot) of a process; None if it has ended."""
    try:
        # Fields after the name, which is in parentheses and may hold anything; see proc(5).
        state, parent, *rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else (int(parent), rest[17])


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
