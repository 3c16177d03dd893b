"""Files of records that one process appends to: what a killed writer leaves at the end is recognised and ignored.

::

    record     32 bytes header, content
    header     "PRec", uint32 length of the content, 16 bytes key, uint32 CRC-32 of the content, uint32 CRC-32 of these

A file has one writer, which makes it under a name that no other file has (``O_EXCL``) and appends to it; others read it
meanwhile. No lock is needed, so network file systems may be mounted without any. What is relied on: bytes do not change
once they were written, and the name leads to the file until it is removed. A record counts when its checksum is right.
Behind a damaged one reading goes on at the next one that is whole.
"""

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from periogt_ray.runtime.files import PRIVATE_MODE, sync_directory

__all__ = ["KEY_BYTES", "Record", "RecordFile", "content_of", "encoded", "read_at", "records_in", "records_of"]

KEY_BYTES = 16
_MAGIC = b"PRec"
_HEAD = struct.Struct(f"<4sI{KEY_BYTES}sI")
_CHECKSUM = struct.Struct("<I")
_HEADER_BYTES = _HEAD.size + _CHECKSUM.size


class Record(NamedTuple):
    """Where a record is.

    Attributes
    ----------
    key : bytes
        16 bytes that name it.
    offset : int
        Of its first byte in the file.
    n_bytes : int
        Of all of it.
    """

    key: bytes
    offset: int
    n_bytes: int


def encoded(key: bytes, content: bytes) -> bytes:
    """Return the bytes of a record.

    Examples
    --------
    >>> content_of(encoded(b"k" * 16, b"content"))
    (b'kkkkkkkkkkkkkkkk', b'content')
    """
    head = _HEAD.pack(_MAGIC, len(content), key, zlib.crc32(content))
    return head + _CHECKSUM.pack(zlib.crc32(head)) + content


def content_of(record: bytes) -> tuple[bytes, bytes]:
    """Return key and content of the bytes of a record; ValueError if they are not those of a whole one."""
    head = _head(record)
    content = record[_HEADER_BYTES:]
    if head is None or head.n_bytes != len(content):
        raise ValueError("there is no record, or it is cut")
    if zlib.crc32(content) != head.checksum:
        raise ValueError("the checksum of the record is wrong")
    return head.key, content


class _Head(NamedTuple):
    n_bytes: int
    key: bytes
    checksum: int


def _head(header: bytes, place: int = 0) -> _Head | None:
    """Return the content of a header; None if the bytes are not a header."""
    if len(header) < place + _HEADER_BYTES:
        return None
    magic, n_bytes, key, checksum = _HEAD.unpack_from(header, place)
    [own] = _CHECKSUM.unpack_from(header, place + _HEAD.size)
    is_header = magic == _MAGIC and own == zlib.crc32(header[place : place + _HEAD.size])
    return _Head(n_bytes, key, checksum) if is_header else None


def read_at(descriptor: int, offset: int, n_bytes: int) -> bytes:
    """Return the bytes at a place of an open file, fewer at its end."""
    found = os.pread(descriptor, n_bytes, offset)
    while found and len(found) < n_bytes and (more := os.pread(descriptor, n_bytes - len(found), offset + len(found))):
        found += more
    return found


def records_in(descriptor: int, start: int, end: int) -> tuple[list[Record], int]:
    """Find the records in a part of an open file by their headers, without their contents.

    Parameters
    ----------
    descriptor : int
        Of the file.
    start, end : int
        Where a record begins, and the size of the file.

    Returns
    -------
    records : list of Record
        Those that are there, in order. A content may still be damaged: who reads it checks it.
    end : int
        Where the last one ends: who looks again goes on there.
    """
    found: list[Record] = []
    while start + _HEADER_BYTES <= end:
        head = _head(read_at(descriptor, start, _HEADER_BYTES))
        if head is None or start + _HEADER_BYTES + head.n_bytes > end:
            more, after = records_of(read_at(descriptor, start, end - start), offset=start)
            return found + more, after
        found.append(Record(head.key, start, _HEADER_BYTES + head.n_bytes))
        start = found[-1].offset + found[-1].n_bytes
    return found, start


def records_of(content: bytes, *, offset: int = 0) -> tuple[list[Record], int]:
    """Find the records in a part of a file that are whole; damaged ones are passed over.

    Parameters
    ----------
    content : bytes
        From the beginning of a record on.
    offset : int
        Where that is in the file.

    Returns
    -------
    records : list of Record
        In order.
    end : int
        Where the last one ends in the file.
    """
    found: list[Record] = []
    place = end = 0
    while (place := content.find(_MAGIC, place)) >= 0:
        head = _head(content, place)
        n_bytes = 0 if head is None else _HEADER_BYTES + head.n_bytes
        if head is None or zlib.crc32(content[place + _HEADER_BYTES : place + n_bytes]) != head.checksum:
            place += 1
            continue
        found.append(Record(head.key, offset + place, n_bytes))
        place = end = place + n_bytes
    return found, offset + end


class RecordFile:
    """The writer of a new file of records.

    Parameters
    ----------
    path : pathlib.Path
        Of the file; must not exist.
    is_synced : bool
        Whether a record is on the disk when :meth:`append` returns. Without, a power cut may cost those of the last
        half minute; the end of the process costs none.

    Attributes
    ----------
    n_bytes : int
        Written so far.
    """

    def __init__(self, path: Path, *, is_synced: bool) -> None:
        self.path = path
        self.n_bytes = 0
        self._is_synced = is_synced
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._descriptor = os.open(path, flags, PRIVATE_MODE)
        if is_synced:
            sync_directory(path.parent)

    def append(self, key: bytes, content: bytes) -> Record:
        """Append a record and return where it is; OSError if it cannot be written."""
        record = encoded(key, content)
        try:
            self._write(record)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.n_bytes)
            self.n_bytes = os.fstat(self._descriptor).st_size  # what is left of the record, readers pass over
            raise
        place = Record(key, self.n_bytes, len(record))
        self.n_bytes += len(record)
        return place

    def append_plain(self, content: bytes) -> None:
        """Append bytes that are no record, which readers pass over."""
        self._write(content)
        self.n_bytes += len(content)

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[os.write(self._descriptor, left) :]
        if self._is_synced:
            os.fsync(self._descriptor)

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; it is complete at any time."""
        os.close(self._descriptor)
