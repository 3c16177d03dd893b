"""Several columns of values in one table: a run and a package a column, with shared features and prompts."""

import csv
from dataclasses import replace
from pathlib import Path

from periogt_ray.errors import ValidationError
from periogt_ray.training.claim import WORK_NAME
from periogt_ray.training.options import FinetuneOptions

__all__ = ["options_of_columns", "shared_directory"]

_SHARED_NAME = "shared"


def options_of_columns(options: FinetuneOptions, output: Path) -> list[FinetuneOptions]:
    """Return the options of each column's run; those of one column are as they were given.

    Several ids, separated by commas, say that there are several columns. Then ids, columns and units are lists of one
    length, but one unit is that of all columns. A name or unit with a comma stands in double quotes.

    Parameters
    ----------
    options : FinetuneOptions
        As given.
    output : pathlib.Path
        Directory that gets a directory a column, of its id.

    Raises
    ------
    ValidationError
        The lists differ in length or name something twice, or a unit was cut at a comma within its brackets.

    Examples
    --------
    >>> from pathlib import Path
    >>> from periogt_ray.training.dataset import DataOptions
    >>> given = FinetuneOptions(Path("d.csv"), "a,b", "eV", Path("x"), table=DataOptions(value_column="A,B"))
    >>> [(one.property_id, one.units, one.table.value_column) for one in options_of_columns(given, Path("out"))]
    [('a', 'eV', 'A'), ('b', 'eV', 'B')]
    """
    ids = _listed(options.property_id)
    if len(ids) == 1:
        return [options]
    columns, units = _listed(options.table.value_column), _listed(options.units)
    units = units * len(ids) if len(units) == 1 else units
    labels = _listed(options.label) if options.label else [""] * len(ids)
    for name, given in (("--value-column", columns), ("--units", units), ("--label", labels)):
        if len(given) != len(ids):
            raise ValidationError(
                f"--property names {len(ids)} ids ({', '.join(ids)}), and {name} {len(given)} ({', '.join(given)}); "
                "expected one for each, separated by commas. Write one that holds a comma itself in double quotes: "
                "'\"A, B\",C'."
            )
    for unit in units:
        if unit.count("(") != unit.count(")") or unit.count("[") != unit.count("]"):
            raise ValidationError(
                f"--units is {options.units}, which a comma divides into {', '.join(map(repr, units))}. Write a unit "
                f"that holds a comma in double quotes: '\"{options.units}\"'."
            )
    for name, given in (("--property", ids), ("--value-column", columns)):
        if len(set(given)) < len(given):
            raise ValidationError(f"{name} is {', '.join(given)}; expected different ones.")
    shared = shared_directory(output / ids[0])
    return [
        replace(
            options,
            property_id=ids[i],
            units=units[i],
            label=labels[i],
            output=output / ids[i],
            table=replace(
                options.table,
                value_column=columns[i],
                other_columns=tuple(name for name in columns if name != columns[i]),
            ),
            shared=shared,
        )
        for i in range(len(ids))
    ]


def _listed(text: str) -> list[str]:
    """Return the parts between commas; one in double quotes may hold commas itself.

    Examples
    --------
    >>> _listed('K, "g/cm3, dry"')
    ['K', 'g/cm3, dry']
    """
    parts = next(csv.reader([text], skipinitialspace=True), []) or [""]
    return [part.strip() for part in parts]


def shared_directory(first_output: Path) -> Path:
    """Return where runs of several columns keep what they share: beside the work of the first."""
    return first_output / WORK_NAME / _SHARED_NAME
