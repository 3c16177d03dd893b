"""The record of what setup made: manifest, ready marker, and checks of a directory against them."""

import hashlib
import json
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from periogt_ray.artifacts.directory import (
    INDEX_NAME,
    LABEL_STATS_NAME,
    MANIFEST_NAME,
    ArtifactDirectory,
)
from periogt_ray.artifacts.inventory import weight_paths
from periogt_ray.errors import ModelLoadError, PerioGTError
from periogt_ray.runtime.files import sha256_of, write_bytes_atomically, write_json_atomically

__all__ = [
    "READY_NAME",
    "Finding",
    "is_outdated",
    "is_ready",
    "is_sibling",
    "location_warnings",
    "permission_warnings",
    "verify",
    "write_manifest",
    "write_ready",
]

READY_NAME = ".ready"
_FORMAT = "periogt-manifest"
# Index, statistics and scaler are below it, and are compared by hash even where weights are by size alone.
_SMALL_BYTES = 2**20

Level = Literal["pass", "warn", "fail"]


class Finding(NamedTuple):
    """One result of :func:`verify`: what was checked, how it stands, what to do."""

    level: Level
    check: str
    message: str


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


def _read_manifest(root: Path) -> dict[str, Any] | None:
    """Return the manifest if the ready marker was written for it."""
    try:
        marker = json.loads((root / READY_NAME).read_text(encoding="utf-8"))
        content = (root / MANIFEST_NAME).read_bytes()
        if marker["manifest_sha256"] != hashlib.sha256(content).hexdigest():
            return None
        manifest: dict[str, Any] = json.loads(content)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if manifest.get("format") == _FORMAT else None


def is_sibling(path: str, others: Iterable[str]) -> bool:
    """Whether a ``.pth`` file is what one of the safetensors files beside it was converted from."""
    stem, _, suffix = path.rpartition(".")
    return suffix != "safetensors" and f"{stem}.safetensors" in others


def is_ready(root: Path, *, keep_pth: bool = False) -> bool:
    """Whether setup has nothing left to do in a directory; takes milliseconds.

    Weights are compared by size, small files by hash; weight files put there since count as work to do.
    """
    manifest = _read_manifest(root)
    if manifest is None:
        return False
    files: dict[str, dict[str, Any]] = manifest["files"]
    for name, entry in files.items():
        path = root / name
        if not path.is_file() or path.stat().st_size != entry["size"]:
            return False
        if entry["size"] <= _SMALL_BYTES and sha256_of(path) != entry["sha256"]:
            return False
    others = set(weight_paths(root)) - set(files) - set(manifest["unused"])
    return all(keep_pth and is_sibling(path, files) and not is_outdated(root, path) for path in others)


def is_outdated(root: Path, path: str) -> bool:
    """Whether a ``.pth`` file is newer than the safetensors file beside it."""
    source = root / path
    return source.stat().st_mtime_ns > source.with_suffix(".safetensors").stat().st_mtime_ns


def _tree(root: Path) -> Iterator[Path]:
    """Yield a directory and everything setup makes in it."""
    yield root
    for name in ("pretrained_ckpt", "finetuned_ckpt"):
        if (root / name).is_dir():
            yield root / name
            yield from sorted((root / name).rglob("*"))
    yield from (path for path in sorted(root.iterdir()) if path.is_file() and not path.name.startswith("."))


def permission_warnings(root: Path) -> list[str]:
    """Say which parts of an artifact directory others may write to."""
    open_to_all, open_to_group = [], []
    for path in _tree(root):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        if mode & stat.S_IWOTH:
            open_to_all.append(path)
        elif mode & stat.S_IWGRP:
            open_to_group.append(path)
    warnings = []
    for paths, who in ((open_to_all, "every user of this machine"), (open_to_group, "its group")):
        if paths:
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            warnings.append(
                f"{paths[0]}{more} can be written by {who}, who could thereby change predictions or feed the program "
                f"files of theirs; run `chmod -R go-w {root}`."
            )
    return warnings


def location_warnings(root: Path) -> list[str]:
    """Say whether a directory lies on a file system that is purged."""
    path = root.resolve()
    if "scratch" not in path.parts:
        return []
    return [
        f"{path} is on scratch storage, which clusters purge (on Explorer every month): the artifacts will vanish. "
        "Keep them in a project directory, such as /projects/<group>/periogt, and set PERIOGT_CHECKPOINT_DIR."
    ]


def _manifest_findings(root: Path, *, hashes: bool) -> Iterator[Finding]:
    """Compare files with the manifest."""
    manifest = _read_manifest(root)
    if manifest is None:
        yield Finding(
            "warn", "manifest", f"{root} was not finished by `periogt setup`; run `periogt setup --skip-download`."
        )
        return
    n_bad = 0
    for name, entry in manifest["files"].items():
        path = root / name
        found = path.stat().st_size if path.is_file() else None
        is_small = entry["size"] <= _SMALL_BYTES
        if found == entry["size"] and ((hashes or is_small) and sha256_of(path) != entry["sha256"]):
            found_text = "another SHA-256"
        elif found != entry["size"]:
            found_text = "no file" if found is None else f"{found} bytes"
        else:
            continue
        n_bad += 1
        is_edited = name in (LABEL_STATS_NAME, INDEX_NAME)
        yield Finding(
            "warn" if is_edited and found is not None else "fail",
            "manifest",
            f"{path}: expected {entry['size']} bytes with SHA-256 {entry['sha256']}, found {found_text}; "
            "if that is meant, run `periogt setup --skip-download`, otherwise put an intact copy in its place.",
        )
    if n_bad == 0:
        compared = "SHA-256" if hashes else "size"
        yield Finding("pass", "manifest", f"{len(manifest['files'])} files agree with manifest.json by {compared}.")


def _load_findings(root: Path) -> Iterator[Finding]:
    """Load every artifact that predictions need."""
    try:
        opened = ArtifactDirectory.open(root)
        opened.scaler()
        opened.encoder_state_dict()
    except PerioGTError as error:
        yield Finding("fail", "load", error.message)
        return
    for property_id in opened.supported:
        try:
            state = opened.property_state_dict(property_id)
            if not state:
                raise ModelLoadError(f"{opened.property(property_id).checkpoint}: holds no tensors.")
        except PerioGTError as error:
            yield Finding("fail", "load", error.message)
        else:
            yield Finding("pass", "load", f"{property_id}: {len(state)} tensors load.")
    for property_id, info in opened.properties.items():
        if not info.supported:
            yield Finding("warn", "load", f"{property_id} is not served: {info.reason}.")


def verify(root: Path, *, hashes: bool = False, load: bool = True) -> list[Finding]:
    """Check an artifact directory: manifest, hashes, loadability, permissions, location.

    Parameters
    ----------
    root : pathlib.Path
        The directory.
    hashes : bool
        Compare weights by SHA-256 and not by size alone; takes seconds a gigabyte.
    load : bool
        Load every weight file that is served, one after the other.

    Returns
    -------
    list of Finding
        ``pass``, ``warn`` and ``fail``, in the order of the checks.
    """
    root = Path(root)
    if not root.is_dir():
        return [Finding("fail", "directory", f"no artifact directory at {root}; run `periogt setup`.")]
    findings = list(_manifest_findings(root, hashes=hashes))
    if load:
        findings += _load_findings(root)
    for check, warnings in (("permissions", permission_warnings(root)), ("location", location_warnings(root))):
        findings += [Finding("warn", check, text) for text in warnings]
        if not warnings:
            findings.append(Finding("pass", check, f"{root}: nothing to object to."))
    return findings
