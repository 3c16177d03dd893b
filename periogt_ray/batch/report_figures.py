"""Figures of a batch output, gathered in two passes over the file; memory does not grow with it.

The first pass counts, and finds extremes; the second one sorts values into bins, whose range is known then.
"""

import csv
import math
from bisect import insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from periogt_ray.polymer.input_kinds import INPUT_COLUMNS
from periogt_ray.tables.csv_table import MAX_RECORD_BYTES
from periogt_ray.tables.predictions import OUTPUT_COLUMNS, PARQUET_SUFFIXES, WARNINGS_SEPARATOR, OutputRow

__all__ = [
    "CELL_SEPARATOR",
    "N_BINS",
    "N_RANKED",
    "Failure",
    "OutputFigures",
    "PropertyFigures",
    "Ranked",
    "gather_figures",
]

CELL_SEPARATOR = " | "  # between the cells of an input
N_BINS = 40
N_RANKED = 5
_MOST_WARNINGS = 100  # different ones that are counted; bounds memory


class Ranked(NamedTuple):
    """A prediction among the highest or lowest."""

    value: float
    id: str
    smiles: str


class Failure(NamedTuple):
    """The first row that failed with a code."""

    id: str
    smiles: str
    message: str


@dataclass
class PropertyFigures:
    """What is known of one property's values.

    Attributes
    ----------
    units : str
        Unit of the values.
    n : int
        Predictions.
    low, high, mean : float
        Of the values, in their unit.
    lowest, highest : list of Ranked
        At most five different SMILES each, from the end inwards.
    bins : list of int
        Values in forty equal bins from ``low`` to ``high``.
    """

    units: str = ""
    n: int = 0
    low: float = math.inf
    high: float = -math.inf
    mean: float = 0.0
    lowest: list[Ranked] = field(default_factory=list)
    highest: list[Ranked] = field(default_factory=list)
    bins: list[int] = field(default_factory=lambda: [0] * N_BINS)
    _squares: float = 0.0

    @property
    def std(self) -> float:
        """Population standard deviation."""
        return math.sqrt(self._squares / self.n) if self.n else 0.0

    def add(self, found: Ranked, units: str) -> None:
        """Take a prediction into everything but the bins."""
        self.units = units
        self.n += 1
        self.low = min(self.low, found.value)
        self.high = max(self.high, found.value)
        # Welford's update: sums of squares lose digits over a million rows.
        step = found.value - self.mean
        self.mean += step / self.n
        self._squares += step * (found.value - self.mean)
        _rank(self.lowest, found, sign=1)
        _rank(self.highest, found, sign=-1)

    def put_into_bin(self, value: float) -> None:
        """Count a value, once the range is known."""
        width = (self.high - self.low) / N_BINS
        self.bins[min(N_BINS - 1, int((value - self.low) / width)) if width > 0 else 0] += 1


@dataclass
class OutputFigures:
    """What is known of a batch output.

    Attributes
    ----------
    properties : dict
        By property id, in the order of the file.
    failures : dict
        Rows by error code.
    examples : dict
        A row by error code.
    n_rows : int
        Predictions and failures, one for each polymer and property.
    warnings : dict
        Rows by warning, of the first hundred that differ.
    domains : dict
        Values by the domain of their polymer, where the property is calibrated.
    """

    properties: dict[str, PropertyFigures] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    examples: dict[str, Failure] = field(default_factory=dict)
    n_rows: int = 0
    warnings: dict[str, int] = field(default_factory=dict)
    domains: dict[str, int] = field(default_factory=dict)

    def place(self, domain: str) -> None:
        """Count the domain of a value."""
        if domain:
            self.domains[domain] = self.domains.get(domain, 0) + 1

    def warn(self, warnings: str) -> None:
        """Count the warnings of a row."""
        for warning in warnings.split(WARNINGS_SEPARATOR) if warnings else ():
            if warning in self.warnings or len(self.warnings) < _MOST_WARNINGS:
                self.warnings[warning] = self.warnings.get(warning, 0) + 1


