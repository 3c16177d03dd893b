"""The figures of a finished run: predictions on polymers not seen, scores, coverage, verdict."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from periogt_ray.artifacts.calibration import Calibration
from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.model.calibrating import KnownPolymers, calibrate_property
from periogt_ray.model.intervals import LEVELS, Interval, conformal_quantile, cv_plus
from periogt_ray.model.trust import Trust
from periogt_ray.training.evaluation import compare_folds, score, verdict
from periogt_ray.training.run import Finished
from periogt_ray.training.run import Trained as Division

__all__ = ["Figures", "Judged", "figures_of"]


class Judged(NamedTuple):
    """One prediction with what is said of it, in the unit."""

    position: int
    part: str  # out-of-fold or test
    value: float
    prediction: float
    trees: float
    lower: float
    upper: float
    domain: str


@dataclass(frozen=True)
class Figures:
    """What a run has shown.

    Attributes
    ----------
    calibration : Calibration
        For the package.
    judged : list of Judged
        Every prediction on a polymer not seen.
    metrics : dict
        JSON.
    """

    calibration: Calibration
    judged: list[Judged]
    metrics: dict[str, Any]

    @property
    def verdict(self) -> str:
        """What it means, in words."""
        return str(self.metrics["verdict"])


def figures_of(run: Finished) -> Figures:
    """Compute all figures of a run.

    Parameters
    ----------
    run : Finished
        With all its networks.
    """
    is_log10 = run.options.table.is_log10
    values = run.prepared.dataset.values
    n = len(values)
    ours = _in_unit(_held_out(run.folds, n), is_log10)
    test = list(run.folds.plan.test)
    tested = np.full(n, np.nan)
    tested[test] = _in_unit(_mean_of_kept(run, test), is_log10)
    trees = _in_unit(run.trees.get("random", np.full(n, np.nan)), is_log10)
    trees_tested = _in_unit(run.trees.get("test", np.full(n, np.nan)), is_log10)
    calibrating = ours.copy()
    apart = list(run.folds.plan.calibration)
    if not np.isfinite(ours).any():
        calibrating[apart] = _in_unit(_mean_of_kept(run, apart), is_log10)
    calibration = _calibration(run, values, calibrating)
    info = PropertyInfo(run.options.property_id, run.options.label or run.options.property_id, run.options.units, "")
    trust = Trust(calibration, info)
    judged = [
        *(_judge(run, trust, i, "test", float(tested[i]), float(trees_tested[i])) for i in test),
        *(_held(run, calibration, i, float(ours[i]), float(trees[i])) for i in range(n) if np.isfinite(ours[i])),
    ]
    metrics = _metrics(run, values, ours, tested, trees, trees_tested)
    metrics["coverage"] = {
        "test": _coverage(run, trust, values, tested),
        "cluster": _cluster_coverage(run, calibration, values),
    }
    metrics["interval_scale"] = calibration.facts.scale
    metrics["cv_plus"] = _cv_plus(run, values, ours)
    return Figures(calibration, judged, metrics)


def _in_unit(labels: np.ndarray, is_log10: bool) -> np.ndarray:
    return 10**labels if is_log10 else labels


def _held_out(division: Division, n: int) -> np.ndarray:
    """Return the mean of predictions of networks that held a polymer out, NaN where there is none."""
    total, count = np.zeros(n), np.zeros(n)
    for job, member in zip(division.jobs, division.members, strict=True):
        rows = list(job.fold.held_out)
        total[rows] += member.predictions[: len(rows)]
        count[rows] += 1
    return np.divide(total, count, out=np.full(n, np.nan), where=count > 0)


def _mean_of_kept(run: Finished, rows: list[int]) -> np.ndarray:
    """Return the mean of the package's networks on polymers outside the folds, as serving computes it."""
    is_single = len(run.kept) != len(run.folds.members)
    plan = run.folds.plan
    outside = [*plan.test] if is_single else [*plan.test, *plan.calibration]
    place = {i: k for k, i in enumerate(outside)}
    found = [member.predictions[len(member.predictions) - len(outside) :] for member in run.kept]
    chosen = [place[i] for i in rows]
    return np.asarray(np.mean([predictions[chosen] for predictions in found], axis=0), dtype=np.float64)


