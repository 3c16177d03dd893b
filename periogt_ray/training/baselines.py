"""What a network has to beat: trees on fingerprint and descriptors, and the mean of the training values."""

import importlib.util
from collections.abc import Sequence

import numpy as np

__all__ = ["MOST_TREE_ROWS", "has_trees", "predict_by_trees"]

_N_TREES = 300
# One fit of 1000 rows takes about a minute, and the time grows a little faster than the rows. A run has 13 fits.
MOST_TREE_ROWS = 10_000


def has_trees() -> bool:
    """Whether scikit-learn is installed, of the extra ``train``."""
    return importlib.util.find_spec("sklearn") is not None


def predict_by_trees(
    features: np.ndarray, values: np.ndarray, train: Sequence[int], asked: Sequence[int], *, seed: int
) -> np.ndarray:
    """Fit extra trees and gradient boosting, and return the mean of their predictions.

    Parameters
    ----------
    features : numpy.ndarray
        float32 [n, columns].
    values : numpy.ndarray
        float64 [n].
    train, asked : sequence of int
        Rows that are fitted and predicted; of more than 10,000 rows so many are drawn for the fit.
    seed : int
        Of the drawing and of both fits.

    Returns
    -------
    numpy.ndarray
        float64 [asked].
    """
    from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    if len(train) > MOST_TREE_ROWS:
        drawn = np.random.default_rng(seed).choice(len(train), MOST_TREE_ROWS, replace=False)
        train = [train[i] for i in np.sort(drawn)]
    known = features[list(train)]
    # A column without two values tells nothing and costs as much as any other.
    used = np.flatnonzero(known.min(axis=0) < known.max(axis=0))
    labels = values[list(train)]
    trees = ExtraTreesRegressor(_N_TREES, max_features=1 / 3, random_state=seed, n_jobs=1)
    boosting = HistGradientBoostingRegressor(random_state=seed)
    # On small sets threads cost more than they bring: boosting on 250 rows took 5 s of CPU on one and 35 s on two.
    with threadpool_limits(1):
        found = [
            model.fit(known[:, used], labels).predict(features[list(asked)][:, used]) for model in (trees, boosting)
        ]
    return np.asarray(np.mean(found, axis=0), dtype=np.float64)
