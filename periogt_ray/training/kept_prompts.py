"""Prompts that a run has computed, in files that the same run goes on with, and that runs of other columns share."""

import json
import logging
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from periogt_ray.runtime.files import PRIVATE_DIRECTORY_MODE, PRIVATE_MODE, make_directory
from periogt_ray.training.prompts import Encoded, Prompts

__all__ = ["KeptPrompts"]

logger = logging.getLogger(__name__)

_META = "periogt"


class KeptPrompts:
    """The prompts of one encoder and one scheme in a directory.

    Parameters
    ----------
    directory : pathlib.Path
        Of the files; made where it is absent.
    encoder_sha256, scheme : str
        What computed them; files of others are not used.
    """

    def __init__(self, directory: Path, *, encoder_sha256: str, scheme: str) -> None:
        self._directory = directory
        self._made_by = {"encoder": encoder_sha256, "scheme": scheme}

    def read(self) -> dict[str, Encoded]:
        """Return what is there by SMILES; a file that is damaged counts as absent."""
        found: dict[str, Encoded] = {}
        for path in sorted(self._directory.glob("prompts-*.safetensors")):
            found.update(self._read(path))
        return found

    def add(self, smiles: Sequence[str], encoded: Sequence[Encoded]) -> None:
        """Keep prompts in a file of their own, which appears when it is whole.

        Parameters
        ----------
        smiles : sequence of str
            Of polymers, at least one.
        encoded : sequence of Encoded
            Of each.
        """
        arrays = {
            "n_nodes": np.array([len(each.prompts.counts) for each in encoded]),
            "n_states": np.array([len(each.prompts.states) for each in encoded]),
            "counts": np.concatenate([each.prompts.counts for each in encoded]),
            "rows": np.concatenate([each.prompts.rows for each in encoded]),
            "states": np.concatenate([each.prompts.states for each in encoded]),
            "embeddings": np.stack([each.embedding for each in encoded]),
        }
        make_directory(self._directory, mode=PRIVATE_DIRECTORY_MODE)
        meta = {**self._made_by, "polymers": list(smiles)}
        name = f"prompts-{sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()[:16]}.safetensors"
        temporary = self._directory / f".{name}.part"
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
        save_file(tensors, temporary, metadata={_META: json.dumps(meta, sort_keys=True)})
        temporary.chmod(PRIVATE_MODE)
        temporary.replace(self._directory / name)

    def _read(self, path: Path) -> Mapping[str, Encoded]:
        try:
            with safe_open(path, "np") as file:
                meta: dict[str, Any] = json.loads((file.metadata() or {})[_META])
                if any(meta.get(key) != value for key, value in self._made_by.items()):
                    return {}
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            logger.warning("%s cannot be read (%s); prompts are computed again.", path, error)
            return {}
        counts = np.split(arrays["counts"], np.cumsum(arrays["n_nodes"])[:-1])
        rows = np.split(arrays["rows"], np.cumsum([each.sum() for each in counts])[:-1])
        states = np.split(arrays["states"], np.cumsum(arrays["n_states"])[:-1])
        encoded = (
            Encoded(Prompts(*parts), embedding)
            for parts, embedding in zip(zip(counts, rows, states, strict=True), arrays["embeddings"], strict=True)
        )
        return dict(zip(meta["polymers"], encoded, strict=True))
