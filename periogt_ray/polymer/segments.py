"""Segments: the files of a feature store, each with many entries and one writer, and where the entries are in them.

::

    <directory>/<time of making>-<8 hex digits>.segment     records (runtime/record_file.py); then, of a sealed one:
                                                            a record with the index, and 16 bytes that lead to it

A writer appends to a segment until it has its size, then seals it with an index, and begins another one. A segment that
is not sealed is being written, or its writer has ended: the index of such a one is made by going through its records.

When is a writer dead? Its process may be on another node, so only time tells. A writer does not append to a segment
that it has not appended to for half of ``LEASE_S``. So a segment that is not sealed and has not changed for
``LEASE_S``, by the clock of the file system, has no writer any more, and others may replace it (compaction.py).
"""

import errno
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from periogt_ray.runtime.files import PRIVATE_MODE, atomic_file
from periogt_ray.runtime.record_file import (
    Record,
    RecordFile,
    content_of,
    encoded,
    read_at,
    records_in,
    records_of,
)

__all__ = [
    "LEASE_S",
    "Segment",
    "SegmentIndex",
    "SegmentWriter",
    "entries_of",
    "is_sealed",
    "new_segment_path",
    "segments_in",
    "write_segment",
]

LEASE_S = 3600.0
_SUFFIX = ".segment"
_INDEX_KEY = b"\xff" * 16
_END_MAGIC = b"PEndSegm"
_END_BYTES = 8 + len(_END_MAGIC)
_ENTRY = np.dtype([("prefix", "<u8"), ("offset", "<u8"), ("n_bytes", "<u4")])
_PLACE = np.dtype([("prefix", "<u8"), ("segment", "<u4"), ("n_bytes", "<u4"), ("offset", "<u8")])
_MOST_OPEN = 64  # files; a process may often have 1024
_MOST_RECENT = 1 << 14  # entries in a dictionary, 200 bytes each; the others take 24 bytes
_PREFIX_BYTES = 8  # of the key; the record has all of it
_TOUCH_AFTER_S = 3600.0  # a network file system is spared a write for every read
# Looking for new segments takes at most a twentieth of the time.
_LEAST_PAUSE_S = 1.0
_PAUSE_TO_LOOK = 20.0


class Segment(NamedTuple):
    """A segment as the directory shows it."""

    path: Path
    n_bytes: int
    changed_s: float


def segments_in(directory: Path) -> list[Segment]:
    """Return the segments of a directory, the oldest first; what goes meanwhile is left out."""
    found = []
    for path in directory.glob(f"*{_SUFFIX}"):
        with suppress(FileNotFoundError):
            status = path.stat()
            found.append(Segment(path, status.st_size, status.st_mtime))
    return sorted(found)


def new_segment_path(directory: Path) -> Path:
    """Return a name that no other segment has; names are in the order of time."""
    return directory / f"{time.time_ns():020d}-{secrets.token_hex(4)}{_SUFFIX}"


class SegmentWriter:
    """The writer of one segment.

    Parameters
    ----------
    directory : pathlib.Path
        Of the segment; exists.
    """

    def __init__(self, directory: Path) -> None:
        self.path = new_segment_path(directory)
        # Not synced: what a power cut tears has a wrong checksum, and is computed again.
        self._file = RecordFile(self.path, is_synced=False)
        self._process = os.getpid()
        self._records: list[Record] = []
        self._appended_s = time.time()

    @property
    def n_bytes(self) -> int:
        """Size of the segment."""
        return self._file.n_bytes

    @property
    def is_usable(self) -> bool:
        """Whether this process may append: it has made the segment, and nobody can take it for abandoned."""
        return self._process == os.getpid() and 0 <= time.time() - self._appended_s < LEASE_S / 2

    def append(self, key: bytes, content: bytes) -> Record:
        """Append an entry and return where it is; OSError if it cannot be written."""
        record = self._file.append(key, content)
        self._records.append(record)
        self._appended_s = time.time()
        return record

    def seal(self) -> None:
        """Add the index and close the segment, which from then on does not change; OSError if it cannot be written."""
        if self._process != os.getpid():  # a fork's; the file is its parent's
            return
        try:
            index = self._file.append(_INDEX_KEY, _entries(self._records).tobytes())
            self._file.append_plain(_end(index.offset))
            self._file.sync()
        finally:
            self._file.close()


