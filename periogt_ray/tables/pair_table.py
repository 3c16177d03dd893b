"""Every copolymer of two tables of monomers, as one table that any worker reads part by part."""

import csv
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.input_kinds import ARCHITECTURES, INPUT_COLUMNS, RATIOS, TRAINED_COMBINATIONS, InputKind
from periogt_ray.runtime.files import atomic_file
from periogt_ray.tables.columns import TableOptions, choose_columns
from periogt_ray.tables.csv_table import CsvTable
from periogt_ray.tables.parts import PartSize, TableRow, fitting_size
from periogt_ray.tables.reading import COPY_NAME, TableScan, scan_table

__all__ = ["PairOptions", "scan_pairs"]

logger = logging.getLogger(__name__)

_MOST_ROWS = 50_000_000  # about 5 GB of text
_HEADER = ("id", *INPUT_COLUMNS[InputKind.COPOLYMER])


@dataclass(frozen=True)
class PairOptions:
    """Which copolymers are made of two tables.

    Attributes
    ----------
    first, second : pathlib.Path
        Tables of monomers A and B, each as a table of repeat units.
    ratios : tuple of float
        Molar fractions of A; empty: all that the networks know.
    architectures : tuple of str
        Empty: all.
    """

    first: Path
    second: Path
    ratios: tuple[float, ...] = ()
    architectures: tuple[str, ...] = ()

    @property
    def combinations(self) -> tuple[tuple[float, str], ...]:
        """Ratio of A and architecture of the copolymers of each pair.

        Where both are given, all that there are of these; else those of the seven that training saw.

        Raises
        ------
        ValidationError
            If a network knows no such ratio or architecture, or none is left.

        Examples
        --------
        >>> PairOptions(Path("a.csv"), Path("b.csv"), ratios=(0.25,)).combinations
        ((0.25, 'block'), (0.25, 'random'))
        """
        for name, given, known in (
            ("--ratios", self.ratios, RATIOS),
            ("--architectures", self.architectures, ARCHITECTURES),
        ):
            if strange := [one for one in given if one not in known]:
                raise ValidationError(
                    f"{name} names {strange[0]}; expected some of {', '.join(map(str, known))}, separated by commas."
                )
        every = [(ratio, one) for one in self.architectures or ARCHITECTURES for ratio in self.ratios or RATIOS]
        is_chosen = bool(self.ratios and self.architectures)
        found = tuple(dict.fromkeys(one for one in every if is_chosen or one in TRAINED_COMBINATIONS))
        if not found:
            raise ValidationError(
                "Training saw no copolymer of these ratios and architectures. Give --ratios and --architectures both."
            )
        return found


def scan_pairs(pairs: PairOptions, *, copies: Path, size: PartSize | None = None, for_gpu: bool = False) -> TableScan:
    """Write the table of all copolymers, and divide it into parts.

    Memory is that of the second table. The same tables give the same bytes, so a run can go on.

    Parameters
    ----------
    pairs : PairOptions
        The tables, and which copolymers.
    copies : pathlib.Path
        A directory for the table, which workers on other nodes see, too.
    size : PartSize or None
        Of the parts; None: what fits the table.
    for_gpu : bool
        Whether a GPU computes the parts, for the size that fits.

    Raises
    ------
    ValidationError
        If a table cannot be read, or there are too many copolymers.
    OSError
        If the table cannot be written.
    """
    combinations = pairs.combinations
    copy = copies / COPY_NAME
    with tempfile.TemporaryDirectory() as directory:
        folders = [Path(directory, name) for name in ("a", "b")]
        for folder in folders:
            folder.mkdir()
        tables = zip((pairs.first, pairs.second), folders, strict=True)
        first, second = (scan_table(path, TableOptions(), copies=folder) for path, folder in tables)
        n_rows = first.n_rows * second.n_rows * len(combinations)
        if n_rows > _MOST_ROWS:
            raise ValidationError(
                f"{pairs.first} and {pairs.second} make {n_rows} copolymers; at most {_MOST_ROWS} are computed in one "
                "run. Divide a table, or choose --ratios and --architectures."
            )
        others = list(_rows(second))
        with atomic_file(copy, mode=None, sync=False, is_text=True) as target:
            writer = csv.writer(target, lineterminator="\n")
            writer.writerow(_HEADER)
            for one in _rows(first):
                writer.writerows(_copolymers(one, others, combinations))
    logger.info("%s and %s: %d copolymers, %d of each pair", pairs.first, pairs.second, n_rows, len(combinations))
    source = Path(f"{pairs.first.name} x {pairs.second.name}")
    columns = choose_columns(_HEADER, TableOptions(kind=InputKind.COPOLYMER), path=source)
    table = CsvTable(source, copy, ",", columns, n_skipped=1)
    size = size or fitting_size(n_rows, n_rows, for_gpu=for_gpu)
    found = table.scan(size)
    return TableScan(table, found.sha256, found.parts, size, found.n_new)


def _rows(scan: TableScan) -> Iterator[TableRow]:
    for part in scan.parts:
        yield from scan.table.read(part)


def _copolymers(
    one: TableRow, others: Sequence[TableRow], combinations: Sequence[tuple[float, str]]
) -> Iterator[tuple[str, ...]]:
    for other in others:
        for ratio, architecture in combinations:
            name = f"{one.id}|{other.id}|{ratio}|{architecture}"
            yield name, one.smiles, other.smiles, str(ratio), architecture
