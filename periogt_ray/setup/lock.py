"""One setup at a time in a directory, on one machine or several."""

import contextlib
import getpass
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from periogt_ray.errors import SettingsError

__all__ = ["HOLDER_NAME", "LOCK_NAME", "hold_lock"]

logger = logging.getLogger("periogt_ray.setup")

LOCK_NAME = ".setup.lock"
HOLDER_NAME = ".setup.holder"
_REMIND_EVERY_S = 60.0


def _holder(directory: Path) -> str:
    """Say who holds the lock, as far as it is known."""
    try:
        entry = json.loads((directory / HOLDER_NAME).read_text(encoding="utf-8"))
        return f"host {entry['host']}, pid {entry['pid']}, user {entry['user']}, since {entry['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "an unknown process"


def _user() -> str:
    """Return the user's name; a number where the container does not know it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _acquire(lock: FileLock, directory: Path, timeout_s: float) -> None:
    """Wait for the lock, saying who holds it."""
    deadline = time.monotonic() + timeout_s
    with contextlib.suppress(Timeout):
        lock.acquire(timeout=0)
        return
    while True:
        logger.info("another setup works in %s (%s); waiting for it", directory, _holder(directory))
        remaining_s = deadline - time.monotonic()
        try:
            lock.acquire(timeout=max(min(remaining_s, _REMIND_EVERY_S), 0), poll_interval=0.1)
            return
        except Timeout:
            if time.monotonic() >= deadline:
                raise SettingsError(
                    f"{directory} is locked by another setup ({_holder(directory)}) and was not free within "
                    f"{timeout_s:.0f} s. Wait for it, or end it; the next run continues its work.",
                    {"directory": str(directory), "holder": _holder(directory)},
                ) from None


@contextlib.contextmanager
def hold_lock(directory: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the directory's lock; it ends with the process, however that ends.

    The lock is the kernel's (flock), which NFS clients since Linux 2.6.12 pass on to the server.

    Raises
    ------
    SettingsError
        Another setup held it for longer than ``timeout_s``; the message names host and pid.
    """
    lock = FileLock(str(directory / LOCK_NAME))
    _acquire(lock, directory, timeout_s)
    holder = directory / HOLDER_NAME
    try:
        entry = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "user": _user(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        holder.write_text(json.dumps(entry), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
