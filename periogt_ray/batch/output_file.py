"""Writing an output: from finished parts to a file, which is CSV or Parquet."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from periogt_ray.batch.answer_store import AnswerStore
from periogt_ray.batch.results import FinishedPart, PartRow
from periogt_ray.runtime.files import atomic_file
from periogt_ray.tables.predictions import PARQUET_SUFFIXES, Answer, Cell, CsvOutput, OutputLayout, RowFailure

__all__ = ["Tally", "write_output"]


class RowWriter(Protocol):
    """Takes the rows of an output."""

    def write(self, row: Sequence[Cell]) -> None:
        """Write a row."""


@dataclass
class Tally:
    """Counts of output rows.

    Attributes
    ----------
    n_rows : int
        All of them.
    failures : collections.Counter
        Rows that are failures, by code.
    n_warned : int
        Rows that have warnings.
    """

    n_rows: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    n_warned: int = 0

    @property
    def n_failed(self) -> int:
        """Rows that are failures."""
        return self.failures.total()


def write_output(output: Path, parts: Iterable[FinishedPart], *, layout: OutputLayout, store: AnswerStore) -> Tally:
    """Write the output in input order, as CSV or by its extension as Parquet; its name appears when it is whole."""
    tally = Tally()
    columns = layout.columns
    code, warnings = columns.index("error_code"), columns.index("warnings")
    with _writer(output, layout) as writer:
        for part in parts:
            for row in part.rows:
                found = _answers(row, part, layout, store)
                others = row.others[: len(layout.inputs) - 1]
                told = {"warnings": row.warnings, "kept": row.kept, "others": others}
                for cells in layout.rows(row.id, row.smiles, found, **told):
                    writer.write(cells)
                    tally.n_rows += 1
                    tally.n_warned += bool(cells[warnings])
                    if cells[code]:
                        tally.failures[str(cells[code])] += 1
    return tally


@contextmanager
def _writer(output: Path, layout: OutputLayout) -> Iterator[RowWriter]:
    if output.suffix.lower() in PARQUET_SUFFIXES:
        from periogt_ray.batch.parquet_output import ParquetOutput

        with atomic_file(output, mode=None) as file, ParquetOutput(file, layout) as parquet:
            yield parquet
        return
    with atomic_file(output, mode=None, is_text=True) as file:
        writer = CsvOutput(file)
        writer.write(layout.columns)
        yield writer


def _answers(row: PartRow, part: FinishedPart, layout: OutputLayout, store: AnswerStore) -> Sequence[Answer]:
    if isinstance(row.polymer, RowFailure):
        return [row.polymer] * len(layout.property_ids)
    return part.answers.get(row.polymer) or store.get(row.polymer)
