"""Files that are whole or not there: atomic writes, directories of known mode, hashes."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

__all__ = [
    "FILE_MODE",
    "make_directory",
    "sha256_of",
    "write_bytes_atomically",
    "write_json_atomically",
]

# Artifacts are read by a group and written by one: independent of the umask, which is 002 on many clusters.
FILE_MODE = 0o644
_DIRECTORY_MODE = 0o755
_CHUNK_BYTES = 2**22


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Write a file so that its name holds the old content or all of the new one, also after a power cut.

    What a killed process leaves is named ``.<name>.<random>.part``.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), FILE_MODE)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        _sync_directory(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    """Have a rename reach the disk before anything that builds on it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json_atomically(path: Path, document: Any) -> None:
    """Write a JSON document with sorted keys; equal documents give equal bytes."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes_atomically(path, f"{text}\n".encode())


def make_directory(path: Path) -> None:
    """Make a directory and its parents, where they do not exist, so that only their owner writes to them."""
    if not path.parent.exists():
        make_directory(path.parent)
    path.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