def _calibration(run: Finished, values: np.ndarray, predictions: np.ndarray) -> Calibration:
    """Make the calibration of polymers that are not tested."""
    rows = sorted({*run.folds.plan.known, *run.folds.plan.calibration})
    is_training = np.isin(rows, run.folds.plan.known)
    known = KnownPolymers(
        tuple(run.prepared.dataset.polymers[i].smiles for i in rows),
        run.prepared.fingerprints[rows],
        run.prepared.embeddings[rows],
        values[rows],
        predictions[rows],
        is_training,
        keys=None if run.prepared.has_places else tuple(run.prepared.known_as[i] for i in rows),
        has_places=run.prepared.has_places,
    )
    return calibrate_property(run.options.property_id, known, report={"source": "periogt finetune"})


def _judge(run: Finished, trust: Trust, i: int, part: str, prediction: float, trees: float) -> Judged:
    polymer = run.prepared.dataset.polymers[i]
    interval, status = _judgement(run, trust, i, prediction, 1 - run.options.alpha)
    lower, upper = (np.nan, np.nan) if interval is None else (interval.lower, interval.upper)
    return Judged(i, part, polymer.value, prediction, trees, lower, upper, status)


def _judgement(run: Finished, trust: Trust, i: int, prediction: float, level: float) -> tuple[Interval | None, str]:
    """Return the interval of a polymer and the status of its domain; copolymers have no place, and so no domain."""
    if not run.prepared.has_places:
        return trust.interval(prediction, spread=0.0, level=level), ""
    interval, domain = trust.judge(
        prediction,
        smiles=run.prepared.dataset.polymers[i].smiles,
        fingerprint=run.prepared.fingerprints[i],
        embedding=run.prepared.embeddings[i],
        spread=0.0,
        level=level,
    )
    return interval, domain.status


def _held(run: Finished, calibration: Calibration, i: int, prediction: float, trees: float) -> Judged:
    """Give an out-of-fold prediction the width that its neighbours say, itself left out."""
    rows = sorted({*run.folds.plan.known, *run.folds.plan.calibration})
    scale = float(calibration.scales[rows.index(i)])
    half_width = (_quantile(calibration, 1 - run.options.alpha) or np.nan) * scale
    value = run.prepared.dataset.polymers[i].value
    return Judged(i, "out-of-fold", value, prediction, trees, prediction - half_width, prediction + half_width, "")


def _quantile(calibration: Calibration, level: float) -> float | None:
    has = np.isfinite(calibration.residuals)
    return conformal_quantile((np.abs(calibration.residuals[has]) / calibration.scales[has]).astype(np.float64), level)


def _metrics(
    run: Finished,
    values: np.ndarray,
    ours: np.ndarray,
    tested: np.ndarray,
    trees: np.ndarray,
    trees_tested: np.ndarray,
) -> dict[str, Any]:
    folds = [job.fold.held_out for job in run.folds.jobs[: run.options.n_folds]]
    has_folds = np.isfinite(ours).any()
    compared = np.flatnonzero(np.isfinite(ours)) if has_folds else np.array(run.folds.plan.test, int)
    mean = np.full(len(values), values[list(run.folds.plan.known)].mean())
    by = {"network": ours if has_folds else tested, "trees": trees if has_folds else trees_tested, "mean": mean}
    out_of_fold = {name: _scores(values, found, compared) for name, found in by.items()}
    test = list(run.folds.plan.test)
    of_test = {"network": tested, "trees": trees_tested, "mean": mean}
    comparison = None
    if has_folds and np.isfinite(trees[compared]).all():
        comparison = compare_folds(values, ours, trees, folds)
    elif not has_folds and np.isfinite(trees_tested[compared]).all() and len(compared):
        comparison = compare_folds(values, tested, trees_tested, [compared.tolist()])
    found: dict[str, Any] = {
        "units": run.options.units,
        "out_of_fold": out_of_fold if has_folds else None,
        "test": {name: _scores(values, p, np.array(test, int)) for name, p in of_test.items()} if test else None,
        "cluster": _cluster_scores(run, values),
        "compared_with_trees": comparison,
        "learning_curve": run.learning_curve,
        "members": [
            {"best_epoch": m.best_epoch, "n_epochs": len(m.history), "validation_rmse": m.validation_rmse}
            for m in run.folds.members
        ],
    }
    known = {name: scores for name, scores in out_of_fold.items() if scores is not None}
    found["verdict"] = (
        verdict(known, comparison, run.options.units) if {"network", "mean"} <= set(known) else "Nothing was measured."
    )
    return found


