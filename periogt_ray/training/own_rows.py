"""The rows of a property's own data set, as its authors split it: kept by setup in ``datasets/<property>/``."""

import csv
from pathlib import Path
from typing import NamedTuple

from periogt_ray.artifacts.layout import dataset_path
from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.artifacts.safe_pickle import load_split
from periogt_ray.errors import CheckpointMissingError, ModelLoadError, ValidationError
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.training.dataset import polymer_key
from periogt_ray.training.measured import MeasuredRow, read_measured

__all__ = ["OwnRows", "read_own_rows"]


_EFFICIENCY = "PCE_ave"  # heading of the values of opv.csv


class OwnRows(NamedTuple):
    """Rows of a data set.

    Attributes
    ----------
    known : tuple of MeasuredRow
        Training and validation rows, which the weights were made with.
    test : tuple of MeasuredRow
        Rows that trained nothing.
    source : str
        Where they came from.
    """

    known: tuple[MeasuredRow, ...]
    test: tuple[MeasuredRow, ...]
    source: str


def read_own_rows(root: Path, property_id: str, *, info: PropertyInfo | None = None) -> OwnRows:
    """Read a property's csv and split; the pickle is read without running anything in it.

    Parameters
    ----------
    root : pathlib.Path
        Artifact directory.
    property_id : str
        Whose.
    info : PropertyInfo, optional
        The property, which says what its rows are; None: repeat units.

    Raises
    ------
    CheckpointMissingError
        They are not in the artifact directory.
    ModelLoadError
        They are damaged or do not belong together.
    """
    table, split = (root / dataset_path(property_id, name) for name in (f"{property_id}.csv", "split.pkl"))
    for path in (table, split):
        if not path.is_file():
            raise CheckpointMissingError(
                f"missing {path}, the property's own data set. `periogt setup` fetches what is published of it "
                "(`periogt setup --list` names the addresses); for another table use --data.",
                {"missing": [str(path)], "property": property_id},
            )
    is_composite = info is not None and info.input_kind is not InputKind.HOMOPOLYMER
    rows = _read_composites(table, info) if info is not None and is_composite else _read_rows(table)
    parts = load_split(split)
    if any(row >= len(rows) for part in parts for row in part) or set(parts[2]) & {*parts[0], *parts[1]}:
        raise ModelLoadError(f"{split} does not belong to {table} ({len(rows)} rows), or its parts overlap.")
    # The same polymer may stand on both sides; then its test row is not one that trained nothing.
    known = [rows[i] for i in (*parts[0], *parts[1])]
    seen = {polymer_key(row.unit) for row in known}
    test = [rows[i] for i in parts[2] if polymer_key(rows[i].unit) not in seen]
    return OwnRows(tuple(known), tuple(test), f"test rows of {property_id}.csv and split.pkl")


def _read_composites(path: Path, info: PropertyInfo) -> list[MeasuredRow]:
    value_column = _EFFICIENCY if info.input_kind is InputKind.CONDITIONS else "value"
    try:
        found = read_measured(path, info, value_column=value_column)
    except ValidationError as error:
        raise ModelLoadError(f"{path}: {error.message}") from error
    if found.left_out:
        raise ModelLoadError(f"{path}: row {found.left_out[0].id} cannot be read: {found.left_out[0].reason}")
    return list(found.rows)


def _read_rows(path: Path) -> list[MeasuredRow]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [
                MeasuredRow(str(number), RepeatUnit.parse(record["smiles"]), float(record["value"]))
                for number, record in enumerate(csv.DictReader(file))
            ]
    except (KeyError, TypeError, ValueError, csv.Error, ValidationError) as error:
        raise ModelLoadError(
            f"{path}: expected a csv file with the columns smiles and value ({type(error).__name__}: {error})."
        ) from error
