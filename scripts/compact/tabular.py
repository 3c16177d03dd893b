"""Extra trees and gradient boosting on fingerprint and descriptors: the baseline, and a part of the teachers."""

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.model_selection import KFold

from compact.features import Polymer
from compact.kernels import KernelMachines, PolymerViews

__all__ = ["Baseline", "Teacher", "tree_features"]

_N_BASELINE_TREES = 300
_N_FOLDS = 5


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
        trees = ExtraTreesRegressor(_N_BASELINE_TREES, random_state=seed, n_jobs=1)
        boosting = HistGradientBoostingRegressor(random_state=seed)
        self._models = [model.fit(tree_features(polymers), values) for model in (trees, boosting)]

    def predict(self, polymers: Sequence[Polymer]) -> np.ndarray:
        """Return float64 [n]."""
        features = tree_features(polymers)
        return np.mean([model.predict(features) for model in self._models], axis=0)


class Teacher:
    """What a property's network learns from beside its train rows: kernel machines and extra trees fitted on them.

    The share of each in the prediction is the one that is best in cross-validation within the train rows.

    Parameters
    ----------
    polymers : sequence of Polymer
        The train rows' polymers.
    values : numpy.ndarray
        float64 [n], normalised.
    background : sequence of Polymer
        Whose features decide how those of the kernel machines are scaled.
    n_trees : int
        Of the extra trees.
    seed : int
        Likewise, and of the folds.

    Attributes
    ----------
    share_of_trees : float
        0 to 1.
    """

    def __init__(
        self,
        polymers: Sequence[Polymer],
        values: np.ndarray,
        background: Sequence[Polymer],
        *,
        n_trees: int,
        seed: int,
    ) -> None:
        self._views = PolymerViews(background)
        self._n_trees, self._seed = n_trees, seed
        by_machines, by_trees = np.empty((2, len(values)))
        for known, left_out in KFold(_N_FOLDS, shuffle=True, random_state=seed).split(values):
            machines, trees = self._fit([polymers[index] for index in known], values[known])
            by_machines[left_out] = machines.predict([polymers[index] for index in left_out])
            by_trees[left_out] = trees.predict(tree_features([polymers[index] for index in left_out]))
        difference = by_trees - by_machines
        # The minimum of the squared error is where the remaining error is orthogonal to the difference.
        best = float((values - by_machines) @ difference) / max(float(difference @ difference), 1e-12)
        self.share_of_trees = min(max(best, 0.0), 1.0)
        self._machines, self._trees = self._fit(polymers, values)

    def predict(self, polymers: Sequence[Polymer]) -> np.ndarray:
        """Return float64 [n], normalised."""
        trees = self._trees.predict(tree_features(polymers))
        return (1 - self.share_of_trees) * self._machines.predict(polymers) + self.share_of_trees * trees

    def _fit(self, polymers: Sequence[Polymer], values: np.ndarray) -> tuple[KernelMachines, ExtraTreesRegressor]:
        trees = ExtraTreesRegressor(self._n_trees, max_features=1 / 3, random_state=self._seed, n_jobs=1)
        return KernelMachines(self._views, polymers, values), trees.fit(tree_features(polymers), values)
