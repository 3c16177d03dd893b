"""Whether a polymer is like those that a network learned from.

Not how wrong the value is: within a set, similarity and error are nearly unrelated for single polymers (rank
correlations from -0.13 to 0.23 over six sets of computed properties), and only those without any similar polymer have
clearly larger errors (table in the embedded model's card). ``outside`` says that the figures of the card need not hold.

A place is judged by its rank, as in conformal prediction: of n training polymers and one more of their kind, each is
equally likely to lie farthest from the others. Farther than k of the n is therefore an accident of probability
(n + 1 - k) / (n + 1) at most. ``outside`` allows 5 %, which fewer than 19 polymers cannot tell. ``far_outside`` allows
0.1 %, and where n is below 999, farther than all of them; it needs 99, so that the accident has at most 1 %.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from periogt_ray.artifacts.calibration import Calibration, CalibrationFacts
from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.model.plausibility import Composition, polymer_warnings, unseen_parts, value_warnings
from periogt_ray.model.similarity import distances

__all__ = [
    "FEWEST_FAR",
    "FEWEST_OUTSIDE",
    "Domain",
    "DomainStatus",
    "KnownPlaces",
    "composition_of",
    "domain_of",
    "is_far",
    "is_outside",
    "mean_distance",
]

DomainStatus = Literal["inside", "outside", "far_outside"]
_OUTSIDE, _FAR = 0.95, 0.999  # shares of the training polymers' kind
FEWEST_OUTSIDE, FEWEST_FAR = 19, 99  # training polymers
_N_NEAREST = 5  # in the embedding


class Domain(NamedTuple):
    """How a polymer lies to the training polymers.

    Attributes
    ----------
    status : {"inside", "outside", "far_outside"}
        ``outside`` beyond the 95th percentile, or a value beyond the training labels; ``far_outside`` beyond the
        99.9th, an element or charge that no training polymer has, or a value that the property cannot have. Few
        training polymers tell less: see :func:`is_outside` and :func:`is_far`.
    similarity : float
        Tanimoto similarity to the nearest training polymer.
    percentile : float
        Share of training polymers, in percent, that lie closer to the other ones than this polymer; the larger of the
        shares by similarity and by distance in the embedding.
    reasons : tuple of str
        Why it is not inside, and what else is unusual.
    """

    status: DomainStatus
    similarity: float
    percentile: float
    reasons: tuple[str, ...] = ()


class Place(NamedTuple):
    """Where a polymer lies, apart from the value that was predicted for it."""

    similarity: float
    n_less_similar: int  # training polymers that are more similar to their nearest
    n_closer: int  # training polymers that are closer to the others in the embedding
    n: int  # training polymers

    @property
    def similarity_percentile(self) -> float:
        """Share of training polymers that are more similar to their nearest than this polymer to it."""
        return 100 * self.n_less_similar / self.n

    @property
    def distance_percentile(self) -> float:
        """Share of training polymers that lie closer to the others than this polymer, in the embedding."""
        return 100 * self.n_closer / self.n

    @property
    def n_nearer(self) -> int:
        """Training polymers that are nearer by that of both that says more."""
        return max(self.n_less_similar, self.n_closer)


class KnownPlaces:
    """Where the training polymers of a calibration lie.

    Parameters
    ----------
    calibration : Calibration
        Of the property.
    """

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._training = np.flatnonzero(calibration.is_training)
        self._coordinates = calibration.coordinates[self._training].astype(np.float32)

    def place(self, similarity: np.ndarray, coordinates: np.ndarray) -> Place:
        """Compare a polymer with the training polymers.

        Parameters
        ----------
        similarity : numpy.ndarray
            float32 [N], to all polymers of the calibration.
        coordinates : numpy.ndarray
            float32 [K + 1], of the polymer in the embedding.
        """
        known = self._calibration
        nearest = similarity[self._training].max()
        far = mean_distance(self._coordinates, coordinates)
        n_not_more = int(np.searchsorted(known.nearest_similarities, nearest, side="right"))
        n_closer = int(np.searchsorted(known.nearest_distances, np.float32(far), side="left"))
        n = len(self._training)
        return Place(float(nearest), n - n_not_more, n_closer, n)


def _rank(n: int, share: float) -> int:
    """Return ceil((n + 1) share); rounded first, because 0.95 is not a binary number."""
    return math.ceil(round((n + 1) * share, 9))


def is_outside(n_nearer: int, n: int) -> bool:
    """Whether being farther than ``n_nearer`` of ``n`` training polymers happens to 5 % of their kind at most.

    Examples
    --------
    >>> is_outside(18, 18), is_outside(19, 19), is_outside(286, 300), is_outside(285, 300)
    (False, True, True, False)
    """
    return n_nearer >= _rank(n, _OUTSIDE)


def is_far(n_nearer: int, n: int) -> bool:
    """Whether it happens to 0.1 % at most, or to 1 % where fewer polymers than 999 can tell no more.

    Examples
    --------
    >>> is_far(98, 98), is_far(99, 99), is_far(998, 999), is_far(2695, 2696), is_far(2694, 2696)
    (False, True, False, True, False)
    """
    return n >= FEWEST_FAR and n_nearer >= min(_rank(n, _FAR), n)


def mean_distance(known: np.ndarray, coordinates: np.ndarray, *, left_out: int | None = None) -> float:
    """Return the mean distance of coordinates [K + 1] to the nearest of [N, K + 1], one of which may be left out."""
    found = distances(known, coordinates)
    if left_out is not None:
        found[left_out] = np.inf
    n_nearest = min(_N_NEAREST, len(found) - (left_out is not None))
    return float(np.partition(found, n_nearest - 1)[:n_nearest].mean())


def domain_of(facts: CalibrationFacts, found: Place, *, smiles: str, info: PropertyInfo, value: float) -> Domain:
    """Judge a polymer and the value that was predicted for it.

    Parameters
    ----------
    facts : CalibrationFacts
        Of the property.
    found : Place
        From :meth:`KnownPlaces.place`.
    smiles : str
        Canonical.
    info : PropertyInfo
        The property.
    value : float
        The prediction, in its unit.
    """
    seen = composition_of(facts)
    impossible = value_warnings(info, value)
    strong = (*unseen_parts(smiles, seen), *impossible)
    weak = tuple(text for text in polymer_warnings(smiles, seen) if text not in strong)
    percentile = max(found.similarity_percentile, found.distance_percentile)
    if is_outside(found.n_less_similar, found.n):
        weak += (
            f"Its similarity to the nearest {facts.reference} polymer is {found.similarity:.2f}, lower than for "
            f"{found.similarity_percentile:.1f} % of the {facts.reference} polymers",
        )
    if is_outside(found.n_closer, found.n):
        weak += (
            f"In the network's embedding it lies farther from the {facts.reference} polymers than "
            f"{found.distance_percentile:.1f} % of them from one another",
        )
    if found.n < FEWEST_OUTSIDE and found.n_nearer == found.n:
        weak += (
            f"It lies farther from the {found.n} {facts.reference} polymers than they from one another; fewer than "
            f"{FEWEST_OUTSIDE} are too few to tell whether that is unusual",
        )
    is_beyond = not facts.lowest <= value <= facts.highest
    if is_beyond and not impossible:
        bounds = f"{facts.lowest:.4g} to {facts.highest:.4g} {info.units}".strip()
        weak += (f"The value lies beyond the {facts.reference} labels ({bounds})",)
    if strong or is_far(found.n_nearer, found.n):
        status: DomainStatus = "far_outside"
    else:
        status = "outside" if is_outside(found.n_nearer, found.n) or is_beyond else "inside"
    return Domain(status, found.similarity, percentile, (*strong, *weak))


def composition_of(facts: CalibrationFacts) -> Composition:
    """Return the elements and charges of the training polymers."""
    return Composition(frozenset(facts.elements), frozenset(facts.charges), facts.n_training, facts.n_charged)
