"""The stages of the copolymers' networks: features, the network, and one that did not see some of the monomers."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from compact.copolymer_training import (
    CopolymerSettings,
    CopolymerTask,
    copolymer_network,
    predict_copolymers,
    train_copolymers,
)
from compact.copolymers import (
    CopolymerDataset,
    CopolymerRow,
    CopolymerStore,
    read_copolymer_file,
    read_copolymers,
    write_copolymer_file,
)
from compact.dataset import PROPERTIES, Dataset
from compact.features import load_polymers
from compact.finetune import joint_network
from compact.recipe import Recipe, Stages, save_array, scaler_of
from compact.stored import to_half_precision
from compact.training_file import read_training_file, write_training_file
from periogt_ray.errors import PerioGTError
from periogt_ray.model.composite_network import CopolymerRegressor
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor

__all__ = [
    "CopolymerStages",
    "held_out_monomers",
    "held_out_task",
    "train_copolymer_network",
    "train_held_out_network",
    "write_copolymer_features",
]

_log = logging.getLogger(__name__)

_N_HELD_OUT = 3
_JOINT_FOLD = 0  # of the homopolymers' joint networks, which one training starts from
_CYCLE_SEED = 100
_HELD_OUT_SEED = 50
_N_SHOWN = 400  # val rows for the log


@dataclass(frozen=True)
class CopolymerStages:
    """The files of a training in one directory, beside those of the homopolymers; a stage whose file is there is done.

    Attributes
    ----------
    root : pathlib.Path
        The directory.
    """

    root: Path

    @property
    def rows(self) -> Path:
        """Labelled copolymers."""
        return self.root / "copolymers.json"

    @property
    def monomers(self) -> Path:
        """Features of their monomers."""
        return self.root / "copolymer_monomers.npz"

    @property
    def held_out(self) -> Path:
        """The network that did not see some of the monomers."""
        return self.root / "copolymers_held_out.pt"

    @property
    def held_out_predictions(self) -> Path:
        """What that network predicts for the test rows with one of these monomers as A, float64 [n, 2] in eV."""
        return self.root / "copolymers_held_out.npy"

    def network(self, cycle: int) -> Path:
        """Return where the network is after a cycle of the learning rate."""
        return self.root / f"copolymers_{cycle}.pt"

    def is_finished(self, settings: CopolymerSettings) -> bool:
        """Whether the network is trained."""
        return self.network(settings.n_cycles - 1).is_file()


@dataclass(frozen=True)
class _Material:
    """What every stage reads."""

    stages: CopolymerStages
    recipe: Recipe

    @cached_property
    def dataset(self) -> CopolymerDataset:
        return read_copolymer_file(self.stages.rows)

    @cached_property
    def store(self) -> CopolymerStore:
        encoder = PerioGTEncoder(self.recipe.sizes)
        encoder.load_state_dict(torch.load(Stages(self.stages.root).encoder, weights_only=True))
        to_half_precision(encoder)
        scaler = scaler_of(read_training_file(Stages(self.stages.root).features))
        monomers = read_training_file(self.stages.monomers).polymers
        return CopolymerStore(monomers, encoder, scaler, max_padding=self.recipe.copolymers.max_padding)

    @cached_property
    def start(self) -> PerioGTRegressor:
        network = joint_network(PerioGTEncoder(self.recipe.sizes), len(PROPERTIES), seed=0, dropout=0.0)
        network.load_state_dict(torch.load(Stages(self.stages.root).joint(_JOINT_FOLD), weights_only=True))
        return network


def write_copolymer_features(stages: CopolymerStages, data: Path, *, cache: Path | None = None) -> None:
    """Read the data sets, and compute the features of each monomer once; parameters as of the homopolymers."""
    dataset = read_copolymers(data)
    polymers = load_polymers(dataset.monomers(), cache=cache)
    write_training_file(stages.monomers, Dataset({}), polymers)
    write_copolymer_file(stages.rows, dataset)


def train_copolymer_network(stages: CopolymerStages, recipe: Recipe, *, seed: int = 0) -> CopolymerRegressor:
    """Train the network on the train rows, cycle by cycle, or take the files of earlier runs."""
    material, settings = _Material(stages, recipe), recipe.copolymers
    network = copolymer_network(material.start, seed=seed, dropout=settings.dropout)
    for cycle in range(settings.n_cycles):
        if not stages.network(cycle).is_file():
            mean, std = material.dataset.label_stats()
            task = CopolymerTask(material.dataset.split("train"), mean, std)
            # A later cycle starts from the average of the one before.
            of_cycle = replace(settings, learning_rate=settings.learning_rate / (1 + cycle))
            trained = _trained(material, network, task, of_cycle, seed=seed + _CYCLE_SEED * cycle)
            _write(stages.network(cycle), trained)
        network.load_state_dict(torch.load(stages.network(cycle), weights_only=True))
        _log.info("copolymers: cycle %d is done", cycle)
    return network.eval()


def held_out_monomers(dataset: CopolymerDataset, *, n: int = _N_HELD_OUT) -> list[str]:
    """Return the monomers A that the second network does not see: those whose SHA-256 is smallest."""
    monomers = sorted({row.a for row in dataset.rows})
    return sorted(monomers, key=lambda name: sha256(name.encode()).hexdigest())[: min(n, len(monomers) - 1)]


def held_out_task(dataset: CopolymerDataset) -> CopolymerTask:
    """Return the train rows without these monomers, with label statistics of their own."""
    unseen = set(held_out_monomers(dataset))
    rows = [row for row in dataset.split("train") if not unseen & {row.a, row.b}]
    return CopolymerTask(rows, *dataset.label_stats(rows))


def train_held_out_network(stages: CopolymerStages, recipe: Recipe, *, seed: int = 0) -> None:
    """Train a network without some monomers, and predict test rows with them; what is there is not done again."""
    material, settings = _Material(stages, recipe), recipe.copolymers
    task = held_out_task(material.dataset)
    network = copolymer_network(material.start, seed=seed, dropout=settings.dropout)
    if not stages.held_out.is_file():
        shorter = replace(settings, epochs=settings.held_out_epochs)
        _write(stages.held_out, _trained(material, network, task, shorter, seed=seed + _HELD_OUT_SEED))
    network.load_state_dict(torch.load(stages.held_out, weights_only=True))
    if not stages.held_out_predictions.is_file():
        unseen = held_out_monomers(material.dataset)
        new = [row for row in material.dataset.split("test") if row.a in unseen]
        save_array(stages.held_out_predictions, predict_copolymers(network, material.store, new) * task.std + task.mean)


def _trained(
    material: _Material, network: CopolymerRegressor, task: CopolymerTask, settings: CopolymerSettings, *, seed: int
) -> CopolymerRegressor:
    stages = material.stages
    if not Stages(stages.root).joint(_JOINT_FOLD).is_file():
        raise PerioGTError(f"{stages.root}: the joint network of fold {_JOINT_FOLD} is not there; run the step folds.")
    shown = material.dataset.split("val")[:_N_SHOWN]

    def on_epoch(epoch: int, average: CopolymerRegressor) -> None:
        _log.info("epoch %d: RMSE of val rows %s", epoch, _rmse(average, material.store, shown, task))

    return train_copolymers(
        network,
        material.store,
        task,
        settings=settings,
        seed=seed,
        progress=stages.root / f"copolymers_seed_{seed}.progress",
        on_epoch=on_epoch,
    )


def _rmse(
    network: CopolymerRegressor, store: CopolymerStore, rows: Sequence[CopolymerRow], task: CopolymerTask
) -> list[float]:
    predicted = predict_copolymers(network, store, rows) * task.std + task.mean
    errors = predicted - np.array([row.values for row in rows])
    return [round(float(value), 4) for value in np.sqrt((errors**2).mean(axis=0))]


def _write(path: Path, network: CopolymerRegressor) -> None:
    temporary = path.with_suffix(".part")
    torch.save(network.state_dict(), temporary)
    temporary.replace(path)
