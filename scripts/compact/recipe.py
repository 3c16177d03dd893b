"""The whole training, stage by stage, and the one evaluation on test rows that follows it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from compact.artifact import MODEL_NAME, checksums, to_stored_precision, write_artifacts
from compact.batching import PolymerStore
from compact.card import read_card, write_card
from compact.dataset import PROPERTIES, SPLITS, Dataset, read_dataset
from compact.features import SCHEME, Polymer, fit_scaler, load_polymers
from compact.finetune import (
    FinetuneSettings,
    Targets,
    average_weights,
    joint_network,
    predict_normalized,
    property_network,
    r2,
    train_network,
)
from compact.pretrain import PretrainSettings, pretrain
from compact.robustness import WELL_KNOWN
from compact.tabular import Baseline, Teacher
from periogt_ray.artifacts.architecture import ModelSizes
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import PerioGTError
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor, load_encoder, load_regressor
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["Recipe", "evaluate_on_test", "measure_baseline", "train"]

_log = logging.getLogger(__name__)

_SIZES = ModelSizes(width=96, n_layers=3, n_heads=8, path_width=16, ffn_width=384)
_PRETRAINING = PretrainSettings(epochs=12)
_JOINT = FinetuneSettings(epochs=12)
_SINGLE = FinetuneSettings(epochs=5, learning_rate=4e-4)

_BRANCH_SEED = 100  # between the seeds of branches

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
    n_transfer : int
        Polymers a property's network learns its teacher's predictions on.
    transfer_weight : float
        Of such a polymer, against 1 of one in the train rows.
    fewest_transfer : int
        Where there are fewer such polymers, a property has no teacher.
    n_branches : int
        Networks of a property without a teacher, of which the weights are averaged.
    n_trees : int
        Of the teachers' extra trees.
    """

    sizes: ModelSizes = _SIZES
    pretraining: PretrainSettings = _PRETRAINING
    joint: FinetuneSettings = _JOINT
    single: FinetuneSettings = _SINGLE
    n_shown: int = 5000
    n_transfer: int = 300
    transfer_weight: float = 0.5
    fewest_transfer: int = 100
    n_branches: int = 2
    n_trees: int = 60


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    cache: Path | None = None,
    stages: Path | None = None,
    recipe: Recipe | None = None,
) -> dict[str, Any]:
    """Train encoder and property networks and write a complete artifact directory.

    No test row is looked at, and features of polymers that are in test splits alone are not even computed.

    Parameters
    ----------
    data : pathlib.Path
        Directory of ``<property>.csv``.
    out : pathlib.Path
        The artifact directory.
    seed : int
        Decides everything random.
    cache : pathlib.Path, optional
        Cache file of descriptors, see :func:`compact.features.load_polymers`.
    stages : pathlib.Path, optional
        Directory that keeps every stage's network, so that an interrupted training continues; what it
        holds is taken as it is.
    recipe : Recipe, optional
        The choices; by default those of the shipped model.

    Returns
    -------
    dict
        The model card.
    """
    recipe = recipe or Recipe()
    dataset = read_dataset(data)
    unlabelled = dataset.unlabelled()
    used = {row.smiles for rows in dataset.rows.values() for row in rows if row.split != "test"}
    polymers = load_polymers(sorted(used.union(unlabelled)), cache=cache)
    scaler = fit_scaler([polymers[name] for name in unlabelled])
    store = PolymerStore(polymers, scaler)
    encoder = _kept(
        stages and stages / "encoder.pt",
        lambda: pretrain(store, unlabelled, recipe.sizes, settings=recipe.pretraining, seed=seed),
        PerioGTEncoder(recipe.sizes),
    )
    to_stored_precision(encoder)
    store.encode(encoder)
    joint = _kept(
        stages and stages / "joint.pt",
        lambda: _train_jointly(encoder, store, dataset, recipe, seed=seed),
        joint_network(encoder, len(PROPERTIES), seed=seed, dropout=recipe.joint.dropout),
    )
    regressors, validation = {}, {}
    for property_id in PROPERTIES:
        network = _kept(
            stages and stages / f"{property_id}.pt",
            partial(_train_property, property_id, joint, store, dataset, recipe, seed=seed),
            PerioGTRegressor(recipe.sizes),
        )
        to_stored_precision(network)
        regressors[property_id] = network
        validation[property_id] = _scores(network, store, dataset, property_id, "val")
        _log.info("%s: validation %s", property_id, validation[property_id])
    stats = {property_id: dataset.label_stats(property_id) for property_id in PROPERTIES}
    write_artifacts(out, encoder, regressors, scaler=scaler, label_stats=stats)
    card = _card(dataset, recipe, seed=seed, validation=validation)
    card["well_known"] = predict_well_known(out, cache=cache)
    card["files"] = checksums(out)
    write_card(out, card)
    return card