def write_segment(path: Path, entries: Mapping[bytes, bytes], *, changed_s: float) -> None:
    """Write a sealed segment, which gets its name when it is whole and on the disk; contents by key."""
    with atomic_file(path, mode=PRIVATE_MODE) as file:
        records, offset = [], 0
        for key, content in entries.items():
            records.append(Record(key, offset, file.write(encoded(key, content))))
            offset += records[-1].n_bytes
        file.write(encoded(_INDEX_KEY, _entries(records).tobytes()) + _end(offset))
        file.flush()
        os.utime(file.fileno(), (changed_s, changed_s))


def entries_of(path: Path) -> dict[bytes, bytes]:
    """Return the contents of the entries of a segment that are whole, by key."""
    content = path.read_bytes()
    found = (content_of(content[one.offset : one.offset + one.n_bytes]) for one in records_of(content)[0])
    return {key: entry for key, entry in found if key != _INDEX_KEY}


def is_sealed(path: Path) -> bool:
    """Whether a segment has its index; False where it is gone."""
    try:
        with path.open("rb") as file:
            return _index_in(file.fileno(), os.fstat(file.fileno()).st_size) is not None
    except FileNotFoundError:
        return False


@dataclass
class _Known:
    """A segment as far as it is known."""

    number: int
    end: int = 0  # of what has been taken up
    is_sealed: bool = False  # all of it is known, for ever
    touched_s: float = 0.0


