"""The polymers of a data set, featurized and encoded."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import ValidationError
from periogt_ray.model.network import load_encoder
from periogt_ray.model.predictor import Packing
from periogt_ray.polymer.feature_store import featurized
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.runtime.files import make_directory
from periogt_ray.settings import Settings
from periogt_ray.training.dataset import Dataset, without_polymers
from periogt_ray.training.polymer_set import PolymerSet
from periogt_ray.training.prompts import Encoded, Prompts, encode

__all__ = ["Prepared", "prepare"]

logger = logging.getLogger(__name__)

_PROMPTS_NAME = "prompts.safetensors"
_META = "periogt"


class Prepared(NamedTuple):
    """Polymers that are ready for training.

    Attributes
    ----------
    dataset : Dataset
        Without the polymers that have no features.
    polymers : PolymerSet
        In its order.
    fingerprints : numpy.ndarray
        uint8 [n, 1191].
    tree_features : numpy.ndarray
        float32 [n, 2804], fingerprint and descriptors.
    embeddings : numpy.ndarray
        float32 [n, 3D].
    """

    dataset: Dataset
    polymers: PolymerSet
    fingerprints: np.ndarray
    tree_features: np.ndarray
    embeddings: np.ndarray


def prepare(
    dataset: Dataset,
    artifacts: ArtifactDirectory,
    settings: Settings,
    *,
    scheme: PromptScheme,
    device: torch.device,
    work: Path,
    is_stopping: Callable[[], bool] = lambda: False,
    on_polymer: Callable[[int, int], None] = lambda *_: None,
) -> Prepared:
    """Featurize the polymers and run the pretrained network over them; what a run before has done is kept.

    Parameters
    ----------
    dataset : Dataset
        As read.
    artifacts : ArtifactDirectory
        Of the encoder.
    settings : Settings
        Of features.
    scheme : PromptScheme
        Of the prompts.
    device : torch.device
        Where networks run.
    work : pathlib.Path
        For features and prompts.
    is_stopping : callable
        Whether to stop.
    on_polymer : callable
        Takes how many polymers are featurized, and of how many.

    Raises
    ------
    InterruptedError
        It was told to stop.
    """
    if settings.feature_store is None:
        make_directory(work / "features")
        settings = replace(settings, feature_store=work / "features")
    found: list[FeaturizedPolymer] = []
    failed: dict[str, str] = {}
    for number, polymer in enumerate(dataset.polymers, 1):
        if is_stopping():
            raise InterruptedError
        try:
            found.append(featurized(RepeatUnit.parse(polymer.smiles), scheme, settings)[0])
        except ValidationError as error:
            failed[polymer.key] = error.message
        on_polymer(number, len(dataset.polymers))
    dataset = without_polymers(dataset, failed)
    scaler = artifacts.scaler()
    packing = Packing.for_device(device, width=artifacts.encoder_dims["width"])
    smiles = [polymer.smiles for polymer in found]
    known: dict[str, object] = {"encoder": artifacts.encoder_sha256, "scheme": scheme.name, "polymers": smiles}
    encoded = _read_prompts(work / _PROMPTS_NAME, known)
    if encoded is None:
        encoder = load_encoder(artifacts.encoder_state_dict(), artifacts.encoder).to(device)
        spill = work / "prompts.npy"
        encoded = encode(encoder, found, scaler, packing=packing, device=device, spill=spill)
        if not spill.is_file():
            _write_prompts(work / _PROMPTS_NAME, known, encoded)
    prompts = [each.prompts for each in encoded]
    fingerprints = np.stack([polymer.oligomers[1].fingerprint for polymer in found])
    descriptors = np.stack([polymer.oligomers[1].descriptors for polymer in found])
    return Prepared(
        dataset,
        PolymerSet.of(found, prompts, scaler, packing=packing, device=device),
        fingerprints,
        np.concatenate([fingerprints, descriptors], axis=1).astype(np.float32),
        np.stack([each.embedding for each in encoded]),
    )


def _write_prompts(path: Path, known: dict[str, object], encoded: Sequence[Encoded]) -> None:
    arrays = {
        "n_nodes": np.array([len(each.prompts.counts) for each in encoded]),
        "n_states": np.array([len(each.prompts.states) for each in encoded]),
        "counts": np.concatenate([each.prompts.counts for each in encoded]),
        "rows": np.concatenate([each.prompts.rows for each in encoded]),
        "states": np.concatenate([each.prompts.states for each in encoded]),
        "embeddings": np.stack([each.embedding for each in encoded]),
    }
    temporary = path.with_name(f".{path.name}.part")
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    save_file(tensors, temporary, metadata={_META: json.dumps(known, sort_keys=True)})
    temporary.replace(path)


def _read_prompts(path: Path, known: dict[str, object]) -> list[Encoded] | None:
    """Return the prompts of a run before; None if there are none of these polymers and this encoder."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "np") as file:
            if json.loads((file.metadata() or {})[_META]) != known:
                return None
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        logger.warning("%s cannot be read (%s); prompts are computed again.", path, error)
        return None
    counts = np.split(arrays["counts"], np.cumsum(arrays["n_nodes"])[:-1])
    rows = np.split(arrays["rows"], np.cumsum([each.sum() for each in counts])[:-1])
    states = np.split(arrays["states"], np.cumsum(arrays["n_states"])[:-1])
    return [
        Encoded(Prompts(*parts), embedding)
        for parts, embedding in zip(zip(counts, rows, states, strict=True), arrays["embeddings"], strict=True)
    ]
