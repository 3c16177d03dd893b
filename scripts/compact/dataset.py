"""Labelled polymers, and which of them each stage of the training may see.

A polymer is its canonical repeat unit, so that a test polymer is recognised in every set and in
every spelling.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["PROPERTIES", "SPLITS", "Dataset", "Dropped", "Row", "read_dataset"]

PROPERTIES = ("eat", "eea", "egb", "egc", "ei", "eps", "nc")
SPLITS = ("train", "val", "test")


class Row(NamedTuple):
    """One labelled polymer."""

    smiles: str  # canonical
    value: float  # in the property's unit
    split: str


class Dropped(NamedTuple):
    """A train row that is not used."""

    property_id: str
    smiles: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """All property sets.

    Attributes
    ----------
    rows : Mapping of str to tuple of Row
        By property id, in the order of the file.
    dropped : tuple of Dropped
        Train rows left out because the same polymer is in val or test, or occurs before.
    """

    rows: Mapping[str, tuple[Row, ...]]
    dropped: tuple[Dropped, ...] = ()

    def split(self, property_id: str, split: str) -> list[Row]:
        """Return the rows of one split of one property."""
        return [row for row in self.rows[property_id] if row.split == split]

    def polymers(self) -> list[str]:
        """Return every polymer once, sorted."""
        return sorted({row.smiles for rows in self.rows.values() for row in rows})

    def test_polymers(self) -> frozenset[str]:
        """Return the polymers that are in the test split of any property."""
        return frozenset(row.smiles for rows in self.rows.values() for row in rows if row.split == "test")

    def unlabelled(self) -> list[str]:
        """Return the polymers that stages without labels may see: those in no test split, sorted."""
        tested = self.test_polymers()
        return [smiles for smiles in self.polymers() if smiles not in tested]

    def label_stats(self, property_id: str) -> tuple[float, float]:
        """Return mean and population standard deviation of the train rows' values."""
        values = np.array([row.value for row in self.split(property_id, "train")])
        return float(values.mean()), float(values.std())


def read_dataset(directory: Path) -> Dataset:
    """Read ``<property>.csv`` for every property; columns smiles, value, split.

    Raises
    ------
    ValidationError
        A file has other columns or an unknown split, or a row has no valid repeat unit or no number; the message names
        file and line.
    FileNotFoundError
        A file is missing.
    """
    rows, dropped = {}, []
    for property_id in PROPERTIES:
        kept, left_out = _without_duplicates(property_id, _read_rows(directory / f"{property_id}.csv"))
        rows[property_id] = kept
        dropped += left_out
    return Dataset(rows, tuple(dropped))


def _read_rows(path: Path) -> list[Row]:
    rows = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, record in enumerate(csv.DictReader(file), start=2):
            try:
                row = Row(RepeatUnit.parse(record["smiles"]).smiles, float(record["value"]), record["split"])
            except (KeyError, TypeError, ValueError, ValidationError) as error:
                raise ValidationError(f"{path.name}, line {number}: {error}") from error
            if row.split not in SPLITS:
                raise ValidationError(
                    f"{path.name}, line {number}: split {row.split!r}; expected one of {', '.join(SPLITS)}."
                )
            rows.append(row)
    return rows


def _without_duplicates(property_id: str, rows: list[Row]) -> tuple[tuple[Row, ...], list[Dropped]]:
    """Keep of each polymer in several rows the test row, else the val row, else the first train row."""
    held_out = {split: {row.smiles for row in rows if row.split == split} for split in ("val", "test")}
    kept, dropped, seen = [], [], set()
    for row in rows:
        reason = next((f"also in {split}" for split, smiles in held_out.items() if row.smiles in smiles), "")
        if row.split == "train" and reason:
            dropped.append(Dropped(property_id, row.smiles, reason))
        elif row.split == "val" and row.smiles in held_out["test"]:
            dropped.append(Dropped(property_id, row.smiles, "also in test"))
        elif (row.smiles, row.split) in seen and row.split == "train":
            dropped.append(Dropped(property_id, row.smiles, "repeated"))
        else:
            kept.append(row)
        seen.add((row.smiles, row.split))
    return tuple(kept), dropped
