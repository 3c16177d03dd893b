"""One run at a time in an output directory, also where it is submitted twice."""

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path

from periogt_ray.errors import ValidationError
from periogt_ray.runtime.files import PRIVATE_MODE

__all__ = ["LOCK_NAME", "OutputLock", "lock_output"]

LOCK_NAME = "lock"


class OutputLock:
    """The lock of a directory, held until it is released or the process ends.

    Parameters
    ----------
    descriptor : int
        Of the locked file.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Give the directory free; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def lock_output(work: Path) -> OutputLock:
    """Lock a directory. The lock is the kernel's, so it ends with the process, however that ends.

    Parameters
    ----------
    work : pathlib.Path
        The directory, which exists.

    Raises
    ------
    ValidationError
        Another process holds it; the message names it.
    OSError
        The directory cannot be written.
    """
    path = work / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_MODE)
    try:
        with contextlib.suppress(_NoLocks):
            _lock(descriptor, path)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"host {socket.gethostname()}, pid {os.getpid()}".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return OutputLock(descriptor)


class _NoLocks(Exception):  # noqa: N818
    """The file system has no locks, as some parallel ones are mounted."""


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise _NoLocks from error
        holder = os.pread(descriptor, 300, 0).decode(errors="replace") or "which has not said who it is"
        raise ValidationError(
            f"Another run is working in {path.parent.parent} ({holder}). Wait for it to end, or give another --output."
        ) from error
