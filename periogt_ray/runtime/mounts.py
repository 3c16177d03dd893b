"""Which file system a path is on, and whether other machines share it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mount", "mount_of", "read_mounts", "unescaped"]

_MOUNTS = Path("/proc/self/mounts")
# Unix sockets and shared memory do not work, or are slow, on these.
_NETWORK_FILE_SYSTEMS = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "panfs", "smb3"}
)


@dataclass(frozen=True)
class Mount:
    """One mounted file system.

    Attributes
    ----------
    point : pathlib.Path
        Where it is mounted.
    kind : str
        Type as the kernel names it, such as ``ext4``.
    """

    point: Path
    kind: str

    @property
    def is_network(self) -> bool:
        """Whether the files are on other machines."""
        return self.kind in _NETWORK_FILE_SYSTEMS


def read_mounts() -> list[Mount]:
    """Return the mounts of this process in the order in which they were made; empty if the system lists none."""
    mounts = []
    try:
        text = _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:  # on macOS
        return []
    for line in text.splitlines():
        _, point, kind, *_ = line.split(" ")
        mounts.append(Mount(Path(unescaped(point)), kind))
    return mounts


def mount_of(path: Path, mounts: Sequence[Mount] | None = None) -> Mount:
    """Return the file system of a path: the deepest mount point at or above it.

    Of several mounts at one point the last one counts, because it covers the others.

    Parameters
    ----------
    path : pathlib.Path
        Absolute, without links.
    mounts : sequence of Mount, optional
        Default: those of this process.
    """
    found = Mount(Path("/"), "unknown")
    for mount in read_mounts() if mounts is None else mounts:
        if path.is_relative_to(mount.point) and len(mount.point.parts) >= len(found.point.parts):
            found = mount
    return found


def unescaped(text: str) -> str:
    """Put back blanks, tabs, newlines and backslashes, which the kernel writes as octal numbers; see fstab(5)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
