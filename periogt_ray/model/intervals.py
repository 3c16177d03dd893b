"""Conformal intervals: a half width that held-out residuals reach with the wanted frequency.

With scores s_i = absolute residual / u of n rows that trained nothing, the half width for a new polymer is u(x) times
the k-th smallest score, k = ceil((n + 1) level) (Lei et al., JASA 113, 1094, 2018; Papadopoulos et al., ECML 2002). u
is a constant, the mean absolute residual of the nearest calibration polymers, or the spread of members.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from periogt_ray.model.similarity import Bits, mean_of_nearest

__all__ = [
    "DEFAULT_LEVEL",
    "LEVELS",
    "N_NEIGHBOURS",
    "SCALES",
    "Interval",
    "IntervalMetrics",
    "choose_scale",
    "conformal_quantile",
    "cv_plus",
    "fewest_rows",
    "floor_of",
    "measure",
    "neighbour_scales",
    "rank_correlation",
]

LEVELS = (0.5, 0.8, 0.9, 0.95)
DEFAULT_LEVEL = 0.9
N_NEIGHBOURS = 10
# In order of preference where the interval scores are equal.
SCALES = ("constant", "neighbours", "spread")
_N_FOLDS = 5  # in which a kind of scale is tried


class Interval(NamedTuple):
    """Bounds that hold the value of a polymer like the data's with probability ``level``, in the property's unit."""

    level: float
    lower: float
    upper: float


class IntervalMetrics(NamedTuple):
    """How good intervals are on rows that they were not made from.

    Attributes
    ----------
    n : int
        Rows.
    coverage, coverage_error : float
        Share of values inside, and its binomial standard error.
    width : float
        Mean, in the property's unit.
    relative_width : float
        Width as a share of the values' standard deviation.
    score : float
        Interval score: width plus 2 / (1 - level) times what a value lies outside; lower is better (Gneiting and
        Raftery, JASA 102, 359, 2007).
    rank_correlation : float
        Spearman's, of width and absolute error; 0 for equal widths.
    """

    n: int
    coverage: float
    coverage_error: float
    width: float
    relative_width: float
    score: float
    rank_correlation: float


def _rank(n: int, level: float) -> int:
    """Return k = ceil((n + 1) level); rounded first, because 0.9 is not a binary number."""
    return math.ceil(round((n + 1) * level, 9))


def fewest_rows(level: float) -> int:
    """Return how many rows a finite interval needs.

    Examples
    --------
    >>> fewest_rows(0.9), fewest_rows(0.95)
    (9, 19)
    """
    n = 1
    while _rank(n, level) > n:
        n += 1
    return n


def conformal_quantile(scores: np.ndarray, level: float) -> float | None:
    """Return the k-th smallest score, None where k exceeds their number: then no finite interval has the coverage.

    Parameters
    ----------
    scores : numpy.ndarray
        float [n], of rows that trained nothing.
    level : float
        Wanted coverage, between 0 and 1.

    Examples
    --------
    >>> conformal_quantile(np.arange(1.0, 10.0), 0.9), conformal_quantile(np.arange(1.0, 9.0), 0.9)
    (9.0, None)
    """
    k = _rank(len(scores), level)
    return None if k > len(scores) else float(np.partition(scores, k - 1)[k - 1])


def cv_plus(residuals: np.ndarray, folds: np.ndarray, fold_predictions: np.ndarray, level: float) -> np.ndarray | None:
    """Return CV+ intervals (Barber et al., Ann. Statist. 49, 486, 2021), a cross-check of the pooled ones.

    Parameters
    ----------
    residuals : numpy.ndarray
        float [n], out of fold.
    folds : numpy.ndarray
        int [n], the fold of each row.
    fold_predictions : numpy.ndarray
        float [folds, m], for new polymers, by the network that did not see the fold.
    level : float
        Wanted coverage.

    Returns
    -------
    numpy.ndarray or None
        float [m, 2]; None where n is too small.
    """
    n = len(residuals)
    lowest, highest = math.floor(round((1 - level) * (n + 1), 9)), _rank(n, level)
    if lowest < 1 or highest > n:
        return None
    predictions, size = fold_predictions[folds], np.abs(residuals)[:, None]
    lower = np.sort(predictions - size, axis=0)[lowest - 1]
    upper = np.sort(predictions + size, axis=0)[highest - 1]
    return np.stack([lower, upper], axis=1)


def neighbour_scales(fingerprints: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """Return the mean absolute residual of each calibration polymer's nearest others, float64 [n].

    Parameters
    ----------
    fingerprints : numpy.ndarray
        uint8 [n, 128].
    residuals : numpy.ndarray
        float [n].
    """
    sizes = np.abs(residuals).astype(np.float64)
    scales = np.empty(len(sizes))
    bits = Bits(fingerprints)
    for row, polymer in enumerate(fingerprints):
        closeness = bits.similarities(polymer)
        closeness[row] = -1.0
        scales[row] = mean_of_nearest(sizes, closeness, min(N_NEIGHBOURS, max(len(sizes) - 1, 1)))
    return scales


def floor_of(scales: np.ndarray) -> float:
    """Return the floor that is added to scales, so that no width vanishes: half their median, or 1 if all are 0."""
    return float(np.median(scales)) / 2 or 1.0


def measure(residuals: np.ndarray, half_widths: np.ndarray, *, level: float, deviation: float) -> IntervalMetrics:
    """Measure intervals on rows that they were not made from.

    Parameters
    ----------
    residuals, half_widths : numpy.ndarray
        float [n], in the property's unit.
    level : float
        The coverage that was wanted.
    deviation : float
        Standard deviation of the labels.
    """
    errors = np.abs(residuals)
    n = len(errors)
    coverage = float(np.mean(errors <= half_widths))
    width = float(np.mean(2 * half_widths))
    score = float(np.mean(2 * half_widths + 2 / (1 - level) * np.maximum(errors - half_widths, 0)))
    return IntervalMetrics(
        n,
        coverage,
        math.sqrt(coverage * (1 - coverage) / n),
        width,
        width / deviation if deviation > 0 else 0.0,
        score,
        rank_correlation(half_widths, errors),
    )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation, 0 where one of the two is constant.

    Examples
    --------
    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0]))
    0.5
    """
    ranks = [_ranks(values) - (len(values) - 1) / 2 for values in (first, second)]
    size = math.sqrt(float(ranks[0] @ ranks[0]) * float(ranks[1] @ ranks[1]))
    return 0.0 if size == 0 else float(ranks[0] @ ranks[1]) / size


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 0; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[inverse]


