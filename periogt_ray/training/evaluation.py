"""How good predictions are, and what that means in words."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from periogt_ray.model.intervals import rank_correlation

__all__ = ["Scores", "compare_folds", "score", "verdict"]

_N_DRAWS = 500


@dataclass(frozen=True)
class Scores:
    """Of predictions on polymers that trained nothing.

    Attributes
    ----------
    n : int
        Polymers.
    r2, rmse, mae, spearman : float
        Coefficient of determination; errors in the unit; rank correlation.
    bias : float
        Mean of predictions less values.
    """

    n: int
    r2: float
    rmse: float
    mae: float
    spearman: float
    bias: float

    def as_dict(self) -> dict[str, float]:
        """Return the scores for JSON, with six significant digits."""
        return {key: value if key == "n" else float(f"{value:.6g}") for key, value in asdict(self).items()}


def score(values: np.ndarray, predictions: np.ndarray) -> Scores | None:
    """Compare predictions with values, float64 [n] each; None of fewer than two.

    Examples
    --------
    >>> score(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])).r2
    1.0
    """
    if len(values) < 2:
        return None
    errors = predictions - values
    spread = float(((values - values.mean()) ** 2).sum())
    return Scores(
        n=len(values),
        r2=1 - float((errors**2).sum()) / spread if spread > 0 else 0.0,
        rmse=float(np.sqrt((errors**2).mean())),
        mae=float(np.abs(errors).mean()),
        spearman=rank_correlation(values, predictions),
        bias=float(errors.mean()),
    )


def compare_folds(
    values: np.ndarray, ours: np.ndarray, theirs: np.ndarray, folds: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Compare two sets of predictions fold by fold.

    Returns
    -------
    dict
        ``gain``: mean over folds of their root mean squared error less ours; ``error``: its standard error, of one
        fold by drawing its polymers again; ``n_better``, ``n_folds``.
    """

    def rmse(found: np.ndarray, fold: Sequence[int]) -> float:
        rows = list(fold)
        return float(np.sqrt(((found[rows] - values[rows]) ** 2).mean()))

    gains = np.array([rmse(theirs, fold) - rmse(ours, fold) for fold in folds if len(fold)])
    if len(gains) > 1:
        error = float(gains.std(ddof=1) / np.sqrt(len(gains)))
    else:  # one test: its polymers are drawn again
        random, rows = np.random.default_rng(0), np.array(list(folds[0]))
        drawn = [random.choice(rows, len(rows)).tolist() for _ in range(_N_DRAWS)]
        error = float(np.std([rmse(theirs, some) - rmse(ours, some) for some in drawn]))
    return {
        "gain": float(gains.mean()),
        "error": error,
        "n_better": int((gains > 0).sum()),
        "n_folds": len(gains),
    }


def verdict(scores: Mapping[str, Mapping[str, Any]], comparison: Mapping[str, float] | None, units: str) -> str:
    """Say in words whether the network is worth using.

    Parameters
    ----------
    scores : Mapping
        Out-of-fold scores as JSON, by ``network``, ``trees`` and ``mean``.
    comparison : Mapping or None
        As :func:`compare_folds` returns it, of the network and the trees.
    units : str
        Of the errors.
    """
    network, mean = scores["network"], scores["mean"]
    if network["rmse"] >= mean["rmse"]:
        return (
            "The network is no better than the mean of the training values. Do not use it: check units, duplicates and "
            "outliers, or add data."
        )
    share = 1 - network["rmse"] / mean["rmse"]
    text = f"The network's error is {share:.0%} below that of the mean"
    if comparison is None:
        return f"{text}; trees were not compared (install the extra periogt-ray[train])."
    gain, error = comparison["gain"], comparison["error"]
    pairs = "paired over folds" if comparison.get("n_folds", 2) > 1 else "paired over test polymers"
    shown = f"{abs(gain):.3g} +- {error:.2g} {units}".strip()
    if gain > error:
        return f"{text}, and it is better than trees by {shown} ({pairs})."
    if gain < -error:
        return f"{text}, but trees are better by {shown} ({pairs}): use trees or add data."
    return f"{text}, but no better than trees ({gain:+.3g} +- {error:.2g} {units}, {pairs}): add data."
