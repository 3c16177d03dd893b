"""The weights in an artifact directory, for every layout of its archives.

Four layouts are known: ``finetuned_ckpt/<property>/best_model*.pth``,
``finetuned_ckpt/<property>/member_<k>.safetensors``, ``finetuned_ckpt/light/<property>.pth`` and
flat files. The property id comes from the path, the kind of network from the tensors' names and
shapes; the order in which a directory is listed plays no part.
"""

import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from periogt_ray.artifacts.architecture import Architecture, identify, input_kind
from periogt_ray.artifacts.members import WeightFile, gather_members, member_number
from periogt_ray.artifacts.properties import PROPERTIES, UNPUBLISHED, PropertyInfo, describe
from periogt_ray.artifacts.weight_files import WEIGHT_SUFFIXES, read_shapes
from periogt_ray.errors import ModelLoadError
from periogt_ray.polymer.prompt_scheme import PromptScheme

__all__ = [
    "Inventory",
    "file_property_id",
    "is_outdated",
    "is_sibling",
    "missing_statistics",
    "take_inventory",
    "weight_paths",
]

_MAX_DEPTH = 6
# Names that say nothing about the property: of directories, and of files.
_PLAIN_NAMES = frozenset(
    {
        "",
        "finetuned_ckpt",
        "pretrained_ckpt",
        "checkpoints",
        "finetuned",
        "pretrained",
        "light",
        "best",
        "model",
        "ckpt",
    }
)
_BEST_MODEL = re.compile(r"best_?model", re.IGNORECASE)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Inventory:
    """The weights of an artifact directory.

    Attributes
    ----------
    encoder : WeightFile or None
        The pretrained network.
    properties : Mapping of str to WeightFile
        One network a property, or its members; served or not.
    unused : tuple of str
        Weight files that another one of the same property or kind takes precedence over.
    families : frozenset of str
        The kinds of network that were found.
    """

    encoder: WeightFile | None
    properties: Mapping[str, WeightFile]
    unused: tuple[str, ...] = ()
    families: frozenset[str] = frozenset()

    def infos(
        self, statistics: Container[str], *, schemes: Mapping[str, PromptScheme] | None = None
    ) -> dict[str, PropertyInfo]:
        """Describe every property, with the reason for those that are not served.

        Parameters
        ----------
        statistics : container of str
            Ids in label_stats.json.
        schemes : Mapping, optional
            Prompt scheme by property id, where it is not that of the release.
        """
        width = self.encoder.architecture.dims["width"] if self.encoder else None
        infos = {}
        for property_id, file in sorted(self.properties.items()):
            label, units = describe(property_id)
            reason = _reason(property_id, file.architecture, width)
            if reason is None and property_id not in statistics:
                reason = missing_statistics(property_id)
            family, is_served = file.architecture.family, reason is None
            scheme = (schemes or {}).get(property_id) or PromptScheme.of_release(input_kind(family))
            infos[property_id] = PropertyInfo(
                property_id, label, units, file.path, family, scheme, is_served, reason, file.members
            )
        return infos


def missing_statistics(property_id: str) -> str:
    """Say why a property whose weights are there cannot be served."""
    return (
        f"label_stats.json has no mean and std for {property_id!r}, so the model's standardised output "
        "cannot be turned into a value"
    )


def _reason(property_id: str, architecture: Architecture, width: int | None) -> str | None:
    """Return why the network cannot be served beside an encoder of the given width."""
    if property_id in UNPUBLISHED:
        _, _, reason = UNPUBLISHED[property_id]
        found = architecture.reason or reason
        return found if found.startswith(reason) else f"{reason} ({found})"  # an index holds both
    if architecture.reason is not None:
        return architecture.reason
    if architecture.family == "encoder":
        return "holds the pretrained encoder, without a property head"
    if width is not None and architecture.dims["width"] != width:
        return f"its width is {architecture.dims['width']}, the pretrained encoder's {width}"
    return None


def weight_paths(root: Path) -> Iterator[str]:
    """Yield the weight files under a directory, relative, sorted; hidden names and links out of it are left out."""
    for directory, subdirectories, files in os.walk(root):
        depth = len(Path(directory).relative_to(root).parts)
        subdirectories[:] = sorted(
            name for name in subdirectories if not name.startswith((".", "__")) and depth < _MAX_DEPTH
        )
        for name in sorted(files):
            if name.endswith(WEIGHT_SUFFIXES) and not name.startswith("."):
                yield (Path(directory) / name).relative_to(root).as_posix()


