"""The rows of a user's table, and what became of each: nothing is left out in silence."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.chain import chain_key
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.inputs import PolymerInput, PolymerWithConditions, monomers_of
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.training.progress_lines import told
from periogt_ray.training.table_rows import PARTS, DataOptions, Duplicates, Fate, Row, RowFate, read_rows

__all__ = [
    "PARTS",
    "DataOptions",
    "Dataset",
    "Duplicates",
    "Fate",
    "Polymer",
    "RowFate",
    "polymer_key",
    "read_dataset",
    "without_polymers",
]

MOST_BAD_SHARE = 0.05
MOST_CONFLICTING_SHARE = 0.1
FEWEST_POLYMERS = 20
_MOST_SHOWN = 5


class Polymer(NamedTuple):
    """One polymer with its label.

    Attributes
    ----------
    key : str
        Equal for all cuts of the chain.
    smiles : str
        Canonical repeat unit, of its first row; of copolymers both, joined by a dot.
    value : float
        In the unit of the table.
    weight : float
        In the loss.
    part : str
        From the column of parts; empty without one.
    lines : tuple of int
        Its rows.
    spread : float
        Largest less smallest value of its rows.
    given : PolymerInput or None
        What it is, where that is more than its SMILES.
    """

    key: str
    smiles: str
    value: float
    weight: float
    part: str
    lines: tuple[int, ...]
    spread: float = 0.0
    given: PolymerInput | None = None

    @property
    def unit(self) -> PolymerInput:
        """The polymer."""
        return RepeatUnit.parse(self.smiles) if self.given is None else self.given


@dataclass(frozen=True)
class Dataset:
    """Polymers with labels, and the fate of every row.

    Attributes
    ----------
    polymers : tuple of Polymer
        Each once, in the order of their first rows.
    rows : tuple of RowFate
        One a row of the table, in order.
    sha256 : str
        Of the table.
    n_conflicting : int
        Polymers whose rows are more than a standard deviation of all values apart.
    kind : InputKind
        What the polymers are.
    """

    polymers: tuple[Polymer, ...]
    rows: tuple[RowFate, ...]
    sha256: str
    n_conflicting: int = 0
    kind: InputKind = InputKind.HOMOPOLYMER

    @property
    def values(self) -> np.ndarray:
        """Labels, float64 [n], in the unit of the table."""
        return np.array([polymer.value for polymer in self.polymers])

    @property
    def keys(self) -> list[str]:
        """Keys of the polymers."""
        return [polymer.key for polymer in self.polymers]

    @property
    def n_blank(self) -> int:
        """Rows that have values in other columns only."""
        return sum(row.fate == "blank" for row in self.rows)

    @property
    def left_out(self) -> list[RowFate]:
        """Rows that train and test nothing."""
        return [row for row in self.rows if row.fate == "left out"]


def read_dataset(path: Path, options: DataOptions) -> Dataset:
    """Read a table of polymers and values; bad rows are listed and left out.

    Parameters
    ----------
    path : pathlib.Path
        CSV in UTF-8 or UTF-16, also compressed by gzip, or Parquet.
    options : DataOptions
        What the user says of it.

    Raises
    ------
    ValidationError
        The table cannot be read, has no such column, too many bad rows or contradictions, too few polymers, or values
        that are all equal or only two; the message says what to do.
    """
    rows, fates, sha256, kind = read_rows(path, options)
    bad = [fate for fate in fates.values() if fate.fate == "left out"]
    _check_bad_rows(bad, len(rows) + len(bad), options, path)
    dataset = replace(_merged(rows, fates, options, path, sha256), kind=kind)
    check_labels(dataset, options, path)
    return dataset


def _check_bad_rows(bad: Sequence[RowFate], n_rows: int, options: DataOptions, path: Path) -> None:
    if len(bad) <= MOST_BAD_SHARE * n_rows or options.is_forced:
        return
    shown = "; ".join(f"line {row.line}: {row.reason.rstrip('.')}" for row in bad[:_MOST_SHOWN])
    raise ValidationError(
        f"{len(bad)} of {n_rows} rows of {path} cannot be used; at most {MOST_BAD_SHARE:.0%} are accepted. {shown}"
        f"{'; ...' if len(bad) > _MOST_SHOWN else ''}. Correct them, or leave them out with --force.",
        {"rows": [row._asdict() for row in bad[:1000]]},
    )


def _merged(rows: Sequence[Row], bad: Mapping[int, RowFate], options: DataOptions, path: Path, sha256: str) -> Dataset:
    """Make one polymer of all rows that are cuts of one chain."""
    fates = dict(bad)
    key_of = cache(polymer_key)
    by_key: dict[str, list[Row]] = defaultdict(list)
    for row in told(rows, "polymers compared", len(rows)):
        by_key[key_of(row.unit)].append(row)
    deviation = float(np.std([row.value for row in rows])) if rows else 0.0
    polymers = []
    for key, together in by_key.items():
        part = min((row.part for row in together), key=lambda name: PARTS.index(name) if name else 0)
        kept = [row for row in together if row.part == part]
        first_lines = [row.line for row in kept[: _MOST_SHOWN + 2]]
        fates |= {row.line: _fate(row, key, first_lines, part) for row in together}
        polymers.append(_polymer(key, kept, options))
    _check_count(len(polymers), len(fates), path)
    repeated = [polymer for polymer in polymers if len(polymer.lines) > 1]
    n_conflicting = sum(polymer.spread > deviation > 0 for polymer in repeated)
    _check_duplicates(repeated, n_conflicting, len(polymers), options)
    return Dataset(tuple(polymers), tuple(fates[line] for line in sorted(fates)), sha256, n_conflicting)


def _fate(row: Row, key: str, first_lines: Sequence[int], part: str) -> RowFate:
    if row.part != part:
        reason = f"The same polymer is in the part {part}"
        return RowFate(row.line, row.smiles, row.text, "left out", reason, key)
    others = [str(line) for line in first_lines if line != row.line]
    if not others:
        return RowFate(row.line, row.smiles, row.text, "used", "", key)
    shown = ", ".join(others[:_MOST_SHOWN]) + (", ..." if len(others) > _MOST_SHOWN else "")
    return RowFate(row.line, row.smiles, row.text, "merged", f"The same polymer is on line {shown}", key)


def _polymer(key: str, rows: Sequence[Row], options: DataOptions) -> Polymer:
    values = np.array([row.value for row in rows])
    merged = float(np.mean(values) if options.duplicates == "mean" else np.median(values))
    weight = float(np.mean([row.weight for row in rows]))
    lines = tuple(row.line for row in rows)
    unit, spread = rows[0].unit, float(np.ptp(values))
    smiles = ".".join(one.smiles for one in monomers_of(unit))
    given = None if isinstance(unit, RepeatUnit) else unit
    return Polymer(key, smiles, merged, weight, rows[0].part, lines, spread, given)


def polymer_key(polymer: PolymerInput) -> str:
    """Return a text that is equal for inputs that are one polymer.

    For a repeat unit that of its chain. Monomers of a copolymer are not taken apart or cut elsewhere, which would make
    other chains of both; their mirror images are not told apart, because the network does not.

    Examples
    --------
    >>> from periogt_ray.polymer.inputs import Copolymer
    >>> one = Copolymer.parse("*CCO*", "*CC*", ratio_a=0.25, architecture="block")
    >>> polymer_key(one)
    '*CC* *CCO* 0.75 0.25 block'
    """
    if isinstance(polymer, RepeatUnit):
        return chain_key(polymer)
    if isinstance(polymer, PolymerWithConditions):
        return f"{chain_key(polymer.unit)} {' '.join(map(repr, polymer.conditions))}"
    pairs = ((_either_hand(polymer.a), polymer.ratio_a), (_either_hand(polymer.b), polymer.ratio_b))
    (first, ratio), (second, other) = sorted(pairs)
    return f"{first} {second} {ratio:g} {other:g} {polymer.architecture}"


def _either_hand(unit: RepeatUnit) -> str:
    return unit.smiles if "@" not in unit.smiles else min(unit.smiles, unit.mirror_image().smiles)


def _check_duplicates(repeated: Sequence[Polymer], n_conflicting: int, n_polymers: int, options: DataOptions) -> None:
    if repeated and options.duplicates == "error":
        shown = "; ".join(f"{polymer.smiles} on lines {list(polymer.lines)}" for polymer in repeated[:_MOST_SHOWN])
        raise ValidationError(
            f"{len(repeated)} polymers have several rows, which --duplicates error refuses: {shown}. Take "
            "--duplicates median or mean, or leave rows out."
        )
    if n_conflicting > MOST_CONFLICTING_SHARE * n_polymers and not options.is_forced:
        raise ValidationError(
            f"{n_conflicting} of {n_polymers} polymers have values that are more than a standard deviation of all "
            f"values apart; at most {MOST_CONFLICTING_SHARE:.0%} are accepted. Are there several units, temperatures "
            "or methods in one column? Separate them, or go on with --force."
        )


def check_labels(dataset: Dataset, options: DataOptions, path: Path) -> None:
    """Refuse what no regression can be made of.

    Raises
    ------
    ValidationError
        Too few polymers, or values that are all equal or only two.
    """
    n_polymers, n_values = len(dataset.polymers), len(set(dataset.values.tolist()))
    _check_count(n_polymers, len(dataset.rows), path)
    if n_values < 3:
        kind = "are all equal" if n_values == 1 else "are only two different numbers"
        raise ValidationError(
            f"The {n_polymers} values of the column {options.value_column!r} of {path} {kind}; expected measured or "
            "computed numbers, because classes are not supported. Check --value-column."
        )


def _check_count(n_polymers: int, n_rows: int, path: Path) -> None:
    if n_polymers < FEWEST_POLYMERS:
        raise ValidationError(
            f"{path} has {n_polymers} different polymers with values ({n_rows} rows); expected at least "
            f"{FEWEST_POLYMERS}. Rows of one polymer count once, whichever way its chain is cut. Add polymers."
        )


def without_polymers(dataset: Dataset, reasons: Mapping[str, str]) -> Dataset:
    """Leave out polymers that have no features.

    Parameters
    ----------
    dataset : Dataset
        As read.
    reasons : Mapping of str to str
        Why, by key of the polymer.
    """
    if not reasons:
        return dataset

    def fate(row: RowFate) -> RowFate:
        return row._replace(fate="left out", reason=reasons[row.key]) if row.key in reasons else row

    polymers: Iterable[Polymer] = (polymer for polymer in dataset.polymers if polymer.key not in reasons)
    return replace(dataset, polymers=tuple(polymers), rows=tuple(map(fate, dataset.rows)))
