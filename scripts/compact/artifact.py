"""Writing the artifact directory."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from compact.card import CARD_NAME, TEXT_NAME
from compact.features import SCHEME
from periogt_ray.artifacts.index import write_index
from periogt_ray.artifacts.layout import LABEL_STATS_NAME
from periogt_ray.artifacts.members import member_path
from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.artifacts.statistics import LabelStats
from periogt_ray.model.network import PerioGTEncoder
from periogt_ray.runtime.files import write_json_atomically

__all__ = ["MODEL_NAME", "checksums", "write_artifacts"]

MODEL_NAME = "PerioGT compact"
# Half the size of float32. Networks are measured with the rounded weights, as they are shipped.
_STORED = torch.float16


def write_artifacts(
    root: Path,
    encoder: PerioGTEncoder,
    members: Mapping[str, Sequence[Path]],
    *,
    scaler: Scaler,
    label_stats: Mapping[str, tuple[float, float]],
) -> None:
    """Write weights, scaler, label statistics and index.

    Parameters
    ----------
    root : pathlib.Path
        Directory; made if absent.
    encoder : PerioGTEncoder
        The pretrained network.
    members : Mapping of str to sequence of pathlib.Path
        Packed weight files by property id, one a fold.
    scaler : Scaler
        Of the descriptors.
    label_stats : Mapping of str to (float, float)
        Mean and population standard deviation of each property's train rows.
    """
    _write_weights(root / "pretrained_ckpt" / "base.safetensors", encoder)
    for property_id, paths in members.items():
        for number, path in enumerate(paths):
            destination = root / member_path(property_id, number)
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, destination)
    np.savez(root / "descriptor_scaler.npz", mean=scaler.mean, scale=scaler.scale)
    statistics = {name: LabelStats(*pair).document() for name, pair in label_stats.items()}
    write_json_atomically(root / LABEL_STATS_NAME, statistics)
    write_index(root, scheme=SCHEME, name=MODEL_NAME)


def _write_weights(path: Path, network: PerioGTEncoder) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.to(_STORED).contiguous() for key, value in network.state_dict().items()}, path)


def checksums(root: Path) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of every file of an artifact directory but the card's, by relative path."""
    paths = sorted(path for path in root.rglob("*") if path.is_file() and path.name not in (CARD_NAME, TEXT_NAME))
    return {
        path.relative_to(root).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in paths
    }
