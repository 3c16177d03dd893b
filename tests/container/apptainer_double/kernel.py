"""Mounts and namespaces, by the C library."""

import ctypes
import os
from pathlib import Path

from .reporting import fatal

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_MOUNTS, _NEW_USER = 0x20000, 0x10000000
READ_ONLY, NO_SETUID, NO_DEVICES, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
# Flags of a mount that an ordinary user may not take off again: nosuid, nodev, noexec, noatime, nodiratime.
_LOCKED = NO_SETUID | NO_DEVICES | 8 | 1024 | 2048
_DETACH = 2
_PIVOT_ROOT = 155
_SET_NO_NEW_PRIVILEGES = 38


def _checked(result: int, what: str) -> None:
    if result != 0:
        fatal(f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source: str | Path | None, target: str | Path, kind: str | None, flags: int = 0, data: str = "") -> None:
    """Mount a file system."""
    names = [None if name is None else os.fsencode(name) for name in (source, target, kind)]
    result = _LIBC.mount(*names, ctypes.c_ulong(flags), data.encode() or None)
    _checked(result, f"mount {source or kind} on {target}")


def bind(source: str | Path, target: str | Path, *, read_only: bool = False) -> None:
    """Show a file or directory in another place."""
    mount(source, target, None, _BIND | _RECURSIVE)
    if read_only:
        remount_read_only(target)


def remount_read_only(target: str | Path, flags: int | None = None) -> None:
    """Make what is mounted at a place read-only there."""
    kept = os.statvfs(target).f_flag & _LOCKED if flags is None else flags
    mount(None, target, None, _BIND | _REMOUNT | READ_ONLY | kept)


def unmount(target: str | Path) -> None:
    """Take a mount off again, at once for those who look and in the end for those who use it."""
    _checked(_LIBC.umount2(os.fsencode(target), _DETACH), f"umount {target}")


def make_mounts_private() -> None:
    """Keep mounts of this process from others."""
    mount(None, "/", None, _RECURSIVE | _PRIVATE)


def unshare_mounts() -> bool:
    """Give this process mounts of its own; as an ordinary user also a user namespace, and then return True."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        _checked(_LIBC.unshare(_NEW_MOUNTS), "unshare")
        return False
    _checked(_LIBC.unshare(_NEW_USER | _NEW_MOUNTS), "unshare(user namespace)")
    Path("/proc/self/setgroups").write_text("deny")
    _map_ids(f"0 {uid} 1", f"0 {gid} 1")
    return True


def take_back_ids(uid: int, gid: int) -> None:
    """Turn from root of a user namespace to the caller's own user and group."""
    _checked(_LIBC.unshare(_NEW_USER), "unshare(user namespace 2)")
    _map_ids(f"{uid} 0 1", f"{gid} 0 1")


def _map_ids(users: str, groups: str) -> None:
    Path("/proc/self/uid_map").write_text(users)
    Path("/proc/self/gid_map").write_text(groups)


def change_root(root: str | Path) -> None:
    """Make a directory the root of this process, for good and without gaining privileges later."""
    os.chdir(root)
    _checked(_LIBC.syscall(_PIVOT_ROOT, b".", b"."), "pivot_root")
    _checked(_LIBC.umount2(b".", _DETACH), "umount old root")
    os.chdir("/")
    _LIBC.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