def _kept(path: Path | None, make: Callable[[], _Network], empty: _Network) -> _Network:
    """Load a stage's network from its file into ``empty``, or make it and write the file."""
    if path is None:
        return make()
    if path.is_file():
        _log.info("taking %s as it is", path)
        empty.load_state_dict(torch.load(path, weights_only=True))
        return empty.eval()
    network = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)
    return network


def _train_jointly(
    encoder: PerioGTEncoder, store: PolymerStore, dataset: Dataset, recipe: Recipe, *, seed: int
) -> PerioGTRegressor:
    """Train one network on all properties, on polymers that are in no test split; val labels are not used."""
    rows = dataset.joint_rows()
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
    return train_network(network, store, targets, settings=recipe.joint, seed=seed, name="joint")


def _train_property(
    property_id: str, joint: PerioGTRegressor, store: PolymerStore, dataset: Dataset, recipe: Recipe, *, seed: int
) -> PerioGTRegressor:
    """Train one property's network; without a teacher, several branches from the joint network, averaged."""
    has_teacher = len(_transfer_polymers(property_id, dataset, recipe, seed=seed)) >= recipe.fewest_transfer
    n_branches = 1 if has_teacher else recipe.n_branches
    branches = [
        _train_branch(property_id, joint, store, dataset, recipe, seed=seed, branch=branch)
        for branch in range(n_branches)
    ]
    return average_weights(branches)


