"""Which column of a table holds the SMILES, and which the ids."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.input_kinds import INPUT_COLUMNS, InputKind
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.tables.text_format import table_error

__all__ = ["Columns", "TableOptions", "TableRules", "choose_columns", "normalized", "table_rules"]

# The page reads the same file.
_RULES = Path(__file__).parents[1] / "web" / "table_rules.json"
_MOST_SHOWN = 20
_LONGEST_SHOWN = 40
_COPOLYMER_COLUMNS = (*INPUT_COLUMNS[InputKind.COPOLYMER], "ratio_b")

_Role = Literal["smiles", "id"]
_KEYS_OF_OTHERS = {InputKind.COPOLYMER: "copolymer_names", InputKind.CONDITIONS: "condition_names"}


@dataclass(frozen=True)
class TableRules:
    """The rules that all readers of tables share.

    Attributes
    ----------
    delimiters : tuple of str
        What may separate columns, the most usual first.
    smiles_names, id_names : frozenset of str
        Normalized names of columns.
    others : Mapping
        Of the columns of copolymers and conditions, by kind and then by column.
    """

    delimiters: tuple[str, ...]
    smiles_names: frozenset[str]
    id_names: frozenset[str]
    others: Mapping[InputKind, Mapping[str, frozenset[str]]]


@dataclass(frozen=True)
class TableOptions:
    """The user's options for a table.

    Attributes
    ----------
    smiles_column, id_column : str or None
        Names of columns; without a header their numbers, from 1. None: found by the table of names.
    has_header : bool
        Whether the first row names the columns.
    keeps_columns : bool
        Whether rows hold the other columns, too.
    kind : InputKind
        What the rows are.
    """

    smiles_column: str | None = None
    id_column: str | None = None
    has_header: bool = True
    keeps_columns: bool = False
    kind: InputKind = InputKind.HOMOPOLYMER

    def is_smiles(self, name: str) -> bool:
        """Return whether a column of this name may hold the SMILES; without a header, whether a cell is one."""
        if not self.has_header:
            return _is_repeat_unit(name)
        if self.kind is InputKind.COPOLYMER:
            return normalized(name) in table_rules().others[self.kind]["smiles_a"]
        if self.smiles_column is not None:
            return name == self.smiles_column or _is_same(name, self.smiles_column)
        return normalized(name) in table_rules().smiles_names


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are read, by position.

    Attributes
    ----------
    names : tuple of str
        Of all columns.
    smiles : int
        Of the SMILES; of copolymers that of the first monomer.
    id : int or None
        Of the ids, where there are any.
    kept : tuple of int
        Of those that are passed on.
    others : tuple of int or None
        Of the rest of an input that is more than a SMILES; None for a column that need not be there.
    """

    names: tuple[str, ...]
    smiles: int
    id: int | None = None
    kept: tuple[int, ...] = ()
    others: tuple[int | None, ...] = ()

    @property
    def kept_names(self) -> tuple[str, ...]:
        """Names of the columns that are passed on; one without a name gets its number."""
        return tuple(self.names[i] or f"column {i + 1}" for i in self.kept)


@cache
def table_rules() -> TableRules:
    """Return the rules that this package ships with."""
    document = json.loads(_RULES.read_text(encoding="utf-8"))
    return TableRules(
        tuple(document["delimiters"]),
        frozenset(document["smiles_names"]),
        frozenset(document["id_names"]),
        {
            kind: {column: frozenset(names) for column, names in document[key].items()}
            for kind, key in _KEYS_OF_OTHERS.items()
        },
    )


def normalized(name: str) -> str:
    """Return a name in lower case, without everything but letters and digits.

    Examples
    --------
    >>> normalized("P-SMILES (polymer)")
    'psmilespolymer'
    """
    return "".join(character for character in name.lower() if character.isalnum())


def choose_columns(first: Sequence[str], options: TableOptions, *, path: Path) -> Columns:
    """Find the columns of a table.

    Parameters
    ----------
    first : sequence of str
        The first record: the header, or a row where the user says that there is none.
    options : TableOptions
        What the user says of the table.
    path : pathlib.Path
        The table, for messages.

    Raises
    ------
    ValidationError
        If there is no column of SMILES, or no telling which it is.
    """
    if options.kind is not InputKind.HOMOPOLYMER and not options.has_header:
        wanted = ", ".join(INPUT_COLUMNS[options.kind])
        raise table_error("no_header", f"{path} is read with --no-header; expected a header with the columns {wanted}.")
    if options.kind is InputKind.COPOLYMER and options.smiles_column is not None:
        raise table_error(
            "no_smiles_column",
            "--smiles-column names one column, and a copolymer has two; leave it out, and name the columns smiles_a "
            "and smiles_b.",
        )
    others: tuple[int | None, ...] = ()
    if not options.has_header:
        names = tuple(str(number) for number in range(1, len(first) + 1))
        smiles = _without_header(first, names, options, path)
        given = options.id_column
        identifier = None if given is None else _named(names, given, "id", path)
    else:
        names = tuple(name.strip() for name in first)
        if options.kind is InputKind.COPOLYMER:
            smiles, *rest = (_other(names, column, options.kind, path) for column in _COPOLYMER_COLUMNS)
            others = tuple(rest)
        else:
            smiles = _smiles(names, options, path)
            others = tuple(_other(names, column, options.kind, path) for column in INPUT_COLUMNS[options.kind][1:])
        identifier = _id(names, options, path)
    left = tuple(i for i in range(len(names)) if i not in (smiles, identifier, *others))
    return Columns(names, smiles, identifier, left if options.keeps_columns else (), others)


