"""Atomic writes, directories of known mode, and hashes of files."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

__all__ = [
    "DIRECTORY_MODE",
    "FILE_MODE",
    "PRIVATE_DIRECTORY_MODE",
    "PRIVATE_MODE",
    "atomic_file",
    "make_directory",
    "sha256_of",
    "sync_directory",
    "write_bytes_atomically",
    "write_json_atomically",
]

# Artifacts are read by a group and written by one: independent of the umask, which is 002 on many clusters.
FILE_MODE = 0o644
PRIVATE_MODE = 0o600
DIRECTORY_MODE = 0o755
PRIVATE_DIRECTORY_MODE = 0o700
_CHUNK_BYTES = 2**22


@contextmanager
def atomic_file(
    path: Path, *, mode: int | None = FILE_MODE, sync: bool = True, is_text: bool = False
) -> Iterator[IO[Any]]:
    """Open a file for writing. It gets its name when the block ends; if the block raises, it is removed.

    The name holds the old content or all of the new one, also after a power cut. What a killed process leaves is
    named ``.<name>.<8 hex digits>.part``.

    Parameters
    ----------
    path : pathlib.Path
        The name.
    mode : int or None
        Permissions; None: those of any new file of this user, by the umask.
    sync : bool
        Whether to wait for the disk. Without, a power cut may leave a file of the right name and any content.
    is_text : bool
        Whether it takes text, written as UTF-8 with line ends as they are given, instead of bytes.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
    try:
        mode_of_open: str = "w" if is_text else "wb"
        encoding, newline = ("utf-8", "") if is_text else (None, None)
        with os.fdopen(descriptor, mode_of_open, encoding=encoding, newline=newline) as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            yield file
            file.flush()
            if sync:
                os.fsync(descriptor)
        temporary.replace(path)
        if sync:
            sync_directory(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes_atomically(path: Path, content: bytes, *, mode: int | None = FILE_MODE, sync: bool = True) -> None:
    """Write a file with :func:`atomic_file`."""
    with atomic_file(path, mode=mode, sync=sync) as file:
        file.write(content)


def sync_directory(directory: Path) -> None:
    """Make sure that a rename is on the disk before the next step."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json_atomically(path: Path, document: Any, *, mode: int | None = FILE_MODE) -> None:
    """Write a JSON document with sorted keys; equal documents give equal bytes."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes_atomically(path, f"{text}\n".encode(), mode=mode)


def make_directory(path: Path, *, mode: int = DIRECTORY_MODE) -> None:
    """Make a directory and its missing parents, all with one mode; only their owner can write to them.

    A directory that exists keeps its mode.
    """
    if not path.parent.exists():
        make_directory(path.parent, mode=mode)
    path.mkdir(mode=mode, exist_ok=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
