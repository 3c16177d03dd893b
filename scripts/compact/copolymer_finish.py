"""The copolymers' part of the artifact directory, and their one evaluation on test rows."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from compact.artifact import MODEL_NAME, checksums
from compact.card import read_card, write_copolymer_card
from compact.copolymer_recipe import (
    CopolymerStages,
    held_out_monomers,
    held_out_task,
    train_copolymer_network,
)
from compact.copolymer_training import CopolymerSettings, predict_copolymers, property_networks
from compact.copolymers import COPOLYMER_PROPERTIES, CopolymerDataset, CopolymerRow, CopolymerStore, read_copolymer_file
from compact.dataset import SPLITS
from compact.features import SCHEME
from compact.recipe import Recipe
from compact.stored import write_packed
from compact.tabular import score
from compact.training_file import read_training_file
from periogt_ray.artifacts.calibration import Calibration, calibration_path
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.index import write_index
from periogt_ray.artifacts.layout import LABEL_STATS_NAME, head_path
from periogt_ray.artifacts.statistics import LabelStats, read_label_stats
from periogt_ray.errors import PerioGTError
from periogt_ray.model.calibrating import with_report
from periogt_ray.model.composite_network import CopolymerRegressor, load_head
from periogt_ray.model.copolymer_calibration import KnownCopolymers, calibrate_copolymers
from periogt_ray.model.intervals import LEVELS
from periogt_ray.model.network import load_encoder
from periogt_ray.model.trust import Trust
from periogt_ray.runtime.files import write_json_atomically

__all__ = ["add_copolymers", "evaluate_copolymers", "lookup"]

_log = logging.getLogger(__name__)

_MAX_PADDING = 0.1  # it moves values by rounding only


class _Written(NamedTuple):
    """The copolymers' networks of an artifact directory, and what lays out their batches as a prediction does."""

    directory: ArtifactDirectory
    store: CopolymerStore
    networks: Mapping[str, CopolymerRegressor]

    @classmethod
    def read(cls, stages: CopolymerStages, out: Path) -> "_Written":
        directory = ArtifactDirectory.open(out)
        encoder = load_encoder(directory.encoder_state_dict(), directory.encoder)
        monomers = read_training_file(stages.monomers).polymers
        store = CopolymerStore(monomers, encoder, directory.scaler(), max_padding=_MAX_PADDING)
        networks = {}
        for name in COPOLYMER_PROPERTIES:
            network = load_head("copolymer", directory.property_state_dict(name), name)
            if not isinstance(network, CopolymerRegressor):
                raise PerioGTError(f"{out}: {name} is not a network of copolymers.")
            networks[name] = network
        return cls(directory, store, networks)

    def predict(self, rows: Sequence[CopolymerRow]) -> np.ndarray:
        """Return values in the properties' unit, float64 [n, 2]."""
        columns = [
            self.directory.label_stats(name).values(predict_copolymers(network, self.store, rows)[:, 0])
            for name, network in self.networks.items()
        ]
        return np.stack(columns, axis=1)


def add_copolymers(stages: CopolymerStages, out: Path, recipe: Recipe, *, seed: int = 0) -> dict[str, Any]:
    """Add the copolymers' networks to an artifact directory of homopolymers; no test label is looked at.

    Parameters
    ----------
    stages : CopolymerStages
        With a finished network.
    out : pathlib.Path
        The artifact directory, whose encoder and scaler are those that the network was trained with.
    recipe, seed
        What was trained.

    Returns
    -------
    dict
        The model card.

    Raises
    ------
    PerioGTError
        The network is not trained.
    """
    if not stages.is_finished(recipe.copolymers):
        raise PerioGTError(f"{stages.root}: the copolymers' network is not trained; run the step copolymers first.")
    dataset = read_copolymer_file(stages.rows)
    joint = train_copolymer_network(stages, recipe, seed=seed)
    mean, std = dataset.label_stats()
    statistics = read_label_stats(out / LABEL_STATS_NAME)
    for output, (name, network) in enumerate(property_networks(joint).items()):
        write_packed(out / head_path(name), network)
        statistics[name] = LabelStats(float(mean[output]), float(std[output]))
    write_json_atomically(out / LABEL_STATS_NAME, {name: one.document() for name, one in statistics.items()})
    write_index(out, scheme=SCHEME, name=MODEL_NAME)
    written = _Written.read(stages, out)
    rows = dataset.split("val")
    predicted = written.predict(rows)
    card = read_card(out)
    card["copolymers"] = _card(dataset, recipe.copolymers, seed=seed)
    card["data"]["n_rows"] |= {
        name: {split: len(dataset.split(split)) for split in SPLITS} for name in COPOLYMER_PROPERTIES
    }
    for output, name in enumerate(COPOLYMER_PROPERTIES):
        values = np.array([row.values[output] for row in rows])
        labels = np.array([row.values[output] for row in dataset.split("train")])
        known = KnownCopolymers(
            monomers=tuple(dataset.monomers()),
            fingerprints=np.stack([written.store.fingerprint(smiles) for smiles in dataset.monomers()]),
            partners=tuple(sorted({row.a for row in dataset.rows})),
            lowest=float(labels.min()),
            highest=float(labels.max()),
            values=values,
            predictions=predicted[:, output],
        )
        report = {"source": "residuals of the val rows, a random split of copolymers"}
        calibrate_copolymers(name, known, report=report).save(out / calibration_path(name))
        card["copolymers"]["val"][name] = score(values, predicted[:, output])
        _log.info("%s: val %s", name, card["copolymers"]["val"][name])
    card["files"] = checksums(out)
    write_copolymer_card(out, card)
    return card


