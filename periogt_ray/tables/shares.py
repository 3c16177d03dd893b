"""Which part of a table one of several jobs takes."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from periogt_ray.errors import SettingsError, ValidationError
from periogt_ray.tables.parts import Part

__all__ = ["TableShare"]


class TableShare(NamedTuple):
    """One of several equal shares of the parts of a table.

    Attributes
    ----------
    number : int
        From 1.
    n : int
        How many shares there are.

    Examples
    --------
    >>> TableShare.parse("2/8")
    TableShare(number=2, n=8)
    """

    number: int
    n: int

    @classmethod
    def parse(cls, text: str) -> "TableShare":
        """Read ``K/N``; ValidationError if it is something else."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ValidationError(f"--share is {text!r}; expected K/N with K from 1 to N, such as 2/8.")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of_array_task(cls, env: Mapping[str, str]) -> "TableShare":
        """Return the share of a task of a Slurm array, or everything outside of one.

        Raises
        ------
        SettingsError
            If the numbers of the array have gaps, from which no share follows.
        """
        if not env.get("SLURM_ARRAY_TASK_ID"):
            return cls(1, 1)
        names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "COUNT")]
        values = [env.get(name, "") for name in names]
        if not all(value.isascii() and value.isdigit() for value in values):
            shown = ", ".join(f"{name}={value!r}" for name, value in zip(names, values, strict=True))
            raise SettingsError(f"{shown}; expected whole numbers, as Slurm sets them. Give --share K/N.")
        number, first, last, n = map(int, values)
        step = (last - first) // (n - 1) if n > 1 else 1
        if first + step * (n - 1) != last or (number - first) % step != 0:
            raise SettingsError(
                f"The numbers of this Slurm array ({n} from {first} to {last}) have gaps, so no share follows from "
                "them. Submit it with --array=1-N, or give --share K/N."
            )
        return cls((number - first) // step + 1, n)

    def of(self, parts: Sequence[Part]) -> list[Part]:
        """Return the parts of this share; every part is in one share."""
        return [part for part in parts if part.number % self.n == self.number - 1]

    def __str__(self) -> str:
        return f"{self.number}/{self.n}"
