"""An output as Parquet: the columns of the CSV, with numbers as float64, ``ok`` as bool and the others as text."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from periogt_ray.tables.predictions import Cell, OutputLayout

__all__ = ["ParquetOutput", "read_parquet"]

_ROWS_PER_GROUP = 16_384  # bounds memory
_ROWS_AT_ONCE = 4096


class ParquetOutput:
    """Writes output rows, a group of them at a time; the end of the block completes the file.

    Parameters
    ----------
    file : binary file
        Open for writing.
    layout : OutputLayout
        The columns.
    """

    def __init__(self, file: IO[bytes], layout: OutputLayout) -> None:
        numbers = layout.numbers
        kinds = {"ok": pa.bool_()} | dict.fromkeys(numbers, pa.float64())
        n_own = len(layout.columns) - len(layout.kept)
        fields = [
            (name, kinds.get(name, pa.string()) if i < n_own else pa.string()) for i, name in enumerate(layout.columns)
        ]
        self._schema = pa.schema(fields)
        self._writer = pq.ParquetWriter(file, self._schema)
        self._rows: list[Sequence[Cell]] = []

    def write(self, row: Sequence[Cell]) -> None:
        """Write a row."""
        self._rows.append(row)
        if len(self._rows) == _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        columns = zip(*self._rows, strict=True) if self._rows else [()] * len(self._schema)
        arrays = [pa.array(cells, of.type) for cells, of in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []

    def __enter__(self) -> "ParquetOutput":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._rows:
            self._flush()
        self._writer.close()


def read_parquet(output: Path) -> tuple[list[str], Iterator[list[Any]]]:
    """Return the names of the columns of an output, and its rows as they are read."""
    file = pq.ParquetFile(output)

    def rows() -> Iterator[list[Any]]:
        with file:
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                yield from map(list, zip(*(column.to_pylist() for column in batch.columns), strict=True))

    return list(file.schema_arrow.names), rows()
