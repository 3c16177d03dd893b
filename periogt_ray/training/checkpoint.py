"""The state of an unfinished training in one file, from which it goes on as if it had not been interrupted."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from periogt_ray.runtime.files import PRIVATE_MODE, write_bytes_atomically

__all__ = ["Snapshot", "read_snapshot", "write_snapshot"]

logger = logging.getLogger(__name__)

_META = "periogt"


class Snapshot(NamedTuple):
    """What a training is made of between two updates.

    Attributes
    ----------
    tensors : dict
        Network, best network so far and the optimizer's moments by name.
    progress : dict
        Numbers that JSON holds: updates done, the history of epochs.
    """

    tensors: dict[str, Tensor]
    progress: dict[str, Any]


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot, which replaces an older one in one step."""
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in snapshot.tensors.items()}
    content = save(tensors, metadata={_META: json.dumps(snapshot.progress, sort_keys=True)})
    write_bytes_atomically(path, content, mode=PRIVATE_MODE)


def read_snapshot(path: Path, expected: Mapping[str, Any]) -> Snapshot | None:
    """Read a snapshot; None if there is none that belongs to this training.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    expected : Mapping
        What its progress has to say of the training; another one's snapshot is not used.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            progress = json.loads((file.metadata() or {})[_META])
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        logger.warning("%s cannot be read (%s); this network starts over.", path, error)
        return None
    if any(progress.get(key) != value for key, value in expected.items()):
        logger.warning("%s belongs to another training; this network starts over.", path)
        return None
    return Snapshot(tensors, progress)
