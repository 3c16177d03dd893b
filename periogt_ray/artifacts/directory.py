"""The artifact directory: encoder, property heads, label statistics, scaler, and their index.

Opening one is cheap: it reads ``index.json``, or takes an inventory where there is none (or one
that another machine wrote), and says what is missing before any weight is read.
"""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, cast

import numpy as np

from periogt_ray.artifacts.inventory import Inventory, WeightFile, missing_statistics, take_inventory, weight_paths
from periogt_ray.artifacts.properties import PROPERTIES, LabelStats, PropertyInfo
from periogt_ray.artifacts.safe_pickle import load_scaler_arrays
from periogt_ray.artifacts.weight_files import Architecture, read_state_dict
from periogt_ray.errors import (
    CheckpointMissingError,
    ChecksumMismatchError,
    ModelLoadError,
    UnsupportedPropertyError,
)
from periogt_ray.polymer.descriptors import Scaler
from periogt_ray.polymer.dimensions import N_DESCRIPTORS
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.runtime.files import sha256_of, write_bytes_atomically, write_json_atomically

if TYPE_CHECKING:
    import torch

__all__ = [
    "INDEX_NAME",
    "LABEL_STATS_NAME",
    "MANIFEST_NAME",
    "PROPERTIES",
    "SCALER_NAMES",
    "ArtifactDirectory",
    "LabelStats",
    "PropertyInfo",
    "index_document",
    "read_index",
    "read_label_stats",
    "read_scaler",
    "write_bytes_atomically",
    "write_index",
    "write_json_atomically",
]

INDEX_NAME = "index.json"
INDEX_FORMAT = "periogt-index"
INDEX_VERSION = 1
LABEL_STATS_NAME = "label_stats.json"
MANIFEST_NAME = "manifest.json"
MODEL_CARD_NAME = "model_card.json"
# In order of preference.
SCALER_NAMES = ("descriptor_scaler.npz", "descriptor_scaler.pkl")
_ENCODER_EXPECTED = "pretrained_ckpt/base.safetensors or base.pth"
_HEADS_EXPECTED = "finetuned_ckpt/<property>/best_model.safetensors or .pth"
_NEXT_STEP = "Run `periogt setup`, or put the files there and run `periogt setup --skip-download`."


def _read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    ModelLoadError
        The file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path}: expected JSON, found something else ({error}).", {"file": str(path)}) from error


def _is_finite(value: object) -> TypeGuard[float]:
    """Whether a JSON value is a finite number."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def read_label_stats(path: Path) -> dict[str, LabelStats]:
    """Read label statistics: ``{"eps": {"mean": 3.9, "std": 0.8}, ...}``.

    Raises
    ------
    ModelLoadError
        The file is malformed, or holds a mean or std that cannot be one.
    """
    document = _read_json(path)
    if not isinstance(document, dict):
        raise ModelLoadError(f"{path}: expected an object of property ids, found a {type(document).__name__}.")
    stats = {}
    for property_id, entry in document.items():
        mean, std = (entry.get("mean"), entry.get("std")) if isinstance(entry, dict) else (None, None)
        if not _is_finite(mean) or not _is_finite(std) or std <= 0:
            raise ModelLoadError(
                f"{path}: {property_id!r} has {entry!r}; expected a finite mean and a positive std.",
                {"file": str(path), "property": property_id},
            )
        stats[property_id] = LabelStats(float(mean), float(std))
    return stats


def read_scaler(root: Path) -> Scaler:
    """Read the descriptor scaler of an artifact directory, the arrays in preference to the pickle.

    Returns
    -------
    Scaler
        mean and scale, float64 [1613].

    Raises
    ------
    CheckpointMissingError
        Neither file exists.
    ModelLoadError
        The file is corrupt, refused, or of another size.
    """
    path = _first_existing(root, SCALER_NAMES)
    if path is None:
        raise _missing(root, [" or ".join(SCALER_NAMES)])
    if path.suffix == ".npz":
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
                if any(arrays[name].dtype.kind != "f" for name in ("mean", "scale")):
                    raise ValueError("they are not of floating point")
                mean, scale = arrays["mean"].astype(np.float64), arrays["scale"].astype(np.float64)
        except (ValueError, KeyError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
            raise ModelLoadError(f"{path}: expected the arrays mean and scale ({error}).") from error
    else:
        mean, scale = load_scaler_arrays(path)
    if mean.shape != (N_DESCRIPTORS,) or scale.shape != (N_DESCRIPTORS,):
        raise ModelLoadError(f"{path}: shapes {mean.shape} and {scale.shape}, expected ({N_DESCRIPTORS},) each.")
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ModelLoadError(f"{path}: expected finite means and positive scales.")
    return Scaler(mean, scale)


def _first_existing(root: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first of several files that exists."""
    return next((root / name for name in names if (root / name).is_file()), None)


