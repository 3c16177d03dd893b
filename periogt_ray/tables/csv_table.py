"""A plain CSV, in UTF-8: one scan divides it into parts, and any worker reads any part without the others.

Memory is that of one record, of the texts seen lately, and about a hundred bytes a part.
"""

import csv
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from periogt_ray.errors import InternalError, ValidationError
from periogt_ray.tables.columns import Columns
from periogt_ray.tables.parts import Part, PartSize, TableRow
from periogt_ray.tables.text_format import BOM, not_utf8, table_error

__all__ = ["MAX_RECORD_BYTES", "CsvScan", "CsvTable", "first_record"]

MAX_RECORD_BYTES = 64 << 20  # bounds memory where a quote is never closed
_MAX_PART_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 20
_MOST_SEEN = 1 << 17


@dataclass(frozen=True)
class CsvScan:
    """The result of one scan of a CSV.

    Attributes
    ----------
    sha256 : str
        Of its bytes.
    parts : list of Part
        In order; together they hold every data row once.
    n_new : int
        Rows whose SMILES was in no row before; of very many, some count twice.
    """

    sha256: str
    parts: list[Part]
    n_new: int

    @property
    def n_rows(self) -> int:
        """Number of data rows; empty lines do not count."""
        return sum(part.n_rows for part in self.parts)