def _card(dataset: CopolymerDataset, settings: CopolymerSettings, *, seed: int) -> dict[str, Any]:
    return {
        "settings": asdict(settings),
        "seed": seed,
        "n_monomers": len(dataset.monomers()),
        "n_partners": len({row.a for row in dataset.rows}),
        "n_dropped": dataset.n_dropped,
        "val": {},
        "test": None,
        "held_out": None,
    }


def lookup(train: Sequence[CopolymerRow], rows: Sequence[CopolymerRow]) -> np.ndarray:
    """Return the mean of the train rows of the same two monomers, float64 [n, 2]: what a table would answer.

    For another pair the mean of the means of its monomers, or of that one that is in the train rows; else the mean of
    all.
    """
    found: dict[frozenset[str], list[tuple[float, ...]]] = defaultdict(list)
    for row in train:
        for key in {frozenset((row.a, row.b)), frozenset((row.a,)), frozenset((row.b,))}:
            found[key].append(row.values)
    # Of a copolymer of one monomer with itself the pair and the monomer have one key.
    means = {key: np.mean(values, axis=0) for key, values in found.items()}
    overall = np.mean([row.values for row in train], axis=0)

    def of(row: CopolymerRow) -> np.ndarray:
        if (pair := frozenset((row.a, row.b))) in means:
            return means[pair]
        known = [means[key] for key in (frozenset((row.a,)), frozenset((row.b,))) if key in means]
        return np.mean(known, axis=0) if known else overall

    return np.stack([of(row) for row in rows])


def evaluate_copolymers(stages: CopolymerStages, out: Path) -> dict[str, Any]:
    """Measure on the test rows, once: the finished files, and the network that did not see some monomers.

    Parameters
    ----------
    stages : CopolymerStages
        Of the training.
    out : pathlib.Path
        The artifact directory. Its files are measured first; the other network once it is trained.

    Returns
    -------
    dict
        The model card, which keeps the result.

    Raises
    ------
    PerioGTError
        The card already holds the results.
    """
    card = read_card(out)
    ours = card.get("copolymers")
    is_held_out_ready = stages.held_out_predictions.is_file()
    if ours is None or (ours["test"] is not None and (ours["held_out"] is not None or not is_held_out_ready)):
        raise PerioGTError(
            f"{out} holds no copolymers' networks, or they have been evaluated already and its card holds the result."
        )
    dataset = read_copolymer_file(stages.rows)
    directory = ArtifactDirectory.open(out)
    rows = dataset.split("test")
    if ours["test"] is None:
        predicted = _Written.read(stages, out).predict(rows)
        ours["test"] = _compared(directory, rows, predicted, dataset.split("train"))
        for name in COPOLYMER_PROPERTIES:
            test = {key: ours["test"][name][key] for key in ("r2", "rmse", "n")}
            with_report(_calibration(directory, name), test=test).save(out / calibration_path(name))
    if ours["held_out"] is None and is_held_out_ready:
        unseen, task = held_out_monomers(dataset), held_out_task(dataset)
        new = [row for row in rows if row.a in unseen]
        predicted = np.load(stages.held_out_predictions, allow_pickle=False)
        figures = _compared(directory, new, predicted, task.rows)
        ours["held_out"] = {"monomers": unseen, "n_train": len(task.rows), **figures}
    _log.info("test %s, held out %s", ours["test"], ours["held_out"])
    card["files"] = checksums(out)
    write_copolymer_card(out, card)
    return card


def _calibration(directory: ArtifactDirectory, property_id: str) -> Calibration:
    calibration = directory.calibration(property_id)
    if calibration is None:
        raise PerioGTError(f"{directory.root} has no calibration of {property_id}; run the step copolymers-finish.")
    return calibration


def _compared(
    directory: ArtifactDirectory, rows: Sequence[CopolymerRow], predicted: np.ndarray, train: Sequence[CopolymerRow]
) -> dict[str, Any]:
    """Return figures of predictions, of the table's answers and of the intervals, by property."""
    found: dict[str, Any] = {}
    by_table = lookup(train, rows)
    for output, name in enumerate(COPOLYMER_PROPERTIES):
        values = np.array([row.values[output] for row in rows])
        errors = np.abs(values - predicted[:, output])
        trust = Trust(_calibration(directory, name), directory.property(name))
        nothing = np.zeros(0, np.float32)
        found_widths = {level: trust.half_width(nothing, 0.0, level) for level in LEVELS}
        half = {level: width for level, width in found_widths.items() if width is not None}
        found[name] = {
            **score(values, predicted[:, output]),
            "table": score(values, by_table[:, output]),
            "covered": {f"{level:g}": round(float(np.mean(errors <= width)), 4) for level, width in half.items()},
            "width": {f"{level:g}": round(2 * width, 4) for level, width in half.items()},
        }
    return found
