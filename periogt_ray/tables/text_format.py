"""What a file is: its encoding and delimiter, or the name of another format and what to do with it.

The delimiter is decided from the first records. One that splits the header into two fields or more is a candidate.
The best candidate has a header that names the wanted column, then the largest share of rows with as many fields as the
header, then the most fields, then the first place in the table of rules. Without a candidate it is the comma. A
first line ``sep=;`` decides without the other rules.
"""

import codecs
import csv
import io
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from periogt_ray.errors import ValidationError

__all__ = ["BOM", "DELIMITER_NAMES", "HEAD_BYTES", "Container", "Reason", "container_of", "decide_delimiter"]
__all__ += ["encoding_of", "not_utf8", "separator_of", "table_error"]

BOM = b"\xef\xbb\xbf"
HEAD_BYTES = 64 << 10  # of a file, from which is decided what it is
_N_FIRST_ROWS = 20

Container: TypeAlias = Literal["plain", "gzip", "parquet"]
Reason: TypeAlias = Literal[
    "encoding",
    "format",
    "no_smiles_column",
    "no_id_column",
    "no_input_column",
    "two_candidates",
    "no_header",
    "empty",
    "quotes",
]

DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}

# How other formats begin, their names, and what to do.
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a zip archive", "Unpack it first: unzip -p {old} > {new}"),
    (b"\xd0\xcf\x11\xe0", "a file of an old version of Excel (xls)", "Open it and save it as CSV UTF-8."),
    (b"BZh", "compressed by bzip2", "Unpack it first: bzip2 -dc {old} > {new}"),
    (b"\xfd7zXZ\x00", "compressed by xz", "Unpack it first: xz -dc {old} > {new}"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "Unpack it first: zstd -dc {old} > {new}"),
    (b"%PDF", "a PDF file", "Copy its table into a spreadsheet and save that as CSV UTF-8."),
)
_SPREADSHEETS = ((b"xl/", "an Excel workbook (xlsx)"), (b"opendocument.spreadsheet", "an OpenDocument sheet (ods)"))
# Programs that save such a line again fill it with delimiters.
_SEPARATOR_LINE = re.compile(r'[ "]*sep=(.)[ ",;\t]*', flags=re.IGNORECASE)
_IN_NO_WINDOWS = frozenset({0x81, 0x8D, 0x8F, 0x90, 0x9D})  # not defined in Windows-1252


def table_error(reason: Reason, message: str) -> ValidationError:
    """Return the error of a table; ``details`` holds its kind."""
    return ValidationError(message, {"reason": reason})


def container_of(path: Path, head: bytes) -> Container:
    """Return how a table is packed, by its first bytes.

    Raises
    ------
    ValidationError
        If it is another format, which the message names.
    """
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"PAR1"):
        return "parquet"
    if path.suffix.lower() in (".parquet", ".pq"):
        raise table_error("format", f"{path} is no Parquet file: it does not begin with PAR1. Check its name.")
    for magic, name, remedy in _OTHER_FORMATS:
        if head.startswith(magic):
            sheet = next((sheet for mark, sheet in _SPREADSHEETS if magic == b"PK\x03\x04" and mark in head), None)
            told = _told(path, remedy) if sheet is None else "Open it and save it as CSV UTF-8."
            raise table_error("format", f"{path} is {sheet or name}; expected CSV or Parquet. {told}")
    return "plain"


def encoding_of(path: Path, head: bytes) -> str:
    """Return the name of the encoding of a text: ``utf-8``, or ``utf-16`` with a byte-order mark.

    Raises
    ------
    ValidationError
        If it begins like a text in another encoding, or like no text.
    """
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise table_error("encoding", f"{path} is UTF-32. {_converted(path, 'UTF-32')}")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head:
        for first, name in ((1, "UTF-16LE"), (0, "UTF-16BE")):
            if 2 * head[first::2].count(0) > len(head[first::2]):
                raise table_error("encoding", f"{path} is {name} without a byte-order mark. {_converted(path, name)}")
        raise not_utf8(path, 1 + head[: head.index(0)].count(b"\n"), 0)
    return "utf-8"


def not_utf8(path: Path, line: int, found: int) -> ValidationError:
    """Return the error of a line that is not UTF-8; ``found`` is its first byte that is none."""
    if found == 0:
        return table_error(
            "encoding", f"{path}: line {line} holds a NUL byte, so it is no text. Expected CSV in UTF-8."
        )
    if found in _IN_NO_WINDOWS:
        return table_error(
            "encoding",
            f"{path} is not UTF-8 (line {line}: byte 0x{found:02x}). Save it as UTF-8 in the program that wrote it, or "
            "convert it from its encoding with iconv.",
        )
    # Latin-1 has no signs there.
    name = "Windows-1252" if found < 0xA0 else "Latin-1 or Windows-1252"
    return table_error(
        "encoding",
        f"{path} is not UTF-8 (line {line}: byte 0x{found:02x}, as in {name}). {_converted(path, 'WINDOWS-1252')}",
    )


def _converted(path: Path, encoding: str) -> str:
    return _told(path, f"Convert it: iconv -f {encoding} -t UTF-8 {{old}} > {{new}}")


def _told(path: Path, remedy: str) -> str:
    stem = path.name.split(".")[0]
    return remedy.format(old=shlex.quote(str(path)), new=shlex.quote(str(path.with_name(f"{stem}_utf8.csv"))))


def separator_of(text: str) -> str | None:
    """Return the delimiter of a line ``sep=;``, if ``text`` begins with one."""
    line = re.split(r"[\r\n]", text.lstrip("\ufeff\r\n"), maxsplit=1)[0]
    found = _SEPARATOR_LINE.fullmatch(line)
    return None if found is None else found[1]


def decide_delimiter(text: str, delimiters: Sequence[str], *, is_wanted: Callable[[str], bool]) -> str:
    """Return the delimiter of a CSV.

    Parameters
    ----------
    text : str
        How it begins, in whole lines.
    delimiters : sequence of str
        What it may be.
    is_wanted : callable
        Whether the name of a column is that of a wanted one.
    """
    found = delimiters[0]
    best: tuple[bool, float, int] | None = None
    for delimiter in delimiters:
        header, *rows = list(_first_records(text, delimiter)) or [[]]
        if len(header) < 2:
            continue
        alike = sum(len(row) == len(header) for row in rows) / len(rows) if rows else 1.0
        score = (any(is_wanted(name.strip()) for name in header), alike, len(header))
        if best is None or score > best:
            found, best = delimiter, score
    return found


def _first_records(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the header and the first rows, up to a record that is malformed."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter, strict=True)
    records = (record for record in reader if record)
    try:
        for _, record in zip(range(1 + _N_FIRST_ROWS), records, strict=False):
            yield record
    except csv.Error:
        return
