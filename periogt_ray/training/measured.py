"""Measured rows: polymers of a table with a value each, and what became of the others."""

import logging
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.errors import ValidationError
from periogt_ray.polymer.input_kinds import CONDITIONS, InputKind
from periogt_ray.polymer.inputs import Copolymer, PolymerInput, PolymerWithConditions, read_input
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.runtime.decimal_comma import decimal_comma_hint
from periogt_ray.tables.columns import TableOptions, normalized
from periogt_ray.tables.reading import scan_table

__all__ = ["LeftOut", "MeasuredRow", "MeasuredRows", "described", "given_input", "number_of", "read_measured"]

logger = logging.getLogger(__name__)

_MOST_LOGGED = 20  # rows that are left out
_LARGEST = float(np.finfo(np.float32).max)
_VALUE_NAMES = ("value", "measured", "experimental", "label", "y")


class MeasuredRow(NamedTuple):
    """A polymer with its measured value.

    Attributes
    ----------
    id : str
        Of the row.
    unit : PolymerInput
        The polymer: a repeat unit, or for other properties a copolymer or a repeat unit with conditions.
    value : float
        In the property's unit.
    """

    id: str
    unit: PolymerInput
    value: float

    @property
    def smiles(self) -> str:
        """The polymer in words, for a repeat unit its SMILES."""
        return described(self.unit)


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
    kind = info.input_kind
    with tempfile.TemporaryDirectory() as directory:
        chosen = replace(options or TableOptions(), keeps_columns=True, kind=kind)
        scan = scan_table(path, chosen, copies=Path(directory))
        n_others = len(scan.table.columns.others)
        at = _value_column(scan.table.columns.kept_names, info, value_column, path)
        rows: list[MeasuredRow] = []
        left_out: list[LeftOut] = []
        records = scan.table.records()
        for part in scan.parts:
            for row, (_, record) in zip(scan.table.read(part), records, strict=False):
                cells = (row.smiles, *row.kept[:n_others])
                try:
                    check_length(record, scan.table.columns.names)
                    rows.append(MeasuredRow(row.id, given_input(kind, cells), _number(row.kept[n_others + at])))
                except ValidationError as error:
                    left_out.append(LeftOut(row.id, " ".join(cells), error.message))
    for one in left_out[:_MOST_LOGGED]:
        logger.warning("row %s is left out: %s", one.id, one.reason)
    if len(left_out) > _MOST_LOGGED:
        logger.warning("%d more rows are left out.", len(left_out) - _MOST_LOGGED)
    if not rows:
        first = f" The first: {left_out[0].reason}" if left_out else ""
        raise ValidationError(f"{path} has no row with a polymer and a value; the log names each row's reason.{first}")
    return MeasuredRows(tuple(rows), tuple(left_out))


def _value_column(names: Sequence[str], info: PropertyInfo, wanted: str | None, path: Path) -> int:
    known = {normalized(name) for name in ((wanted,) if wanted is not None else (*_VALUE_NAMES, info.id, info.label))}
    found = [i for i, given in enumerate(names) if normalized(given) in known]
    exact = [i for i in found if names[i] == wanted]
    if len(exact or found) > 1:
        raise ValidationError(
            f"{path} has {len(exact or found)} columns that may hold the values: "
            f"{', '.join(names[i] for i in exact or found)}. Name one with --value-column, or rename all but one."
        )
    if found:
        at = (exact or found)[0]
        logger.info("The values are those of the column %s.", names[at])
        return at
    told = f"no column {wanted!r}" if wanted is not None else "no column whose name says that it holds the values"
    raise ValidationError(
        f"{path} has {told}; its columns besides those of SMILES and ids are {', '.join(names) or 'none'}. Name one "
        "with --value-column."
    )


def given_input(
    kind: InputKind, cells: Sequence[str], *, parse: Callable[[str], RepeatUnit] = RepeatUnit.parse
) -> PolymerInput:
    """Read an input from cells, as :func:`~periogt_ray.polymer.inputs.read_input`; architectures in any letter case.

    Raises
    ------
    ValidationError
        Naming the cell.
    """
    if kind is InputKind.COPOLYMER:
        cells = (*cells[:3], cells[3].lower(), *cells[4:])
    return read_input(kind, cells, parse=parse)


def described(polymer: PolymerInput) -> str:
    """Return a polymer in words: the SMILES of a repeat unit, both of a copolymer with ratios and architecture.

    Examples
    --------
    >>> described(Copolymer.parse("*CC*", "*CCO*", ratio_a=0.25, architecture="block"))
    '*CC* and *CCO* (0.25 to 0.75, block)'
    """
    if isinstance(polymer, Copolymer):
        ratios = f"{polymer.ratio_a:g} to {polymer.ratio_b:g}"
        return f"{polymer.a.smiles} and {polymer.b.smiles} ({ratios}, {polymer.architecture})"
    if isinstance(polymer, PolymerWithConditions):
        numbers = zip(CONDITIONS, polymer.conditions, strict=True)
        return f"{polymer.unit.smiles} ({', '.join(f'{one.name} {value:g}' for one, value in numbers)})"
    return polymer.smiles


def check_length(record: Sequence[str], names: Sequence[str]) -> None:
    """Refuse a row with cells beyond the header: part of a number may stand there, and the rest would pass for it.

    Raises
    ------
    ValidationError
        If there are such cells that are not blank.
    """
    if any(cell.strip() for cell in record[len(names) :]):
        raise ValidationError(
            f"The row has {len(record)} cells, and the header {len(names)}; a decimal comma without quotes does that. "
            "Write decimal points, or name all columns in the header."
        )


def number_of(text: str) -> float | None:
    """Return the number that a cell holds, None where it holds another thing.

    Python reads ``1_000`` as a thousand, and digits of other scripts; a table that holds them was damaged.

    Examples
    --------
    >>> number_of("1.5e3"), number_of("1_000"), number_of("25 K")
    (1500.0, None, None)
    """
    if not text.isascii() or "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _number(text: str) -> float:
    value = number_of(text)
    if value is None or not math.isfinite(value):
        hint = decimal_comma_hint(text)
        raise ValidationError(f"The value is {text!r}; expected a number, with a point as decimal sign.{hint}")
    if abs(value) > _LARGEST:
        raise ValidationError(f"The value is {text!r}; expected a number that a 32-bit float can hold.")
    return value
