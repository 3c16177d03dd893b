"""Packages: finetuned properties of a user, each a directory that is served beside the published ones.

::

    <models>/<id>/package.json     what it is; written last, so that without it there is no package
    <models>/<id>/finetuned_ckpt/<id>/member_0.safetensors ...
    <models>/<id>/label_stats.json

Its networks need the encoder that they were trained with, because prompts come from it. A package whose encoder is
not the one present is listed with the reason.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from periogt_ray.artifacts.architecture import HEAD_FAMILIES, input_kind
from periogt_ray.artifacts.layout import LABEL_STATS_NAME, read_json
from periogt_ray.artifacts.manifest import RecordedFile, hash_of
from periogt_ray.artifacts.properties import ALIASES, PropertyInfo
from periogt_ray.artifacts.statistics import LabelStats, read_label_stats
from periogt_ray.errors import ModelLoadError, PerioGTError
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.runtime.files import PRIVATE_MODE, write_json_atomically

__all__ = [
    "PACKAGE_NAME",
    "LeftOut",
    "Package",
    "check_id",
    "encoder_hash",
    "find_packages",
    "package_info",
    "read_package",
    "scan_packages",
    "write_package",
]

logger = logging.getLogger(__name__)

PACKAGE_NAME = "package.json"
_FORMAT = "periogt-package"
_VERSION = 1
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_RESERVED = frozenset({"all", "base", "models", *ALIASES})
PREFIX = "models"  # of the paths that answers name


@dataclass(frozen=True)
class Package:
    """A finetuned property.

    Attributes
    ----------
    root : pathlib.Path
        Its directory.
    id, label, units : str
        Of the property.
    scheme : PromptScheme
        That the networks were trained with.
    members : tuple of str
        Weight files, relative to the directory.
    encoder_name, encoder_sha256 : str
        The pretrained network that they belong to.
    width : int
        Of the networks.
    data_sha256 : str
        Of the table that they were trained on.
    statistics : LabelStats
        Of the labels.
    files : Mapping of str to RecordedFile
        Every file of the package but package.json.
    summary : Mapping
        What was measured, for lists and cards.
    family : str
        Of the networks; ``copolymer`` for a property of copolymers.
    """

    root: Path
    id: str
    label: str
    units: str
    scheme: PromptScheme
    members: tuple[str, ...]
    encoder_name: str
    encoder_sha256: str
    width: int
    data_sha256: str
    statistics: LabelStats
    files: Mapping[str, RecordedFile]
    summary: Mapping[str, Any]
    family: str = "common"

    def problems(self, *, hashes: bool = True) -> list[str]:
        """Compare the files with what was recorded; return what differs, nothing if all is well."""
        found = ((name, record.difference(self.root / name, hashes=hashes)) for name, record in self.files.items())
        return [f"{name}: {difference}" for name, difference in found if difference is not None]


def check_id(text: str) -> str:
    """Return the id of a property if a package can have it.

    Raises
    ------
    ValueError
        It has other characters, or another meaning.

    Examples
    --------
    >>> check_id("my_eps")
    'my_eps'
    """
    if not _ID.fullmatch(text) or text in _RESERVED:
        raise ValueError(
            f"{text!r} cannot be the id of a property; expected at most 64 of a-z, 0-9, _ and -, and none of "
            f"{', '.join(sorted(_RESERVED))}"
        )
    return text


def write_package(
    root: Path, document: Mapping[str, Any], files: Mapping[str, RecordedFile], *, mode: int = PRIVATE_MODE
) -> None:
    """Write package.json, which makes a directory a package; for its owner only, unless ``mode`` says otherwise."""
    listed = {name: record._asdict() for name, record in files.items()}
    whole = {**document, "format": _FORMAT, "version": _VERSION, "files": listed}
    write_json_atomically(root / PACKAGE_NAME, whole, mode=mode)


def read_package(root: Path) -> Package:
    """Read what a package is; weights are not read.

    Raises
    ------
    ModelLoadError
        It is damaged, or of a later version.
    FileNotFoundError
        There is no package.
    """
    path = root / PACKAGE_NAME
    document = read_json(path)
    try:
        if document["format"] != _FORMAT or document["version"] != _VERSION:
            raise ValueError(f"expected {_FORMAT} of version {_VERSION}")
        files = {name: RecordedFile(int(e["size"]), str(e["sha256"])) for name, e in document["files"].items()}
        members = tuple(document["members"])
        if not members or not all(map(_is_inside, files)) or not set(members) <= set(files):
            raise ValueError("members that are no files of the package")
        property_id = check_id(document["id"])
        family = str(document.get("family", "common"))  # earlier packages are of repeat units
        if family not in HEAD_FAMILIES:
            raise ValueError(f"the unknown family {family!r}")
        encoder = document["encoder"]
        return Package(
            root=root,
            id=property_id,
            label=str(document["label"]),
            units=str(document["units"]),
            scheme=PromptScheme.named(document["scheme"], kind=input_kind(family)),
            members=members,
            encoder_name=str(encoder["name"]),
            encoder_sha256=str(encoder["sha256"]),
            width=int(encoder["width"]),
            data_sha256=str(document["data_sha256"]),
            statistics=read_label_stats(root / LABEL_STATS_NAME)[property_id],
            files=files,
            summary=dict(document.get("summary", {})),
            family=family,
        )
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        raise ModelLoadError(
            f"{path}: not a package that this version reads ({type(error).__name__}: {error}). Import it again, or "
            "remove the directory.",
            {"file": str(path)},
        ) from error


def _is_inside(path: object) -> bool:
    """Whether a path is relative and stays within the directory."""
    if not isinstance(path, str) or not path or "\\" in path:
        return False
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts


class LeftOut(NamedTuple):
    """A directory of a package that is not used.

    Attributes
    ----------
    name : str
        Of the directory.
    reason : str
        Why, for people; without a path of this machine.
    """

    name: str
    reason: str


def scan_packages(directory: Path | None) -> Iterator[Package | LeftOut]:
    """Yield what a directory of packages holds, sorted by name; one that is left out is in the log, too.

    Parameters
    ----------
    directory : pathlib.Path or None
        May not exist. None: there are none.
    """
    if directory is None or not directory.is_dir():
        return
    for root in sorted(path for path in directory.iterdir() if not path.name.startswith(".")):
        try:
            package = read_package(root)
        except (FileNotFoundError, NotADirectoryError):
            continue  # no package, or removed since the directory was listed
        except PermissionError:
            logger.warning(
                "left out: %s can be read by its owner only. The owner can share it: `periogt models export`, then "
                "`periogt models import --shared`.",
                root,
            )
            continue
        except PerioGTError as error:
            logger.warning("left out: %s", error.message)
            yield LeftOut(root.name, error.message.replace(f"{directory}/", ""))
            continue
        if package.id != root.name:
            reason = f"holds the property {package.id!r}; its directory must have this name"
            logger.warning("left out: %s %s", root, reason)
            yield LeftOut(root.name, f"it {reason}")
            continue
        yield package


def find_packages(directory: Path | None) -> Iterator[Package]:
    """Yield the packages of a directory, as :func:`scan_packages`, without what is left out."""
    return (found for found in scan_packages(directory) if isinstance(found, Package))


def package_info(package: Package, *, encoder_sha256: str) -> PropertyInfo:
    """Describe a package as a property, with the reason if it cannot be served beside an encoder."""
    paths = tuple(f"{PREFIX}/{package.id}/{name}" for name in package.members)
    reason = None
    if package.encoder_sha256 != encoder_sha256:
        reason = (
            f"it was finetuned from the encoder of {package.encoder_name} (SHA-256 {package.encoder_sha256[:12]}...), "
            "which is not the one present; its prompts come from it"
        )
    is_served = reason is None
    return PropertyInfo(
        package.id,
        package.label,
        package.units,
        paths[0],
        family=package.family,
        prompt_scheme=package.scheme,
        supported=is_served,
        reason=reason,
        members=paths if len(paths) > 1 else (),
    )


def encoder_hash(path: Path) -> str:
    """Return the SHA-256 of an encoder's file, which is read once while it does not change."""
    status = path.stat()
    return _hash(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _hash(path: Path, _size: int, _modified: int) -> str:
    return hash_of(path)
