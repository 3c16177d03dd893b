"""Does it work for my polymers? Predictions against measured values, by domain, with the coverage of intervals."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from periogt_ray.artifacts.calibration import Calibration, calibration_path
from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.errors import PerioGTError, ValidationError
from periogt_ray.model.calibrating import KnownPolymers, calibrate_property, recalibrated
from periogt_ray.model.intervals import LEVELS, fewest_rows, measure
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.polymer.feature_store import featurized
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.input_features import Featurized, featurized_input, fingerprint_of
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.inputs import monomers_of
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import EMBEDDED_DIR, Settings
from periogt_ray.tables.predictions import ROW_ERRORS
from periogt_ray.training.agreement import check_units, measure_agreement
from periogt_ray.training.changeable import is_embedded_model
from periogt_ray.training.dataset import polymer_key
from periogt_ray.training.measured import LeftOut, MeasuredRow
from periogt_ray.training.overlap import Overlap, overlap_of

__all__ = ["Compared", "Evaluation", "evaluate", "evaluation_document", "store_calibration"]

logger = logging.getLogger(__name__)

_N_WORST = 10
_AT_ONCE = 256  # polymers in memory with their features
_STATUSES = ("inside", "outside", "far_outside")


class Compared(NamedTuple):
    """A measured row with its prediction.

    Attributes
    ----------
    row : MeasuredRow
        The polymer and its value.
    outcomes : tuple of Outcome
        One a level, which differ in their intervals.
    fingerprint : numpy.ndarray
        uint8 [1191]; of a copolymer the bits of both monomers.
    overlap : Overlap
        Whether the network learned from the polymer, or its intervals follow from it, as far as the calibration knows.
    """

    row: MeasuredRow
    outcomes: tuple[Outcome, ...]
    fingerprint: np.ndarray
    overlap: Overlap

    @property
    def prediction(self) -> float:
        """In the property's unit."""
        return float(self.outcomes[0].value or 0.0)

    @property
    def status(self) -> str | None:
        """The domain's status; None where the property is not calibrated."""
        domain = self.outcomes[0].domain
        return None if domain is None else domain.status


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes
    ----------
    info : PropertyInfo
        The property.
    compared : tuple of Compared
        Rows with a prediction.
    left_out : tuple of LeftOut
        The others.
    is_overlap_known : bool
        Whether it is known which rows the intervals follow from; not without a calibration.
    """

    info: PropertyInfo
    compared: tuple[Compared, ...]
    left_out: tuple[LeftOut, ...]
    is_overlap_known: bool = True

    @property
    def values(self) -> np.ndarray:
        """float64 [n]."""
        return np.array([one.row.value for one in self.compared])

    @property
    def predictions(self) -> np.ndarray:
        """float64 [n]."""
        return np.array([one.prediction for one in self.compared])

    @property
    def worst(self) -> list[Compared]:
        """The rows of largest error."""
        return sorted(self.compared, key=lambda one: -abs(one.prediction - one.row.value))[:_N_WORST]


def evaluate(
    rows: Sequence[MeasuredRow],
    left_out: Sequence[LeftOut],
    *,
    property_id: str,
    predictor: Predictor,
    settings: Settings,
) -> Evaluation:
    """Predict measured polymers.

    Parameters
    ----------
    rows : sequence of MeasuredRow
        The polymers.
    left_out : sequence of LeftOut
        What reading left out; kept in the result.
    property_id : str
        Of a property that is served.
    predictor : Predictor
        What predicts.
    settings : Settings
        Descriptors and the store of features.

    Raises
    ------
    ValidationError
        If no row has a prediction, or the values look like another unit.
    """
    info = predictor.artifacts.property(property_id)
    calibration = predictor.artifacts.calibration(info.id)
    compared: list[Compared] = []
    failed = list(left_out)
    for start in range(0, len(rows), _AT_ONCE):
        ready: list[tuple[MeasuredRow, Featurized]] = []
        for row in rows[start : start + _AT_ONCE]:
            try:
                ready.append((row, featurized_input(row.unit, partial(_monomer, info.prompt_scheme, settings))))
            except ROW_ERRORS as error:
                failed.append(LeftOut(row.id, row.smiles, error.message))
        has_embedding = info.input_kind is InputKind.HOMOPOLYMER
        tasks = [Task(polymer, info.id, has_embedding, level=level) for _, polymer in ready for level in LEVELS]
        outcomes = predictor.predict_many(tasks)
        for i, (row, polymer) in enumerate(ready):
            found = tuple(outcomes[i * len(LEVELS) : (i + 1) * len(LEVELS)])
            if found[0].error is not None:
                failed.append(LeftOut(row.id, row.smiles, _of_row(found[0].error).message))
                continue
            compared.append(Compared(row, found, fingerprint_of(polymer), overlap_of(calibration, row.unit)))
        logger.info("%d of %d polymers", min(start + _AT_ONCE, len(rows)), len(rows))
    if not compared:
        raise ValidationError(f"None of {len(rows)} polymers has a prediction; the first: {failed[0].reason}")
    is_overlap_known = calibration is not None and calibration.has_interval_rows
    evaluation = Evaluation(info, tuple(compared), tuple(failed), is_overlap_known)
    check_units(evaluation.values, evaluation.predictions, info.units)
    return evaluation


def _of_row(error: PerioGTError) -> PerioGTError:
    """Return the error of one row; raise one that concerns all of them."""
    if not isinstance(error, ROW_ERRORS):
        raise error
    return error


def evaluation_document(evaluation: Evaluation) -> dict[str, Any]:
    """Return the figures as JSON: over all rows, over new polymers, and by domain.

    Intervals are measured on rows that the network did not learn from and the intervals do not follow from; their own
    ``n`` counts these.
    """
    info, compared = evaluation.info, evaluation.compared
    groups: dict[str, list[Compared]] = {"all": list(compared)}
    if any(one.overlap.is_known for one in compared):
        groups["not in the training data"] = [one for one in compared if not one.overlap.is_known]
    for status in _STATUSES:
        groups[status] = [one for one in compared if one.status == status]
    return {
        "property": info.id,
        "label": info.label,
        "units": info.units,
        "n_rows": len(compared) + len(evaluation.left_out),
        **_overlap_counts(evaluation),
        "is_calibrated": compared[0].status is not None,
        "groups": {name: _figures(group) for name, group in groups.items() if group},
        "worst": [
            {
                "id": one.row.id,
                "smiles": one.row.smiles,
                "value": one.row.value,
                "prediction": one.prediction,
                "domain": one.status,
            }
            for one in evaluation.worst
        ],
        "left_out": [one._asdict() for one in evaluation.left_out],
    }


def _overlap_counts(evaluation: Evaluation) -> dict[str, Any]:
    """Count rows that are no test; null where that is not recorded."""
    overlaps = [one.overlap for one in evaluation.compared]
    counts = {
        "n_in_training_data": sum(one.is_known for one in overlaps),
        "n_in_calibration": sum(one.made_intervals for one in overlaps),
        "n_new": sum(one.is_new for one in overlaps),
    }
    is_known = evaluation.is_overlap_known
    return {**(counts if is_known else dict.fromkeys(counts)), "is_overlap_known": is_known}


def _figures(group: Sequence[Compared]) -> dict[str, Any]:
    found: dict[str, Any] = measure_agreement(*_compared_values(group))._asdict()
    new = [one for one in group if one.overlap.is_new]
    values, predictions = _compared_values(new)
    intervals: dict[str, Any] = {}
    for place, level in enumerate(LEVELS):
        bounds = [one.outcomes[place].interval for one in new]
        half_widths = np.array([(b.upper - b.lower) / 2 for b in bounds if b is not None])
        if new and len(half_widths) == len(new):
            measured = measure(values - predictions, half_widths, level=level, deviation=float(values.std()))
            intervals[f"{level:g}"] = measured._asdict()
    return {**found, "intervals": intervals}


def _compared_values(group: Sequence[Compared]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([one.row.value for one in group]), np.array([one.prediction for one in group])


def _one_each(compared: Sequence[Compared]) -> list[Compared]:
    """Return each polymer once, with the mean of its values: copies of one would make its interval narrow."""
    by_key: dict[str, list[Compared]] = {}
    for one in compared:
        by_key.setdefault(polymer_key(one.row.unit), []).append(one)
    return [
        some[0]._replace(row=some[0].row._replace(value=float(np.mean([one.row.value for one in some]))))
        for some in by_key.values()
    ]


def _check_usable(used: Sequence[Compared], info: PropertyInfo) -> None:
    """Refuse rows from which intervals would be as wide as the values themselves."""
    agreement = measure_agreement(np.array([one.row.value for one in used]), np.array([one.prediction for one in used]))
    if agreement.r2 is None or agreement.r2 < 0:
        found = "the values are all equal" if agreement.r2 is None else f"R2 is {agreement.r2:.3g}"
        raise ValidationError(
            f"The predictions of these {len(used)} polymers are no better than the mean of their values ({found}), so "
            f"no intervals were stored. Check that the values are {info.label} in {info.units or 'its unit'}, with the "
            "same sign."
        )


def _known_polymers(used: Sequence[Compared], info: PropertyInfo) -> KnownPolymers:
    has_places = info.input_kind is InputKind.HOMOPOLYMER
    embeddings = [one.outcomes[0].embedding for one in used if one.outcomes[0].embedding is not None]
    return KnownPolymers(
        smiles=tuple(".".join(unit.smiles for unit in monomers_of(one.row.unit)) for one in used),
        fingerprints=np.stack([one.fingerprint for one in used]),
        # Composites have no embedding, and so no place.
        embeddings=np.stack(embeddings) if has_places else np.zeros((len(used), 1), np.float32),
        values=np.array([one.row.value for one in used]),
        predictions=np.array([one.prediction for one in used]),
        is_training=np.ones(len(used), bool),
        spreads=None if has_places else spreads_of([one.outcomes[0] for one in used]),
        keys=None if has_places else tuple(one.row.unit.key for one in used),
        has_places=has_places,
    )


def spreads_of(outcomes: Sequence[Outcome]) -> np.ndarray | None:
    """Return the standard deviations over members, float64 [n]; None of a single network."""
    spreads = np.array([outcome.spread for outcome in outcomes])
    return spreads if (spreads > 0).any() else None


def _monomer(scheme: PromptScheme, settings: Settings, unit: RepeatUnit) -> FeaturizedPolymer:
    return featurized(unit, scheme, settings)[0]


def store_calibration(evaluation: Evaluation, predictor: Predictor, *, source: str) -> Calibration:
    """Make intervals from the rows that no network learned from, and write them beside the weights.

    Parameters
    ----------
    evaluation : Evaluation
        Of the rows.
    predictor : Predictor
        Whose artifacts get the file.
    source : str
        Where the rows came from, for the card.

    Raises
    ------
    ValidationError
        If too few polymers are left for an interval of 90 %, the predictions tell nothing of the values, or the files
        are not the user's to change: those of the embedded model and of a finetuned property.
    """
    info = evaluation.info
    if info.id in predictor.artifacts.packages:
        raise ValidationError(
            f"{info.id} is a finetuned property, and its package keeps the intervals of its training; --calibrate is "
            "for other properties. To use these rows, add them to the training data and run `periogt finetune` again."
        )
    if is_embedded_model(predictor.artifacts.root):
        raise ValidationError(
            "The embedded model has intervals, and its files belong to the installed package; --calibrate is for other "
            f"artifacts. To change them all the same, copy {EMBEDDED_DIR} and name the copy by PERIOGT_CHECKPOINT_DIR."
        )
    used = _one_each([one for one in evaluation.compared if not one.overlap.is_known])
    if len(used) < fewest_rows(0.9):
        raise ValidationError(
            f"{len(used)} polymers are not in the training data; expected at least {fewest_rows(0.9)} for an interval "
            "of 90 %. Give more rows."
        )
    _check_usable(used, info)
    known = _known_polymers(used, info)
    report = {"source": source, "n_rows": len(used)}
    old = predictor.artifacts.calibration(info.id)
    if old is not None and old.facts.reference == "training":
        calibration = recalibrated(old, known, report=report)
    else:
        calibration = calibrate_property(info.id, known, reference="calibration", report=report)
    calibration.save(predictor.artifacts.root / calibration_path(info.id))
    return calibration
