"""The artifact directory with calibrations and card, and the one evaluation on test rows that follows it."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compact.artifact import MODEL_NAME, checksums, write_artifacts
from compact.batching import Cut, PolymerStore
from compact.card import read_card, write_card
from compact.copolymer_finish import add_copolymers
from compact.copolymer_recipe import CopolymerStages
from compact.dataset import PROPERTIES, SPLITS, Dataset
from compact.features import SCHEME, load_polymers
from compact.finetune import predict_normalized
from compact.folds import N_FOLDS, fold_of, held_out_rows
from compact.recipe import Recipe, Stages, scaler_of, train_encoder
from compact.robustness import WELL_KNOWN
from compact.tabular import read_trees, score
from compact.training_file import TrainingFile, read_training_file
from periogt_ray.artifacts.calibration import calibration_path
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import PerioGTError
from periogt_ray.model.calibrating import KnownPolymers, calibrate_property, rounded
from periogt_ray.model.intervals import LEVELS, measure
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor, load_encoder, load_regressor
from periogt_ray.model.trust import Trust
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["add_trees", "evaluate_on_test", "finish"]

_log = logging.getLogger(__name__)

_AT_ONCE = 64


def finish(stages: Stages, out: Path, recipe: Recipe, *, seed: int = 0) -> dict[str, Any]:
    """Write the artifact directory of a finished training; no test label is looked at.

    Copolymers' networks come with it where they are trained in the same directory.

    Parameters
    ----------
    stages : Stages
        All of them done.
    out : pathlib.Path
        The artifact directory; weights of an older edition in it are removed.
    recipe : Recipe
        What was trained.
    seed : int
        Likewise, for the card.

    Returns
    -------
    dict
        The model card.
    """
    if (missing := stages.missing_folds()) or not stages.encoder.is_file():
        raise PerioGTError(
            f"{stages.root}: the folds {missing} are not trained; run the steps encoder and folds first."
        )
    training = read_training_file(stages.features)
    dataset = training.dataset
    scaler = scaler_of(training)
    encoder = train_encoder(stages, recipe, seed=seed)
    shutil.rmtree(out / "finetuned_ckpt", ignore_errors=True)
    members = {name: [stages.member(name, fold) for fold in range(N_FOLDS)] for name in PROPERTIES}
    stats = {name: dataset.label_stats(name) for name in PROPERTIES}
    write_artifacts(out, encoder, members, scaler=scaler, label_stats=stats)
    embeddings = _embeddings(encoder, PolymerStore(training.polymers, scaler))
    out_of_fold: dict[str, dict[str, Any]] = {}
    for property_id in PROPERTIES:
        known = _known(stages, training, property_id, embeddings)
        out_of_fold[property_id] = _out_of_fold(known)
        calibration = calibrate_property(property_id, known, report={"source": "out-of-fold residuals of five members"})
        calibration.save(out / calibration_path(property_id))
        out_of_fold[property_id]["intervals"] = calibration.facts.report["scales"]
        out_of_fold[property_id]["scale"] = calibration.facts.scale
        _log.info("%s: out of fold %s", property_id, out_of_fold[property_id])
    card = _card(dataset, recipe, seed=seed, out_of_fold=out_of_fold)
    card["well_known"] = predict_well_known(out)
    card["files"] = checksums(out)
    write_card(out, card)
    card = add_trees(stages, out)
    copolymers = CopolymerStages(stages.root)
    return add_copolymers(copolymers, out, recipe, seed=seed) if copolymers.is_finished(recipe.copolymers) else card


def _embeddings(encoder: PerioGTEncoder, store: PolymerStore) -> dict[str, np.ndarray]:
    """Return what the encoder makes of every polymer, float32 [3D]."""
    found: dict[str, np.ndarray] = {}
    names = sorted(store.polymers, key=lambda name: store.polymers[name].graphs[0].n_triplets)
    with torch.inference_mode():
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            batch = store.graph_batch([Cut(name) for name in some])
            found |= zip(some, encoder.readout(encoder(batch), batch).numpy(), strict=True)
    return found


def _known(
    stages: Stages, training: TrainingFile, property_id: str, embeddings: Mapping[str, np.ndarray]
) -> KnownPolymers:
    """Return the train and val rows of a property with the predictions of the members that did not see them."""
    rows, predictions = [], []
    for fold in range(N_FOLDS):
        rows += held_out_rows(training.dataset, property_id, fold)
        predictions.append(np.load(stages.held_out(property_id, fold), allow_pickle=False))
    return KnownPolymers(
        smiles=tuple(row.smiles for row in rows),
        fingerprints=np.stack([training.polymers[row.smiles].fingerprint for row in rows]),
        embeddings=np.stack([embeddings[row.smiles] for row in rows]),
        values=np.array([row.value for row in rows]),
        predictions=np.concatenate(predictions),
        is_training=np.ones(len(rows), bool),
    )


def _out_of_fold(known: KnownPolymers) -> dict[str, Any]:
    """Return R2 of each fold."""
    folds = np.array([fold_of(name) for name in known.smiles])
    ours = [
        score(known.values[folds == k], known.predictions[folds == k])["r2"]
        for k in range(N_FOLDS)
        if (folds == k).any()
    ]
    found: dict[str, Any] = {
        **score(known.values, known.predictions),
        "folds": ours,
        "mean_r2": round(float(np.mean(ours)), 4),
    }
    return found


def add_trees(stages: Stages, out: Path) -> dict[str, Any]:
    """Add the figures of trees that are there to the card of a finished artifact directory; return the card."""
    card = read_card(out)
    for property_id in PROPERTIES:
        trees = read_trees(stages.root, property_id)
        if trees is not None:
            of_folds = [one["r2"] for one in trees[0]]
            mean = round(float(np.mean(of_folds)), 4)
            card["out_of_fold"][property_id] |= {"trees": of_folds, "trees_mean_r2": mean}
            card["baseline"][property_id] = trees[1]
    write_card(out, card)
    return card


def add_other_training(stages: Stages, other: Stages, out: Path) -> dict[str, Any]:
    """Add to the card how far a training with another seed is from this one; return the card.

    Compared are networks of the folds that both have, on the rows that these did not learn from.
    """
    card, dataset = read_card(out), read_training_file(stages.features)[0]
    if read_training_file(other.features)[0] != dataset:
        raise SystemExit(
            f"{other.features} holds other rows than {stages.features}; compare trainings on the same data"
        )
    found = {}
    for property_id in PROPERTIES:
        folds = [fold for fold in range(N_FOLDS) if other.held_out(property_id, fold).is_file()]
        if not folds:
            raise SystemExit(f"{other.root} has no fold of {property_id} that is done; train one with another --seed")
        values = np.array([row.value for fold in folds for row in held_out_rows(dataset, property_id, fold)])
        ours, theirs = (
            np.concatenate([np.load(one.held_out(property_id, fold), allow_pickle=False) for fold in folds])
            for one in (stages, other)
        )
        difference = float(np.sqrt(np.mean((ours - theirs) ** 2)))
        found[property_id] = {
            "n": len(values),
            "r2": score(values, ours)["r2"],
            "other_r2": score(values, theirs)["r2"],
            "rms_difference": round(difference, 4),
            "in_deviations": round(difference / dataset.label_stats(property_id)[1], 4),
        }
    is_same = stages.encoder.read_bytes() == other.encoder.read_bytes()
    card["other_training"] = {"has_same_encoder": is_same, "properties": found}
    write_card(out, card)
    return card


def _card(dataset: Dataset, recipe: Recipe, *, seed: int, out_of_fold: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model card but for what is known only when the files are written."""
    return {
        "name": MODEL_NAME,
        "version": 2,
        "scheme": SCHEME.name,
        "seed": seed,
        "recipe": {**asdict(recipe), "n_folds": N_FOLDS},
        "data": {
            "n_polymers": len(dataset.polymers()),
            "n_pretraining": len(dataset.unlabelled()),
            "n_rows": {name: {split: len(dataset.split(name, split)) for split in SPLITS} for name in PROPERTIES},
            "dropped_rows": [row._asdict() for row in dataset.dropped],
        },
        "out_of_fold": dict(out_of_fold),
        "test": None,
        "intervals": None,
        "baseline": {},
        "notes": [],
    }