def _other(names: Sequence[str], column: str, kind: InputKind, path: Path) -> Any:
    """Return the column of a part of an input; None for a ratio of B, which need not be there."""
    exact = [i for i, name in enumerate(names) if name == column]
    found = exact or [i for i, name in enumerate(names) if normalized(name) in table_rules().others[kind][column]]
    if len(found) > 1:
        raise table_error(
            "two_candidates",
            f"{path} has {len(found)} columns that may hold {column}: {_listed([names[i] for i in found])}. Rename all "
            "but one.",
        )
    if not found and column != "ratio_b":
        wanted = ", ".join(INPUT_COLUMNS[kind])
        raise table_error(
            "no_input_column",
            f"{path} has no column {column}, and the property takes {wanted}; its columns are {_listed(names)}. Rename "
            "the column in the header.",
        )
    return found[0] if found else None


def _smiles(names: Sequence[str], options: TableOptions, path: Path) -> int:
    units = [i for i, name in enumerate(names, 1) if _is_repeat_unit(name)]
    if units and not any(map(options.is_smiles, names)):
        raise table_error(
            "no_header",
            f"{path} has no header: its first row holds a repeat unit ({_listed(names)}). Add --no-header, and the row "
            f"is read; --smiles-column {units[0]} says which column holds the SMILES, counted from 1.",
        )
    if options.smiles_column is not None:
        return _named(names, options.smiles_column, "smiles", path)
    found = _guessed(names, table_rules().smiles_names, "smiles", path)
    if found is None:
        of_copolymers = table_rules().others[InputKind.COPOLYMER]["smiles_a"]
        hint = (
            "It looks like a table of copolymers: name properties that take them, for example --property ea,ip."
            if any(normalized(name) in of_copolymers for name in names)
            else "Name the column with --smiles-column, or call it smiles in the header."
        )
        raise table_error(
            "no_smiles_column",
            f"{path} has no column whose name says that it holds SMILES; its columns are {_listed(names)}. {hint}",
        )
    return found


def _id(names: Sequence[str], options: TableOptions, path: Path) -> int | None:
    if options.id_column is not None:
        return _named(names, options.id_column, "id", path)
    return _guessed(names, table_rules().id_names, "id", path)


def _guessed(names: Sequence[str], known: Iterable[str], role: _Role, path: Path) -> int | None:
    """Return the column whose name is known; one that is named exactly as its role wins."""
    exact = [i for i, name in enumerate(names) if name == role]
    found = exact or [i for i, name in enumerate(names) if normalized(name) in known]
    return _only(names, found, role, path) if found else None


def _named(names: Sequence[str], wanted: str, role: _Role, path: Path) -> int:
    """Return the column that the user names: exactly, else without regard to case and punctuation."""
    exact = [i for i, name in enumerate(names) if name == wanted.strip()]
    found = exact or [i for i, name in enumerate(names) if _is_same(name, wanted)]
    if not found:
        raise table_error(
            "no_smiles_column" if role == "smiles" else "no_id_column",
            f"{path} has no column {wanted!r} (--{role}-column); its columns are {_listed(names)}.",
        )
    return _only(names, found, role, path)


def _only(names: Sequence[str], found: Sequence[int], role: _Role, path: Path) -> int:
    if len(found) > 1:
        what = "SMILES" if role == "smiles" else "ids"
        alike = [names[i] for i in found]
        if len(set(alike)) == 1:
            told = f"named {alike[0]}; expected one. Give them different names."
        else:
            told = f"that may hold the {what}: {_listed(alike)}. Say which: --{role}-column {alike[0]!r}."
        raise table_error("two_candidates", f"{path} has {len(found)} columns {told}")
    return found[0]


def _without_header(first: Sequence[str], names: Sequence[str], options: TableOptions, path: Path) -> int:
    if options.smiles_column is not None:
        return _named(names, options.smiles_column, "smiles", path)
    if len(first) == 1:
        return 0
    found = [i for i, value in enumerate(first) if _is_repeat_unit(value)]
    if not found:
        raise table_error(
            "no_smiles_column",
            f"No field of the first row of {path} is a repeat unit ({_listed(first)}). Say which column holds the "
            f"SMILES: --smiles-column 1 to {len(first)}.",
        )
    return _only(names, found, "smiles", path)


def _is_same(name: str, wanted: str) -> bool:
    return normalized(name) == normalized(wanted) != ""


def _is_repeat_unit(text: str) -> bool:
    if text.count("*") < 2:
        return False
    try:
        RepeatUnit.parse(text)
    except ValidationError:
        return False
    return True


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:_LONGEST_SHOWN]) for name in names[:_MOST_SHOWN])
    return shown if len(names) <= _MOST_SHOWN else f"{shown} and {len(names) - _MOST_SHOWN} more"