def gather_figures(output: Path, units: Mapping[str, str] | None = None) -> OutputFigures:
    """Read a batch output.

    Parameters
    ----------
    output : pathlib.Path
        As ``periogt batch`` writes it, with one row a property or ``--wide``.
    units : Mapping, optional
        Units by property id, which a wide output does not hold.
    """
    figures = OutputFigures()
    for row in _rows(output, units or {}):
        figures.warn(row.warnings)
        figures.place(row.domain)
        figures.n_rows += 1
        of_property = figures.properties.setdefault(row.property, PropertyFigures())
        if row.prediction_value is not None:
            found = Ranked(row.prediction_value, row.id, row.smiles)
            of_property.add(found, row.prediction_units)
        else:
            code = row.error_code
            figures.failures[code] = figures.failures.get(code, 0) + 1
            figures.examples.setdefault(code, Failure(row.id, row.smiles, row.error_message))
    for row in _rows(output, {}):
        if row.prediction_value is not None:
            figures.properties[row.property].put_into_bin(row.prediction_value)
    return figures


def _rows(output: Path, units: Mapping[str, str]) -> Iterator[OutputRow]:
    """Yield one row a property, whatever the layout of the output."""
    names, records = _as_of_repeat_units(*_table(output))
    own = len(OUTPUT_COLUMNS)
    if tuple(names[:own]) == OUTPUT_COLUMNS:
        for record in records:
            found = OutputRow(*record[:own])
            yield found._replace(prediction_value=_number(found.prediction_value))
        return
    property_ids = names[2 : names.index("ok")]
    at = {name: names.index(name) for name in ("error_code", "error_message", "warnings", "request_id")}
    for record in records:
        of_row = {name: record[i] for name, i in at.items()}
        for i, name in enumerate(property_ids, 2):
            value = _number(record[i])
            domain = str(record[names.index(f"{name}_domain")] or "")
            found = OutputRow(
                record[0], record[1], name, value, units.get(name, ""), value is not None, domain=domain, **of_row
            )
            # The row tells of its first failure, and its warnings count once.
            yield found if i == 2 else found._replace(warnings="")


def _as_of_repeat_units(names: list[str], records: Iterator[list[Any]]) -> tuple[list[str], Iterator[list[Any]]]:
    """Put the cells of an input that is more than a SMILES into one, so that the columns are those of repeat units."""
    inputs = max((one for one in INPUT_COLUMNS.values() if tuple(names[1 : 1 + len(one)]) == one), key=len)
    end = 1 + len(inputs)

    def joined() -> Iterator[list[Any]]:
        for record in records:
            yield [record[0], CELL_SEPARATOR.join(map(str, record[1:end])), *record[end:]]

    return ["id", "smiles", *names[end:]], joined() if end > 2 else records


def _table(output: Path) -> tuple[list[str], Iterator[list[Any]]]:
    """Return the names of the columns of an output, and its rows as they are read."""
    if output.suffix.lower() in PARQUET_SUFFIXES:
        from periogt_ray.batch.parquet_output import read_parquet

        return read_parquet(output)
    records = _csv_records(output)
    return next(records), records


def _csv_records(output: Path) -> Iterator[list[str]]:
    csv.field_size_limit(MAX_RECORD_BYTES)
    with output.open(encoding="utf-8", newline="") as file:
        yield from csv.reader(file)


def _number(cell: str | float | None) -> float | None:
    return None if cell in ("", None) else float(cell)


def _rank(ranked: list[Ranked], found: Ranked, *, sign: int) -> None:
    """Put a prediction where it belongs; a SMILES has one place, and of equal values the first row stays."""
    if len(ranked) == N_RANKED and sign * found.value >= sign * ranked[-1].value:
        return
    if any(other.smiles == found.smiles for other in ranked):
        return
    insort(ranked, found, key=lambda one: sign * one.value)
    del ranked[N_RANKED:]
