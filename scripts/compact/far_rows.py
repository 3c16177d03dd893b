"""What intervals keep of their coverage on polymers that are unlike those of training."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from compact.card import read_card, write_card
from compact.dataset import PROPERTIES
from compact.folds import N_FOLDS, held_out_rows
from compact.recipe import Stages
from compact.training_file import TrainingFile, read_training_file
from periogt_ray.model.intervals import (
    DEFAULT_LEVEL,
    N_NEIGHBOURS,
    conformal_quantile,
    floor_of,
    neighbour_scales,
)
from periogt_ray.model.similarity import Bits, mean_of_nearest, morgan_bits

__all__ = ["BINS", "add_far_rows", "binned", "judged_out_of_fold"]

# Of the similarity to the nearest polymer of training; the last bin is closed.
BINS = (0.0, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8, 1.0)


def judged_out_of_fold(
    fingerprints: np.ndarray, residuals: np.ndarray, folds: np.ndarray, *, level: float = DEFAULT_LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Give each row an interval that follows from the other folds only, whose rows its network learned from.

    Parameters
    ----------
    fingerprints : numpy.ndarray
        uint8 [n, 128], packed.
    residuals : numpy.ndarray
        float64 [n], out of fold.
    folds : numpy.ndarray
        int [n].
    level : float
        Of the intervals, whose width follows from the nearest neighbours.

    Returns
    -------
    similarities, half_widths : numpy.ndarray
        float64 [n]: to the nearest row of the other folds, and half of the interval.
    """
    similarities, half_widths = np.empty(len(residuals)), np.empty(len(residuals))
    for fold in np.unique(folds):
        others = np.flatnonzero(folds != fold)
        sizes, bits = np.abs(residuals[others]), Bits(fingerprints[others])
        scales = neighbour_scales(fingerprints[others], residuals[others])
        floor = floor_of(scales)
        quantile = conformal_quantile(sizes / (scales + floor), level)
        for row in np.flatnonzero(folds == fold):
            closeness = bits.similarities(fingerprints[row])
            scale = mean_of_nearest(sizes, closeness, N_NEIGHBOURS) + floor
            similarities[row] = closeness.max()
            half_widths[row] = np.inf if quantile is None else quantile * scale
    return similarities, half_widths


def binned(similarities: np.ndarray, errors: np.ndarray, half_widths: np.ndarray) -> list[dict[str, float]]:
    """Return rows, coverage with its error, root mean squared error and mean width by bin of similarity."""
    found = []
    for low, high in pairwise(BINS):
        is_in = (similarities >= low) & ((similarities < high) | (high == BINS[-1]))
        n = int(is_in.sum())
        if not n:
            continue
        coverage = float(np.mean(errors[is_in] <= half_widths[is_in]))
        figures = {
            "low": low,
            "high": high,
            "n": n,
            "coverage": coverage,
            "coverage_error": float(np.sqrt(coverage * (1 - coverage) / n)),
            "rmse": float(np.sqrt(np.mean(errors[is_in] ** 2))),
            "width": float(2 * half_widths[is_in].mean()),
        }
        found.append({name: float(f"{value:.4g}") for name, value in figures.items()})
    return found


def far_rows(stages: Stages, training: TrainingFile) -> dict[str, Any]:
    """Return the figures by property, and over all of them with errors and widths in deviations of the labels."""
    found: dict[str, Any] = {}
    pooled = []
    for property_id in PROPERTIES:
        parts = [held_out_rows(training.dataset, property_id, fold) for fold in range(N_FOLDS)]
        folds = np.repeat(np.arange(N_FOLDS), [len(part) for part in parts])
        rows = [row for part in parts for row in part]
        predictions = np.concatenate([np.load(stages.held_out(property_id, fold)) for fold in range(N_FOLDS)])
        values = np.array([row.value for row in rows])
        packed = morgan_bits(np.stack([training.polymers[row.smiles].fingerprint for row in rows]))
        similarities, half_widths = judged_out_of_fold(packed, values - predictions, folds)
        errors, deviation = np.abs(values - predictions), float(values.std())
        found[property_id] = binned(similarities, errors, half_widths)
        pooled.append((similarities, errors / deviation, half_widths / deviation))
    found["pooled"] = binned(*(np.concatenate(part) for part in zip(*pooled, strict=True)))
    return found


def add_far_rows(stages: Stages, out: Path) -> Mapping[str, Any]:
    """Add the figures to the card of a finished artifact directory; return the card."""
    card = read_card(out)
    card["by_similarity"] = far_rows(stages, read_training_file(stages.features))
    write_card(out, card)
    return card
