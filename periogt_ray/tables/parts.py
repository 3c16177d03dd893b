"""Parts of a table: which rows are read, computed and kept together."""

from typing import NamedTuple

__all__ = ["Part", "PartSize", "TableRow", "fitting_size"]

_NEW_PER_PART = 64
# A part is a pass on a GPU, and to start a pass takes longer than to compute a small one (docs/speed.md).
_NEW_PER_PART_ON_GPU = 256
_PARTS_OF_SHORT_INPUT = 16  # so that a short file is spread over the workers, too
# Of a long one: each part is waited for on the disk, and an entry in Ray's tables; but it is held in memory whole.
_WANTED_PARTS = 20_000
_MOST_NEW_PER_PART = 256
_MOST_ROWS_PER_PART = 4096


class TableRow(NamedTuple):
    """One data row, as text: its id, its SMILES, and the columns that are kept.

    Of an input that is more than a SMILES, its other cells are the first of ``kept``, as many as ``Columns.others``.
    """

    id: str
    smiles: str
    kept: tuple[str, ...] = ()


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


class PartSize(NamedTuple):
    """When a part is full: at so many texts that were in no row before, or at so many rows.

    A row costs time if its text is new. So parts of an input that repeats itself have many rows, and the
    others have few.
    """

    n_new: int = _NEW_PER_PART
    n_rows: int = _MOST_ROWS_PER_PART


def fitting_size(n_new: int, n_rows: int, *, for_gpu: bool = False) -> PartSize:
    """Return the size of the parts of a table, if the user does not say.

    Parameters
    ----------
    n_new : int
        Rows whose SMILES is in no row before.
    n_rows : int
        All of them.
    for_gpu : bool
        Whether a GPU computes them.

    Examples
    --------
    >>> fitting_size(1000, 1000), fitting_size(50, 200_000)
    (PartSize(n_new=63, n_rows=63), PartSize(n_new=4, n_rows=4096))
    """
    new_spread, row_spread = (max(1, -(-n // _PARTS_OF_SHORT_INPUT)) for n in (n_new, n_rows))
    enough = _NEW_PER_PART_ON_GPU if for_gpu else _NEW_PER_PART
    new = max(min(enough, new_spread), min(_MOST_NEW_PER_PART, -(-n_new // _WANTED_PARTS)))
    return PartSize(new, max(new, min(_MOST_ROWS_PER_PART, row_spread)))
