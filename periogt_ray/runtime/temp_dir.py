"""The directory of a Ray on this node: short, private, and gone when its Ray has ended."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from periogt_ray.errors import SettingsError
from periogt_ray.runtime.processes import signals_held

__all__ = ["private_dir", "sessions_dir"]

# Unix socket paths hold 107 characters, of which a session takes about 62.
_MAX_TEMP_DIR_LENGTH = 38
_PREFIX = "pgt-"
_OWNER_NAME = "owner"
# Sockets and shared memory do not work, or are slow, on these.
_NETWORK_FILE_SYSTEMS = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "panfs", "smb3"}
)


def sessions_dir(temp_dir: Path) -> Path:
    """Return the directory to name to Ray, which opens the one it is given to everybody."""
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
        length = len(str(path)) + 1 + len(_PREFIX) + 8  # mkdtemp appends eight characters
        if length <= _MAX_TEMP_DIR_LENGTH and path.is_dir() and os.access(path, os.W_OK | os.X_OK) and _is_local(path):
            return path
    tried = ", ".join(map(str, dict.fromkeys(candidates)))
    raise SettingsError(
        f"No directory for Ray's sockets: tried {tried}. Set RAY_TMPDIR to a writable directory on this node's own "
        f"disk (not a network file system) of at most {_MAX_TEMP_DIR_LENGTH - 9 - len(_PREFIX)} characters."
    )


def _is_local(path: Path) -> bool:
    """Whether a directory is on a file system of this node, by the longest mount point above it."""
    resolved = path.resolve()
    kinds: dict[Path, str] = {}
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount_point, kind, *_ = line.split(" ")
        kinds[Path(mount_point)] = kind
    above = next(
        parent for parent in (resolved, *resolved.parents, Path("/")) if parent in kinds or parent == Path("/")
    )
    return kinds.get(above, "") not in _NETWORK_FILE_SYSTEMS


def _sweep(root: Path) -> None:
    """Remove what runs left behind that were killed: directories of ours whose owner holds no lock."""
    for temp_dir in root.glob(f"{_PREFIX}*"):
        owner_file = temp_dir / _OWNER_NAME
        with suppress(OSError):
            if temp_dir.stat().st_uid != os.getuid() or not owner_file.stat().st_size:
                continue
            with owner_file.open("rb") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(temp_dir, ignore_errors=True)
