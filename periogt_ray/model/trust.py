"""Interval and domain of a prediction, by the calibration of its property."""

from functools import cached_property
from typing import NamedTuple

import numpy as np

from periogt_ray.artifacts.calibration import Calibration
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.model.copolymer_domain import KnownMonomers
from periogt_ray.model.domain import Domain, KnownPlaces, composition_of, domain_of
from periogt_ray.model.intervals import (
    N_NEIGHBOURS,
    Interval,
    conformal_quantile,
    fewest_rows,
)
from periogt_ray.model.plausibility import PUBLISHED, Composition, polymer_warnings, value_warnings
from periogt_ray.model.similarity import Bits, mean_of_nearest, morgan_bits
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.input_features import Featurized, FeaturizedCopolymer

__all__ = ["Judgement", "Judges", "Trust", "coordinates_of"]


def coordinates_of(center: np.ndarray, projection: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Return the coordinates of embeddings [..., E], float32 [..., K + 1].

    The last one is the length of what the K directions leave out, so that a polymer far from all of them is far.
    """
    scaled = (embeddings - center) / projection[:, 0]
    inner = scaled @ projection[:, 1:]
    rest = np.maximum((scaled**2).sum(axis=-1) - (inner**2).sum(axis=-1), 0)
    return np.concatenate([inner, np.sqrt(rest)[..., None]], axis=-1).astype(np.float32)


class Trust:
    """What a calibration says of predictions; under a millisecond each.

    Parameters
    ----------
    calibration : Calibration
        Of the property.
    info : PropertyInfo
        The property.
    """

    def __init__(self, calibration: Calibration, info: PropertyInfo) -> None:
        self.calibration = calibration
        self._info = info
        self._bits = Bits(calibration.fingerprints)
        self._places = KnownPlaces(calibration)
        self._is_calibrated = ~np.isnan(calibration.residuals)
        self._sizes = np.abs(calibration.residuals[self._is_calibrated]).astype(np.float64)
        self._scores = self._sizes / calibration.scales[self._is_calibrated]
        self._quantiles: dict[float, float | None] = {}

    @cached_property
    def monomers(self) -> KnownMonomers:
        """Of a property of copolymers: the monomers that the network learned from."""
        return KnownMonomers(self.calibration)

    @cached_property
    def composition(self) -> Composition:
        """Elements and charges of the training polymers."""
        return composition_of(self.calibration.facts)

    @cached_property
    def n_calibrated(self) -> int:
        """Rows that the intervals follow from."""
        return len(self._scores)

    def judge(
        self,
        value: float,
        *,
        smiles: str,
        fingerprint: np.ndarray,
        embedding: np.ndarray,
        spread: float,
        level: float,
    ) -> tuple[Interval | None, Domain]:
        """Return interval and domain of a prediction.

        Parameters
        ----------
        value : float
            The prediction, in the property's unit.
        smiles : str
            Canonical.
        fingerprint : numpy.ndarray
            uint8 [1191].
        embedding : numpy.ndarray
            float32 [E].
        spread : float
            Standard deviation over members, in the property's unit; 0 for one network.
        level : float
            Coverage of the interval.

        Returns
        -------
        Interval or None
            None where there are too few calibration rows for a finite one.
        Domain
            How the polymer lies to the training polymers.
        """
        known = self.calibration
        closeness = self._bits.similarities(morgan_bits(fingerprint))
        found = self._places.place(closeness, coordinates_of(known.center, known.projection, embedding))
        domain = domain_of(known.facts, found, smiles=smiles, info=self._info, value=value)
        half_width = self.half_width(closeness, spread, level)
        if half_width is None:
            return None, domain
        return Interval(level, value - half_width, value + half_width), domain

    def interval(self, value: float, *, spread: float, level: float) -> Interval | None:
        """Return the interval of a polymer without a place among the training polymers, None where it needs one."""
        if self.calibration.facts.scale == "neighbours":
            return None
        half_width = self.half_width(np.zeros(0, np.float32), spread, level)
        return None if half_width is None else Interval(level, value - half_width, value + half_width)

    def half_width(self, closeness: np.ndarray, spread: float, level: float) -> float | None:
        """Return half the width of an interval, None where it is not finite; ``closeness`` is float32 [N]."""
        if level not in self._quantiles:
            self._quantiles[level] = conformal_quantile(self._scores, level)
        quantile = self._quantiles[level]
        return None if quantile is None else quantile * self._scale(closeness, spread)

    def too_few(self, level: float) -> str:
        """Say why there is no interval."""
        return (
            f"No finite interval at {100 * level:g} %: it needs {fewest_rows(level)} calibration polymers, there are "
            f"{self.n_calibrated}"
        )

    def _scale(self, closeness: np.ndarray, spread: float) -> float:
        facts = self.calibration.facts
        if facts.scale == "neighbours":
            return mean_of_nearest(self._sizes, closeness[self._is_calibrated], N_NEIGHBOURS) + facts.floor
        return spread + facts.floor if facts.scale == "spread" else 1.0


class Judgement(NamedTuple):
    """Interval, domain and warnings of a prediction."""

    interval: Interval | None = None
    domain: Domain | None = None
    warnings: tuple[str, ...] = ()


class Judges:
    """What judges the predictions of each property of an artifact directory; calibrations are read on first use.

    Parameters
    ----------
    artifacts : ArtifactDirectory
        Where they are.
    """

    def __init__(self, artifacts: ArtifactDirectory) -> None:
        self._artifacts = artifacts
        self._loaded: dict[str, Trust | None] = {}

    def judge(
        self,
        info: PropertyInfo,
        value: float,
        *,
        polymer: Featurized,
        embedding: np.ndarray | None,
        spread: float,
        level: float,
    ) -> Judgement:
        """Return interval, domain and warnings; without a calibration only warnings.

        A copolymer is judged by its monomers, where the calibration holds those of training; it has an interval where
        training saw the pair, because the residuals are those of such pairs. Another composite has no place among
        training polymers, so it has no domain, and an interval only where its width does not follow from such a place.

        Raises
        ------
        ModelLoadError
            The calibration is damaged.
        """
        trust = self._of(info)
        seen = PUBLISHED[info.input_kind] if trust is None else trust.composition
        monomers = (polymer,) if isinstance(polymer, FeaturizedPolymer) else polymer.monomers
        told = (warning for monomer in monomers for warning in polymer_warnings(monomer.smiles, seen))
        warnings = tuple(dict.fromkeys((*told, *value_warnings(info, value))))
        if trust is None:
            return Judgement(warnings=warnings)
        if isinstance(polymer, FeaturizedCopolymer) and trust.calibration.facts.partners:
            return _of_copolymer(trust, info, value, polymer, spread=spread, level=level, warnings=warnings)
        if embedding is None or not isinstance(polymer, FeaturizedPolymer):
            return Judgement(trust.interval(value, spread=spread, level=level), warnings=warnings)
        interval, domain = trust.judge(
            value,
            smiles=polymer.smiles,
            fingerprint=polymer.oligomers[1].fingerprint,
            embedding=embedding,
            spread=spread,
            level=level,
        )
        if domain.status == "far_outside":
            warnings = tuple(dict.fromkeys((*warnings, *domain.reasons)))
        if interval is None:
            warnings += (trust.too_few(level),)
        return Judgement(interval, domain, warnings)

    def _of(self, info: PropertyInfo) -> Trust | None:
        if info.id not in self._loaded:
            calibration = self._artifacts.calibration(info.id)
            self._loaded[info.id] = None if calibration is None else Trust(calibration, info)
        return self._loaded[info.id]


def _of_copolymer(
    trust: Trust,
    info: PropertyInfo,
    value: float,
    polymer: FeaturizedCopolymer,
    *,
    spread: float,
    level: float,
    warnings: tuple[str, ...],
) -> Judgement:
    domain = trust.monomers.domain(polymer.monomers, info=info, value=value)
    if domain.status == "far_outside":
        warnings = tuple(dict.fromkeys((*warnings, *domain.reasons)))
    if not trust.monomers.has_pair(polymer.monomers):
        told = f"No interval: those of {info.id} hold for pairs of monomers that training saw"
        return Judgement(None, domain, (*warnings, told))
    interval = trust.interval(value, spread=spread, level=level)
    return Judgement(interval, domain, warnings if interval else (*warnings, trust.too_few(level)))
