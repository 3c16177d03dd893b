"""The rows of a user's table, and what became of each: nothing is left out in silence."""

import logging
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.chain import chain_key
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.tables.columns import TableOptions, normalized
from periogt_ray.tables.reading import scan_table

__all__ = [
    "PARTS",
    "DataOptions",
    "Dataset",
    "Duplicates",
    "Fate",
    "Polymer",
    "RowFate",
    "read_dataset",
    "without_polymers",
]

logger = logging.getLogger(__name__)

Duplicates = Literal["median", "mean", "error"]
Fate = Literal["used", "merged", "left out"]

# In order of precedence: a polymer whose rows name several parts is in the first of them; its other rows are left out.
PARTS = ("test", "calibration", "val", "train")

MOST_BAD_SHARE = 0.05
MOST_CONFLICTING_SHARE = 0.1
FEWEST_POLYMERS = 20
_LARGEST_VALUE = 1e30  # squares of normalized values stay within float64
_MOST_SHOWN = 5


@dataclass(frozen=True)
class DataOptions:
    """What the user says of the table.

    Attributes
    ----------
    smiles_column : str or None
        Column of the SMILES; None: by its name.
    value_column : str
        Column of the values.
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
    """

    smiles_column: str | None = None
    value_column: str = "value"
    split_column: str | None = None
    weight_column: str | None = None
    duplicates: Duplicates = "median"
    is_log10: bool = False
    is_forced: bool = False


class RowFate(NamedTuple):
    """What became of one row.

    Attributes
    ----------
    line : int
        Where it begins in the file.
    smiles, value : str
        As they are in the file.
    fate : {"used", "merged", "left out"}
        ``merged``: its polymer has other rows, too.
    reason : str
        Why it was left out or merged.
    key : str
        The polymer, equal for all cuts of a chain; empty where there is none.
    """

    line: int
    smiles: str
    value: str
    fate: Fate
    reason: str = ""
    key: str = ""


class Polymer(NamedTuple):
    """One polymer with its label.

    Attributes
    ----------
    key : str
        Equal for all cuts of the chain.
    smiles : str
        Canonical repeat unit, of its first row.
    value : float
        In the unit of the table.
    weight : float
        In the loss.
    part : str
        From the column of parts; empty without one.
    lines : tuple of int
        Its rows.
    spread : float
        Largest less smallest value of its rows.
    """

    key: str
    smiles: str
    value: float
    weight: float
    part: str
    lines: tuple[int, ...]
    spread: float = 0.0


@dataclass(frozen=True)
class Dataset:
    """Polymers with labels, and the fate of every row.

    Attributes
    ----------
    polymers : tuple of Polymer
        Each once, in the order of their first rows.
    rows : tuple of RowFate
        One a row of the table, in order.
    sha256 : str
        Of the table.
    n_conflicting : int
        Polymers whose rows are more than a standard deviation of all values apart.
    """

    polymers: tuple[Polymer, ...]
    rows: tuple[RowFate, ...]
    sha256: str
    n_conflicting: int = 0

    @property
    def values(self) -> np.ndarray:
        """Labels, float64 [n], in the unit of the table."""
        return np.array([polymer.value for polymer in self.polymers])

    @property
    def keys(self) -> list[str]:
        """Keys of the polymers."""
        return [polymer.key for polymer in self.polymers]

    @property
    def left_out(self) -> list[RowFate]:
        """Rows that train and test nothing."""
        return [row for row in self.rows if row.fate == "left out"]


class _Row(NamedTuple):
    line: int
    smiles: str
    text: str
    unit: RepeatUnit
    value: float
    weight: float
    part: str


