"""Trees on the folds of the networks; each fold's predictions are a file, so that a run goes on."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from periogt_ray.runtime.files import PRIVATE_MODE, atomic_file
from periogt_ray.training import baselines
from periogt_ray.training.members import Context
from periogt_ray.training.splits import Fold
from periogt_ray.training.trainer import Stopped

__all__ = ["fold_trees"]


def fold_trees(
    features: np.ndarray,
    context: Context,
    folds: Sequence[Fold],
    *,
    name: str,
    seed: int,
    is_stopping: Callable[[], bool],
) -> dict[str, np.ndarray]:
    """Fit trees on the folds of one round.

    Parameters
    ----------
    features : numpy.ndarray
        float32 [n, columns].
    context : Context
        Labels, and the directory of the files.
    folds : sequence of Fold
        Of one round.
    name : str
        Of the files.
    seed : int
        Of the trees.
    is_stopping : callable
        Whether to stop.

    Returns
    -------
    dict
        ``random``: predictions of the polymers that a fold holds out; ``test``: the mean of predictions of all
        others; each float64 [n], labels, NaN where there is none.

    Raises
    ------
    Stopped
        It was told to stop.
    """
    n = len(context.labels)
    held_out, others = np.full(n, np.nan), []
    outside = sorted(set(range(n)) - {i for fold in folds for i in fold.held_out})
    for number, fold in enumerate(folds):
        if number and not fold.held_out:
            break  # the same rows again
        if is_stopping():
            raise Stopped
        path = context.directory / f"{name}-{number}.npy"
        asked = (*fold.held_out, *outside)
        if path.is_file():
            predicted = np.load(path, allow_pickle=False)
        else:
            learned = (*fold.rows.train, *fold.rows.validation) if fold.held_out else fold.rows.train
            predicted = baselines.predict_by_trees(features, context.labels, learned, asked, seed=seed)
            _save_array(path, predicted)
        held_out[list(fold.held_out)] = predicted[: len(fold.held_out)]
        others.append(predicted[len(fold.held_out) :])
    of_test = np.full(n, np.nan)
    of_test[outside] = np.mean(others, axis=0)
    return {"random": held_out, "test": of_test}


def _save_array(path: Path, array: np.ndarray) -> None:
    with atomic_file(path, mode=PRIVATE_MODE, sync=False) as file:
        np.save(file, array, allow_pickle=False)
