"""A plain copy of a table that is compressed or in UTF-16: uncompressed, in UTF-8, so that parts of it can be read."""

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from periogt_ray.runtime.files import atomic_file
from periogt_ray.tables.text_format import HEAD_BYTES, table_error

__all__ = ["opened", "unpacked_head", "write_plain_copy"]

_CHUNK_BYTES = 1 << 20


@contextmanager
def opened(path: Path, *, is_gzip: bool) -> Iterator[BinaryIO]:
    """Open a file for reading, unpacked.

    Raises
    ------
    ValidationError
        While it is read, if the gzip is damaged.
    """
    with cast("BinaryIO", gzip.open(path, "rb")) if is_gzip else path.open("rb") as file:
        try:
            yield file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise table_error(
                "format", f"{path} is damaged gzip ({error}). Copy it again; gzip -t checks a file."
            ) from error


def unpacked_head(path: Path, *, is_gzip: bool) -> bytes:
    """Return how the content begins."""
    with opened(path, is_gzip=is_gzip) as file:
        return file.read(HEAD_BYTES)


def write_plain_copy(path: Path, copy: Path, *, is_gzip: bool, encoding: str) -> None:
    """Write the content of a file, unpacked and in UTF-8; the copy has its name when it is whole.

    Raises
    ------
    ValidationError
        If the file is damaged.
    OSError
        If the copy cannot be written.
    """
    with opened(path, is_gzip=is_gzip) as file, atomic_file(copy, mode=None, sync=False) as target:
        chunks: Iterable[bytes] = iter(lambda: file.read(_CHUNK_BYTES), b"")
        for chunk in chunks if encoding == "utf-8" else _in_utf8(chunks, encoding, path):
            target.write(chunk)


def _in_utf8(chunks: Iterable[bytes], encoding: str, path: Path) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeDecodeError as error:
        raise table_error(
            "encoding", f"{path} begins like UTF-16 and is damaged ({error.reason}). Save it again, as UTF-8."
        ) from error
