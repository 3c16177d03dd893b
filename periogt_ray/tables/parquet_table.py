"""Parquet as a table: its rows as text in a plain CSV, which any worker reads part by part.

A row group may hold a million rows, and a part holds few; so the columns that are needed are copied once.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from periogt_ray.runtime.files import atomic_file
from periogt_ray.tables.columns import Columns, TableOptions, choose_columns
from periogt_ray.tables.text_format import table_error

__all__ = ["write_parquet_copy"]

_ROWS_AT_ONCE = 4096


def write_parquet_copy(path: Path, copy: Path, options: TableOptions) -> Columns:
    """Write the columns that are needed as CSV, all fields quoted; return where they are in the copy.

    Text stays as it is, a number is its shortest text, and a missing value is empty.

    Raises
    ------
    ValidationError
        If it is damaged, or a column is not there.
    OSError
        If the copy cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not options.has_header:
        raise table_error("format", f"{path} is Parquet, whose columns have names; leave --no-header out.")
    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            if len(set(names)) < len(names):
                raise table_error("two_candidates", f"{path} has columns of equal names; give them different ones.")
            columns = choose_columns(names, options, path=path)
            wanted = (columns.smiles, columns.id, *columns.kept, *columns.others)
            positions = [i for i in wanted if i is not None]
            chosen = [names[i] for i in positions]
            with atomic_file(copy, mode=None, sync=False, is_text=True) as target:
                writer = csv.writer(target, lineterminator="\n", quoting=csv.QUOTE_ALL)
                writer.writerow(chosen)
                writer.writerows(_rows(file, chosen, path))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk; those of the format have no number
        raise table_error("format", f"{path} is damaged Parquet ({str(error).splitlines()[0]}).") from error
    first_kept = 1 if columns.id is None else 2
    names_in_copy = tuple(columns.names[i] for i in positions)
    places = {position: place for place, position in enumerate(positions)}
    return Columns(
        names_in_copy,
        smiles=0,
        id=None if columns.id is None else 1,
        kept=tuple(range(first_kept, first_kept + len(columns.kept))),
        others=tuple(None if position is None else places[position] for position in columns.others),
    )


def _rows(file: Any, names: list[str], path: Path) -> Iterator[tuple[str, ...]]:
    for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=names):
        try:
            texts = [_texts(batch.column(name)) for name in names]
        except UnicodeDecodeError as error:
            raise table_error("encoding", f"{path} has bytes that are not UTF-8 in a column; expected text.") from error
        yield from zip(*texts, strict=True)


def _texts(column: Any) -> list[str]:
    """Return the cells of a column as text; a number is the shortest one of its type, what is missing is blank."""
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        return ["" if value != value else str(value) for value in column.to_numpy(zero_copy_only=False)]
    if pa.types.is_temporal(column.type):
        # Arrow knows dates that Python does not; a time zone that it does not know leaves the number.
        for kind in (pa.string(), pa.int64()):
            try:
                return ["" if value is None else str(value) for value in column.cast(kind).to_pylist()]
            except pa.ArrowException:
                continue
    return [_text(value) for value in column.to_pylist()]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
