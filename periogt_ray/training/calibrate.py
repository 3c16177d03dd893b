"""Intervals of weights that came without any: predict their own test rows under every scheme they may want.

Which prompt graphs published weights were trained with is not recorded with them. The scheme under which they predict
their own test rows best is taken, and all figures are kept. An interrupted run goes on where it stopped.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from periogt_ray.artifacts.calibration import calibration_path
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.index import change_scheme
from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.artifacts.verdicts import LOWEST_R2, Verdict, write_verdict
from periogt_ray.errors import ModelLoadError, ValidationError
from periogt_ray.model.calibrating import KnownPolymers, calibrate_property, recalibrated
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.polymer.feature_store import featurized
from periogt_ray.polymer.input_features import featurized_input, fingerprint_of
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.inputs import monomers_of
from periogt_ray.polymer.prompt_scheme import SCHEMES, PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.runtime.files import atomic_file, sha256_of
from periogt_ray.settings import Settings
from periogt_ray.tables.predictions import ROW_ERRORS
from periogt_ray.training.agreement import check_units, measure_agreement
from periogt_ray.training.changeable import check_writable, is_embedded_model
from periogt_ray.training.dataset import polymer_key
from periogt_ray.training.measured import MeasuredRow
from periogt_ray.training.overlap import overlap_of
from periogt_ray.training.own_rows import OwnRows

__all__ = ["calibrate_weights", "schemes_to_try"]

logger = logging.getLogger(__name__)

_WORK_FOLDER = ".calibrate"
_AT_ONCE = 32  # polymers between two saves
_FEWEST_GIVEN = 50  # polymers of a user's table
_CLEARLY_BETTER = 0.95  # share of an error, below which a user's table tells of another scheme
Predicting = Callable[[ArtifactDirectory], Predictor]


def schemes_to_try(given: PromptScheme, kind: InputKind = InputKind.HOMOPOLYMER) -> tuple[PromptScheme, ...]:
    """Return the schemes that weights for a kind of input may want, the one that the index names first."""
    return tuple(dict.fromkeys((given, *PromptScheme.candidates(kind))))


@dataclass(frozen=True)
class _Rows:
    """What was computed of rows: NaN where a polymer failed."""

    values: np.ndarray  # float64 [n], predictions
    spreads: np.ndarray  # float64 [n]
    fingerprints: np.ndarray  # uint8 [n, 1191]
    embeddings: np.ndarray  # float32 [n, E]


def calibrate_weights(
    artifacts: ArtifactDirectory, property_id: str, rows: OwnRows, *, settings: Settings, load: Predicting
) -> Verdict:
    """Calibrate one property, and write calibration, verdict and prompt scheme into the artifact directory.

    Parameters
    ----------
    artifacts : ArtifactDirectory
        What to calibrate.
    property_id : str
        Of a property that is served.
    rows : OwnRows
        Its data set.
    settings : Settings
        Descriptors and the store of features.
    load : callable
        Makes a predictor of artifacts.

    Returns
    -------
    Verdict
        The scheme and how well the weights predict; where they do not, no intervals are written.

    Raises
    ------
    ValidationError
        If there are no test rows, or the directory cannot be written.
    """
    info = artifacts.property(property_id)
    if is_embedded_model(artifacts.root):
        raise ValidationError(
            "The embedded model has intervals, and its prompt scheme is known; periogt calibrate is for published "
            "weights, which `periogt setup` fetches."
        )
    check_writable(artifacts.root, info.id, has_verdict=True)
    rows = _usable(rows, artifacts, info)
    measured = np.array([row.value for row in rows.test])
    found = _predicted_under_each_scheme(artifacts, info, rows.test, settings, load)
    figures = {name: _figures(measured, one.values) for name, one in found.items()}
    # R2 is rounded; where two schemes have the same, their errors may differ.
    best = max(figures, key=lambda name: (figures[name]["r2"], -figures[name]["rmse"]))
    if not rows.known:
        best = _check_given(info, figures, best, measured, found[best].values)
    verdict = Verdict(best, figures[best]["r2"], int(np.isfinite(found[best].values).sum()), figures, rows.source)
    for name, figure in figures.items():
        logger.info("%s: scheme %s: R2 %.4f, RMSE %.4g", info.id, name, figure["r2"], figure["rmse"])
    write_verdict(artifacts.root, info.id, verdict)
    path = artifacts.root / calibration_path(info.id)
    if not verdict.is_recognised:
        path.unlink(missing_ok=True)
        logger.error(
            "%s: these weights do not predict their own test set: R2 %.3f under the best of %s; expected at least %s",
            info.id,
            verdict.r2,
            ", ".join(figures),
            LOWEST_R2,
        )
        return verdict
    known = _Work(artifacts, info.id, f"{info.id}-known", settings, load).embedded(rows.known)
    polymers, reference = _known_polymers(rows, known, found[best])
    old = None if rows.known else artifacts.calibration(info.id)
    report = {
        "source": rows.source,
        "scheme": best,
        "schemes": figures,
        "test": {**figures[best], "n": verdict.n},
    }
    if old is not None and old.facts.reference == "training":
        # A user's rows do not tell what the network learned from; what is known of that stays.
        calibration = recalibrated(old, polymers, report=report)
    else:
        calibration = calibrate_property(info.id, polymers, reference=reference, report=report)
    calibration.save(path)
    change_scheme(artifacts.root, info.id, SCHEMES[best])
    _clear(artifacts.root, info.id)
    return verdict


def _predicted_under_each_scheme(
    artifacts: ArtifactDirectory,
    info: PropertyInfo,
    rows: Sequence[MeasuredRow],
    settings: Settings,
    load: Predicting,
) -> dict[str, _Rows]:
    found: dict[str, _Rows] = {}
    for scheme in schemes_to_try(info.prompt_scheme, info.input_kind):
        changed = replace(artifacts, properties={**artifacts.properties, info.id: replace(info, prompt_scheme=scheme)})
        found[scheme.name] = _Work(changed, info.id, f"{info.id}-{scheme.name}", settings, load).predicted(rows)
    return found


def _usable(rows: OwnRows, artifacts: ArtifactDirectory, info: PropertyInfo) -> OwnRows:
    """Return rows without those of a user's table that the network learned from, as far as that is known."""
    if not rows.test:
        raise ValidationError(f"{info.id}: there are no test rows that trained nothing.")
    if rows.known:
        return rows
    calibration = artifacts.calibration(info.id)
    new = {polymer_key(row.unit): row for row in rows.test if not overlap_of(calibration, row.unit).is_known}
    if len(new) < _FEWEST_GIVEN:
        raise ValidationError(
            f"{rows.source} has {len(new)} different polymers that are not in the training data; expected at least "
            f"{_FEWEST_GIVEN}. To make intervals alone from fewer rows, use `periogt evaluate --calibrate`."
        )
    return rows._replace(test=tuple(new.values()))