def _missing(root: Path, expected: list[str]) -> CheckpointMissingError:
    """Make the error for absent files, naming each with the place it was expected at."""
    places = [f"{root}/{name}" for name in expected]
    return CheckpointMissingError(
        f"missing artifact{'s' if len(places) > 1 else ''}: expected {'; '.join(places)}. {_NEXT_STEP}",
        {"missing": places, "directory": str(root)},
    )


def index_document(inventory: Inventory, infos: Mapping[str, PropertyInfo], *, name: str = "PerioGT") -> dict[str, Any]:
    """Return the content of index.json: relative paths only, equal for equal artifacts."""
    if inventory.encoder is None:
        raise ValueError("an index needs an encoder")
    properties = {}
    for property_id, info in infos.items():
        entry = asdict(info)
        del entry["id"]
        entry["prompt_scheme"] = info.prompt_scheme.name
        properties[property_id] = {**entry, "dims": inventory.properties[property_id].architecture.dims}
    return {
        "format": INDEX_FORMAT,
        "version": INDEX_VERSION,
        "name": name,
        "encoder": {"checkpoint": inventory.encoder.path, "dims": inventory.encoder.architecture.dims},
        "properties": properties,
    }


def write_index(root: Path, *, scheme: PromptScheme = PromptScheme.RELEASE, name: str = "PerioGT") -> dict[str, Any]:
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
        As for :meth:`ArtifactDirectory.open`.
    """
    inventory = take_inventory(root)
    _require_files(root, inventory)
    schemes = dict.fromkeys(inventory.properties, scheme)
    infos = inventory.infos(set(read_label_stats(root / LABEL_STATS_NAME)), schemes=schemes)
    document = index_document(inventory, infos, name=name)
    write_json_atomically(root / INDEX_NAME, document)
    return document


def _is_inside(path: Any) -> bool:
    """Whether a path from an index is relative and stays within the directory."""
    return isinstance(path, str) and path != "" and not path.startswith("/") and ".." not in PurePosixPath(path).parts


def read_index(root: Path) -> tuple[str, Inventory, dict[str, PromptScheme]] | None:
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
    if not isinstance(document, dict) or document.get("format") != INDEX_FORMAT:
        return None
    try:
        encoder, entries = document["encoder"], document["properties"]
        paths = [encoder["checkpoint"], *(entry["checkpoint"] for entry in entries.values())]
        if document["version"] != INDEX_VERSION or not all(map(_is_inside, paths)):
            return None
        schemes = {key: _scheme(root, key, entry["prompt_scheme"]) for key, entry in entries.items()}
        files = {key: _indexed_file(entry) for key, entry in entries.items()}
        encoder_file = _indexed_file({**encoder, "family": "encoder"})
        return str(document["name"]), Inventory(encoder_file, files), schemes
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _scheme(root: Path, property_id: str, name: str) -> PromptScheme:
    """Look up the prompt scheme of a property in the index."""
    try:
        return PromptScheme.named(name)
    except ModelLoadError as error:
        path = root / INDEX_NAME
        raise ModelLoadError(
            f"{path}: property {property_id!r}: {error.message} Correct it, or update periogt_ray.", {"file": str(path)}
        ) from error


def _indexed_file(entry: Mapping[str, Any]) -> WeightFile:
    """Rebuild what the inventory knew of a file from its entry in the index."""
    family = str(entry["family"])
    is_known = family in ("common", "encoder")
    if is_known and not isinstance(entry["dims"]["width"], int):
        raise TypeError("a width is a number")
    reason = None if is_known else str(entry["reason"] or "a network of another kind")
    return WeightFile(entry["checkpoint"], Architecture(family, dict(entry["dims"]), reason))


class RecordedFile(NamedTuple):
    """What setup recorded of a file: bytes, and SHA-256 as hex digits."""

    size: int
    sha256: str


@dataclass(frozen=True)
class ArtifactDirectory:
    """An opened artifact directory. Make one with :meth:`open`.

    Attributes
    ----------
    root : pathlib.Path
        The directory.
    name : str
        Name of the model.
    encoder : str
        Path of the pretrained encoder's weights relative to ``root``.
    encoder_dims : dict
        Sizes of the encoder.
    properties : dict
        Id -> :class:`PropertyInfo`, served and not.
    model_card : dict or None
        Content of the optional model_card.json.
    """

    root: Path
    name: str
    encoder: str
    encoder_dims: Mapping[str, int]
    properties: dict[str, PropertyInfo]
    model_card: dict[str, Any] | None
    statistics: Mapping[str, LabelStats] = field(repr=False)
    recorded: Mapping[str, "RecordedFile"] = field(repr=False, default_factory=dict)
    verifies_hashes: bool = False

    @staticmethod
    def holds_artifacts(root: Path) -> bool:
        """Whether a directory holds weights or an index, complete or not."""
        if not root.is_dir():
            return False
        return (root / INDEX_NAME).is_file() or next(weight_paths(root), None) is not None

    @classmethod
    def open(cls, root: Path, *, verify_hashes: bool = False) -> "ArtifactDirectory":
        """Read what an artifact directory holds; no weights are read and nothing is written.

        Parameters
        ----------
        root : pathlib.Path
            The directory.
        verify_hashes : bool
            Hold each weight file against its recorded SHA-256 when it is loaded, and not against its size alone.

        Raises
        ------
        CheckpointMissingError
            A file that predictions need is absent; ``details["missing"]`` lists all of them.
        ModelLoadError
            A file is there and cannot be used.
        """
        root = Path(root).absolute()
        if not root.is_dir():
            raise CheckpointMissingError(
                f"no artifact directory at {root}. {_NEXT_STEP}", {"missing": [str(root)], "directory": str(root)}
            )
        indexed = read_index(root)
        card_path = root / MODEL_CARD_NAME
        card = _read_json(card_path) if card_path.is_file() else None
        if card is not None and not isinstance(card, dict):
            raise ModelLoadError(f"{card_path}: expected a JSON object, found a {type(card).__name__}.")
        name, inventory, schemes = indexed or ((card or {}).get("name", "PerioGT"), take_inventory(root), {})
        encoder = _require_files(root, inventory)
        statistics = read_label_stats(root / LABEL_STATS_NAME)
        return cls(
            root=root,
            name=str(name),
            encoder=encoder.path,
            encoder_dims=encoder.architecture.dims,
            properties=inventory.infos(set(statistics), schemes=schemes),
            model_card=card,
            statistics=statistics,
            recorded=_recorded_files(root),
            verifies_hashes=verify_hashes,
        )

    @property
    def encoder_path(self) -> Path:
        """The pretrained encoder's weight file."""
        return self.root / self.encoder

    @property
    def supported(self) -> list[str]:
        """Ids of the properties that are served, sorted."""
        return sorted(key for key, info in self.properties.items() if info.supported)

    def property(self, property_id: str) -> PropertyInfo:
        """Return a property that can be served.

        Raises
        ------
        UnsupportedPropertyError
            Unknown id, or a network of another kind; ``details["supported"]`` lists the ids that are served.
        CheckpointMissingError
            Its weights are there but its label statistics are not.
        """
        info = self.properties.get(property_id)
        if info is not None and info.supported:
            return info
        if info is not None and info.family == "common":
            self.label_stats(property_id)
        if info is not None:
            reason = f": {info.reason}"
        elif property_id in PROPERTIES:
            reason = ", only by the published checkpoints (`periogt setup`)" if self.model_card else ""
        elif property_id.lower() in self.supported:
            reason = f", but {property_id.lower()!r} is"
        elif "," in property_id:
            reason = ": one id is asked for at a time, several by `periogt batch`"
        else:
            reason = ""
        raise UnsupportedPropertyError(
            f"property {property_id!r} is not served by the artifacts in {self.root.name}{reason}; "
            f"supported: {', '.join(self.supported) or 'none'}.",
            {"property": property_id, "supported": self.supported},
        )

    def scaler(self) -> Scaler:
        """Return the descriptor scaler; see :func:`read_scaler`."""
        return read_scaler(self.root)

    def label_stats(self, property_id: str) -> LabelStats:
        """Return mean and std of a property's training labels.

        Raises
        ------
        CheckpointMissingError
            label_stats.json does not have the property; a standardised value must not pass for a physical one.
        """
        if property_id not in self.statistics:
            path = self.root / LABEL_STATS_NAME
            raise CheckpointMissingError(
                f"{missing_statistics(property_id)}. Add "
                f'"{property_id}": {{"mean": ..., "std": ...}} of its training labels to {path}.',
                {"missing": [str(path)], "property": property_id},
            )
        return self.statistics[property_id]

    def encoder_state_dict(self) -> "dict[str, torch.Tensor]":
        """Load the pretrained encoder's tensors, on the CPU, names without ``module.``."""
        return self._load(self.encoder)

    def property_state_dict(self, property_id: str) -> "dict[str, torch.Tensor]":
        """Load a property's finetuned tensors, on the CPU, names without ``module.``.

        Raises
        ------
        UnsupportedPropertyError, CheckpointMissingError, ChecksumMismatchError, ModelLoadError
            The property is not served; its file is absent, of another size than setup recorded, or corrupt.
        """
        return self._load(self.property(property_id).checkpoint)

    def _load(self, relative: str) -> "dict[str, torch.Tensor]":
        """Load a weight file after holding its size, and on request its hash, against the manifest."""
        path = self.root / relative
        if not path.is_file():
            raise _missing(self.root, [relative])
        expected = self.recorded.get(relative)
        if expected is not None:
            found = RecordedFile(path.stat().st_size, sha256_of(path) if self.verifies_hashes else expected.sha256)
            if found != expected:
                text = f"{found.size} bytes" if found.size != expected.size else f"SHA-256 {found.sha256}"
                raise ChecksumMismatchError(
                    f"{path}: {text}, but {MANIFEST_NAME} recorded {expected.size} bytes with SHA-256 "
                    f"{expected.sha256}. If you replaced the file, run `periogt setup --skip-download`; otherwise put "
                    "an intact copy in its place.",
                    {"file": relative, "expected": expected._asdict(), "found": found._asdict()},
                )
        return read_state_dict(path)


def _require_files(root: Path, inventory: Inventory) -> WeightFile:
    """Return the encoder, or name everything that is absent."""
    missing = []
    if inventory.encoder is None:
        missing.append(_ENCODER_EXPECTED)
    indexed = [inventory.encoder, *inventory.properties.values()]
    missing += [file.path for file in indexed if file is not None and not (root / file.path).is_file()]
    if not inventory.properties:
        missing.append(_HEADS_EXPECTED)
    if not (root / LABEL_STATS_NAME).is_file():
        missing.append(LABEL_STATS_NAME)
    if _first_existing(root, SCALER_NAMES) is None:
        missing.append(" or ".join(SCALER_NAMES))
    if missing:
        raise _missing(root, missing)
    return cast(WeightFile, inventory.encoder)


def _recorded_files(root: Path) -> dict[str, RecordedFile]:
    """Return what setup recorded, by relative path; empty without a manifest."""
    path = root / MANIFEST_NAME
    if not path.is_file():
        return {}
    document = _read_json(path)
    try:
        return {name: RecordedFile(int(e["size"]), str(e["sha256"])) for name, e in document["files"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelLoadError(f"{path}: not a manifest as `periogt setup` writes it ({error!r}).") from error