def _load(root: Path) -> tuple[PerioGTEncoder, dict[str, list[PerioGTRegressor]], ArtifactDirectory]:
    directory = ArtifactDirectory.open(root)
    encoder = load_encoder(directory.encoder_state_dict(), directory.encoder)
    members = {
        name: [
            load_regressor(directory.property_state_dict(name, member=number), path)
            for number, path in enumerate(directory.property(name).weight_paths)
        ]
        for name in PROPERTIES
    }
    return encoder, members, directory


def _predict(root: Path, training: TrainingFile, smiles: Sequence[str]) -> dict[str, np.ndarray]:
    """Predict every property from the files of an artifact directory, float64 [n] in the property's unit."""
    encoder, members, directory = _load(root)
    store = PolymerStore({name: training.polymers[name] for name in smiles}, directory.scaler())
    store.encode(encoder)
    found = {}
    for property_id, networks in members.items():
        statistics = directory.label_stats(property_id)
        normalized = np.mean([predict_normalized(network, store, smiles)[:, 0] for network in networks], axis=0)
        found[property_id] = statistics.values(normalized)
    return found


def predict_well_known(root: Path) -> dict[str, dict[str, Any]]:
    """Return the predictions for well-known polymers, by name."""
    names = {name: RepeatUnit.parse(smiles).smiles for name, smiles in WELL_KNOWN.items()}
    polymers = load_polymers(list(names.values()))
    predicted = _predict(root, TrainingFile(Dataset({}), polymers), list(names.values()))
    return {
        name: {"smiles": smiles}
        | {property_id: round(float(values[index]), 6) for property_id, values in predicted.items()}
        for index, (name, smiles) in enumerate(names.items())
    }


