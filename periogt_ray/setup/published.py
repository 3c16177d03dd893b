"""The catalogue of what is published: files with their addresses, sizes and hashes, and label statistics."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit, urlunsplit

from periogt_ray.artifacts.statistics import LabelStats
from periogt_ray.errors import SettingsError

__all__ = ["PublishedFile", "Role", "load_published", "load_statistics", "mirrored"]

Role = Literal["encoder", "heads", "scaler", "labels", "split"]

# Room for published sizes that are rounded, and for files that never get large.
_SIZE_MARGIN = 1.2
_SMALLEST_LIMIT_BYTES = 16 * 2**20


@dataclass(frozen=True)
class PublishedFile:
    """A file that setup needs.

    Attributes
    ----------
    name : str
        Unique name, also of the file in a ``--from-dir`` directory; may contain ``/``.
    role : str
        ``encoder`` and ``heads`` are zip archives of weights, ``scaler`` and ``split`` pickles, ``labels`` a csv.
    url : str
        Published address.
    property_id : str or None
        The property of a ``labels`` or ``split`` file.
    size, approximate_bytes : int or None
        Exact size, and size to plan with, in bytes.
    md5, sha256 : str or None
        Hex digests, as far as they are published.
    column : str
        Of a ``labels`` file, the column of the labels.
    is_float32 : bool
        Of a ``labels`` file, whether training computed mean and deviation of the labels in float32; in float64 they
        differ in the eighth digit.
    """

    name: str
    role: Role
    url: str
    property_id: str | None = None
    size: int | None = None
    approximate_bytes: int = 0
    md5: str | None = None
    sha256: str | None = None
    column: str = "value"
    is_float32: bool = False

    @property
    def flat_name(self) -> str:
        """The name without directories: ``eat_split.pkl``, ``eat.csv``."""
        directory, _, name = self.name.rpartition("/")
        return name if not directory or name.startswith(directory.split("/")[-1]) else f"{directory}_{name}"

    @property
    def planned_bytes(self) -> int:
        """The size to plan with."""
        return self.size or self.approximate_bytes

    @property
    def limit_bytes(self) -> int:
        """The size above which this cannot be the file."""
        if self.size is not None:
            return self.size
        return max(int(self.planned_bytes * _SIZE_MARGIN), _SMALLEST_LIMIT_BYTES)


def _parse(entry: Mapping[str, Any]) -> PublishedFile:
    """Read one entry of a catalogue."""
    if entry["role"] not in ("encoder", "heads", "scaler", "labels", "split"):
        raise ValueError(f"unknown role {entry['role']!r}")
    if ".." in entry["name"].split("/") or entry["name"].startswith("/"):
        raise ValueError(f"name {entry['name']!r} leaves the directory")
    return PublishedFile(
        name=entry["name"],
        role=cast(Role, entry["role"]),
        url=entry["url"],
        property_id=entry.get("property"),
        size=entry.get("size"),
        approximate_bytes=int(entry.get("approximate_bytes", 0)),
        md5=entry.get("md5"),
        sha256=entry.get("sha256"),
        column=entry.get("column", "value"),
        is_float32=bool(entry.get("is_float32", False)),
    )


def _check_pairs(files: tuple[PublishedFile, ...]) -> None:
    """Hold that labels come with their split, and that names do not collide."""
    labels, splits = ({file.property_id for file in files if file.role == role} for role in ("labels", "split"))
    if labels != splits or None in labels:
        raise ValueError(f"labels of {labels} and splits of {splits}; each needs both")
    if len({file.flat_name for file in files}) != len(files):
        raise ValueError("two files of the same name")


def load_published(path: Path | None = None) -> tuple[PublishedFile, ...]:
    """Read the package's catalogue, or another one, for example of one's own checkpoints.

    Raises
    ------
    SettingsError
        The file cannot be read or is malformed.
    """
    document = _read(path)
    try:
        files = tuple(_parse(entry) for entry in document["files"])
        _check_pairs(files)
        return files
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _malformed(path, error) from error


def load_statistics(path: Path | None = None) -> dict[str, LabelStats]:
    """Read the label statistics of properties whose training rows are not published, by property id.

    Raises
    ------
    SettingsError
        The catalogue cannot be read or is malformed.
    """
    entries = _read(path).get("statistics", {})
    try:
        return {
            property_id: LabelStats(float(entry["mean"]), float(entry["std"]))
            for property_id, entry in entries.items()
            if property_id != "source"
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _malformed(path, error) from error


def _read(path: Path | None) -> dict[str, Any]:
    source = path if path is not None else resources.files("periogt_ray").joinpath("setup/published.json")
    try:
        document = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _malformed(path, error) from error
    if not isinstance(document, dict):
        raise _malformed(path, TypeError(f"found a {type(document).__name__}"))
    return document


def _malformed(path: Path | None, error: Exception) -> SettingsError:
    return SettingsError(
        f"catalogue {path or 'of the package'}: expected {{'files': [{{'name', 'role', 'url', ...}}], "
        f"'statistics': {{id: {{'mean', 'std'}}}}}} ({type(error).__name__}: {error})"
    )


def mirrored(url: str, mirror: str | None) -> str:
    """Return the address with scheme and host of a mirror, path and query kept.

    Raises
    ------
    SettingsError
        The mirror is not an http(s) address.
    """
    if not mirror:
        return url
    base = urlsplit(mirror)
    if base.scheme not in ("http", "https") or not base.netloc:
        raise SettingsError(
            f"PERIOGT_MIRROR is {mirror!r}; expected an address such as https://mirror.example.org or "
            "https://mirror.example.org/path, under which the published paths are found."
        )
    original = urlsplit(url)
    return urlunsplit((base.scheme, base.netloc, base.path.rstrip("/") + original.path, original.query, ""))
