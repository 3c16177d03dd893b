"""The input of a batch: a CSV file, which is read part by part.

One scan of the input checks it, hashes it and notes where parts begin, so that any worker can read
any part without the others. Memory is that of one record, and about a hundred bytes a part.
"""

import csv
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple

from periogt_ray.errors import InternalError, ValidationError

__all__ = ["MAX_RECORD_BYTES", "CsvScan", "InputRow", "Part", "fitting_rows_per_part", "read_part", "scan_csv"]

_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
MAX_RECORD_BYTES = 64 << 20  # bounds memory where a quote is never closed
_MAX_PART_BYTES = 8 << 20
_ROWS_PER_PART = 64
_PARTS_OF_SHORT_INPUT = 16  # so that a short file is spread over the workers, too
# Of a long one: each part is a file, and an entry in Ray's tables; but it is held in memory whole.
_WANTED_PARTS = 20_000
_MOST_ROWS_PER_PART = 256


class InputRow(NamedTuple):
    """One data row of the input, as text."""

    id: str
    smiles: str


class Part(NamedTuple):
    """Consecutive rows that are computed together and kept together.

    Attributes
    ----------
    number : int
        Position among the parts.
    offset, n_bytes : int
        Where its records are in the file.
    checksum : int
        CRC-32 of those bytes.
    first_row, n_rows : int
        Its data rows, counted from 0.
    """

    number: int
    offset: int
    n_bytes: int
    checksum: int
    first_row: int
    n_rows: int


@dataclass(frozen=True)
class CsvScan:
    """What one pass over an input found.

    Attributes
    ----------
    path : pathlib.Path
        The input, absolute.
    sha256 : str
        Of its bytes.
    smiles_column : int
        Position of ``smiles``.
    id_column : int or None
        Position of ``id``, where there is one.
    parts : list of Part
        In order; together they hold every data row once.
    """

    path: Path
    sha256: str
    smiles_column: int
    id_column: int | None
    parts: list[Part]

    @property
    def n_rows(self) -> int:
        """Data rows; empty lines are none."""
        return sum(part.n_rows for part in self.parts)


