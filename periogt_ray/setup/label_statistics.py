"""Mean and standard deviation of a property's training labels, from its published csv and split."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from periogt_ray.artifacts.safe_pickle import load_split
from periogt_ray.artifacts.statistics import LabelStats
from periogt_ray.errors import ModelLoadError

__all__ = ["label_statistics", "read_labels"]


def read_labels(path: Path, column: str = "value") -> list[float]:
    """Read a column of a csv file, which may start with a BOM.

    Raises
    ------
    ModelLoadError
        The column is absent, or a value is not a finite number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
            labels = [float(row[column]) for row in rows]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ModelLoadError(
            f"{path}: expected a csv file with numbers in the column {column} ({type(error).__name__}: {error})."
        ) from error
    if not all(map(math.isfinite, labels)):
        raise ModelLoadError(f"{path}: a label is not a finite number.")
    return labels


def label_statistics(
    labels_csv: Path, split_pickle: Path, *, column: str = "value", is_float32: bool = False
) -> LabelStats:
    """Return mean and population standard deviation (ddof 0) over the training rows.

    Parameters
    ----------
    labels_csv, split_pickle : pathlib.Path
        As published.
    column : str
        Of the labels.
    is_float32 : bool
        Whether to compute in float32, as training did.

    Raises
    ------
    ModelLoadError
        The files are malformed, do not fit each other, or the labels do not vary.
    """
    labels = read_labels(labels_csv, column)
    rows: Sequence[int] = load_split(split_pickle)[0]
    if not rows or max(rows) >= len(labels):
        raise ModelLoadError(
            f"{split_pickle}: training rows that {labels_csv.name} ({len(labels)} rows) does not have."
        )
    values = np.asarray(labels, dtype=np.float32 if is_float32 else np.float64)[list(rows)]
    stats = LabelStats(float(values.mean()), float(values.std()))
    if stats.std <= 0:
        raise ModelLoadError(f"{labels_csv}: the training labels are all equal, so they cannot be standardised.")
    return stats