def evaluate_on_test(stages: Stages, out: Path) -> dict[str, Any]:
    """Measure the finished files on the test rows; the card keeps the result.

    This is a step of its own, taken once: nothing in training may depend on it.

    Parameters
    ----------
    stages : Stages
        Of the training, for labels and features.
    out : pathlib.Path
        The artifact directory.

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
    training = read_training_file(stages.features)
    dataset = training.dataset
    names = sorted(dataset.test_polymers())
    predicted = _predict(out, training, names)
    position = {name: index for index, name in enumerate(names)}
    directory = ArtifactDirectory.open(out)
    encoder = load_encoder(directory.encoder_state_dict(), directory.encoder)
    embeddings = _embeddings(
        encoder, PolymerStore({name: training.polymers[name] for name in names}, directory.scaler())
    )
    card["test"], card["intervals"] = {}, {}
    n_covered = {f"{level:g}": 0 for level in LEVELS}
    for property_id in PROPERTIES:
        rows = dataset.split(property_id, "test")
        values = np.array([row.value for row in rows])
        ours = predicted[property_id][[position[row.smiles] for row in rows]]
        card["test"][property_id] = score(values, ours)
        half_widths, statuses = _judged(
            directory, property_id, training, [row.smiles for row in rows], ours, embeddings
        )
        deviation = float(values.std())
        figures = {
            f"{level:g}": rounded(measure(values - ours, half_widths[level], level=level, deviation=deviation))
            for level in LEVELS
        }
        for level in LEVELS:
            n_covered[f"{level:g}"] += int((np.abs(values - ours) <= half_widths[level]).sum())
        card["intervals"][property_id] = {"levels": figures, "domain": {s: statuses.count(s) for s in set(statuses)}}
        _log.info("%s: test %s, 90 %% intervals %s", property_id, card["test"][property_id], figures["0.9"])
    n_rows = sum(one["n"] for one in card["test"].values())
    card["intervals"]["pooled"] = {"n": n_rows, **{level: round(n / n_rows, 4) for level, n in n_covered.items()}}
    write_card(out, card)
    return card


def _judged(
    directory: ArtifactDirectory,
    property_id: str,
    training: TrainingFile,
    smiles: Sequence[str],
    values: np.ndarray,
    embeddings: Mapping[str, np.ndarray],
) -> tuple[dict[float, np.ndarray], list[str]]:
    """Return half the width of each interval by level, and each polymer's domain."""
    calibration = directory.calibration(property_id)
    if calibration is None:
        raise PerioGTError(f"{directory.root} has no calibration of {property_id}; run the step finish.")
    trust = Trust(calibration, directory.property(property_id))
    half_widths: dict[float, list[float]] = {level: [] for level in LEVELS}
    statuses = []
    for name, value in zip(smiles, values, strict=True):
        for level in LEVELS:
            interval, domain = trust.judge(
                float(value),
                smiles=name,
                fingerprint=training.polymers[name].fingerprint,
                embedding=embeddings[name],
                spread=0.0,
                level=level,
            )
            half_widths[level].append(np.inf if interval is None else (interval.upper - interval.lower) / 2)
        statuses.append(domain.status)
    return {level: np.array(found) for level, found in half_widths.items()}, statuses
