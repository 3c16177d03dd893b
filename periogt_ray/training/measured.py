"""Measured rows: polymers of a table with a value each, and what became of the others."""

import logging
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.errors import ValidationError
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.tables.columns import TableOptions, normalized
from periogt_ray.tables.reading import scan_table

__all__ = ["LeftOut", "MeasuredRow", "MeasuredRows", "read_measured"]

logger = logging.getLogger(__name__)

_VALUE_NAMES = ("value", "measured", "experimental", "label", "y")


class MeasuredRow(NamedTuple):
    """A polymer with its measured value.

    Attributes
    ----------
    id : str
        Of the row.
    unit : RepeatUnit
        The polymer.
    value : float
        In the property's unit.
    """

    id: str
    unit: RepeatUnit
    value: float


class LeftOut(NamedTuple):
    """A row that is not used, and why."""

    id: str
    smiles: str
    reason: str


@dataclass(frozen=True)
class MeasuredRows:
    """The rows of a table that can be used, and the others."""

    rows: tuple[MeasuredRow, ...]
    left_out: tuple[LeftOut, ...]


def read_measured(
    path: Path, info: PropertyInfo, *, options: TableOptions | None = None, value_column: str | None = None
) -> MeasuredRows:
    """Read polymers and measured values.

    Parameters
    ----------
    path : pathlib.Path
        CSV or Parquet.
    info : PropertyInfo
        The property, whose id or label may name the column of values.
    options : TableOptions, optional
        How the table is read.
    value_column : str, optional
        Name of the column of values; None: by its name.

    Raises
    ------
    ValidationError
        If the table cannot be read, has no column of values, or no row that can be used.
    """
    with tempfile.TemporaryDirectory() as directory:
        scan = scan_table(path, replace(options or TableOptions(), keeps_columns=True), copies=Path(directory))
        at = _value_column(scan.table.columns.kept_names, info, value_column, path)
        rows: list[MeasuredRow] = []
        left_out: list[LeftOut] = []
        for part in scan.parts:
            for row in scan.table.read(part):
                try:
                    rows.append(MeasuredRow(row.id, RepeatUnit.parse(row.smiles), _number(row.kept[at])))
                except ValidationError as error:
                    left_out.append(LeftOut(row.id, row.smiles, error.message))
    for one in left_out:
        logger.warning("row %s is left out: %s", one.id, one.reason)
    if not rows:
        raise ValidationError(f"{path} has no row with a repeat unit and a value; the log names each row's reason.")
    return MeasuredRows(tuple(rows), tuple(left_out))


def _value_column(names: Sequence[str], info: PropertyInfo, wanted: str | None, path: Path) -> int:
    known = (wanted,) if wanted is not None else (*_VALUE_NAMES, info.id, info.label)
    for name in known:
        found = [i for i, given in enumerate(names) if normalized(given) == normalized(name)]
        if found:
            return found[0]
    told = f"no column {wanted!r}" if wanted is not None else "no column whose name says that it holds the values"
    raise ValidationError(
        f"{path} has {told}; its columns besides those of SMILES and ids are {', '.join(names) or 'none'}. Name one "
        "with --value-column."
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValidationError(f"The value is {text!r}; expected a number, with a point as decimal sign.")
    return value