def read_dataset(path: Path, options: DataOptions) -> Dataset:
    """Read a table of polymers and values; bad rows are listed and left out.

    Parameters
    ----------
    path : pathlib.Path
        CSV in UTF-8 or UTF-16, also compressed by gzip, or Parquet.
    options : DataOptions
        What the user says of it.

    Raises
    ------
    ValidationError
        The table cannot be read, has no such column, too many bad rows or contradictions, too few polymers, or values
        that are all equal or only two; the message says what to do.
    """
    with tempfile.TemporaryDirectory() as directory:
        scan = scan_table(path, TableOptions(options.smiles_column, keeps_columns=True), copies=Path(directory))
        smiles = scan.table.columns.smiles
        places = _Places.of(scan.table.columns.names, options, path)
        rows: list[_Row] = []
        fates: dict[int, RowFate] = {}
        parse = cache(_unit)
        for line, record in scan.table.records():
            cells = [cell.strip() for cell in record]
            text = record[smiles] if smiles < len(record) else ""
            found = _read_row(line, text, _Cells.of(cells, places), options, parse)
            if isinstance(found, RowFate):
                fates[line] = found
            else:
                rows.append(found)
    n_rows = len(rows) + len(fates)
    _check_bad_rows(list(fates.values()), n_rows, options, path)
    dataset = _merged(rows, fates, options, scan.sha256)
    check_labels(dataset, options, path)
    return dataset


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

    @classmethod
    def of(cls, names: Sequence[str], options: DataOptions, path: Path) -> "_Places":
        def place(wanted: str | None, option: str) -> int | None:
            return None if wanted is None else _column(names, wanted, option, path)

        return cls(
            _column(names, options.value_column, "--value-column", path),
            place(options.weight_column, "--weight-column"),
            place(options.split_column, "--split-column"),
        )


def _column(names: Sequence[str], wanted: str, option: str, path: Path) -> int:
    exact = [i for i, name in enumerate(names) if name == wanted.strip()]
    found = exact or [i for i, name in enumerate(names) if normalized(name) == normalized(wanted) != ""]
    if len(found) == 1:
        return found[0]
    problem = "no column" if not found else f"{len(found)} columns"
    raise ValidationError(
        f"{path} has {problem} {wanted!r}; its columns are {', '.join(map(repr, names))}. Name one with {option}."
    )


class _Cells(NamedTuple):
    value: str
    weight: str | None
    part: str | None

    @classmethod
    def of(cls, cells: Sequence[str], places: _Places) -> "_Cells":
        def cell(place: int | None) -> str | None:
            return None if place is None else cells[place] if place < len(cells) else ""

        return cls(cell(places.value) or "", cell(places.weight), cell(places.part))


def _read_row(
    line: int,
    smiles: str,
    cells: _Cells,
    options: DataOptions,
    parse: Callable[[str], RepeatUnit | ValidationError],
) -> _Row | RowFate:
    """Return a row, or why it is none."""
    unit = parse(smiles)
    reason = unit.message if isinstance(unit, ValidationError) else None
    reason = reason or _bad_value(cells.value, options) or _bad_weight(cells.weight) or _bad_part(cells.part)
    if reason is not None or isinstance(unit, ValidationError):
        return RowFate(line, smiles, cells.value, "left out", reason or "")
    weight = 1.0 if cells.weight is None else float(cells.weight)
    return _Row(line, smiles, cells.value, unit, float(cells.value), weight, (cells.part or "").lower())


def _bad_value(text: str, options: DataOptions) -> str | None:
    if text == "":
        return "There is no value"
    try:
        value = float(text)
    except ValueError:
        hint = ", with a decimal point" if "," in text else ""
        return f"The value {text[:40]!r} is not a number; expected one such as 1.5{hint}"
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
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    return None if 0 < weight < math.inf else f"The weight {text!r} is not a positive number"


def _bad_part(text: str | None) -> str | None:
    if text is None or text.lower() in PARTS:
        return None
    return f"The part {text!r} is none of {', '.join(PARTS)}"


def _check_bad_rows(bad: Sequence[RowFate], n_rows: int, options: DataOptions, path: Path) -> None:
    if len(bad) <= MOST_BAD_SHARE * n_rows or options.is_forced:
        return
    shown = "; ".join(f"line {row.line}: {row.reason.rstrip('.')}" for row in bad[:_MOST_SHOWN])
    raise ValidationError(
        f"{len(bad)} of {n_rows} rows of {path} cannot be used; at most {MOST_BAD_SHARE:.0%} are accepted. {shown}"
        f"{'; ...' if len(bad) > _MOST_SHOWN else ''}. Correct them, or leave them out with --force.",
        {"rows": [row._asdict() for row in bad[:1000]]},
    )


