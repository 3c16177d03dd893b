"""The training of members: an encoder, and for each fold a joint network and one network a property."""

import io
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from compact.batching import PolymerStore
from compact.copolymer_training import CopolymerSettings
from compact.dataset import PROPERTIES, Dataset, Row
from compact.features import fit_scaler
from compact.finetune import (
    FinetuneSettings,
    Targets,
    joint_network,
    predict_normalized,
    property_network,
    train_network,
)
from compact.folds import N_FOLDS, held_out_rows, joint_rows, property_rows
from compact.pretrain import PretrainSettings, pretrain
from compact.stored import to_half_precision, write_packed
from compact.training_file import TrainingFile, read_training_file
from periogt_ray.artifacts.architecture import ModelSizes
from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor
from periogt_ray.runtime.files import write_bytes_atomically

__all__ = ["Recipe", "Stages", "save_array", "scaler_of", "train_encoder", "train_fold", "train_folds"]

_log = logging.getLogger(__name__)

_SIZES = ModelSizes(width=96, n_layers=3, n_heads=8, path_width=16, ffn_width=384)
_PRETRAINING = PretrainSettings(epochs=12)
_JOINT = FinetuneSettings(epochs=14)
_SINGLE = FinetuneSettings(epochs=8, learning_rate=4e-4)
_COPOLYMERS = CopolymerSettings()
_FOLD_SEED = 1000  # between the seeds of folds

_Network = TypeVar("_Network", bound=PerioGTEncoder)


@dataclass(frozen=True)
class Recipe:
    """Every choice of the training.

    Attributes
    ----------
    sizes : ModelSizes
        Of the network.
    pretraining : PretrainSettings
        Of the stage without labels.
    joint : FinetuneSettings
        Of the stage over all properties.
    single : FinetuneSettings
        Of the stage of one property; its epochs are the fewest that a property gets.
    n_shown : int
        Polymers that a property's network is shown altogether; a small set gets more epochs.
    copolymers : CopolymerSettings
        Of the network of copolymers.
    """

    sizes: ModelSizes = _SIZES
    pretraining: PretrainSettings = _PRETRAINING
    joint: FinetuneSettings = _JOINT
    single: FinetuneSettings = _SINGLE
    n_shown: int = 6000
    copolymers: CopolymerSettings = _COPOLYMERS

    def shortened(self) -> "Recipe":
        """Return a recipe of one epoch a stage, which tries everything and learns nothing."""
        one = {"epochs": 1}
        return replace(
            self,
            pretraining=replace(self.pretraining, **one),
            joint=replace(self.joint, **one),
            single=replace(self.single, **one),
            n_shown=1,
            copolymers=self.copolymers.shortened(),
        )


@dataclass(frozen=True)
class Stages:
    """The files of a training in one directory; a stage whose file is there is done.

    Attributes
    ----------
    root : pathlib.Path
        The directory.
    """

    root: Path

    @property
    def features(self) -> Path:
        """Labels and features, from the step ``features``."""
        return self.root / "training.npz"

    @property
    def encoder(self) -> Path:
        """The pretrained encoder."""
        return self.root / "encoder.pt"

    def joint(self, fold: int) -> Path:
        """Return where the joint network of a fold is."""
        return self.root / f"joint_{fold}.pt"

    def member(self, property_id: str, fold: int) -> Path:
        """Return where a property's network of a fold is, packed as it is shipped."""
        return self.root / f"{property_id}_{fold}.safetensors"

    def held_out(self, property_id: str, fold: int) -> Path:
        """Return where the member's predictions for the rows of its fold are, float64 in the property's unit."""
        return self.root / f"{property_id}_{fold}.npy"

    def missing_folds(self) -> list[int]:
        """Folds of which something is not done."""
        return [
            fold
            for fold in range(N_FOLDS)
            if not all(self.held_out(property_id, fold).is_file() for property_id in PROPERTIES)
        ]


def scaler_of(training: TrainingFile) -> Scaler:
    """Return the descriptor scaler, of the polymers in no test split."""
    return fit_scaler([training.polymers[name] for name in training.dataset.unlabelled()])


def train_encoder(stages: Stages, recipe: Recipe, *, seed: int = 0) -> PerioGTEncoder:
    """Pretrain the encoder on the polymers in no test split, or take the file of an earlier run."""
    training = read_training_file(stages.features)
    store = PolymerStore(training.polymers, scaler_of(training))
    unlabelled = training.dataset.unlabelled()
    encoder = _kept(
        stages.encoder,
        lambda: pretrain(store, unlabelled, recipe.sizes, settings=recipe.pretraining, seed=seed),
        PerioGTEncoder(recipe.sizes),
    )
    to_half_precision(encoder)
    return encoder


