"""Keeping a feature store small: few files, and not more bytes than its maximum.

A process that ends early leaves a small segment, so many processes leave many. Here the entries of small segments are
copied into a new one, which gets its name when it is whole and on the disk; then the small ones are removed. Killed
between the two, it leaves entries twice, which the next time makes once. Segments that may still have a writer are left
alone (see polymer/segments.py). Two processes at it together make the same entries twice at worst; the lock only saves
that work.
"""

import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from periogt_ray.polymer.segments import (
    LEASE_S,
    Segment,
    entries_of,
    is_sealed,
    new_segment_path,
    segments_in,
    write_segment,
)
from periogt_ray.runtime.files import PRIVATE_MODE

__all__ = ["compact", "trim"]

logger = logging.getLogger(__name__)

_LOCK = "compacting"
_LEFT_OVER = ".*.part"  # of a compaction that was killed
_SMALL_SHARE = 0.5  # of a segment's size; two of such make one
_KEPT_SHARE = 0.9  # of the maximum, so that not every entry calls for a look at all segments


def compact(directory: Path, *, segment_bytes: int, least: int = 16) -> int:
    """Make few segments of many small ones.

    Parameters
    ----------
    directory : pathlib.Path
        Of the segments.
    segment_bytes : int
        Size of a segment.
    least : int
        How many small ones have to be there.

    Returns
    -------
    int
        How many segments were replaced.
    """
    with _alone(directory) as now_s:
        if now_s is None:
            return 0
        for path in directory.glob(_LEFT_OVER):
            with suppress(FileNotFoundError):
                if now_s - path.stat().st_mtime > LEASE_S:
                    path.unlink()
        found = [one for one in segments_in(directory) if _may_be_replaced(one, now_s, segment_bytes)]
        if len(found) < least:
            return 0
        groups = _grouped(found, segment_bytes)
        for group in groups:
            _merge(directory, group)
        return sum(map(len, groups))


def trim(directories: Sequence[Path], *, max_bytes: int) -> int:
    """Remove the least recently used segments if all together are too large; return how many.

    Those that may have a writer count, and stay.
    """
    found = [one for directory in directories for one in segments_in(directory)]
    size = sum(one.n_bytes for one in found)
    if size <= max_bytes:
        return 0
    now_s = _clock(directories[0])
    n_removed = 0
    for one in sorted(found, key=lambda one: one.changed_s):
        if size <= _KEPT_SHARE * max_bytes:
            break
        if is_sealed(one.path) or now_s - one.changed_s > LEASE_S:
            one.path.unlink(missing_ok=True)
            size -= one.n_bytes
            n_removed += 1
    return n_removed


def _may_be_replaced(segment: Segment, now_s: float, segment_bytes: int) -> bool:
    if not is_sealed(segment.path):
        return now_s - segment.changed_s > LEASE_S
    return segment.n_bytes < _SMALL_SHARE * segment_bytes


def _grouped(found: Sequence[Segment], segment_bytes: int) -> list[list[Segment]]:
    """Divide segments into groups of about the size of one; a group of one that is sealed stays as it is."""
    groups: list[list[Segment]] = []
    size = segment_bytes
    for one in found:
        if size + one.n_bytes > segment_bytes:
            groups.append([])
            size = 0
        groups[-1].append(one)
        size += one.n_bytes
    return [group for group in groups if len(group) > 1 or not is_sealed(group[0].path)]


def _merge(directory: Path, group: Sequence[Segment]) -> None:
    entries: dict[bytes, bytes] = {}
    for one in group:
        with suppress(FileNotFoundError):
            entries.update(entries_of(one.path))
    if entries:
        # As old as the newest of them, for the order in which segments are removed.
        write_segment(new_segment_path(directory), entries, changed_s=max(one.changed_s for one in group))
    for one in group:
        one.path.unlink(missing_ok=True)
    logger.debug("%d segments in %s are one now.", len(group), directory)


@contextmanager
def _alone(directory: Path) -> Iterator[float | None]:
    """Keep others from compacting; yields the time by the file system's clock, None if another process is at it."""
    path = directory / _LOCK
    now_s = _clock(directory)
    with suppress(FileNotFoundError):
        if now_s - path.stat().st_mtime > LEASE_S:  # whoever made it was killed
            path.unlink(missing_ok=True)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE))
    except FileExistsError:
        yield None
        return
    try:
        yield now_s
    finally:
        path.unlink(missing_ok=True)


def _clock(directory: Path) -> float:
    """Return the time by which files in a directory get theirs; that of a file server may differ from this node's."""
    path = directory / f".clock.{secrets.token_hex(4)}.part"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
    try:
        os.write(descriptor, b".")
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)
