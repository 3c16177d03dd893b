"""From polymers with measured values and held-out predictions to a property's calibration."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from periogt_ray.artifacts.calibration import Calibration, CalibrationFacts, polymer_hash
from periogt_ray.model.domain import mean_distance
from periogt_ray.model.intervals import (
    DEFAULT_LEVEL,
    LEVELS,
    IntervalMetrics,
    choose_scale,
    floor_of,
    neighbour_scales,
)
from periogt_ray.model.plausibility import Composition
from periogt_ray.model.similarity import Bits, morgan_bits
from periogt_ray.model.trust import coordinates_of
from periogt_ray.polymer.chain import chain_key
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["KnownPolymers", "calibrate_property", "nearest_similarities", "recalibrated", "rounded", "with_report"]

_N_DIRECTIONS = 32
_N_FOR_DIRECTIONS = 1000  # polymers that the principal components are computed from


@dataclass(frozen=True)
class KnownPolymers:
    """Polymers of one property: N of them.

    Attributes
    ----------
    smiles : tuple of str
        Canonical.
    fingerprints : numpy.ndarray
        uint8 [N, 1191] of the 3-mer.
    embeddings : numpy.ndarray
        float32 [N, E], by the encoder of the artifacts.
    values : numpy.ndarray
        float64 [N], in the property's unit.
    predictions : numpy.ndarray
        float64 [N], by networks that did not learn from the row; NaN where there is none.
    is_training : numpy.ndarray
        bool [N]; the domain is measured to these.
    spreads : numpy.ndarray, optional
        float64 [N], standard deviation over members that all did not learn from the row; None where there are none.
    keys : tuple of str, optional
        What polymers are known by again; None: their chains. Composites have texts of their own.
    has_places : bool
        Whether a polymer has a place among the others. Composites have none, so their intervals cannot have a scale
        that follows from neighbours.
    """

    smiles: tuple[str, ...]
    fingerprints: np.ndarray
    embeddings: np.ndarray
    values: np.ndarray
    predictions: np.ndarray
    is_training: np.ndarray
    spreads: np.ndarray | None = None
    keys: tuple[str, ...] | None = None
    has_places: bool = True


def calibrate_property(
    property_id: str, known: KnownPolymers, *, reference: str = "training", report: Mapping[str, Any] | None = None
) -> Calibration:
    """Make the calibration of a property.

    Parameters
    ----------
    property_id : str
        Whose.
    known : KnownPolymers
        At least one of them in the training set.
    reference : str
        What the domain is measured against, in words: ``training`` or ``calibration``.
    report : Mapping, optional
        What else is to be kept with it; JSON.

    Raises
    ------
    ValueError
        If no polymer is a training one, or none has a held-out prediction.
    """
    has_residual = np.isfinite(known.predictions)
    if not known.is_training.any() or not has_residual.any():
        raise ValueError("a calibration needs training polymers and held-out predictions")
    packed = morgan_bits(known.fingerprints)
    kind, floor, scales, tried = _scales(known, packed, has_residual)
    center, projection = _directions(known.embeddings[known.is_training])
    coordinates = coordinates_of(center, projection, known.embeddings).astype(np.float16)
    labels = known.values[known.is_training]
    seen = Composition.of([s for s, is_in in zip(known.smiles, known.is_training, strict=True) if is_in])
    facts = CalibrationFacts(
        property_id=property_id,
        scale=kind,
        floor=floor,
        lowest=float(labels.min()),
        highest=float(labels.max()),
        elements=tuple(sorted(seen.elements)),
        charges=tuple(sorted(seen.charges)),
        n_training=seen.n_rows,
        n_charged=seen.n_charged,
        reference=reference,
        known_by="chain" if known.keys is None else "smiles",
        report={"n_calibration": int(has_residual.sum()), "scales": tried, **(report or {})},
    )
    return Calibration(
        facts,
        fingerprints=packed,
        hashes=_hashes(known.keys or _chains(known.smiles)),
        is_training=known.is_training,
        residuals=np.where(has_residual, known.values - known.predictions, np.nan).astype(np.float32),
        scales=scales.astype(np.float32),
        coordinates=coordinates,
        nearest_similarities=nearest_similarities(packed[known.is_training]),
        nearest_distances=_nearest_distances(coordinates[known.is_training].astype(np.float32)),
        center=center,
        projection=projection,
    )


def _chains(smiles: Sequence[str]) -> list[str]:
    chains = {name: chain_key(RepeatUnit.parse(name)) for name in set(smiles)}
    return [chains[name] for name in smiles]


def _hashes(smiles: Sequence[str]) -> np.ndarray:
    return np.array([polymer_hash(name) for name in smiles], dtype=np.uint64)


def _scales(
    known: KnownPolymers, packed: np.ndarray, has_residual: np.ndarray
) -> tuple[str, float, np.ndarray, dict[str, Any]]:
    """Choose the kind of scale; return it with its floor, the scale of each row [N], and what was measured."""
    residuals = (known.values - known.predictions)[has_residual]
    raw = {"neighbours": neighbour_scales(packed[has_residual], residuals)} if known.has_places else {}
    if known.spreads is not None:
        raw["spread"] = known.spreads[has_residual]
    floors = {kind: floor_of(values) for kind, values in raw.items()}
    candidates = {"constant": np.ones(len(residuals))} | {kind: raw[kind] + floors[kind] for kind in raw}
    deviation = float(np.std(known.values[has_residual]))
    tried: dict[str, Any] = {}
    chosen: str | None = None
    for level in LEVELS:
        best, found = choose_scale(residuals, candidates, deviation=deviation, level=level)
        if level == DEFAULT_LEVEL:
            chosen = best
        for kind, metrics in found.items():
            tried.setdefault(kind, {})[f"{level:g}"] = rounded(metrics)
    kind = chosen or "constant"
    scales = np.full(len(has_residual), np.nan)
    scales[has_residual] = candidates[kind]
    return kind, floors.get(kind, 0.0), scales, tried


def rounded(metrics: IntervalMetrics) -> dict[str, float]:
    """Return metrics with five significant digits, for JSON."""
    return {name: float(f"{value:.5g}") for name, value in metrics._asdict().items()}


def _directions(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the center [E], and scales beside principal directions [E, K + 1], of embeddings."""
    some = embeddings[:: -(-len(embeddings) // _N_FOR_DIRECTIONS)].astype(np.float64)
    center, deviation = some.mean(axis=0), some.std(axis=0)
    scale = np.where(deviation > 1e-6 * np.maximum(np.abs(center), 1.0), deviation, 1.0) * np.sqrt(some.shape[1])
    n_directions = min(_N_DIRECTIONS, *some.shape)
    _, _, vectors = np.linalg.svd((some - center) / scale, full_matrices=False)
    # The sign of a singular vector is free; with the largest entry positive equal data give equal files.
    vectors = vectors[:n_directions]
    signs = np.sign(vectors[np.arange(n_directions), np.abs(vectors).argmax(axis=1)])
    projection = np.concatenate([scale[:, None], (vectors * signs[:, None]).T], axis=1)
    return center.astype(np.float32), projection.astype(np.float32)


def nearest_similarities(packed: np.ndarray) -> np.ndarray:
    """Return of each polymer, packed bits [N, 128], the similarity to the nearest other one, ascending."""
    found = np.empty(len(packed), np.float32)
    bits = Bits(packed)
    for row, polymer in enumerate(packed):
        closeness = bits.similarities(polymer)
        closeness[row] = -1.0
        found[row] = max(closeness.max(), 0.0)
    return np.sort(found)


def _nearest_distances(coordinates: np.ndarray) -> np.ndarray:
    """Return of each polymer the mean distance to the nearest other ones, ascending."""
    found = np.zeros(len(coordinates), np.float32)
    if len(coordinates) > 1:
        for row, polymer in enumerate(coordinates):
            found[row] = mean_distance(coordinates, polymer, left_out=row)
    return np.sort(found)


def recalibrated(old: Calibration, known: KnownPolymers, *, report: Mapping[str, Any]) -> Calibration:
    """Return a calibration with the training polymers of an old one and the held-out residuals of new rows.

    Parameters
    ----------
    old : Calibration
        Keeps its domain.
    known : KnownPolymers
        Rows that no network learned from; ``is_training`` is not looked at.
    report : Mapping
        What is to be kept with it.
    """
    has_residual = np.isfinite(known.predictions)
    packed = morgan_bits(known.fingerprints)
    kind, floor, scales, tried = _scales(known, packed, has_residual)
    kept = old.is_training
    nothing = np.full(int(kept.sum()), np.nan, np.float32)
    residuals = np.where(has_residual, known.values - known.predictions, np.nan).astype(np.float32)
    coordinates = coordinates_of(old.center, old.projection, known.embeddings).astype(np.float16)
    document = {"n_calibration": int(has_residual.sum()), "scales": tried, **report}
    keys = known.keys or (known.smiles if old.facts.known_by == "smiles" else _chains(known.smiles))
    return dataclasses.replace(
        old,
        facts=dataclasses.replace(old.facts, scale=kind, floor=floor, report=document),
        fingerprints=np.concatenate([old.fingerprints[kept], packed]),
        hashes=np.concatenate([old.hashes[kept], _hashes(keys)]),
        is_training=np.arange(len(nothing) + len(packed)) < len(nothing),
        residuals=np.concatenate([nothing, residuals]),
        scales=np.concatenate([nothing, scales.astype(np.float32)]),
        coordinates=np.concatenate([old.coordinates[kept], coordinates]),
    )


def with_report(calibration: Calibration, **entries: Any) -> Calibration:
    """Return the calibration with further entries in its report."""
    facts = dataclasses.replace(calibration.facts, report={**calibration.facts.report, **entries})
    return dataclasses.replace(calibration, facts=facts)
