"""Shapley values: which coalitions of players are needed, and the values that follow from their worths.

A game gives each coalition (set of players) a worth. The Shapley value of a player is the mean of what it adds, over
all orders in which the players can join (L. S. Shapley, Contributions to the Theory of Games II, 1953). The values sum
to the worth of all players less the worth of none.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from periogt_ray.errors import ValidationError

__all__ = ["Coalitions", "ShapleyValues", "fewest_passes", "plan_coalitions"]

_SEED = 0
_FEWEST_PAIRS = 2  # one pair has no standard error
# A spread of few pairs is too small as often as not: by so much wider contains +- as many values as of a normal
# distribution (quantile 0.8413 of Student's t with 1, 2, ... degrees of freedom).
_WIDER = (1.837, 1.321, 1.197, 1.142, 1.111, 1.091, 1.077, 1.067, 1.059, 1.053)


class ShapleyValues(NamedTuple):
    """Values of players, and their standard errors: float64 [players]; errors are 0 where nothing was sampled.

    Errors from few pairs of orders are wider by Student's t.
    """

    values: np.ndarray
    standard_errors: np.ndarray


@dataclass(frozen=True)
class Coalitions:
    """The coalitions whose worths are needed, each once.

    Attributes
    ----------
    present : numpy.ndarray
        bool [C, players].
    steps : numpy.ndarray or None
        int64 [pairs, 2, players + 1], rows of ``present``: the coalitions as players join in an order, and in the
        reverse order; None where ``present`` holds all subsets, row by row the bits of 0, 1, 2, ...
    orders : numpy.ndarray or None
        int64 [pairs, 2, players], the players in the order in which they join.
    """

    present: np.ndarray
    steps: np.ndarray | None = None
    orders: np.ndarray | None = None

    @property
    def is_exact(self) -> bool:
        """Whether these are all subsets."""
        return self.steps is None

    def shapley(self, worths: np.ndarray, classes: np.ndarray) -> ShapleyValues:
        """Return the values that follow from worths.

        Parameters
        ----------
        worths : numpy.ndarray
            float64 [C].
        classes : numpy.ndarray
            int64 [players], equal for players that are interchangeable; they get the mean of their values.

        Returns
        -------
        ShapleyValues
            They sum to the worth of all players less that of none, but for rounding.

        Examples
        --------
        >>> coalitions = plan_coalitions(2, passes=4)
        >>> worths = np.array([1.0, 2.0, 4.0, 7.0])  # of nobody, player 0, player 1, both
        >>> coalitions.shapley(worths, np.array([0, 1])).values.tolist()
        [2.0, 4.0]
        """
        if self.steps is None or self.orders is None:
            values = _means(_exact(worths, self.present.shape[1])[None], classes)[0]
            return ShapleyValues(values, np.zeros(len(values)))
        added = np.diff(worths[self.steps], axis=-1)
        of_players = np.empty_like(added)
        np.put_along_axis(of_players, self.orders, added, axis=-1)
        pairs = _means(of_players.mean(axis=1), classes)
        errors = pairs.std(axis=0, ddof=1) / math.sqrt(len(pairs))
        n_free = len(pairs) - 1
        return ShapleyValues(pairs.mean(axis=0), errors * (_WIDER[n_free - 1] if n_free <= len(_WIDER) else 1.0))


def fewest_passes(n_players: int) -> int:
    """Return how many coalitions values need at least: all subsets, or two pairs of orders.

    Examples
    --------
    >>> fewest_passes(3), fewest_passes(30)
    (8, 118)
    """
    return min(2**n_players, _of_pairs(_FEWEST_PAIRS, n_players))


def plan_coalitions(n_players: int, passes: int) -> Coalitions:
    """Choose coalitions: all subsets where they are no more than ``passes``, else those of pairs of orders.

    A pair is a random order and its reverse: what a player adds early in the one it adds late in the other, so their
    mean varies less than that of two independent orders (antithetic sampling; Mitchell, Cooper, Frank and Holmes,
    JMLR 23, 2022). The seed is fixed, so that the same call gives the same values.

    Parameters
    ----------
    n_players : int
        At least 1.
    passes : int
        Most coalitions.

    Raises
    ------
    ValidationError
        If ``passes`` is below :func:`fewest_passes`.

    Examples
    --------
    >>> plan_coalitions(3, passes=8).present.astype(int).tolist()[:4]
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]
    >>> plan_coalitions(20, passes=200).steps.shape
    (5, 2, 21)
    """
    if passes < (fewest := fewest_passes(n_players)):
        raise ValidationError(
            f"Passes given: {passes}; this polymer has {n_players} parts to explain and needs at least {fewest}.",
            {"passes": passes, "fewest": fewest},
        )
    # The first test keeps 2**n_players small.
    if n_players < passes.bit_length():
        rows = np.arange(2**n_players)
        return Coalitions((rows[:, None] >> np.arange(n_players)) % 2 == 1)
    n_pairs = (passes - 2) // (2 * (n_players - 1))
    generator = np.random.default_rng(_SEED)
    forward = np.stack([generator.permutation(n_players) for _ in range(n_pairs)])
    orders = np.stack([forward, forward[:, ::-1]], axis=1)
    is_in = np.zeros((n_pairs, 2, n_players + 1, n_players), dtype=bool)
    for n_joined in range(1, n_players + 1):
        is_in[:, :, n_joined] = is_in[:, :, n_joined - 1]
        np.put_along_axis(is_in[:, :, n_joined], orders[:, :, n_joined - 1, None], True, axis=-1)
    present, rows = np.unique(is_in.reshape(-1, n_players), axis=0, return_inverse=True)
    return Coalitions(present, rows.reshape(is_in.shape[:-1]), orders)


def _of_pairs(n_pairs: int, n_players: int) -> int:
    """Return the most coalitions that pairs of orders hold: nobody, everybody, and those between."""
    return 2 + 2 * n_pairs * (n_players - 1)


def _exact(worths: np.ndarray, n_players: int) -> np.ndarray:
    """Return float64 [players], the values of a game whose worths [2 ** players] are known."""
    subsets = np.arange(len(worths))
    sizes = np.array([int(subset).bit_count() for subset in subsets])
    weights = np.array([1 / (n_players * math.comb(n_players - 1, size)) for size in range(n_players)])
    values = np.empty(n_players)
    for player in range(n_players):
        without = subsets[(subsets >> player) % 2 == 0]
        values[player] = (weights[sizes[without]] * (worths[without | 1 << player] - worths[without])).sum()
    return values


def _means(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Replace values [N, players] by their means over players of equal class."""
    found = values.copy()
    for one in np.unique(classes):
        found[:, classes == one] = values[:, classes == one].mean(axis=1, keepdims=True)
    return found
