"""The CSV of predictions: its columns, and how it is put together from finished parts."""

import csv
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple
from uuid import uuid4

from periogt_ray.batch.results import Answer, FinishedPart, RowFailure, answer_of
from periogt_ray.runtime.files import atomic_file

__all__ = ["OUTPUT_COLUMNS", "AnswerStore", "CsvOutput", "OutputRow", "Tally", "write_output"]


class OutputRow(NamedTuple):
    """One row of the output, as text: one polymer and one property. The fields are the columns."""

    id: str
    smiles: str
    property: str
    prediction_value: str
    prediction_units: str
    ok: str
    error_code: str
    error_message: str
    request_id: str

    @classmethod
    def of(cls, row_id: str, smiles: str, *, property_id: str, answer: Answer, request_id: str) -> "OutputRow":
        """Return the row of an answer; ``repr`` gives the shortest text that reads as the same number."""
        if isinstance(answer, RowFailure):
            return cls(row_id, smiles, property_id, "", "", "false", answer.code, answer.message, request_id)
        return cls(row_id, smiles, property_id, repr(answer.value), answer.units, "true", "", "", request_id)


OUTPUT_COLUMNS = OutputRow._fields


class CsvOutput:
    """Writes output rows to an open text file."""

    def __init__(self, file: IO[str]) -> None:
        self._plain = csv.writer(file, lineterminator="\n")
        # The csv module leaves a lone carriage return without quotes, and takes it for a line's end when it reads.
        self._quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write_header(self) -> None:
        """Write the names of the columns."""
        self._plain.writerow(OUTPUT_COLUMNS)

    def write(self, row: OutputRow) -> None:
        """Write a row."""
        writer = self._quoted if any("\r" in text for text in row) else self._plain
        writer.writerow(row)


@dataclass
class Tally:
    """Counts of output rows; a row is one polymer and one property.

    Attributes
    ----------
    n_rows : int
        All of them.
    failures : collections.Counter
        Rows that are failures, by code.
    """

    n_rows: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def n_failed(self) -> int:
        """Rows that are failures."""
        return self.failures.total()

    def add(self, row: OutputRow) -> None:
        """Count a row."""
        self.n_rows += 1
        if row.ok == "false":
            self.failures[row.error_code] += 1


class AnswerStore:
    """Answers by canonical SMILES; they spill to an unnamed temporary file, so memory is bounded."""

    def __init__(self) -> None:
        # The empty name is SQLite's private database, unlinked as soon as it is open.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, answers TEXT) WITHOUT ROWID")

    def add(self, answers: Mapping[str, list[Answer]]) -> None:
        """Keep answers; those that are there already stay."""
        rows = [(key, json.dumps(value, default=vars)) for key, value in answers.items()]
        self._database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)

    def get(self, key: str) -> list[Answer]:
        """Return the answers of a polymer; KeyError if there are none."""
        found = self._database.execute("SELECT answers FROM answers WHERE key = ?", (key,)).fetchone()
        if found is None:
            raise KeyError(key)
        return [answer_of(document) for document in json.loads(found[0])]

    def close(self) -> None:
        """Drop everything."""
        self._database.close()


def write_output(
    output: Path, parts: Iterable[FinishedPart], *, property_ids: Sequence[str], store: AnswerStore
) -> Tally:
    """Write the output in input order; its name appears when it is whole.

    Returns
    -------
    Tally
        Output rows and failures by code.
    """
    tally = Tally()
    with atomic_file(output, mode=None, is_text=True) as file:
        csv_output = CsvOutput(file)
        csv_output.write_header()
        for part in parts:
            for row in _rows(part, property_ids, store):
                csv_output.write(row)
                tally.add(row)
    return tally


def _rows(part: FinishedPart, property_ids: Sequence[str], store: AnswerStore) -> Iterator[OutputRow]:
    """Yield the output rows of a part, each with a new request id."""
    for row in part.rows:
        answers: Sequence[Answer]
        if isinstance(row.polymer, RowFailure):
            answers = [row.polymer] * len(property_ids)
        else:
            answers = part.answers.get(row.polymer) or store.get(row.polymer)
        for property_id, answer in zip(property_ids, answers, strict=True):
            yield OutputRow.of(row.id, row.smiles, property_id=property_id, answer=answer, request_id=str(uuid4()))