def _check_given(
    info: PropertyInfo,
    figures: Mapping[str, Mapping[str, float]],
    best: str,
    measured: np.ndarray,
    predicted: np.ndarray,
) -> str:
    """Hold a user's rows to what the property's own rows need not show; return the scheme to take.

    They may be in another unit, or of another property, so what disagrees with them is not the weights' fault.
    """
    ok = np.isfinite(predicted)
    check_units(measured[ok], predicted[ok], info.units)
    if figures[best]["r2"] < LOWEST_R2:
        raise ValidationError(
            f"{info.id}: predictions and these values do not agree (R2 {figures[best]['r2']:.3g} under the best "
            f"scheme; expected at least {LOWEST_R2}), so nothing was changed. Check that the values are {info.label} "
            f"in {info.units or 'its unit'}."
        )
    given = info.prompt_scheme.name
    is_clear = figures[best]["rmse"] < _CLEARLY_BETTER * figures[given]["rmse"]
    return best if is_clear else given


def _figures(measured: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    ok = np.isfinite(predicted)
    if ok.sum() < 2:
        raise ModelLoadError("Fewer than two test rows have a prediction; see the log for the reasons.")
    agreement = measure_agreement(measured[ok], predicted[ok])
    return {"r2": round(agreement.r2 or 0.0, 6), "rmse": float(f"{agreement.rmse:.6g}")}


def _known_polymers(rows: OwnRows, known: _Rows | None, test: _Rows) -> tuple[KnownPolymers, str]:
    """Put training and test polymers together; without training polymers the test polymers stand for them."""
    parts = [test] if known is None else [known, test]
    usable = [np.isfinite(part.embeddings).all(axis=1) for part in parts]
    all_rows = [rows.test] if known is None else [rows.known, rows.test]
    n_test = len(rows.test)
    unpredicted = np.full(sum(map(len, all_rows)) - n_test, np.nan)
    values = np.concatenate([np.array([row.value for row in some]) for some in all_rows])
    predictions = np.concatenate([unpredicted, test.values])
    is_training = np.concatenate([np.ones(len(unpredicted), bool), np.full(n_test, known is None)])
    kept = np.concatenate(usable)
    every = [row for some in all_rows for row in some]
    has_places = isinstance(every[0].unit, RepeatUnit)
    has_spread = bool((test.spreads[np.isfinite(test.spreads)] > 0).any())
    return (
        KnownPolymers(
            smiles=tuple(
                ".".join(unit.smiles for unit in monomers_of(row.unit))
                for row, is_in in zip(every, kept, strict=True)
                if is_in
            ),
            fingerprints=np.concatenate([part.fingerprints for part in parts])[kept],
            embeddings=np.concatenate([part.embeddings for part in parts])[kept],
            values=values[kept],
            predictions=predictions[kept],
            is_training=is_training[kept],
            spreads=np.concatenate([unpredicted, test.spreads])[kept] if has_spread else None,
            keys=None if has_places else tuple(row.unit.key for row, is_in in zip(every, kept, strict=True) if is_in),
            has_places=has_places,
        ),
        "calibration" if known is None else "training",
    )


class _Work:
    """Rows that are computed in order and kept in a file, so that a later run goes on with the next one."""

    def __init__(
        self, artifacts: ArtifactDirectory, property_id: str, name: str, settings: Settings, load: Predicting
    ) -> None:
        self._artifacts = artifacts
        self._property_id = property_id
        self._path = artifacts.root / _WORK_FOLDER / f"{name}.npz"
        self._settings = settings
        self._load = load

    def predicted(self, rows: Sequence[MeasuredRow]) -> _Rows:
        """Return predictions, fingerprints and embeddings."""
        scheme = self._artifacts.property(self._property_id).prompt_scheme
        return self._run(rows, scheme, self._property_id)

    def embedded(self, rows: Sequence[MeasuredRow]) -> _Rows | None:
        """Return fingerprints and embeddings; None without rows."""
        return self._run(rows, self._artifacts.embedding_scheme, None) if rows else None

    def _run(self, rows: Sequence[MeasuredRow], scheme: PromptScheme, property_id: str | None) -> _Rows:
        key = self._key(rows, scheme)
        done = self._read(key)
        predictor: Predictor | None = None
        while done is None or len(done.values) < len(rows):
            predictor = predictor or self._load(self._artifacts)
            start = 0 if done is None else len(done.values)
            some = self._computed(predictor, rows[start : start + _AT_ONCE], scheme, property_id)
            done = some if done is None else _joined(done, some)
            self._write(key, done)
            logger.info("%s: %d of %d polymers", self._path.stem, len(done.values), len(rows))
        return done

    def _computed(
        self, predictor: Predictor, rows: Sequence[MeasuredRow], scheme: PromptScheme, property_id: str | None
    ) -> _Rows:
        fingerprints = np.zeros((len(rows), 1191), np.uint8)
        # Composites have no embedding: a polymer without features is the one whose row stays NaN.
        has_embedding = isinstance(rows[0].unit, RepeatUnit)
        embeddings = np.full((len(rows), predictor.embedding_dim if has_embedding else 1), np.nan, np.float32)
        values, spreads = np.full((2, len(rows)), np.nan)
        ready: list[int] = []
        tasks: list[Task] = []
        for i, row in enumerate(rows):
            try:
                polymer = featurized_input(row.unit, lambda unit: featurized(unit, scheme, self._settings)[0])
            except ROW_ERRORS as error:
                logger.warning("row %s is left out: %s", row.id, error.message)
                continue
            fingerprints[i] = fingerprint_of(polymer)
            if not has_embedding:
                embeddings[i] = 0.0
            if has_embedding or property_id is not None:
                ready.append(i)
                tasks.append(Task(polymer, property_id, return_embedding=has_embedding))
        for i, outcome in zip(ready, predictor.predict_many(tasks), strict=True):
            self._keep(outcome, rows[i])
            if outcome.embedding is not None:
                embeddings[i] = outcome.embedding
            if outcome.value is not None:
                values[i], spreads[i] = outcome.value, outcome.spread
        return _Rows(values, spreads, fingerprints, embeddings)

    @staticmethod
    def _keep(outcome: Outcome, row: MeasuredRow) -> None:
        if outcome.error is not None:
            if not isinstance(outcome.error, ROW_ERRORS):
                raise outcome.error
            logger.warning("row %s is left out: %s", row.id, outcome.error.message)

    def _key(self, rows: Sequence[MeasuredRow], scheme: PromptScheme) -> str:
        """Return a digest of everything that the rows follow from."""
        names = (self._artifacts.encoder, *self._artifacts.property(self._property_id).weight_paths)
        files = [sha256_of(self._artifacts.root / name) for name in names]
        smiles = [row.smiles for row in rows]
        return sha256(json.dumps([files, smiles, scheme.name, self._settings.descriptor_engine]).encode()).hexdigest()

    def _read(self, key: str) -> _Rows | None:
        try:
            with np.load(self._path, allow_pickle=False) as arrays:
                if str(arrays["key"]) != key:
                    return None
                return _Rows(*(arrays[name] for name in _Rows.__dataclass_fields__))
        except (OSError, ValueError, KeyError, EOFError):
            return None

    def _write(self, key: str, rows: _Rows) -> None:
        self._path.parent.mkdir(exist_ok=True)
        arrays: dict[str, Any] = {name: getattr(rows, name) for name in _Rows.__dataclass_fields__}
        with atomic_file(self._path) as file:
            np.savez(file, key=np.array(key), **arrays)


def _joined(first: _Rows, second: _Rows) -> _Rows:
    names = _Rows.__dataclass_fields__
    return _Rows(*(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names))


def _clear(root: Path, property_id: str) -> None:
    """Remove what an unfinished run keeps."""
    folder = root / _WORK_FOLDER
    for path in folder.glob(f"{property_id}-*.npz"):
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