def _scores(values: np.ndarray, found: np.ndarray, rows: np.ndarray) -> dict[str, float] | None:
    if len(rows) < 2 or not np.isfinite(found[rows]).all():
        return None
    scores = score(values[rows], found[rows])
    return None if scores is None else scores.as_dict()


def _cluster_scores(run: Finished, values: np.ndarray) -> dict[str, Any] | None:
    if run.cluster is None:
        return None
    is_log10 = run.options.table.is_log10
    found = {"network": _in_unit(_held_out(run.cluster, len(values)), is_log10)}
    if "cluster" in run.trees:
        found["trees"] = _in_unit(run.trees["cluster"], is_log10)
    rows = np.arange(len(values))
    return {name: _scores(values, predictions, rows) for name, predictions in found.items()}


def _coverage(run: Finished, trust: Trust, values: np.ndarray, tested: np.ndarray) -> list[dict[str, float]]:
    """Return how many test polymers lie within their intervals."""
    return [
        _counted(level, [_judged_inside(run, trust, i, values, tested, level) for i in run.folds.plan.test])
        for level in LEVELS
        if run.folds.plan.test
    ]


def _judged_inside(
    run: Finished, trust: Trust, i: int, values: np.ndarray, tested: np.ndarray, level: float
) -> tuple[bool, float]:
    interval, _ = _judgement(run, trust, i, float(tested[i]), level)
    if interval is None:
        return True, np.inf
    return interval.lower <= values[i] <= interval.upper, interval.upper - interval.lower


def _counted(level: float, inside: list[tuple[bool, float]]) -> dict[str, float]:
    share = float(np.mean([is_in for is_in, _ in inside]))
    width = float(np.mean([width for _, width in inside]))
    return {
        "level": level,
        "n": len(inside),
        "coverage": round(share, 4),
        "error": round(float(np.sqrt(share * (1 - share) / len(inside))), 4),
        "mean_width": float(f"{width:.5g}") if np.isfinite(width) else -1.0,
    }


def _cluster_coverage(run: Finished, calibration: Calibration, values: np.ndarray) -> list[dict[str, float]]:
    """Return how many polymers lie within the widths when their whole cluster was held out."""
    if run.cluster is None:
        return []
    rows = sorted({*run.folds.plan.known, *run.folds.plan.calibration})
    predictions = _in_unit(_held_out(run.cluster, len(values)), run.options.table.is_log10)
    residuals = np.abs(values - predictions)[rows]
    has = np.isfinite(residuals) & np.isfinite(calibration.scales)
    found = []
    for level in LEVELS:
        quantile = _quantile(calibration, level)
        if quantile is not None:
            half = quantile * calibration.scales[has]
            inside = [(bool(r <= h), float(2 * h)) for r, h in zip(residuals[has], half, strict=True)]
            found.append(_counted(level, inside))
    return found


def _cv_plus(run: Finished, values: np.ndarray, ours: np.ndarray) -> dict[str, float] | None:
    """Return the coverage of CV+ on the test polymers, a check of the other intervals."""
    plan = run.folds.plan
    jobs, members = run.folds.jobs[: run.options.n_folds], run.folds.members[: run.options.n_folds]
    if not plan.test or not np.isfinite(ours).any() or run.options.table.is_log10:
        return None
    fold_of = np.full(len(values), -1)
    for number, job in enumerate(jobs):
        fold_of[list(job.fold.held_out)] = number
    rows = np.flatnonzero((fold_of >= 0) & np.isfinite(ours))
    n_outside = len(plan.test) + len(plan.calibration)
    outside = [member.predictions[len(member.predictions) - n_outside :] for member in members]
    of_test = np.stack([predictions[: len(plan.test)] for predictions in outside])
    bounds = cv_plus(values[rows] - ours[rows], fold_of[rows], of_test, 1 - run.options.alpha)
    if bounds is None:
        return None
    tested = values[list(plan.test)]
    inside = [
        (bool(low <= value <= high), float(high - low)) for value, (low, high) in zip(tested, bounds, strict=True)
    ]
    return _counted(1 - run.options.alpha, inside)
