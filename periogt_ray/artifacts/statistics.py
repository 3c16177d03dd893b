"""Mean and standard deviation of each property's training labels, by which the network's output becomes a value."""

import math
from pathlib import Path
from typing import NamedTuple, TypeGuard

from periogt_ray.artifacts.layout import read_json
from periogt_ray.errors import ModelLoadError

__all__ = ["LabelStats", "read_label_stats"]


class LabelStats(NamedTuple):
    """Mean and population standard deviation of a property's training labels, in its unit."""

    mean: float
    std: float


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
        stats[property_id] = LabelStats(float(mean), float(std))
    return stats


def _is_finite(value: object) -> TypeGuard[float]:
    """Whether a JSON value is a finite number."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False