class SegmentIndex:
    """Finds entries in all segments of a directory, also in those that others make and append to meanwhile.

    Parameters
    ----------
    directory : pathlib.Path
        Of the segments; need not exist.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._names: list[str] = []  # by number of the segment; those that are gone stay, so that numbers stay
        self._known: dict[str, _Known] = {}
        self._sorted = np.empty(0, _PLACE)
        self._prefixes = np.empty(0, np.uint64)  # of it; a search in one array is ten times as quick
        self._recent: dict[int, tuple[int, Record]] = {}
        self._open: OrderedDict[str, int] = OrderedDict()
        self._next_look_s = 0.0

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def find(self, key: bytes) -> bytes | None:
        """Return the content of an entry; None if there is none.

        Raises
        ------
        ValueError
            If it is damaged; it counts as absent from then on.
        """
        for _ in range(2):
            place = self._place(_prefix(key))
            if place is None:
                if not self.look():
                    return None
                continue
            number, offset, n_bytes = place
            name = self._names[number]
            try:
                found, content = content_of(read_at(self._file(name), offset, n_bytes))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESTALE):
                    raise
                # It was removed, and its entries may be in another one now.
                self._forget(name)
                self.look(is_forced=True)
                continue
            except ValueError:
                self._recent[_prefix(key)] = (number, Record(key, 0, 0))
                raise
            self._touch(name)
            return content if found == key else None
        return None

    def has(self, key: bytes) -> bool:
        """Whether there is an entry; it may turn out to be damaged."""
        return self._place(_prefix(key)) is not None or (self.look() and self._place(_prefix(key)) is not None)

    def note(self, path: Path, record: Record) -> None:
        """Take up an entry that this process has appended."""
        known = self._known_of(path.name)
        known.end = record.offset + record.n_bytes
        self._add(known.number, [record])

    def look(self, *, is_forced: bool = False) -> bool:
        """Look for what others have written, unless that was done just now; return whether it was done."""
        started_s = time.monotonic()
        if started_s < self._next_look_s and not is_forced:
            return False
        try:
            names = {entry.name for entry in os.scandir(self._directory) if entry.name.endswith(_SUFFIX)}
        except FileNotFoundError:
            names = set()
        for name in self._known.keys() - names:
            self._forget(name)
        sealed: list[np.ndarray] = []
        for name in sorted(name for name in names if name not in self._known or not self._known[name].is_sealed):
            with suppress(FileNotFoundError):
                sealed += self._read_on(name)
        if sealed or len(self._recent) > _MOST_RECENT:
            self._settle(sealed)
        ended_s = time.monotonic()
        self._next_look_s = ended_s + max(_LEAST_PAUSE_S, _PAUSE_TO_LOOK * (ended_s - started_s))
        return True

    def close(self) -> None:
        """Close the files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _place(self, prefix: int) -> tuple[int, int, int] | None:
        """Return number of the segment, offset and bytes of a record."""
        if prefix in self._recent:
            number, (_, offset, n_bytes) = self._recent[prefix]
        else:
            at = int(np.searchsorted(self._prefixes, np.uint64(prefix)))
            if at == len(self._prefixes) or int(self._prefixes[at]) != prefix:
                return None
            _, number, n_bytes, offset = self._sorted[at].item()
        return (number, offset, n_bytes) if n_bytes else None

    def _known_of(self, name: str) -> "_Known":
        if name not in self._known:
            self._known[name] = _Known(len(self._names))
            self._names.append(name)
        return self._known[name]

    def _read_on(self, name: str) -> Iterator[np.ndarray]:
        """Take up what a segment has more than before; yield the entries of one that is new and sealed."""
        is_new = name not in self._known
        descriptor = self._file(name)
        n_bytes = os.fstat(descriptor).st_size
        known = self._known_of(name)
        if n_bytes == known.end:
            return
        if is_new and (entries := _index_in(descriptor, n_bytes)) is not None:
            known.is_sealed = True
            places = np.empty(len(entries), _PLACE)
            for field in ("prefix", "offset", "n_bytes"):
                places[field] = entries[field]
            places["segment"] = known.number
            yield places
            return
        records, known.end = records_in(descriptor, known.end, n_bytes)
        known.is_sealed = any(record.key == _INDEX_KEY for record in records)
        self._add(known.number, [record for record in records if record.key != _INDEX_KEY])

    def _add(self, number: int, records: Iterable[Record]) -> None:
        for record in records:
            self._recent[_prefix(record.key)] = (number, record)

    def _settle(self, sealed: Sequence[np.ndarray]) -> None:
        """Bring the dictionary and new indexes into the array."""
        recent = np.array(
            [(prefix, number, one.n_bytes, one.offset) for prefix, (number, one) in self._recent.items()], _PLACE
        )
        # The last of equal ones counts, as one that was made again.
        everything = np.concatenate([self._sorted, *sealed, recent])[::-1]
        self._recent = {}
        _, first = np.unique(everything["prefix"], return_index=True)
        self._keep(everything[first])

    def _keep(self, places: np.ndarray) -> None:
        self._sorted = places
        self._prefixes = np.ascontiguousarray(places["prefix"])

    def _forget(self, name: str) -> None:
        """Drop a segment that is gone."""
        known = self._known.pop(name, None)
        if known is not None:
            self._recent = {prefix: place for prefix, place in self._recent.items() if place[0] != known.number}
            self._keep(self._sorted[self._sorted["segment"] != known.number])
        if name in self._open:
            os.close(self._open.pop(name))

    def _file(self, name: str) -> int:
        """Return an open file; the least recently used one is closed when there are many."""
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        descriptor = os.open(self._directory / name, os.O_RDONLY)
        self._open[name] = descriptor
        if len(self._open) > _MOST_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    def _touch(self, name: str) -> None:
        """Note in a sealed segment's time of change that it is in use."""
        known = self._known[name]
        now_s = time.time()
        if known.is_sealed and now_s - known.touched_s > _TOUCH_AFTER_S:
            known.touched_s = now_s
            with suppress(OSError):
                path = self._directory / name
                if now_s - path.stat().st_mtime > _TOUCH_AFTER_S:
                    os.utime(path)


def _index_in(descriptor: int, n_bytes: int) -> np.ndarray | None:
    """Return the entries of a sealed segment; None if it is not sealed."""
    end = read_at(descriptor, n_bytes - _END_BYTES, _END_BYTES) if n_bytes > _END_BYTES else b""
    offset = int.from_bytes(end[:8], "little")
    if not end.endswith(_END_MAGIC) or offset > n_bytes:
        return None
    try:
        key, content = content_of(read_at(descriptor, offset, n_bytes - _END_BYTES - offset))
        return np.frombuffer(content, _ENTRY) if key == _INDEX_KEY else None
    except ValueError:
        return None


def _entries(records: Sequence[Record]) -> np.ndarray:
    return np.array([(_prefix(one.key), one.offset, one.n_bytes) for one in records], _ENTRY)


def _end(index_offset: int) -> bytes:
    return index_offset.to_bytes(8, "little") + _END_MAGIC


def _prefix(key: bytes) -> int:
    return int.from_bytes(key[:_PREFIX_BYTES], "big")