class _Lines:
    """Decoded lines of a binary file; counts lines, bytes and hashes as they are taken."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self.digest = sha256()
        self.n_lines = 0
        self.n_bytes = 0
        self.checksum = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(MAX_RECORD_BYTES):
            is_first = self.n_lines == 0
            self.n_lines += 1
            self.n_bytes += len(line)
            self.digest.update(line)
            self.checksum = zlib.crc32(line, self.checksum)
            if len(line) == MAX_RECORD_BYTES and not line.endswith(b"\n"):
                raise ValidationError(f"{self._path}: line {self.n_lines} is longer than {MAX_RECORD_BYTES} bytes.")
            if is_first and line.startswith(_WIDE_BOMS):
                raise _not_utf8(self._path, self.n_lines, "it begins like UTF-16")
            try:
                yield line.removeprefix(_BOM).decode() if is_first else line.decode()
            except UnicodeDecodeError as error:
                raise _not_utf8(self._path, self.n_lines, f"byte 0x{error.object[error.start]:02x}") from error


def fitting_rows_per_part(n_rows: int) -> int:
    """Return how many rows of an input of ``n_rows`` go into a part, if the user does not say."""
    spread = max(1, -(-n_rows // _PARTS_OF_SHORT_INPUT))
    return max(min(_ROWS_PER_PART, spread), min(_MOST_ROWS_PER_PART, -(-n_rows // _WANTED_PARTS)))


def scan_csv(path: Path, *, rows_per_part: int | None = None) -> CsvScan:
    """Check a CSV from end to end and divide it into parts.

    Parameters
    ----------
    path : pathlib.Path
        UTF-8 with or without byte-order mark, comma separated, with a header that has ``smiles``.
    rows_per_part : int or None
        Most rows in a part; parts with very long records hold fewer. None: what fits the input.

    Raises
    ------
    ValidationError
        If it cannot be read, is not UTF-8, is malformed or has no ``smiles`` column.
    """
    if rows_per_part is None:
        scan = scan_csv(path, rows_per_part=_ROWS_PER_PART)
        fitting = fitting_rows_per_part(scan.n_rows)
        return scan if fitting == _ROWS_PER_PART else scan_csv(path, rows_per_part=fitting)
    path = path.absolute()
    csv.field_size_limit(MAX_RECORD_BYTES)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ValidationError(
                f"{path} is not a regular file; expected one, because workers read parts of it. Write what comes "
                "through a pipe into a file first."
            )
        with path.open("rb") as file:
            lines = _Lines(file, path)
            smiles_column, id_column = _columns(lines, path)
            parts = list(_parts(lines, path, rows_per_part))
    except OSError as error:
        raise ValidationError(
            f"{path} cannot be read: {error.strerror or error}. Check --input; in a container, check --bind."
        ) from error
    return CsvScan(path, lines.digest.hexdigest(), smiles_column, id_column, parts)


def read_part(scan_path: Path, part: Part, *, smiles_column: int, id_column: int | None) -> list[InputRow]:
    """Read the rows of one part.

    Raises
    ------
    InternalError
        If the file no longer holds what the scan saw.
    """
    csv.field_size_limit(MAX_RECORD_BYTES)
    with scan_path.open("rb") as file:
        file.seek(part.offset)
        content = file.read(part.n_bytes)
    if zlib.crc32(content) != part.checksum:
        raise InternalError(
            f"{scan_path} was changed while it was being processed. Restore it and run again with --resume, or delete "
            "the finished parts (<output>.parts) and start over."
        )
    text = content.decode()
    if part.offset == 0:
        text = text.removeprefix("\ufeff")
    records = (record for record in csv.reader(io.StringIO(text, newline=""), strict=True) if record)
    return [
        InputRow(_field(record, id_column) or str(row), _field(record, smiles_column))
        for row, record in enumerate(records, part.first_row)
    ]


def _field(record: list[str], column: int | None) -> str:
    return record[column] if column is not None and column < len(record) else ""


def _columns(lines: _Lines, path: Path) -> tuple[int, int | None]:
    """Read the header; return the positions of ``smiles`` and ``id``."""
    header = next((record for record, _ in _records(lines, path) if record), None)
    if header is None:
        raise ValidationError(f"{path} is empty; expected a header line with a smiles column.")
    names = [name.strip() for name in header]
    for name in ("smiles", "id"):
        if names.count(name) > 1:
            raise ValidationError(f"{path} has {names.count(name)} columns named {name}; expected one.")
    if "smiles" not in names:
        shown = ", ".join(repr(name[:40]) for name in names[:20])
        raise ValidationError(
            f"{path} has no smiles column; its columns are {shown}. Expected comma-separated values whose first line "
            "names a column smiles (lower case) and, if wanted, id."
        )
    return names.index("smiles"), names.index("id") if "id" in names else None


def _parts(lines: _Lines, path: Path, rows_per_part: int) -> Iterator[Part]:
    number = first_row = n_rows = 0
    offset = lines.n_bytes
    lines.checksum = 0
    for record, end in _records(lines, path):
        n_rows += bool(record)
        if n_rows == rows_per_part or end - offset >= _MAX_PART_BYTES:
            yield Part(number, offset, end - offset, lines.checksum, first_row, n_rows)
            number, offset, first_row, n_rows = number + 1, end, first_row + n_rows, 0
            lines.checksum = 0
    if n_rows:
        yield Part(number, offset, lines.n_bytes - offset, lines.checksum, first_row, n_rows)


def _records(lines: _Lines, path: Path) -> Iterator[tuple[list[str], int]]:
    """Yield every record, empty lines as empty lists, with the offset behind it.

    A generator may be left after the header and another one made: the reader takes whole lines.
    """
    reader = csv.reader(iter(lines), strict=True)
    begin = lines.n_lines + 1
    try:
        for record in reader:
            yield record, lines.n_bytes
            begin = lines.n_lines + 1
    except csv.Error as error:
        raise ValidationError(
            f"{path}: the record that begins on line {begin} is malformed ({error}). "
            'Check its quotes: a field with a quote, comma or line break is written "like ""this""".'
        ) from error


def _not_utf8(path: Path, line: int, found: str) -> ValidationError:
    return ValidationError(
        f"{path} is not UTF-8 (line {line}: {found}). Save it as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8."
    )