def choose_scale(
    residuals: np.ndarray,
    candidates: Mapping[str, np.ndarray],
    *,
    deviation: float,
    level: float = DEFAULT_LEVEL,
    seed: int = 0,
) -> tuple[str, dict[str, IntervalMetrics]]:
    """Choose the kind of scale with the lowest interval score on rows left out of the quantile.

    Parameters
    ----------
    residuals : numpy.ndarray
        float [n].
    candidates : Mapping of str to numpy.ndarray
        float [n] by kind, each without a use of the row's own residual.
    deviation : float
        Standard deviation of the labels.
    level : float
        Coverage at which they are compared.
    seed : int
        Of the folds.

    Returns
    -------
    str
        The kind; ``constant`` where there are too few rows to compare.
    dict
        Metrics by kind.
    """
    folds = np.random.default_rng(seed).permutation(len(residuals)) % _N_FOLDS
    found: dict[str, IntervalMetrics] = {}
    for kind, scales in candidates.items():
        scores = np.abs(residuals) / scales
        half_widths = np.empty(len(residuals))
        quantiles: Sequence[float | None] = [conformal_quantile(scores[folds != f], level) for f in range(_N_FOLDS)]
        if any(quantile is None for quantile in quantiles):
            continue
        for fold, quantile in enumerate(quantiles):
            half_widths[folds == fold] = (quantile or 0.0) * scales[folds == fold]
        found[kind] = measure(residuals, half_widths, level=level, deviation=deviation)
    chosen = min(found, key=lambda kind: (found[kind].score, SCALES.index(kind)), default=SCALES[0])
    return chosen, found
