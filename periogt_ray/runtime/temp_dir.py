"""The directory of a Ray on this node: short, private, and removed when its Ray has ended."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from periogt_ray.errors import SettingsError
from periogt_ray.runtime.mounts import mount_of
from periogt_ray.runtime.signals import signals_held

__all__ = ["MAX_ROOT_LENGTH", "private_dir", "sessions_dir"]

_PREFIX = "pgt-"
_OWNER_NAME = "owner"
_RANDOM_LENGTH = 8  # what mkdtemp appends
# A path of a Unix socket holds 107 characters. Below the directory that we make (of 38 characters at most) come
# sessions_dir and about 62 of Ray's own: session_<date>_<time>_<microseconds>_<pid>/sockets/plasma_store.
_MAX_TEMP_DIR_LENGTH = 38
# Of RAY_TMPDIR, TMPDIR or /tmp, in which the directory is made.
MAX_ROOT_LENGTH = _MAX_TEMP_DIR_LENGTH - len("/") - len(_PREFIX) - _RANDOM_LENGTH


def sessions_dir(temp_dir: Path) -> Path:
    """Return the directory to give to Ray, inside the private one: Ray makes its own readable by everybody."""
    return temp_dir / "r"


@contextmanager
def private_dir(env: Mapping[str, str]) -> Iterator[Path]:
    """Make the directory of a Ray, and remove it with what is in it.

    Parameters
    ----------
    env : Mapping
        RAY_TMPDIR and TMPDIR say where, before /tmp.

    Raises
    ------
    SettingsError
        If none of these is writable, short enough and on this node.
    """
    root = _temp_root(env)
    _sweep(root)
    with signals_held():
        temp_dir = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        owner = os.open(temp_dir / _OWNER_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(owner, fcntl.LOCK_EX)
        os.write(owner, f"{os.getpid()}\n".encode())
    try:
        yield temp_dir
    finally:
        with signals_held():
            shutil.rmtree(temp_dir, ignore_errors=True)
            os.close(owner)


def _temp_root(env: Mapping[str, str]) -> Path:
    given = [env.get("RAY_TMPDIR"), env.get("TMPDIR"), "/tmp"]
    candidates = [Path(path) for path in given if path]
    for path in candidates:
        is_usable = len(str(path)) <= MAX_ROOT_LENGTH and path.is_dir() and os.access(path, os.W_OK | os.X_OK)
        if is_usable and not mount_of(path.resolve()).is_network:
            return path
    tried = ", ".join(map(str, dict.fromkeys(candidates)))
    raise SettingsError(
        f"No directory for Ray's sockets: tried {tried}. Set RAY_TMPDIR to a writable directory on this node's own "
        f"disk (not a network file system) of at most {MAX_ROOT_LENGTH} characters."
    )


def _sweep(root: Path) -> None:
    """Remove directories that killed runs left behind: their owner holds no lock."""
    for temp_dir in root.glob(f"{_PREFIX}*"):
        owner_file = temp_dir / _OWNER_NAME
        with suppress(OSError):
            if temp_dir.stat().st_uid != os.getuid() or not owner_file.stat().st_size:
                continue
            with owner_file.open("rb") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(temp_dir, ignore_errors=True)
