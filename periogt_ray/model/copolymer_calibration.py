"""The calibration of a property of copolymers, from rows of known pairs of monomers.

A network that learned from some pairs of monomers knows other ratios and architectures of the same pairs well, and new
monomers much less. So the residuals that intervals follow from hold for known pairs only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from periogt_ray.artifacts.calibration import FINGERPRINT_BYTES, Calibration, CalibrationFacts, polymer_hash
from periogt_ray.model.calibrating import nearest_similarities, rounded
from periogt_ray.model.intervals import LEVELS, choose_scale
from periogt_ray.model.plausibility import Composition
from periogt_ray.model.similarity import morgan_bits

__all__ = ["KnownCopolymers", "calibrate_copolymers"]


@dataclass(frozen=True)
class KnownCopolymers:
    """What is known of a property of copolymers: M monomers of training, and n rows that trained nothing.

    Attributes
    ----------
    monomers : tuple of str
        Canonical, as they are computed.
    fingerprints : numpy.ndarray
        uint8 [M, 1191] of their 3-mers.
    partners : tuple of str
        Monomers of which every training copolymer has at least one.
    lowest, highest : float
        Range of the training labels, in the property's unit.
    values, predictions : numpy.ndarray
        float64 [n], of copolymers whose pair of monomers is among the training pairs.
    """

    monomers: tuple[str, ...]
    fingerprints: np.ndarray
    partners: tuple[str, ...]
    lowest: float
    highest: float
    values: np.ndarray
    predictions: np.ndarray


def calibrate_copolymers(
    property_id: str, known: KnownCopolymers, *, report: Mapping[str, Any] | None = None
) -> Calibration:
    """Make the calibration of a property of copolymers; its intervals have one width.

    Parameters
    ----------
    property_id : str
        Whose.
    known : KnownCopolymers
        At least one row.
    report : Mapping, optional
        What else is to be kept with it; JSON.
    """
    residuals = known.values - known.predictions
    n_monomers, n_rows = len(known.monomers), len(residuals)
    ones = {"constant": np.ones(n_rows)}
    deviation = float(known.values.std())
    tried = {f"{level:g}": choose_scale(residuals, ones, deviation=deviation, level=level)[1] for level in LEVELS}
    seen = Composition.of(known.monomers)
    facts = CalibrationFacts(
        property_id=property_id,
        scale="constant",
        floor=0.0,
        lowest=known.lowest,
        highest=known.highest,
        elements=tuple(sorted(seen.elements)),
        charges=tuple(sorted(seen.charges)),
        n_training=seen.n_rows,
        n_charged=seen.n_charged,
        partners=tuple(int(polymer_hash(smiles)) for smiles in known.partners),
        report={
            "n_calibration": n_rows,
            "scales": {"constant": {level: rounded(found["constant"]) for level, found in tried.items() if found}},
            **(report or {}),
        },
    )
    packed = morgan_bits(known.fingerprints)
    unknown, no_rows = np.full(n_monomers, np.nan), np.zeros((n_rows, FINGERPRINT_BYTES), np.uint8)
    return Calibration(
        facts,
        fingerprints=np.concatenate([packed, no_rows]),
        hashes=np.array([*map(polymer_hash, known.monomers), *([0] * n_rows)], np.uint64),
        is_training=np.arange(n_monomers + n_rows) < n_monomers,
        residuals=np.concatenate([unknown, residuals]).astype(np.float32),
        scales=np.concatenate([unknown, ones["constant"]]).astype(np.float32),
        # A copolymer has no embedding.
        coordinates=np.zeros((n_monomers + n_rows, 1), np.float16),
        nearest_similarities=nearest_similarities(packed),
        nearest_distances=np.zeros(n_monomers, np.float32),
        center=np.zeros(0, np.float32),
        projection=np.zeros((0, 1), np.float32),
    )
