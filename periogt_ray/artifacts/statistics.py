"""Mean and standard deviation of each property's training labels, by which the network's output becomes a value."""

import math
from pathlib import Path
from typing import NamedTuple, TypeGuard

import numpy as np

from periogt_ray.artifacts.layout import read_json
from periogt_ray.errors import ModelLoadError

__all__ = ["LabelStats", "read_label_stats"]


class LabelStats(NamedTuple):
    """Mean and population standard deviation of a property's training labels, in its unit; or of their logarithms."""

    mean: float
    std: float
    is_log10: bool = False

    def document(self) -> dict[str, float | str]:
        """Return the entry of label_stats.json."""
        return {"mean": self.mean, "std": self.std} | ({"transform": "log10"} if self.is_log10 else {})

    def values(self, normalized: np.ndarray) -> np.ndarray:
        """Return values in the property's unit, float64, of a network's outputs.

        Examples
        --------
        >>> LabelStats(1.0, 0.5, is_log10=True).values(np.array([2.0])).tolist()
        [100.0]
        """
        labels = normalized.astype(np.float64) * self.std + self.mean
        return np.asarray(10.0**labels if self.is_log10 else labels)


def read_label_stats(path: Path) -> dict[str, LabelStats]:
    """Read label statistics: ``{"eps": {"mean": 3.9, "std": 0.8}, ...}``.

    Raises
    ------
    ModelLoadError
        The file is malformed, or holds a mean or std that cannot be one.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise ModelLoadError(f"{path}: expected an object of property ids, found a {type(document).__name__}.")
    stats = {}
    for property_id, entry in document.items():
        mean, std = (entry.get("mean"), entry.get("std")) if isinstance(entry, dict) else (None, None)
        if not _is_finite(mean) or not _is_finite(std) or std <= 0:
            raise ModelLoadError(
                f"{path}: {property_id!r} has {entry!r}; expected a finite mean and a positive std.",
                {"file": str(path), "property": property_id},
            )
        transform = entry.get("transform", "none")
        if transform not in ("none", "log10"):
            raise ModelLoadError(
                f"{path}: {property_id!r} has the transform {transform!r}; expected none or log10.",
                {"file": str(path), "property": property_id},
            )
        stats[property_id] = LabelStats(float(mean), float(std), transform == "log10")
    return stats


def _is_finite(value: object) -> TypeGuard[float]:
    """Whether a JSON value is a finite number."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False