def train_folds(script: Path, stages: Stages, *, n_jobs: int, arguments: Sequence[str]) -> None:
    """Train the folds that are not done, each in a process of its own.

    Parameters
    ----------
    script : pathlib.Path
        What a process runs.
    stages : Stages
        Where everything is.
    n_jobs : int
        Processes at a time.
    arguments : sequence of str
        Further arguments of the script.

    Raises
    ------
    RuntimeError
        A process failed.
    """

    def run(fold: int) -> int:
        command = [sys.executable, str(script), "fold", "--fold", str(fold), "--work", str(stages.root), *arguments]
        return subprocess.run(command, check=False).returncode

    missing = stages.missing_folds()
    with ThreadPoolExecutor(n_jobs) as pool:
        statuses = dict(zip(missing, pool.map(run, missing), strict=True))
    failed = [fold for fold, status in statuses.items() if status]
    if failed:
        raise RuntimeError(f"the processes of the folds {failed} failed; their messages are above")


def train_fold(stages: Stages, fold: int, recipe: Recipe, *, seed: int = 0) -> None:
    """Train the joint network of a fold and its member of each property; what is done already is taken as it is."""
    training = read_training_file(stages.features)
    dataset = training.dataset
    store = PolymerStore(training.polymers, scaler_of(training))
    encoder = PerioGTEncoder(recipe.sizes)
    encoder.load_state_dict(torch.load(stages.encoder, weights_only=True))
    to_half_precision(encoder)
    store.encode(encoder)
    _log.info("fold %d: prompts are made", fold)
    fold_seed = seed + _FOLD_SEED * (fold + 1)
    joint = _kept(
        stages.joint(fold),
        lambda: _train_jointly(encoder, store, dataset, recipe, fold=fold, seed=fold_seed),
        joint_network(encoder, len(PROPERTIES), seed=fold_seed, dropout=recipe.joint.dropout),
    )
    for output, property_id in enumerate(PROPERTIES):
        if stages.held_out(property_id, fold).is_file():
            continue
        rows = property_rows(dataset, property_id, fold)
        settings = replace(recipe.single, epochs=max(recipe.single.epochs, recipe.n_shown // max(len(rows), 1)))
        network = train_network(
            property_network(joint, output, dropout=recipe.single.dropout),
            store,
            _targets(dataset, property_id, rows),
            settings=settings,
            seed=fold_seed + 1 + output,
            name=f"fold {fold} {property_id}",
        )
        write_packed(stages.member(property_id, fold), network)
        mean, std = dataset.label_stats(property_id)
        left_out = [row.smiles for row in held_out_rows(dataset, property_id, fold)]
        predicted = predict_normalized(network, store, left_out)[:, 0] * std + mean if left_out else np.empty(0)
        save_array(stages.held_out(property_id, fold), predicted)


def save_array(path: Path, values: np.ndarray) -> None:
    """Write an array in one step."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    write_bytes_atomically(path, buffer.getvalue())


def _kept(path: Path, make: Callable[[], _Network], empty: _Network) -> _Network:
    """Load a stage's network from its file into ``empty``, or make it and write the file."""
    if path.is_file():
        _log.info("taking %s as it is", path)
        empty.load_state_dict(torch.load(path, weights_only=True))
        return empty.eval()
    network = make()
    temporary = path.with_suffix(".part")
    torch.save(network.state_dict(), temporary)
    temporary.replace(path)
    return network


def _train_jointly(
    encoder: PerioGTEncoder, store: PolymerStore, dataset: Dataset, recipe: Recipe, *, fold: int, seed: int
) -> PerioGTRegressor:
    """Train one network on all properties, on polymers that are neither in the fold nor in a test split."""
    rows = joint_rows(dataset, fold)
    names = sorted({row.smiles for chosen in rows.values() for row in chosen})
    position = {name: index for index, name in enumerate(names)}
    values, weights = (np.zeros((len(names), len(PROPERTIES)), dtype=np.float32) for _ in range(2))
    largest = max(map(len, rows.values()))
    for output, property_id in enumerate(PROPERTIES):
        mean, std = dataset.label_stats(property_id)
        for row in rows[property_id]:
            values[position[row.smiles], output] = (row.value - mean) / std
            # Between equal weight of rows and equal weight of properties.
            weights[position[row.smiles], output] = (largest / len(rows[property_id])) ** 0.5
    network = joint_network(encoder, len(PROPERTIES), seed=seed, dropout=recipe.joint.dropout)
    targets = Targets(names, values, weights)
    return train_network(network, store, targets, settings=recipe.joint, seed=seed, name=f"fold {fold} joint")


def _targets(dataset: Dataset, property_id: str, rows: Sequence[Row]) -> Targets:
    mean, std = dataset.label_stats(property_id)
    values = np.array([[(row.value - mean) / std] for row in rows], dtype=np.float32)
    return Targets([row.smiles for row in rows], values, np.ones_like(values))
