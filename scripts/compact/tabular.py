"""Extra trees and gradient boosting on fingerprint and descriptors: the baseline."""

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from compact.dataset import PROPERTIES
from compact.features import Polymer
from compact.folds import N_FOLDS, held_out_rows, property_rows
from compact.training_file import read_training_file
from periogt_ray.runtime.files import write_json_atomically

__all__ = ["Baseline", "read_trees", "score", "train_trees", "tree_features"]

_N_BASELINE_TREES = 300

_log = logging.getLogger(__name__)


def tree_features(polymers: Sequence[Polymer]) -> np.ndarray:
    """Return fingerprint and descriptors as they are, float32 [n, 2804]."""
    return np.stack([np.concatenate([polymer.fingerprint, polymer.descriptors]) for polymer in polymers])


class Baseline:
    """The average of extra trees and histogram gradient boosting, otherwise with scikit-learn's defaults.

    Parameters
    ----------
    polymers : sequence of Polymer
        n of them.
    values : numpy.ndarray
        float64 [n].
    seed : int
        Of both.
    """

    def __init__(self, polymers: Sequence[Polymer], values: np.ndarray, *, seed: int) -> None:
        from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor  # takes seconds

        # A third of the columns at each split: as good as all of them on these sets, in a third of the time.
        trees = ExtraTreesRegressor(_N_BASELINE_TREES, max_features=1 / 3, random_state=seed, n_jobs=1)
        boosting = HistGradientBoostingRegressor(random_state=seed)
        self._models = [model.fit(tree_features(polymers), values) for model in (trees, boosting)]

    def predict(self, polymers: Sequence[Polymer]) -> np.ndarray:
        """Return float64 [n]."""
        features = tree_features(polymers)
        return np.mean([model.predict(features) for model in self._models], axis=0)


def train_trees(features: Path, out: Path, *, n_jobs: int, seed: int = 0) -> None:
    """Fit the baseline on the folds of the networks, and on all train rows.

    Parameters
    ----------
    features : pathlib.Path
        From the step ``features``.
    out : pathlib.Path
        Directory of ``trees_<property>_<fold>.json``: rows, R2 and RMSE on the fold; ``test`` in place of the fold: on
        the test rows, of trees fitted on the train rows. A file that is there stays.
    n_jobs : int
        Processes.
    seed : int
        Of the trees.
    """
    # The largest set first: it takes longest.
    tasks = [(property_id, fold) for property_id in ("egc", *PROPERTIES) for fold in (*range(N_FOLDS), None)]
    missing = [task for task in dict.fromkeys(tasks) if not _trees_path(out, *task).is_file()]
    with ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_fit_trees, features, out, *task, seed) for task in missing]
        for done in waiting:
            _log.info("trees: %s", done.result())


def read_trees(out: Path, property_id: str) -> tuple[list[dict[str, float]], dict[str, float]] | None:
    """Return the figures of the folds and of the test rows; None where some are missing."""
    paths = [_trees_path(out, property_id, fold) for fold in (*range(N_FOLDS), None)]
    if not all(path.is_file() for path in paths):
        return None
    *folds, test = (json.loads(path.read_text()) for path in paths)
    return folds, test


def _trees_path(out: Path, property_id: str, fold: int | None) -> Path:
    return out / f"trees_{property_id}_{'test' if fold is None else fold}.json"


def _fit_trees(features: Path, out: Path, property_id: str, fold: int | None, seed: int) -> str:
    """Fit trees on all rows outside a fold and write their figures on it; None: train rows, and test rows."""
    dataset, polymers = read_training_file(features)
    if fold is None:
        known, asked = dataset.split(property_id, "train"), dataset.split(property_id, "test")
    else:
        known, asked = property_rows(dataset, property_id, fold), held_out_rows(dataset, property_id, fold)
    baseline = Baseline([polymers[row.smiles] for row in known], np.array([row.value for row in known]), seed=seed)
    predicted = baseline.predict([polymers[row.smiles] for row in asked])
    found = score(np.array([row.value for row in asked]), predicted)
    write_json_atomically(_trees_path(out, property_id, fold), found)
    return f"{property_id} {'test' if fold is None else fold}: {found}"


def score(values: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return rows, R2 and RMSE."""
    rmse = float(np.sqrt(np.mean((values - predicted) ** 2)))
    spread = float(((values - values.mean()) ** 2).sum())
    return {"n": len(values), "r2": round(1 - rmse**2 * len(values) / spread, 4), "rmse": round(rmse, 4)}
