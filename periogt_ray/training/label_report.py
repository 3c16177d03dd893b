"""What the values of a data set look like, and what about them should make a user think."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from periogt_ray.training.dataset import Dataset

__all__ = ["LabelReport", "describe_labels"]

_ROBUST_STD = 1.4826  # of the median absolute deviation, for a normal distribution
_FAR = 6.0  # robust standard deviations
_SKEWED = 2.0
_SEPARATE = (
    4.0  # pooled standard deviations between the means of two clusters; halves of a normal distribution are 2.7 apart
)
_FEWEST_IN_CLUSTER = 0.03
_FEW, _SOME = 50, 200


# What two clusters of one quantity differ by when a column holds two units.
_FACTORS = (
    (1000.0, "1000, as GPa and MPa"),
    (96.485, "96.5, as eV and kJ/mol"),
    (27.2114, "27.2, as hartree and eV"),
    (23.06, "23.06, as eV and kcal/mol"),
    (100.0, "100, as shares and percent"),
)
_KELVIN = 273.15


@dataclass(frozen=True)
class LabelReport:
    """Statistics of the values, in the unit of the table.

    Attributes
    ----------
    n_rows, n_left_out, n_polymers, n_repeated, n_conflicting : int
        Rows, rows left out, polymers, polymers with several rows, and those whose rows contradict one another.
    minimum, first_quartile, median, third_quartile, maximum, mean, std, skewness : float
        Of the polymers' values.
    largest_spread : float
        Of the rows of one polymer.
    outliers : tuple of int
        First lines of polymers beyond 6 robust standard deviations from the median.
    warnings : tuple of str
        What should make a user think.
    n_blank : int
        Rows that have values in other columns only.
    """

    n_rows: int
    n_left_out: int
    n_polymers: int
    n_repeated: int
    n_conflicting: int
    minimum: float
    first_quartile: float
    median: float
    third_quartile: float
    maximum: float
    mean: float
    std: float
    skewness: float
    largest_spread: float
    outliers: tuple[int, ...]
    warnings: tuple[str, ...]
    n_blank: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return asdict(self)


def describe_labels(dataset: Dataset, *, is_log10: bool = False) -> LabelReport:
    """Describe the values of a data set.

    Parameters
    ----------
    dataset : Dataset
        As read.
    is_log10 : bool
        Whether their logarithm is learned, so that a skew needs no advice.

    Examples
    --------
    >>> from periogt_ray.training.dataset import Polymer
    >>> polymers = [Polymer(str(i), "*CC*", float(i), 1.0, "", (i + 2,)) for i in range(30)]
    >>> describe_labels(Dataset(tuple(polymers), (), "")).median
    14.5
    """
    values = dataset.values
    quartiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    deviation = float(values.std())
    skewness = float(((values - values.mean()) ** 3).mean() / deviation**3) if deviation else 0.0
    far = _outliers(values)
    repeated = [polymer for polymer in dataset.polymers if len(polymer.lines) > 1]
    return LabelReport(
        n_rows=len(dataset.rows),
        n_left_out=len(dataset.left_out),
        n_polymers=len(values),
        n_repeated=len(repeated),
        n_conflicting=dataset.n_conflicting,
        minimum=float(quartiles[0]),
        first_quartile=float(quartiles[1]),
        median=float(quartiles[2]),
        third_quartile=float(quartiles[3]),
        maximum=float(quartiles[4]),
        mean=float(values.mean()),
        std=deviation,
        skewness=skewness,
        largest_spread=max((polymer.spread for polymer in repeated), default=0.0),
        outliers=tuple(dataset.polymers[i].lines[0] for i in far),
        warnings=tuple(_warnings(dataset, far, skewness, is_log10)),
        n_blank=dataset.n_blank,
    )


def _outliers(values: np.ndarray) -> np.ndarray:
    middle = np.median(values)
    robust = _ROBUST_STD * np.median(np.abs(values - middle))
    # More than half of the values may be equal.
    robust = robust or values.std()
    return np.flatnonzero(np.abs(values - middle) > _FAR * robust)


def _warnings(dataset: Dataset, far: Sequence[int] | np.ndarray, skewness: float, is_log10: bool) -> Iterator[str]:
    values = dataset.values
    if len(values) < _FEW:
        yield (
            f"Only {len(values)} polymers: no held-out test is possible, figures come from folds and are uncertain, "
            "and trees or a mean may be as good. Add polymers if you can."
        )
    elif len(values) < _SOME:
        yield f"{len(values)} polymers: figures come from repeated folds, because a held-out test would be too small."
    if len(far):
        shown = ", ".join(str(dataset.polymers[i].lines[0]) for i in far[:10])
        yield f"{len(far)} values lie beyond {_FAR:g} robust standard deviations from the median: lines {shown}."
    if skewness > _SKEWED and values.min() > 0 and not is_log10:
        yield f"The values are skewed ({skewness:.1f}) and all positive: try --transform log10."
    if dataset.n_conflicting:
        yield f"{dataset.n_conflicting} polymers have rows more than a standard deviation of all values apart."
    mixture = _mixture(values)
    if mixture:
        yield mixture


def _mixture(values: np.ndarray) -> str | None:
    """Say what two units a column may hold, where its values form two separate clusters."""
    plain = _two_clusters(values)
    logs = _two_clusters(np.log10(values)) if values.min() > 0 else None
    is_shift = plain is not None and abs(plain.distance - _KELVIN) < 0.2 * _KELVIN
    # What is two clusters by its logarithm may be so by its values, too: a unit's factor is the clearer of the two.
    if logs is not None and not (plain is not None and is_shift and plain.separation >= logs.separation):
        factor = 10**logs.distance
        for known, text in _FACTORS:
            if known / 2.5 < factor < known * 2.5:
                return f"The values form two clusters about a factor of {factor:.3g} apart, near {text}: two units?"
    if plain is None:
        return None
    if is_shift:
        return f"The values form two clusters {plain.distance:.4g} apart, near 273.15, as degC and K: two units?"
    return f"The values form two separate clusters, about {plain.low:.4g} and {plain.high:.4g}: two units or methods?"


class _Clusters(NamedTuple):
    """The best division into two clusters: their means, and their distance in pooled standard deviations."""

    low: float
    high: float
    separation: float

    @property
    def distance(self) -> float:
        return self.high - self.low


def _two_clusters(values: np.ndarray) -> _Clusters | None:
    """Return the best division into two clusters, where they are separate; else None."""
    ordered = np.sort(values)
    n_fewest = max(3, int(np.ceil(_FEWEST_IN_CLUSTER * len(ordered))))
    if len(ordered) < 2 * n_fewest:
        return None
    n_low = np.arange(n_fewest, len(ordered) - n_fewest + 1)
    sums, squares = np.cumsum(ordered), np.cumsum(ordered**2)
    low, high = sums[n_low - 1] / n_low, (sums[-1] - sums[n_low - 1]) / (len(ordered) - n_low)
    within = squares[-1] - n_low * low**2 - (len(ordered) - n_low) * high**2
    best = int(np.argmin(within))
    pooled = float(np.sqrt(max(within[best], 0.0) / len(ordered)))
    distance = float(high[best] - low[best])
    if distance <= _SEPARATE * pooled:
        return None
    return _Clusters(float(low[best]), float(high[best]), distance / pooled if pooled else np.inf)
