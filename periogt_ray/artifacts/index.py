"""index.json: which file holds which network, so that opening a directory reads no weight file."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from periogt_ray.artifacts.architecture import SERVED_FAMILIES, Architecture, input_kind
from periogt_ray.artifacts.inventory import Inventory, take_inventory
from periogt_ray.artifacts.layout import INDEX_NAME, LABEL_STATS_NAME, require_files
from periogt_ray.artifacts.manifest import read_finished_manifest, write_manifest, write_ready
from periogt_ray.artifacts.members import WeightFile
from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.artifacts.statistics import read_label_stats
from periogt_ray.errors import ModelLoadError
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.runtime.files import write_json_atomically

__all__ = ["DEFAULT_NAME", "Index", "change_scheme", "index_document", "read_index", "write_index"]

DEFAULT_NAME = "PerioGT"  # of a model that does not say its name
_FORMAT = "periogt-index"
_VERSION = 1


class Index(NamedTuple):
    """The content of index.json.

    Attributes
    ----------
    name : str
        Name of the model.
    inventory : Inventory
        The weight files.
    schemes : dict
        Prompt scheme by property id.
    """

    name: str
    inventory: Inventory
    schemes: dict[str, PromptScheme]


def index_document(
    inventory: Inventory, infos: Mapping[str, PropertyInfo], *, name: str = DEFAULT_NAME
) -> dict[str, Any]:
    """Return the content of index.json: relative paths only, equal for equal artifacts."""
    if inventory.encoder is None:
        raise ValueError("an index needs an encoder")
    properties = {}
    for property_id, info in infos.items():
        entry = asdict(info)
        del entry["id"]
        entry["prompt_scheme"] = info.prompt_scheme.name
        if info.members:
            entry["members"] = list(info.members)
        else:
            del entry["members"]
        properties[property_id] = {**entry, "dims": inventory.properties[property_id].architecture.dims}
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "name": name,
        "encoder": {"checkpoint": inventory.encoder.path, "dims": inventory.encoder.architecture.dims},
        "properties": properties,
    }


def write_index(root: Path, *, scheme: PromptScheme = PromptScheme.RELEASE, name: str = DEFAULT_NAME) -> dict[str, Any]:
    """Take an inventory and write index.json atomically; returns its content.

    Parameters
    ----------
    root : pathlib.Path
        A complete artifact directory.
    scheme : PromptScheme
        Prompt scheme that the checkpoints were trained with.
    name : str
        Name of the model.

    Raises
    ------
    CheckpointMissingError, ModelLoadError
        As for :meth:`~periogt_ray.artifacts.directory.ArtifactDirectory.open`.
    """
    inventory = take_inventory(root)
    require_files(root, inventory)
    schemes = {
        key: PromptScheme.named(scheme.name, kind=input_kind(file.architecture.family))
        for key, file in inventory.properties.items()
    }
    infos = inventory.infos(set(read_label_stats(root / LABEL_STATS_NAME)), schemes=schemes)
    document = index_document(inventory, infos, name=name)
    write_json_atomically(root / INDEX_NAME, document)
    return document


def change_scheme(root: Path, property_id: str, scheme: PromptScheme) -> None:
    """Write another prompt scheme of a property into index.json, and its new hash into a finished manifest.

    Where there is no index that can be used here, one is written.
    """
    known = read_index(root)
    inventory = take_inventory(root) if known is None else known.inventory
    schemes = {**({} if known is None else known.schemes), property_id: scheme}
    infos = inventory.infos(set(read_label_stats(root / LABEL_STATS_NAME)), schemes=schemes)
    manifest = read_finished_manifest(root)
    document = index_document(inventory, infos, name=DEFAULT_NAME if known is None else known.name)
    write_json_atomically(root / INDEX_NAME, document)
    if manifest is not None:
        write_manifest(root, manifest.files, unused=manifest.unused)
        write_ready(root)


def read_index(root: Path) -> Index | None:
    """Read index.json; None if there is none that can be used here.

    An index with another format, with absolute paths or of a later version is not an error: the
    weights themselves say what they are. What they do not say is their prompt scheme.

    Raises
    ------
    ModelLoadError
        The index is of this version and names a prompt scheme that does not exist.
    """
    try:
        document = json.loads((root / INDEX_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        return None
    try:
        encoder, entries = document["encoder"], document["properties"]
        paths = [encoder["checkpoint"], *(entry["checkpoint"] for entry in entries.values())]
        paths += [path for entry in entries.values() for path in entry.get("members", ())]
        if document["version"] != _VERSION or not all(map(_is_inside, paths)):
            return None
        schemes = {key: _scheme(root, key, entry) for key, entry in entries.items()}
        files = {key: _indexed_file(entry) for key, entry in entries.items()}
        encoder_file = _indexed_file({**encoder, "family": "encoder"})
        return Index(str(document["name"]), Inventory(encoder_file, files), schemes)
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _is_inside(path: Any) -> bool:
    """Whether a path from an index is relative and stays within the directory."""
    return isinstance(path, str) and path != "" and not path.startswith("/") and ".." not in PurePosixPath(path).parts


def _scheme(root: Path, property_id: str, entry: Mapping[str, Any]) -> PromptScheme:
    """Look up the prompt scheme of a property in the index; its name means different settings for other inputs."""
    kind = input_kind(str(entry["family"]))
    try:
        return PromptScheme.named(entry["prompt_scheme"], kind=kind)
    except ModelLoadError as error:
        path = root / INDEX_NAME
        raise ModelLoadError(
            f"{path}: property {property_id!r}: {error.message} Correct it, or update periogt_ray.", {"file": str(path)}
        ) from error


def _indexed_file(entry: Mapping[str, Any]) -> WeightFile:
    """Rebuild what the inventory knew of a file from its entry in the index."""
    family = str(entry["family"])
    is_known = family in SERVED_FAMILIES
    if is_known and not isinstance(entry["dims"]["width"], int):
        raise TypeError("a width is a number")
    reason = None if is_known else str(entry["reason"] or "a network of another kind")
    members = tuple(entry.get("members", ()))
    if members and members[0] != entry["checkpoint"]:
        raise ValueError("the checkpoint is the first member")
    return WeightFile(entry["checkpoint"], Architecture(family, dict(entry["dims"]), reason), members)
