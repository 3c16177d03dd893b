"""Findings about an artifact directory: whether it agrees with its manifest, loads, and is safe where it lies."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.layout import INDEX_NAME, LABEL_STATS_NAME, WEIGHT_FOLDERS
from periogt_ray.artifacts.manifest import read_finished_manifest
from periogt_ray.errors import ModelLoadError, PerioGTError

__all__ = ["Finding", "location_warnings", "permission_warnings", "verify"]

Level = Literal["pass", "warn", "fail"]


class Finding(NamedTuple):
    """One result of :func:`verify`: what was checked, how it stands, what to do."""

    level: Level
    check: str
    message: str


def _tree(root: Path) -> Iterator[Path]:
    """Yield a directory and everything setup makes in it."""
    yield root
    for name in WEIGHT_FOLDERS:
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
                f"{paths[0]}{more} can be written by {who}, who could change predictions or give the program other "
                f"files; run `chmod -R go-w {root}`."
            )
    return warnings


def location_warnings(root: Path) -> list[str]:
    """Say whether a directory lies on a file system that is purged."""
    path = root.resolve()
    if "scratch" not in path.parts:
        return []
    return [
        f"{path} is on scratch storage, which clusters delete regularly (on Explorer every month). Artifacts get lost "
        "there. Keep them in a project directory, such as /projects/<group>/periogt, and set PERIOGT_CHECKPOINT_DIR."
    ]


def _manifest_findings(root: Path, *, hashes: bool) -> Iterator[Finding]:
    """Compare files with the manifest."""
    manifest = read_finished_manifest(root)
    if manifest is None:
        yield Finding(
            "warn", "manifest", f"{root} was not finished by `periogt setup`; run `periogt setup --skip-download`."
        )
        return
    n_bad = 0
    for name, recorded in manifest.files.items():
        path = root / name
        difference = recorded.difference(path, hashes=hashes)
        if difference is None:
            continue
        n_bad += 1
        is_edited = name in (LABEL_STATS_NAME, INDEX_NAME) and path.is_file()
        yield Finding(
            "warn" if is_edited else "fail",
            "manifest",
            f"{path}: expected {recorded.size} bytes with SHA-256 {recorded.sha256}, found {difference}; "
            "if the change is yours, run `periogt setup --skip-download`; otherwise put an intact copy in its place.",
        )
    if n_bad == 0:
        compared = "SHA-256" if hashes else "size"
        yield Finding("pass", "manifest", f"{len(manifest.files)} files agree with manifest.json by {compared}.")


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
        paths = opened.property(property_id).weight_paths
        try:
            n_tensors = 0
            for member, path in enumerate(paths):
                state = opened.property_state_dict(property_id, member=member)
                if not state:
                    raise ModelLoadError(f"{path}: holds no tensors.")
                n_tensors += len(state)
        except PerioGTError as error:
            yield Finding("fail", "load", error.message)
        else:
            of_members = f" of {len(paths)} members" if len(paths) > 1 else ""
            yield Finding("pass", "load", f"{property_id}: {n_tensors} tensors{of_members} load.")
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
        Compare weights by SHA-256, not only by size; this takes seconds for each gigabyte.
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
