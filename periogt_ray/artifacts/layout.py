"""Names of the files in an artifact directory, and the errors for those that are not there."""

import json
from pathlib import Path
from typing import Any

from periogt_ray.artifacts.inventory import Inventory
from periogt_ray.artifacts.members import WeightFile
from periogt_ray.errors import CheckpointMissingError, ModelLoadError

__all__ = [
    "DATASETS_FOLDER",
    "ENCODER_EXPECTED",
    "ENCODER_PATH",
    "HEADS_EXPECTED",
    "INDEX_NAME",
    "LABEL_STATS_NAME",
    "MANIFEST_NAME",
    "MODEL_CARD_NAME",
    "NEXT_STEP",
    "READY_NAME",
    "SCALER_EXPECTED",
    "SCALER_NAMES",
    "SCALER_NPZ_NAME",
    "WEIGHT_FOLDERS",
    "dataset_path",
    "head_path",
    "missing_files",
    "read_json",
    "require_files",
    "scaler_path",
]

INDEX_NAME = "index.json"
LABEL_STATS_NAME = "label_stats.json"
MODEL_CARD_NAME = "model_card.json"
MANIFEST_NAME = "manifest.json"
READY_NAME = ".ready"
SCALER_NPZ_NAME = "descriptor_scaler.npz"
# In order of preference.
SCALER_NAMES = (SCALER_NPZ_NAME, "descriptor_scaler.pkl")

# Where setup puts weights; they are found elsewhere, too (see inventory).
DATASETS_FOLDER = "datasets"
WEIGHT_FOLDERS = ("pretrained_ckpt", "finetuned_ckpt")
ENCODER_PATH = "pretrained_ckpt/base.safetensors"

# What is expected, for people.
ENCODER_EXPECTED = f"{ENCODER_PATH} or base.pth"
HEADS_EXPECTED = "finetuned_ckpt/<property>/best_model.safetensors or .pth, or member_<k>.safetensors"
SCALER_EXPECTED = " or ".join(SCALER_NAMES)
NEXT_STEP = "Run `periogt setup`, or put the files there and run `periogt setup --skip-download`."


def head_path(property_id: str) -> str:
    """Return where setup puts the weights of a property, relative to the artifact directory."""
    return f"finetuned_ckpt/{property_id}/best_model.safetensors"


def dataset_path(property_id: str, name: str) -> str:
    """Return where setup keeps a file of a property's data set, relative to the artifact directory."""
    return f"{DATASETS_FOLDER}/{property_id}/{name}"


def scaler_path(root: Path) -> Path | None:
    """Return the file of the descriptor scaler, the arrays in preference to the pickle; None without one."""
    return next((root / name for name in SCALER_NAMES if (root / name).is_file()), None)


def missing_files(root: Path, expected: list[str]) -> CheckpointMissingError:
    """Make the error for absent files; it names each one and where it was expected."""
    places = [f"{root}/{name}" for name in expected]
    return CheckpointMissingError(
        f"missing artifact{'s' if len(places) > 1 else ''}: expected {'; '.join(places)}. {NEXT_STEP}",
        {"missing": places, "directory": str(root)},
    )


def require_files(root: Path, inventory: Inventory) -> WeightFile:
    """Return the encoder.

    Raises
    ------
    CheckpointMissingError
        A file that predictions need is absent; ``details["missing"]`` lists all of them.
    """
    missing = [] if inventory.encoder is not None else [ENCODER_EXPECTED]
    listed = [inventory.encoder, *inventory.properties.values()]
    paths = [path for file in listed if file is not None for path in file.paths]
    missing += [path for path in paths if not (root / path).is_file()]
    if not inventory.properties:
        missing.append(HEADS_EXPECTED)
    if not (root / LABEL_STATS_NAME).is_file():
        missing.append(LABEL_STATS_NAME)
    if scaler_path(root) is None:
        missing.append(SCALER_EXPECTED)
    if missing or inventory.encoder is None:
        raise missing_files(root, missing)
    return inventory.encoder


def read_json(path: Path) -> Any:
    """Read a JSON file of an artifact directory.

    Raises
    ------
    ModelLoadError
        The file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path}: expected JSON, found something else ({error}).", {"file": str(path)}) from error
