"""manifest.json, the record of what setup made, and the ready marker that holds for exactly one manifest."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from periogt_ray.artifacts.inventory import is_outdated, is_sibling, weight_paths
from periogt_ray.artifacts.layout import MANIFEST_NAME, READY_NAME, read_json
from periogt_ray.errors import ModelLoadError
from periogt_ray.runtime.files import sha256_of, write_bytes_atomically, write_json_atomically

__all__ = [
    "Manifest",
    "RecordedFile",
    "hash_of",
    "is_ready",
    "read_finished_manifest",
    "read_manifest",
    "remove_manifest",
    "write_manifest",
    "write_ready",
]

_FORMAT = "periogt-manifest"
# Index, statistics and scaler are below it, and are compared by hash even where weights are by size alone.
_SMALL_BYTES = 2**20


def hash_of(path: Path) -> str:
    """Return the SHA-256 of an artifact's file as hex digits.

    Raises
    ------
    ModelLoadError
        If this user may not read it, or the disk fails.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise ModelLoadError(
            f"{path} cannot be read: {error.strerror}. Ask its owner for permission to read it, or fetch the artifacts "
            "anew with `periogt setup`.",
            {"file": str(path)},
        ) from error


class RecordedFile(NamedTuple):
    """What setup recorded of a file: bytes, and SHA-256 as hex digits."""

    size: int
    sha256: str

    def difference(self, path: Path, *, hashes: bool = False) -> str | None:
        """Say how a file differs from the record, None if it does not.

        Parameters
        ----------
        path : pathlib.Path
            The file, which may not exist.
        hashes : bool
            Compare a large file by its hash, too; a small one always is.
        """
        if not path.is_file():
            return "no file"
        size = path.stat().st_size
        if size != self.size:
            return f"{size} bytes"
        if (hashes or self.size <= _SMALL_BYTES) and sha256_of(path) != self.sha256:
            return "another SHA-256"
        return None


class Manifest(NamedTuple):
    """What setup recorded of a directory.

    Attributes
    ----------
    files : dict
        Relative path -> what was recorded, for the artifacts that are used.
    unused : frozenset of str
        Weight files that lie there besides.
    """

    files: dict[str, RecordedFile]
    unused: frozenset[str] = frozenset()


def write_manifest(root: Path, paths: Iterable[str], *, unused: Iterable[str] = ()) -> None:
    """Write manifest.json: size and SHA-256 of every artifact by relative path.

    Parameters
    ----------
    root : pathlib.Path
        The artifact directory.
    paths : iterable of str
        Artifacts that are used.
    unused : iterable of str
        Weight files that lie there besides.
    """
    files = {name: {"size": (root / name).stat().st_size, "sha256": sha256_of(root / name)} for name in sorted(paths)}
    document = {"format": _FORMAT, "version": 1, "files": files, "unused": sorted(unused)}
    write_json_atomically(root / MANIFEST_NAME, document)


def write_ready(root: Path) -> None:
    """Write the ready marker, which holds for exactly this manifest."""
    marker = {"manifest_sha256": sha256_of(root / MANIFEST_NAME)}
    write_bytes_atomically(root / READY_NAME, f"{json.dumps(marker)}\n".encode())


def remove_manifest(root: Path) -> None:
    """Remove the marker, then the manifest: without the marker the rest is known to be in the making."""
    for name in (READY_NAME, MANIFEST_NAME):
        (root / name).unlink(missing_ok=True)


def read_manifest(root: Path) -> Manifest | None:
    """Return what setup recorded; None without a manifest.

    Raises
    ------
    ModelLoadError
        The file is not a manifest.
    """
    path = root / MANIFEST_NAME
    if not path.is_file():
        return None
    document = read_json(path)
    try:
        files = {name: RecordedFile(int(e["size"]), str(e["sha256"])) for name, e in document["files"].items()}
        return Manifest(files, frozenset(document.get("unused", ())))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelLoadError(f"{path}: not a manifest as `periogt setup` writes it ({error!r}).") from error


def read_finished_manifest(root: Path) -> Manifest | None:
    """Return the manifest if the ready marker was written for it."""
    try:
        marker = json.loads((root / READY_NAME).read_text(encoding="utf-8"))
        if marker["manifest_sha256"] != sha256_of(root / MANIFEST_NAME):
            return None
        return read_manifest(root)
    except (OSError, ValueError, KeyError, TypeError, ModelLoadError):
        return None


def is_ready(root: Path, *, keep_pth: bool = False) -> bool:
    """Whether setup has nothing left to do in a directory; takes milliseconds.

    Weights are compared by size, small files by hash; weight files put there since count as work to do.
    """
    manifest = read_finished_manifest(root)
    if manifest is None:
        return False
    if any(recorded.difference(root / name) is not None for name, recorded in manifest.files.items()):
        return False
    others = set(weight_paths(root)) - set(manifest.files) - manifest.unused
    return all(keep_pth and is_sibling(path, manifest.files) and not is_outdated(root, path) for path in others)