def _train_branch(
    property_id: str,
    joint: PerioGTRegressor,
    store: PolymerStore,
    dataset: Dataset,
    recipe: Recipe,
    *,
    seed: int,
    branch: int,
) -> PerioGTRegressor:
    """Train a network on the property's train rows and on its teacher's predictions for unlabelled polymers."""
    validation = _targets(dataset, property_id, "val")
    targets = _targets(dataset, property_id, "train")
    transfer = _transfer_polymers(property_id, dataset, recipe, seed=seed)
    if len(transfer) >= recipe.fewest_transfer:
        targets = _with_transfer(targets, transfer, store.polymers, recipe, seed=seed)
    output = PROPERTIES.index(property_id)
    return train_network(
        property_network(joint, output, dropout=recipe.single.dropout),
        store,
        targets,
        settings=replace(recipe.single, epochs=max(recipe.single.epochs, recipe.n_shown // len(targets.smiles))),
        seed=seed + 1 + output + branch * _BRANCH_SEED,
        validation=validation,
        name=property_id,
    )


def _targets(dataset: Dataset, property_id: str, split: str) -> Targets:
    mean, std = dataset.label_stats(property_id)
    rows = dataset.split(property_id, split)
    values = np.array([[(row.value - mean) / std] for row in rows], dtype=np.float32)
    return Targets([row.smiles for row in rows], values, np.ones_like(values))


def _transfer_polymers(property_id: str, dataset: Dataset, recipe: Recipe, *, seed: int) -> list[str]:
    """Choose polymers in no test split of any property and in no split of this one."""
    labelled = {row.smiles for row in dataset.rows[property_id]}
    names = [name for name in dataset.unlabelled() if name not in labelled]
    random = np.random.default_rng([seed, PROPERTIES.index(property_id)])
    chosen = random.permutation(len(names))[: recipe.n_transfer]
    return [names[index] for index in sorted(chosen)]


def _with_transfer(
    targets: Targets, transfer: Sequence[str], polymers: Mapping[str, Polymer], recipe: Recipe, *, seed: int
) -> Targets:
    """Add a teacher's predictions for further polymers to a property's train rows."""
    known, further = ([polymers[name] for name in names] for names in (targets.smiles, transfer))
    values = targets.values[:, 0].astype(np.float64)
    teacher = Teacher(known, values, [*known, *further], n_trees=recipe.n_trees, seed=seed)
    _log.info("teacher: share of trees %.2f", teacher.share_of_trees)
    predicted = teacher.predict(further).astype(np.float32)[:, None]
    return Targets(
        [*targets.smiles, *transfer],
        np.concatenate([targets.values, predicted]),
        np.concatenate([targets.weights, np.full_like(predicted, recipe.transfer_weight)]),
    )


def _scores(
    network: PerioGTRegressor, store: PolymerStore, dataset: Dataset, property_id: str, split: str
) -> dict[str, float]:
    rows = dataset.split(property_id, split)
    mean, std = dataset.label_stats(property_id)
    predicted = predict_normalized(network, store, [row.smiles for row in rows])[:, 0] * std + mean
    return _score(np.array([row.value for row in rows]), predicted)


def _score(values: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    rmse = float(np.sqrt(np.mean((values - predicted) ** 2)))
    return {"n": len(values), "r2": round(r2(values, predicted), 4), "rmse": round(rmse, 4)}


def _card(
    dataset: Dataset, recipe: Recipe, *, seed: int, validation: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Return the model card but for what is known only when the files are written."""
    joint = dataset.joint_rows()
    return {
        "name": MODEL_NAME,
        "version": 1,
        "scheme": SCHEME.name,
        "seed": seed,
        "recipe": asdict(recipe),
        "data": {
            "n_polymers": len(dataset.polymers()),
            "n_pretraining": len(dataset.unlabelled()),
            "n_rows": {
                name: {split: len(dataset.split(name, split)) for split in SPLITS} | {"joint": len(joint[name])}
                for name in PROPERTIES
            },
            "dropped_rows": [row._asdict() for row in dataset.dropped],
        },
        "validation": dict(validation),
        "test": None,
        "baseline": {},
        "notes": [],
    }


def _load(root: Path) -> tuple[PerioGTEncoder, dict[str, PerioGTRegressor], ArtifactDirectory]:
    directory = ArtifactDirectory.open(root)
    encoder = load_encoder(directory.encoder_state_dict(), directory.encoder)
    regressors = {
        property_id: load_regressor(directory.property_state_dict(property_id), property_id)
        for property_id in directory.supported
    }
    return encoder, regressors, directory


def predict_files(root: Path, smiles: Sequence[str], *, cache: Path | None = None) -> dict[str, np.ndarray]:
    """Predict every property from the files of an artifact directory.

    Returns
    -------
    dict
        Property id to float64 [n], in the property's unit.
    """
    encoder, regressors, directory = _load(root)
    store = PolymerStore(load_polymers(smiles, cache=cache), directory.scaler())
    store.encode(encoder)
    return {
        property_id: predict_normalized(network, store, smiles)[:, 0] * directory.label_stats(property_id).std
        + directory.label_stats(property_id).mean
        for property_id, network in regressors.items()
    }


def predict_well_known(root: Path, *, cache: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return the predictions for well-known polymers, by name."""
    names = {name: RepeatUnit.parse(smiles).smiles for name, smiles in WELL_KNOWN.items()}
    predicted = predict_files(root, list(names.values()), cache=cache)
    return {
        name: {"smiles": smiles}
        | {property_id: round(float(values[index]), 6) for property_id, values in predicted.items()}
        for index, (name, smiles) in enumerate(names.items())
    }


def evaluate_on_test(data: Path, out: Path, *, cache: Path | None = None) -> dict[str, Any]:
    """Measure the finished files on the test rows; the card keeps the result.

    This is a step of its own, taken once: nothing in training may depend on it.

    Parameters
    ----------
    data, out, cache : pathlib.Path
        As for :func:`train`.

    Raises
    ------
    PerioGTError
        The card already holds a test result.
    """
    card = read_card(out)
    if card["test"] is not None:
        raise PerioGTError(
            f"{out} has been evaluated on the test rows already; its card holds the result. "
            "Train again before another evaluation."
        )
    dataset = read_dataset(data)
    names = sorted(dataset.test_polymers())
    predicted = predict_files(out, names, cache=cache)
    position = {name: index for index, name in enumerate(names)}
    test: dict[str, dict[str, float]] = {}
    for property_id in PROPERTIES:
        rows = dataset.split(property_id, "test")
        ours = predicted[property_id][[position[row.smiles] for row in rows]]
        test[property_id] = _score(np.array([row.value for row in rows]), ours)
        _log.info("%s: test %s", property_id, test[property_id])
    card["test"] = test
    write_card(out, card)
    return card


def measure_baseline(data: Path, out: Path, *, cache: Path | None = None) -> dict[str, Any]:
    """Fit the baseline on each property's train rows and measure it on the test rows; the card keeps the result.

    Properties that the card already has a baseline for are left as they are. Egc takes ten minutes
    or more of one core, the others under a minute each.

    Parameters
    ----------
    data, out, cache : pathlib.Path
        As for :func:`train`.
    """
    card = read_card(out)
    dataset = read_dataset(data)
    for property_id in PROPERTIES:
        if property_id in card["baseline"]:
            continue
        train_rows, rows = (dataset.split(property_id, split) for split in ("train", "test"))
        polymers = load_polymers(sorted({row.smiles for row in (*train_rows, *rows)}), cache=cache)
        known, unknown = ([polymers[row.smiles] for row in part] for part in (train_rows, rows))
        baseline = Baseline(known, np.array([row.value for row in train_rows]), seed=card["seed"])
        card["baseline"][property_id] = _score(np.array([row.value for row in rows]), baseline.predict(unknown))
        _log.info("%s: baseline %s", property_id, card["baseline"][property_id])
        write_card(out, card)
    return card
