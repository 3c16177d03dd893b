"""The tasks of a predictor and their outcomes; without torch, for processes that have no network."""

from dataclasses import dataclass

import numpy as np

from periogt_ray.errors import PerioGTError
from periogt_ray.model.domain import Domain
from periogt_ray.model.intervals import DEFAULT_LEVEL, Interval
from periogt_ray.polymer.input_features import Featurized

__all__ = ["Outcome", "Task", "shortest"]


def shortest(value: np.float32) -> float:
    """Return the number that float32's shortest decimal form stands for, so that this form is what people read.

    Examples
    --------
    >>> float(np.float32(0.1)), shortest(np.float32(0.1))
    (0.10000000149011612, 0.1)
    """
    return float(str(value))


@dataclass(frozen=True)
class Task:
    """One polymer and one property to compute.

    Attributes
    ----------
    polymer : FeaturizedPolymer, FeaturizedCopolymer or FeaturizedConditions
        Featurized by the scheme that the property's checkpoint was trained with.
    property_id : str or None
        None: compute only the embedding.
    return_embedding : bool
        Whether a prediction comes with the embedding.
    warnings : tuple of str
        Of the input that was given, for example what was left out of a SMILES; the outcome repeats them.
    level : float
        Coverage of the interval.
    """

    polymer: Featurized
    property_id: str | None = None
    return_embedding: bool = False
    warnings: tuple[str, ...] = ()
    level: float = DEFAULT_LEVEL

    @property
    def wants_embedding(self) -> bool:
        """Whether the answer holds an embedding."""
        return self.return_embedding or self.property_id is None


@dataclass(frozen=True)
class Outcome:
    """The answer to one :class:`Task`: ``error``, or what was asked for.

    Attributes
    ----------
    value : float or None
        In ``units``; prints as float32's shortest decimal form.
    units : str
        Empty for a dimensionless property.
    checkpoint : str or None
        Weights that answered, relative to the artifact directory.
    embedding : numpy.ndarray or None
        float32 [3D].
    error : PerioGTError or None
        Why there is no answer.
    warnings : tuple of str
        Reasons not to trust the answer, and what was left out of the SMILES.
    spread : float
        Standard deviation over the members, in ``units``; 0 for one network.
    interval : Interval or None
        In ``units``; None where the property has no calibration, or too few calibration polymers.
    domain : Domain or None
        How the polymer lies to the training polymers; None where the property has no calibration.
    """

    value: float | None = None
    units: str = ""
    checkpoint: str | None = None
    embedding: np.ndarray | None = None
    error: PerioGTError | None = None
    warnings: tuple[str, ...] = ()
    spread: float = 0.0
    interval: Interval | None = None
    domain: Domain | None = None