def is_sibling(path: str, others: Iterable[str]) -> bool:
    """Whether a ``.pth`` file is what one of the safetensors files beside it was converted from."""
    stem, _, suffix = path.rpartition(".")
    return suffix != "safetensors" and f"{stem}.safetensors" in others


def is_outdated(root: Path, path: str) -> bool:
    """Whether a ``.pth`` file is newer than the safetensors file beside it."""
    source = root / path
    return source.stat().st_mtime_ns > source.with_suffix(".safetensors").stat().st_mtime_ns


def file_property_id(path: str) -> str | None:
    """Return the property id that a weight file's relative path stands for, None if it names none.

    ``finetuned_ckpt/eps/best_model.pth``, ``finetuned_ckpt/light/eps.pth``, ``eps.pth`` and
    ``best_model_eps.pth`` all stand for ``eps``.
    """
    parts = PurePosixPath(path)
    stem = parts.name.removesuffix(parts.suffix)
    if _BEST_MODEL.match(stem):
        stem = _BEST_MODEL.sub("", stem, count=1).strip("_-.")
        stem_is_plain = True
    else:
        stem_is_plain = stem.lower() in _PLAIN_NAMES or member_number(path) is not None
    parents = [name for name in reversed(parts.parent.parts) if name.lower() not in _PLAIN_NAMES]
    candidates = [*parents, stem] if stem_is_plain else [stem, *parents]
    known = [name for name in candidates if name in PROPERTIES or name in UNPUBLISHED]
    named = [name for name in candidates if name != stem or member_number(path) is None]
    usable = [name for name in known + named if _ID.fullmatch(name) and name.lower() not in _PLAIN_NAMES]
    return usable[0] if usable else None


def _preference(file: WeightFile) -> tuple[object, ...]:
    """Order files of the same property: a network we know, members, the converted file, then the shorter path."""
    is_known = file.architecture.family != "unknown"
    return (not is_known, not file.members, not file.path.endswith(".safetensors"), len(file.path), file.path)


def _encoder_preference(file: WeightFile) -> tuple[object, ...]:
    """Order pretrained encoders: pretrained_ckpt/ first, then the name ``base``."""
    path = PurePosixPath(file.path)
    return ("pretrained_ckpt" not in path.parts, not path.stem.startswith("base"), *_preference(file))


def _in_pretrained(path: str) -> bool:
    """Whether a file lies where the pretrained encoder belongs."""
    return "pretrained_ckpt" in PurePosixPath(path).parts[:-1]


def take_inventory(root: Path) -> Inventory:
    """Identify every weight file under a directory by its content.

    Raises
    ------
    ModelLoadError
        A file is corrupt, or what lies in ``pretrained_ckpt/`` is another network.
    """
    files = [WeightFile(path, identify(read_shapes(root / path))) for path in weight_paths(root)]
    encoders = [file for file in files if file.architecture.family == "encoder"]
    stray = [file for file in files if _in_pretrained(file.path) and file.architecture.family != "encoder"]
    if stray and not any(_in_pretrained(file.path) for file in encoders):
        found = stray[0].architecture
        raise ModelLoadError(
            f"{root / stray[0].path}: expected the pretrained encoder here, found the family {found.family!r}"
            f"{f' ({found.reason})' if found.reason else ''}. Put the encoder's weights in its place.",
            {"file": stray[0].path, "family": found.family},
        )
    encoder = min(encoders, key=_encoder_preference, default=None)
    by_property: dict[str, list[WeightFile]] = {}
    for file in gather_members(files):
        property_id = file_property_id(file.path)
        if _in_pretrained(file.path) or file == encoder or property_id in (None, "base"):
            continue
        by_property.setdefault(str(property_id), []).append(file)
    chosen = {key: min(candidates, key=_preference) for key, candidates in by_property.items()}
    used = {path for file in chosen.values() for path in file.paths} | ({encoder.path} if encoder else set())
    unused = tuple(file.path for file in files if file.path not in used)
    return Inventory(encoder, chosen, unused, frozenset(file.architecture.family for file in files))
