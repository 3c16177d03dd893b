"""The rows of a user's table as they stand there: each is a polymer with a value, or has a reason why it is none."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.inputs import PolymerInput
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.runtime.decimal_comma import decimal_comma_hint
from periogt_ray.tables.columns import TableOptions, normalized
from periogt_ray.tables.reading import TableScan, scan_table
from periogt_ray.training.measured import check_length, given_input, number_of
from periogt_ray.training.progress_lines import told

__all__ = ["PARTS", "DataOptions", "Duplicates", "Fate", "Row", "RowFate", "TableRows", "read_rows"]

Duplicates = Literal["median", "mean", "error"]
Fate = Literal["used", "merged", "left out", "blank"]

# In order of precedence: a polymer whose rows name several parts is in the first of them; its other rows are left out.
PARTS = ("test", "calibration", "val", "train")

_LARGEST_VALUE = 1e30  # squares of normalized values stay within float64


@dataclass(frozen=True)
class DataOptions:
    """What the user says of the table.

    Attributes
    ----------
    smiles_column : str or None
        Column of the SMILES; None: by its name.
    value_column : str
        Column of the values.
    other_columns : tuple of str
        Columns of other values of the same polymers: a row with one of these need not have this one.
    split_column : str or None
        Column that says which part a row is in: train, val, test or calibration.
    weight_column : str or None
        Column of the rows' weights in the loss.
    duplicates : {"median", "mean", "error"}
        What becomes of several rows of one polymer.
    is_log10 : bool
        Whether the logarithm of the values is learned.
    is_forced : bool
        Whether to go on with many bad rows or contradictions.
    has_header : bool
        Whether the first row names the columns; without, their names are numbers, from 1.
    """

    smiles_column: str | None = None
    value_column: str = "value"
    split_column: str | None = None
    weight_column: str | None = None
    duplicates: Duplicates = "median"
    is_log10: bool = False
    is_forced: bool = False
    has_header: bool = True
    other_columns: tuple[str, ...] = ()


class RowFate(NamedTuple):
    """What became of one row.

    Attributes
    ----------
    line : int
        Where it begins in the file.
    smiles, value : str
        As they are in the file.
    fate : {"used", "merged", "left out", "blank"}
        ``merged``: its polymer has other rows, too. ``blank``: it has a value in another column only.
    reason : str
        Why it was left out or merged, or is blank.
    key : str
        The polymer, equal for all cuts of a chain; empty where there is none.
    """

    line: int
    smiles: str
    value: str
    fate: Fate
    reason: str = ""
    key: str = ""


class Row(NamedTuple):
    """A row with a polymer and a value.

    Attributes
    ----------
    line : int
        Where it begins in the file.
    smiles, text : str
        Polymer and value as they are in the file.
    unit : PolymerInput
        The polymer.
    value, weight : float
        Of the row.
    part : str
        From the column of parts; empty without one.
    """

    line: int
    smiles: str
    text: str
    unit: PolymerInput
    value: float
    weight: float
    part: str


class TableRows(NamedTuple):
    """The rows of a table.

    Attributes
    ----------
    rows : list of Row
        That can be used.
    fates : dict of int to RowFate
        The others, by line.
    sha256 : str
        Of the table.
    kind : InputKind
        What the polymers are.
    """

    rows: list[Row]
    fates: dict[int, RowFate]
    sha256: str
    kind: InputKind


def read_rows(path: Path, options: DataOptions) -> TableRows:
    """Read a table; one that has the columns of copolymers is one of copolymers.

    Raises
    ------
    ValidationError
        The table cannot be read, or has no such column.
    """
    with tempfile.TemporaryDirectory() as directory:
        scan, kind = _scan(path, options, Path(directory))
        columns = scan.table.columns
        wanted = (columns.smiles, *columns.others)
        places = _Places.of(columns.names, options, path)
        rows: list[Row] = []
        fates: dict[int, RowFate] = {}
        read = _reader(kind)
        for line, record in told(scan.table.records(), "rows read", scan.n_rows):
            cells = [cell.strip() for cell in record]
            given = tuple("" if i is None or i >= len(record) else record[i] for i in wanted)
            found = _read_row(line, given, _Cells.of(cells, places), options, read)
            try:
                check_length(record, columns.names)
            except ValidationError as error:
                found = RowFate(
                    line, " ".join(given).strip(), _Cells.of(cells, places).value, "left out", error.message
                )
            if isinstance(found, RowFate):
                fates[line] = found
            else:
                rows.append(found)
    return TableRows(rows, fates, scan.sha256, kind)


def _scan(path: Path, options: DataOptions, copies: Path) -> tuple[TableScan, InputKind]:
    given = TableOptions(options.smiles_column, has_header=options.has_header, keeps_columns=True)
    if options.smiles_column is None and options.has_header:
        of_copolymers = replace(given, kind=InputKind.COPOLYMER)
        try:
            return scan_table(path, of_copolymers, copies=copies), InputKind.COPOLYMER
        except ValidationError as error:
            if error.details.get("reason") != "no_input_column":
                raise
    return scan_table(path, given, copies=copies), InputKind.HOMOPOLYMER


_Read = Callable[[tuple[str, ...]], PolymerInput | ValidationError]


def _reader(kind: InputKind) -> _Read:
    """Return what makes polymers of cells; equal SMILES are parsed once."""
    parsed = cache(_unit)

    def parse(text: str) -> RepeatUnit:
        found = parsed(text)
        if isinstance(found, ValidationError):
            raise found
        return found

    def read(cells: tuple[str, ...]) -> PolymerInput | ValidationError:
        if kind is InputKind.HOMOPOLYMER:
            return parsed(cells[0])
        try:
            return given_input(kind, cells, parse=parse)
        except ValidationError as error:
            return error

    return read


def _unit(text: str) -> RepeatUnit | ValidationError:
    """Parse a SMILES, equal ones once."""
    try:
        return RepeatUnit.parse(text)
    except ValidationError as error:
        return error


class _Places(NamedTuple):
    value: int
    weight: int | None
    part: int | None
    others: tuple[int, ...]

    @classmethod
    def of(cls, names: Sequence[str], options: DataOptions, path: Path) -> "_Places":
        def place(wanted: str | None, option: str) -> int | None:
            return None if wanted is None else _column(names, wanted, option, path)

        return cls(
            _column(names, options.value_column, "--value-column", path),
            place(options.weight_column, "--weight-column"),
            place(options.split_column, "--split-column"),
            tuple(_column(names, name, "--value-column", path) for name in options.other_columns),
        )


def _column(names: Sequence[str], wanted: str, option: str, path: Path) -> int:
    exact = [i for i, name in enumerate(names) if name == wanted.strip()]
    found = exact or [i for i, name in enumerate(names) if normalized(name) == normalized(wanted) != ""]
    if len(found) == 1:
        return found[0]
    problem = "no column" if not found else f"{len(found)} columns"
    hint = " For several columns, give as many ids: --property a,b." if "," in wanted else ""
    raise ValidationError(
        f"{path} has {problem} {wanted!r}; its columns are {', '.join(map(repr, names))}. Name one with {option}.{hint}"
    )


class _Cells(NamedTuple):
    value: str
    weight: str | None
    part: str | None
    has_others: bool

    @classmethod
    def of(cls, cells: Sequence[str], places: _Places) -> "_Cells":
        def cell(place: int | None) -> str | None:
            return None if place is None else cells[place] if place < len(cells) else ""

        has_others = any(cell(place) for place in places.others)
        return cls(cell(places.value) or "", cell(places.weight), cell(places.part), has_others)


def _read_row(
    line: int,
    given: tuple[str, ...],
    cells: _Cells,
    options: DataOptions,
    read: _Read,
) -> Row | RowFate:
    """Return a row, or why it is none."""
    unit, smiles = read(given), " ".join(given).strip()
    reason = unit.message if isinstance(unit, ValidationError) else None
    if reason is None and cells.value == "" and cells.has_others:
        return RowFate(line, smiles, "", "blank", "It has values in other columns only")
    reason = reason or _bad_value(cells.value, options) or _bad_weight(cells.weight) or _bad_part(cells.part)
    if reason is not None or isinstance(unit, ValidationError):
        return RowFate(line, smiles, cells.value, "left out", reason or "")
    weight = 1.0 if cells.weight is None else float(cells.weight)
    return Row(line, smiles, cells.value, unit, float(cells.value), weight, (cells.part or "").lower())


def _bad_value(text: str, options: DataOptions) -> str | None:
    if text == "":
        return "There is no value"
    value = number_of(text)
    if value is None:
        hint = decimal_comma_hint(text)
        return f"The value {text[:40]!r} is not a number; expected one such as 1.5{hint and f'.{hint}'}"
    if not math.isfinite(value):
        return f"The value {text!r} is not finite"
    if abs(value) > _LARGEST_VALUE:
        return f"The value {text!r} is beyond {_LARGEST_VALUE:g}"
    if options.is_log10 and value <= 0:
        return f"The value {text!r} has no logarithm; leave --transform log10 out, or the row"
    return None


def _bad_weight(text: str | None) -> str | None:
    if text is None:
        return None
    weight = number_of(text)
    return None if weight is not None and 0 < weight < math.inf else f"The weight {text!r} is not a positive number"


def _bad_part(text: str | None) -> str | None:
    if text is None or text.lower() in PARTS:
        return None
    return f"The part {text!r} is none of {', '.join(PARTS)}"