def _merged(rows: Sequence[_Row], bad: Mapping[int, RowFate], options: DataOptions, sha256: str) -> Dataset:
    """Make one polymer of all rows that are cuts of one chain."""
    fates = dict(bad)
    key_of = cache(chain_key)
    by_key: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        by_key[key_of(row.unit)].append(row)
    deviation = float(np.std([row.value for row in rows])) if rows else 0.0
    polymers = []
    for key, together in by_key.items():
        part = min((row.part for row in together), key=lambda name: PARTS.index(name) if name else 0)
        kept = [row for row in together if row.part == part]
        first_lines = [row.line for row in kept[: _MOST_SHOWN + 2]]
        fates |= {row.line: _fate(row, key, first_lines, part) for row in together}
        polymers.append(_polymer(key, kept, options))
    repeated = [polymer for polymer in polymers if len(polymer.lines) > 1]
    n_conflicting = sum(polymer.spread > deviation > 0 for polymer in repeated)
    _check_duplicates(repeated, n_conflicting, len(polymers), options)
    return Dataset(tuple(polymers), tuple(fates[line] for line in sorted(fates)), sha256, n_conflicting)


def _fate(row: _Row, key: str, first_lines: Sequence[int], part: str) -> RowFate:
    if row.part != part:
        reason = f"The same polymer is in the part {part}"
        return RowFate(row.line, row.smiles, row.text, "left out", reason, key)
    others = [str(line) for line in first_lines if line != row.line]
    if not others:
        return RowFate(row.line, row.smiles, row.text, "used", "", key)
    shown = ", ".join(others[:_MOST_SHOWN]) + (", ..." if len(others) > _MOST_SHOWN else "")
    return RowFate(row.line, row.smiles, row.text, "merged", f"The same polymer is on line {shown}", key)


def _polymer(key: str, rows: Sequence[_Row], options: DataOptions) -> Polymer:
    values = np.array([row.value for row in rows])
    merged = float(np.mean(values) if options.duplicates == "mean" else np.median(values))
    weight = float(np.mean([row.weight for row in rows]))
    lines = tuple(row.line for row in rows)
    return Polymer(key, rows[0].unit.smiles, merged, weight, rows[0].part, lines, float(np.ptp(values)))


def _check_duplicates(repeated: Sequence[Polymer], n_conflicting: int, n_polymers: int, options: DataOptions) -> None:
    if repeated and options.duplicates == "error":
        shown = "; ".join(f"{polymer.smiles} on lines {list(polymer.lines)}" for polymer in repeated[:_MOST_SHOWN])
        raise ValidationError(
            f"{len(repeated)} polymers have several rows, which --duplicates error refuses: {shown}. Take "
            "--duplicates median or mean, or leave rows out."
        )
    if n_conflicting > MOST_CONFLICTING_SHARE * n_polymers and not options.is_forced:
        raise ValidationError(
            f"{n_conflicting} of {n_polymers} polymers have values that are more than a standard deviation of all "
            f"values apart; at most {MOST_CONFLICTING_SHARE:.0%} are accepted. Are there several units, temperatures "
            "or methods in one column? Separate them, or go on with --force."
        )


def check_labels(dataset: Dataset, options: DataOptions, path: Path) -> None:
    """Refuse what no regression can be made of.

    Raises
    ------
    ValidationError
        Too few polymers, or values that are all equal or only two.
    """
    n_polymers, n_values = len(dataset.polymers), len(set(dataset.values.tolist()))
    if n_polymers < FEWEST_POLYMERS:
        raise ValidationError(
            f"{path} has {n_polymers} different polymers with values ({len(dataset.rows)} rows); expected at least "
            f"{FEWEST_POLYMERS}. Rows of one polymer count once, whichever way its chain is cut. Add polymers."
        )
    if n_values < 3:
        kind = "are all equal" if n_values == 1 else "are only two different numbers"
        raise ValidationError(
            f"The {n_polymers} values of the column {options.value_column!r} of {path} {kind}; expected measured or "
            "computed numbers, because classes are not supported. Check --value-column."
        )


def without_polymers(dataset: Dataset, reasons: Mapping[str, str]) -> Dataset:
    """Leave out polymers that have no features.

    Parameters
    ----------
    dataset : Dataset
        As read.
    reasons : Mapping of str to str
        Why, by key of the polymer.
    """
    if not reasons:
        return dataset

    def fate(row: RowFate) -> RowFate:
        return row._replace(fate="left out", reason=reasons[row.key]) if row.key in reasons else row

    polymers: Iterable[Polymer] = (polymer for polymer in dataset.polymers if polymer.key not in reasons)
    return replace(dataset, polymers=tuple(polymers), rows=tuple(map(fate, dataset.rows)))
