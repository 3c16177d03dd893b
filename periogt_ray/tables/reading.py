"""Scan a table of any form: the only way from a path to parts that all workers can read."""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from periogt_ray.errors import ValidationError
from periogt_ray.runtime.files import sha256_of
from periogt_ray.tables.columns import Columns, TableOptions, choose_columns, table_rules
from periogt_ray.tables.csv_table import CsvTable, first_record
from periogt_ray.tables.parquet_table import write_parquet_copy
from periogt_ray.tables.parts import Part, PartSize, fitting_size
from periogt_ray.tables.plain_copy import unpacked_head, write_plain_copy
from periogt_ray.tables.text_format import (
    DELIMITER_NAMES,
    HEAD_BYTES,
    container_of,
    decide_delimiter,
    encoding_of,
    separator_of,
    table_error,
)

__all__ = ["COPY_NAME", "TableScan", "count_rows", "scan_table"]

logger = logging.getLogger(__name__)

COPY_NAME = "input.csv"


@dataclass(frozen=True)
class TableScan:
    """The result of a scan of a table.

    Attributes
    ----------
    table : CsvTable
        What reads parts.
    sha256 : str
        Of the bytes of the table.
    parts : list of Part
        In order; together they hold every data row once.
    size : PartSize
        Of the parts.
    n_new : int
        Rows whose SMILES is in no row before.
    """

    table: CsvTable
    sha256: str
    parts: list[Part]
    size: PartSize
    n_new: int

    @property
    def n_rows(self) -> int:
        """Data rows."""
        return sum(part.n_rows for part in self.parts)


def scan_table(
    path: Path, options: TableOptions, *, copies: Path, size: PartSize | None = None, for_gpu: bool = False
) -> TableScan:
    """Check a table from end to end and divide it into parts.

    Parameters
    ----------
    path : pathlib.Path
        CSV in UTF-8 or UTF-16, also compressed by gzip, or Parquet.
    options : TableOptions
        What the user says of it.
    copies : pathlib.Path
        A directory for the plain copy that a worker needs of all but a plain CSV; workers on other nodes see it, too.
        An older copy there is replaced.
    size : PartSize or None
        Of the parts; parts with very long records hold fewer rows. None: what fits the table.
    for_gpu : bool
        Whether a GPU computes the parts, for the size that fits.

    Raises
    ------
    ValidationError
        If it cannot be read, or not with these options; ``details["reason"]`` says why.
    OSError
        If the copy cannot be written.
    """
    path = path.absolute()
    table = _table(path, options, copies / COPY_NAME)
    found = table.scan(size or PartSize())
    if not found.n_rows:
        held = "a header and no rows" if options.has_header else "no rows"
        raise table_error("empty", f"{path} holds {held}. Check that it was saved whole.")
    if size is None:
        size = fitting_size(found.n_new, found.n_rows, for_gpu=for_gpu)
        if size != PartSize():
            found = table.scan(size)
    digest = found.sha256 if table.path == path else sha256_of(path)
    return TableScan(table, digest, found.parts, size, found.n_new)


def count_rows(path: Path, options: TableOptions) -> int:
    """Return how many data rows a table has; raises what :func:`scan_table` raises."""
    with tempfile.TemporaryDirectory() as directory:
        return scan_table(path, options, copies=Path(directory), size=PartSize()).n_rows


def _table(path: Path, options: TableOptions, copy: Path) -> CsvTable:
    """Return what reads a table, after its plain copy was written where it needs one."""
    head = _head(path)
    container = container_of(path, head)
    if container == "parquet":
        columns = write_parquet_copy(path, copy, options)
        table = CsvTable(path, copy, ",", columns, n_skipped=1)
        _log(table, "Parquet")
        return table
    is_gzip = container == "gzip"
    if is_gzip:
        head = unpacked_head(path, is_gzip=True)
        if container_of(path.with_suffix(""), head) != "plain":
            raise table_error("format", f"{path} holds gzip or Parquet within gzip. Unpack it first: gunzip.")
    encoding = encoding_of(path, head)
    plain = path
    if is_gzip or encoding != "utf-8":
        plain = copy
        write_plain_copy(path, copy, is_gzip=is_gzip, encoding=encoding)
        head = unpacked_head(copy, is_gzip=False)
    table = _csv_table(path, plain, head, options)
    _log(table, f"read as {encoding.upper()}{', gzip' if is_gzip else ''}")
    return table


def _head(path: Path) -> bytes:
    try:
        if _is_special(path):
            raise ValidationError(
                f"{path} is not a regular file; expected one, because workers read parts of it. Write what comes "
                "through a pipe into a file first."
            )
        return unpacked_head(path, is_gzip=False)
    except OSError as error:
        raise ValidationError(
            f"{path} cannot be read: {error.strerror or error}. Check --input; in a container, check --bind."
        ) from error


def _is_special(path: Path) -> bool:
    """Whether a path is no file that every worker finds under its name, such as a pipe or /dev/stdin."""
    if not path.exists():
        return False
    return not (path.is_file() or path.is_dir()) or path.parts[1:2] in (("dev",), ("proc",))


def _csv_table(path: Path, plain: Path, head: bytes, options: TableOptions) -> CsvTable:
    rules = table_rules()
    text = _whole_lines(head)
    separator = separator_of(text)
    if separator is not None and separator not in rules.delimiters:
        raise table_error(
            "format",
            f"The first line of {path} says that {separator!r} separates columns; expected a comma, semicolon or tab.",
        )
    delimiter = separator or decide_delimiter(text, rules.delimiters, is_wanted=options.is_smiles)
    n_skipped = int(separator is not None)
    first = first_record(plain, path, delimiter=delimiter, n_skipped=n_skipped)
    if first is None:
        raise table_error("empty", f"{path} is empty; expected a header line with a column of SMILES, and rows.")
    columns = choose_columns(first, options, path=path)
    return CsvTable(path, plain, delimiter, columns, n_skipped + options.has_header)


def _whole_lines(head: bytes) -> str:
    """Return the lines that are whole; a head in the middle of a line is one."""
    if len(head) == HEAD_BYTES:
        head = head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1] or head
    return head.decode(errors="replace")


def _log(table: CsvTable, what: str) -> None:
    columns: Columns = table.columns
    read = [columns.names[i] for i in (columns.smiles, *columns.others) if i is not None]
    ids = "row numbers" if columns.id is None else f"column {columns.names[columns.id]!r}"
    split = "" if what == "Parquet" else f", columns separated by {DELIMITER_NAMES[table.delimiter]}"
    held = (
        f"SMILES from column {read[0]!r}" if len(read) == 1 else f"polymers from columns {', '.join(map(repr, read))}"
    )
    logger.info("%s: %s%s; %s, ids from %s", table.source, what, split, held, ids)