@dataclass(frozen=True)
class CsvTable:
    """Where the rows of a table are, for whoever reads parts of it.

    Attributes
    ----------
    source : pathlib.Path
        The table, as the user knows it.
    path : pathlib.Path
        The plain CSV: the table, or a copy of it.
    delimiter : str
        Between fields.
    columns : Columns
        Where the fields are.
    n_skipped : int
        Records before the first data row; empty lines are none.
    """

    source: Path
    path: Path
    delimiter: str
    columns: Columns
    n_skipped: int

    def scan(self, size: PartSize) -> CsvScan:
        """Check the CSV from end to end and divide it into parts.

        Raises
        ------
        ValidationError
            If it is not UTF-8, or malformed.
        """
        with self.path.open("rb") as file:
            lines = _Lines(file, self.source)
            seen = _Seen()
            parts = list(self._parts(lines, size, seen))
        return CsvScan(lines.digest.hexdigest(), parts, seen.n_new)

    def _parts(self, lines: "_Lines", size: PartSize, seen: "_Seen") -> Iterator[Part]:
        records = _records(lines, self.delimiter)
        for _ in range(self.n_skipped):
            next(record for record, _ in records if record)
        number = first_row = n_rows = n_new_before = 0
        offset = lines.n_bytes
        lines.checksum = 0
        for record, end in records:
            if record:
                n_rows += 1
                seen.add(" ".join(_cells(record, (self.columns.smiles, *self.columns.others))))
            is_full = n_rows == size.n_rows or seen.n_new - n_new_before == size.n_new
            if (n_rows and is_full) or end - offset >= _MAX_PART_BYTES:
                yield Part(number, offset, end - offset, lines.checksum, first_row, n_rows)
                number, offset, first_row, n_rows = number + 1, end, first_row + n_rows, 0
                n_new_before = seen.n_new
                lines.checksum = 0
        if n_rows:
            yield Part(number, offset, lines.n_bytes - offset, lines.checksum, first_row, n_rows)

    def read(self, part: Part) -> list[TableRow]:
        """Read the rows of one part.

        Raises
        ------
        InternalError
            If the file no longer holds what the scan saw.
        """
        csv.field_size_limit(MAX_RECORD_BYTES)
        with self.path.open("rb") as file:
            file.seek(part.offset)
            content = file.read(part.n_bytes)
        if zlib.crc32(content) != part.checksum:
            raise InternalError(
                f"{self.source} was changed while it was being processed. Restore it and run again with --resume, or "
                "delete the finished parts (<output>.parts) and start over."
            )
        text = content.decode()
        if part.offset == 0:
            text = text.removeprefix("\ufeff")
        lines = io.StringIO(text, newline="")
        records = (record for record in csv.reader(lines, delimiter=self.delimiter, strict=True) if record)
        columns = self.columns
        return [
            TableRow(
                str(row) if columns.id is None else _field(record, columns.id),
                _field(record, columns.smiles),
                _cells(record, (*columns.others, *columns.kept)),
            )
            for row, record in enumerate(records, part.first_row)
        ]

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield every data row, all its fields, with the line that it begins on, counted from 1."""
        with self.path.open("rb") as file:
            lines = _Lines(file, self.source)
            begins = 1
            n_seen = 0
            for record, _ in _records(lines, self.delimiter):
                if record:
                    n_seen += 1
                    if n_seen > self.n_skipped:
                        yield begins, record
                begins = lines.n_lines + 1


def first_record(path: Path, source: Path, *, delimiter: str, n_skipped: int) -> list[str] | None:
    """Return the first record behind some that are skipped; None if there is none.

    Raises
    ------
    ValidationError
        If it is not UTF-8, or malformed.
    """
    with path.open("rb") as file:
        records = (record for record, _ in _records(_Lines(file, source), delimiter) if record)
        return next(islice(records, n_skipped, None), None)


class _Lines:
    """Decoded lines of a binary file, which end with LF, CRLF or CR; counts and hashes them as they are taken."""

    def __init__(self, file: BinaryIO, source: Path) -> None:
        self._file = file
        self._source = source
        self.digest = sha256()
        self.n_lines = 0
        self.n_bytes = 0
        self.checksum = 0

    def __iter__(self) -> Iterator[str]:
        begun = b""
        while chunk := self._file.read(_CHUNK_BYTES):
            self.digest.update(chunk)
            lines = (begun + chunk).splitlines(keepends=True)
            # Also a CR may go on, with LF.
            begun = b"" if lines[-1].endswith(b"\n") else lines.pop()
            for line in lines:
                yield self._taken(line)
            if len(begun) >= MAX_RECORD_BYTES:
                raise ValidationError(
                    f"{self._source}: line {self.n_lines + 1} is longer than {MAX_RECORD_BYTES} bytes."
                )
        if begun:
            yield self._taken(begun)

    def _taken(self, line: bytes) -> str:
        is_first = self.n_lines == 0
        self.n_lines += 1
        self.n_bytes += len(line)
        self.checksum = zlib.crc32(line, self.checksum)
        if 0 in line:
            raise not_utf8(self._source, self.n_lines, 0)
        try:
            return line.removeprefix(BOM).decode() if is_first else line.decode()
        except UnicodeDecodeError as error:
            raise not_utf8(self._source, self.n_lines, error.object[error.start]) from error

    def malformed(self, first_line: int, error: csv.Error) -> ValidationError:
        """Return the error of a record that begins on a line."""
        return table_error(
            "quotes",
            f"{self._source}: the record that begins on line {first_line} is malformed ({error}). "
            'Check its quotes: a field with a quote, delimiter or line break is written "like ""this""".',
        )


class _Seen:
    """Counts texts that are new; remembers so many of them, by a checksum that is the same in every run."""

    def __init__(self) -> None:
        self._checksums: set[int] = set()
        self.n_new = 0

    def add(self, text: str) -> None:
        checksum = zlib.crc32(text.encode())
        if checksum not in self._checksums:
            self.n_new += 1
            if len(self._checksums) < _MOST_SEEN:
                self._checksums.add(checksum)


def _records(lines: _Lines, delimiter: str) -> Iterator[tuple[list[str], int]]:
    """Yield every record, empty lines as empty lists, with the offset behind it."""
    csv.field_size_limit(MAX_RECORD_BYTES)
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    first_line = 1
    try:
        for record in reader:
            yield record, lines.n_bytes
            first_line = lines.n_lines + 1
    except csv.Error as error:
        raise lines.malformed(first_line, error) from error


def _cells(record: list[str], columns: Sequence[int | None]) -> tuple[str, ...]:
    return tuple("" if column is None else _field(record, column) for column in columns)


def _field(record: list[str], column: int) -> str:
    return record[column] if column < len(record) else ""
