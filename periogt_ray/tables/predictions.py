"""The table of predictions, of `periogt batch` and of the Python API: its columns, its rows, and those rows as CSV."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NamedTuple, TypeAlias
from uuid import uuid4

from periogt_ray.errors import GPUOutOfMemoryError, InternalError, PerioGTError, ValidationError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "OUTPUT_COLUMNS",
    "PARQUET_SUFFIXES",
    "ROW_ERRORS",
    "Answer",
    "Cell",
    "CsvOutput",
    "OutputLayout",
    "OutputRow",
]
__all__ += ["WARNINGS_SEPARATOR", "Prediction", "RowFailure"]

Cell: TypeAlias = str | float | bool | None
WARNINGS_SEPARATOR = "; "  # no warning holds a semicolon
PARQUET_SUFFIXES = (".parquet", ".pq")
# Errors of one polymer, which leave the others as they are; all other errors concern all of them.
ROW_ERRORS = (ValidationError, InternalError, GPUOutOfMemoryError)


@dataclass(frozen=True)
class Prediction:
    """The value of one property of one polymer, in ``units``, and what the user should know about it.

    Attributes
    ----------
    value : float
        The prediction.
    units : str
        Its unit, and that of the interval.
    warnings : tuple of str
        Reasons not to trust it.
    interval : (float, float) or None
        Lower and upper bound; None where there is no calibration.
    domain : str
        ``inside``, ``outside`` or ``far_outside``; empty where there is no calibration.
    """

    value: float
    units: str
    warnings: tuple[str, ...] = ()
    interval: tuple[float, float] | None = None
    domain: str = ""


@dataclass(frozen=True)
class RowFailure:
    """Why a row has no prediction, with the code of :mod:`periogt_ray.errors`."""

    code: str
    message: str

    @classmethod
    def of(cls, error: PerioGTError) -> "RowFailure":
        """Keep the parts of an error that the output shows."""
        return cls(error.code, error.message)


Answer: TypeAlias = Prediction | RowFailure


class OutputRow(NamedTuple):
    """One row of the output: one polymer and one property. The fields are the columns."""

    id: str
    smiles: str
    property: str
    prediction_value: float | None
    prediction_units: str
    ok: bool
    error_code: str
    error_message: str
    request_id: str
    interval_lower: float | None = None
    interval_upper: float | None = None
    domain: str = ""
    warnings: str = ""

    @classmethod
    def of(
        cls,
        row_id: str,
        smiles: str,
        *,
        property_id: str,
        answer: Answer,
        request_id: str,
        warnings: Sequence[str] = (),
    ) -> "OutputRow":
        """Return the row of an answer; ``warnings`` are those of the input."""
        told = _joined(warnings, [answer])
        if isinstance(answer, RowFailure):
            code, message = answer.code, answer.message
            return cls(row_id, smiles, property_id, None, "", False, code, message, request_id, warnings=told)
        found = (row_id, smiles, property_id, answer.value, answer.units, True, "", "", request_id)
        return cls(*found, *_trust_cells(answer), told)


OUTPUT_COLUMNS = OutputRow._fields
_BEFORE_VALUES = ("id", "smiles")
_BEHIND_VALUES = ("ok", "error_code", "error_message")
_LAST = ("warnings", "request_id")
_OF_TRUST = ("interval_lower", "interval_upper", "domain")


@dataclass(frozen=True)
class OutputLayout:
    """Which columns an output has.

    Attributes
    ----------
    property_ids : tuple of str
        In their order.
    is_wide : bool
        One row a row of the input, and a column a property; else one row a property.
    kept : tuple of str
        Names of the columns of the input that are repeated behind the others.
    inputs : tuple of str
        Names of the columns of what is predicted; they stand in the place of ``smiles``.
    """

    property_ids: tuple[str, ...]
    is_wide: bool = False
    kept: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ("smiles",)

    @property
    def columns(self) -> tuple[str, ...]:
        """All names; they differ."""
        trust = (f"{name}_{part}" for name in self.property_ids for part in _OF_TRUST)
        wide = (*_BEFORE_VALUES, *self.property_ids, *_BEHIND_VALUES, *trust, *_LAST)
        names = list(wide if self.is_wide else OUTPUT_COLUMNS)
        names[1:2] = self.inputs
        for name in self.kept:
            free = f"input_{name}" if name in names else name
            n_alike = 1
            while (unlike := free if n_alike == 1 else f"{free}_{n_alike}") in names:
                n_alike += 1
            names.append(unlike)
        return tuple(names)

    def frame(self, rows: Sequence[Sequence[Cell]]) -> "pd.DataFrame":
        """Return rows as a table of pandas: values are float64, NaN where there is none, ``ok`` is bool."""
        import pandas as pd

        frame = pd.DataFrame([tuple(row) for row in rows], columns=list(self.columns))
        return frame.astype({**dict.fromkeys(self.numbers, float), "ok": bool})

    @property
    def numbers(self) -> frozenset[str]:
        """Names of the columns that hold numbers."""
        bounds = _OF_TRUST[:2]
        if not self.is_wide:
            return frozenset(("prediction_value", *bounds))
        return frozenset((*self.property_ids, *(f"{name}_{bound}" for name in self.property_ids for bound in bounds)))

    def rows(
        self,
        row_id: str,
        smiles: str,
        answers: Sequence[Answer],
        *,
        warnings: Sequence[str] = (),
        kept: Sequence[Cell] = (),
        others: Sequence[str] = (),
    ) -> Iterator[tuple[Cell, ...]]:
        """Yield the output rows of a row of the input, each with a new request id.

        Parameters
        ----------
        row_id, smiles : str
            As in the input.
        answers : sequence of Prediction or RowFailure
            One a property, in their order.
        warnings : sequence of str
            What was left out of the SMILES.
        kept : sequence
            Cells of the input that are repeated.
        others : sequence of str
            Of an input that is more than a SMILES, its other cells, in the order of ``inputs``.
        """
        if self.is_wide:
            row = _wide(row_id, smiles, answers, warnings)
            yield (*row[:2], *others, *row[2:], *kept)
            return
        for property_id, answer in zip(self.property_ids, answers, strict=True):
            row = OutputRow.of(
                row_id, smiles, property_id=property_id, answer=answer, request_id=str(uuid4()), warnings=warnings
            )
            yield (*row[:2], *others, *row[2:], *kept)


def _wide(row_id: str, smiles: str, answers: Sequence[Answer], warnings: Sequence[str]) -> tuple[Cell, ...]:
    values = [answer.value if isinstance(answer, Prediction) else None for answer in answers]
    failure = next((answer for answer in answers if isinstance(answer, RowFailure)), None)
    shown = ("", "") if failure is None else (failure.code, failure.message)
    trust = (cell for answer in answers for cell in _trust_cells(answer))
    return row_id, smiles, *values, failure is None, *shown, *trust, _joined(warnings, answers), str(uuid4())


def _trust_cells(answer: Answer) -> tuple[float | None, float | None, str]:
    """Return lower and upper bound of the interval, and the domain."""
    if isinstance(answer, RowFailure):
        return None, None, ""
    lower, upper = answer.interval or (None, None)
    return lower, upper, answer.domain


def _joined(warnings: Sequence[str], answers: Sequence[Answer]) -> str:
    if not warnings and not any(isinstance(answer, Prediction) and answer.warnings for answer in answers):
        return ""
    of_answers = (warning for answer in answers if isinstance(answer, Prediction) for warning in answer.warnings)
    return WARNINGS_SEPARATOR.join(dict.fromkeys((*warnings, *of_answers)))


class CsvOutput:
    """Writes output rows to an open text file; ``repr`` of a number is the shortest text that reads as the same."""

    def __init__(self, file: IO[str]) -> None:
        self._plain = csv.writer(file, lineterminator="\n")
        # The csv module leaves a lone carriage return without quotes, and takes it for a line's end when it reads.
        self._quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(self, row: Sequence[Cell]) -> None:
        """Write a row."""
        texts = [cell if isinstance(cell, str) else _text(cell) for cell in row]
        writer = self._quoted if "\r" in "".join(texts) else self._plain
        writer.writerow(texts)


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    return str(cell).lower() if isinstance(cell, bool) else repr(cell)
