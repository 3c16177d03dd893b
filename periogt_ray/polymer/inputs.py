"""What a property is predicted of: a repeat unit, a copolymer of two, or a repeat unit with conditions.

A homopolymer is its :class:`~periogt_ray.polymer.repeat_unit.RepeatUnit`. Which of the three a property takes follows
from its network. Ratios, architectures and conditions are those that the published networks have (Aldeghi and Coley,
Chem. Sci. 13, 10486, 2022, for the copolymers).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.input_kinds import (
    ARCHITECTURES,
    CONDITIONS,
    INPUT_COLUMNS,
    N_EQUAL_PAIRS,
    N_PAIRS_ROWS,
    RATIOS,
    TRAINED_COMBINATIONS,
    InputKind,
)
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.runtime.decimal_comma import decimal_comma_hint

__all__ = [
    "Copolymer",
    "PolymerInput",
    "PolymerWithConditions",
    "kind_of",
    "monomers_of",
    "parse_monomer",
    "plain_number",
    "read_input",
]


@dataclass(frozen=True)
class Copolymer:
    """A copolymer of two monomers; make one with :meth:`parse`.

    The constructor takes every combination that a network has states for; :meth:`parse` only those whose
    ratios add up to 1.

    Attributes
    ----------
    a, b : RepeatUnit
        The monomers; they may be equal.
    ratio_a, ratio_b : float
        Molar fractions: 0.25, 0.5 or 0.75.
    architecture : str
        ``alternating``, ``block`` or ``random``.
    """

    a: RepeatUnit
    b: RepeatUnit
    ratio_a: float
    ratio_b: float
    architecture: str

    def __post_init__(self) -> None:
        for name, ratio in (("ratio_a", self.ratio_a), ("ratio_b", self.ratio_b)):
            if ratio not in RATIOS:
                raise ValidationError(
                    f"{name} is {ratio!r:.60}; expected 0.25, 0.5 or 0.75, the molar fractions that the networks know."
                )
        if self.architecture not in ARCHITECTURES:
            hint = f" Write {self.architecture.lower()!r}." if self.architecture.lower() in ARCHITECTURES else ""
            raise ValidationError(
                f"The architecture is {self.architecture[:40]!r}; expected alternating, block or random.{hint}"
            )

    @classmethod
    def parse(
        cls, smiles_a: str, smiles_b: str, *, ratio_a: float, architecture: str, ratio_b: float | None = None
    ) -> "Copolymer":
        """Validate a copolymer; each monomer as :meth:`RepeatUnit.parse` does.

        Parameters
        ----------
        smiles_a, smiles_b : str
            Repeat units. Their connection points may have bonds of different types.
        ratio_a : float
            Molar fraction of A: 0.25, 0.5 or 0.75.
        architecture : str
            ``alternating``, ``block`` or ``random``.
        ratio_b : float, optional
            Molar fraction of B; None: the rest.

        Raises
        ------
        ValidationError
            Naming the monomer, or the value and what was expected.

        Examples
        --------
        >>> Copolymer.parse("*CC*", "OC(*)C*", ratio_a=0.25, architecture="block").b.smiles
        '*CC(*)O'
        """
        a, b = (parse_monomer(name, smiles, RepeatUnit.parse) for name, smiles in (("A", smiles_a), ("B", smiles_b)))
        return cls.of(a, b, ratio_a=ratio_a, architecture=architecture, ratio_b=ratio_b)

    @classmethod
    def of(
        cls, a: RepeatUnit, b: RepeatUnit, *, ratio_a: float, architecture: str, ratio_b: float | None = None
    ) -> "Copolymer":
        """Make a copolymer of monomers that are parsed; raises ValidationError as :meth:`parse`."""
        ratio_a, ratio_b = plain_number(ratio_a), None if ratio_b is None else plain_number(ratio_b)
        if ratio_b is None:
            ratio_b = 1.0 - ratio_a if ratio_a in RATIOS else 0.5
        made = cls(a, b, ratio_a, ratio_b, architecture)
        if ratio_a + ratio_b != 1:
            raise ValidationError(
                f"The ratios {ratio_a:g} and {ratio_b:g} add up to {ratio_a + ratio_b:g}; expected 1. Leave ratio_b "
                "out, or give both as molar fractions."
            )
        return made

    @property
    def ordered(self) -> "Copolymer":
        """The same copolymer with A and B in the order in which they are computed: by SMILES, then by ratio."""
        if (self.a.smiles, self.ratio_a) <= (self.b.smiles, self.ratio_b):
            return self
        return Copolymer(self.b, self.a, self.ratio_b, self.ratio_a, self.architecture)

    @property
    def key(self) -> str:
        """Text that is equal for equal copolymers, whichever monomer is called A."""
        one = self.ordered
        return f"{one.a.smiles} {one.b.smiles} {one.ratio_a} {one.ratio_b} {one.architecture}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out of the SMILES, and that training never or hardly saw such a combination."""
        warnings = list(dict.fromkeys((*self.a.warnings, *self.b.warnings)))
        if self.ratio_a + self.ratio_b == 1 and (self.ratio_a, self.architecture) not in TRAINED_COMBINATIONS:
            warnings.append(
                f"Training saw no {self.architecture} copolymer with the ratio {self.ratio_a:g} to {self.ratio_b:g}, "
                "only 0.5 to 0.5"
            )
        if self.a.smiles == self.b.smiles:
            warnings.append(
                "Monomers A and B are the same, so this is a homopolymer, and its ratio and architecture mean nothing; "
                f"{N_EQUAL_PAIRS} of the {N_PAIRS_ROWS} rows of the published data are such"
            )
        return tuple(warnings)


@dataclass(frozen=True)
class PolymerWithConditions:
    """A repeat unit and numbers beside it; make one with :meth:`parse`.

    Attributes
    ----------
    unit : RepeatUnit
        The polymer.
    conditions : tuple of float
        In the order of ``CONDITIONS``, each a float32. They are standardised numbers, as the training data has
        them: the means and deviations behind are not published, so values in eV or kg/mol cannot be converted.
    """

    unit: RepeatUnit
    conditions: tuple[float, ...]

    @classmethod
    def parse(cls, smiles: str, conditions: Mapping[str, float]) -> "PolymerWithConditions":
        """Validate a repeat unit with conditions.

        Parameters
        ----------
        smiles : str
            Repeat unit.
        conditions : Mapping
            ``homo``, ``bandgap`` and ``molar_mass``: standardised numbers.

        Raises
        ------
        ValidationError
            If the repeat unit is none, a condition is missing or unknown, or not a finite float32.

        Examples
        --------
        >>> PolymerWithConditions.parse("*c1ccc(*)s1", {"homo": -0.61, "bandgap": 1, "molar_mass": 30}).warnings
        ('molar_mass is 30 and was -0.62 to 17.55 in training',)
        """
        return cls.of(RepeatUnit.parse(smiles), conditions)

    @classmethod
    def of(cls, unit: RepeatUnit, conditions: Mapping[str, float]) -> "PolymerWithConditions":
        """Add conditions to a repeat unit that is parsed; raises ValidationError as :meth:`parse`."""
        names = [condition.name for condition in CONDITIONS]
        if set(conditions) != set(names):
            given = ", ".join(repr(str(name)[:40]) for name in list(conditions)[:10]) or "none"
            raise ValidationError(f"The conditions are {given}; expected exactly {', '.join(names)}.")
        return cls(unit, tuple(_condition(name, conditions[name]) for name in names))

    @property
    def key(self) -> str:
        """Text that is equal for equal polymers with equal conditions."""
        return " ".join((self.unit.smiles, *map(repr, self.conditions)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out of the SMILES, and conditions beyond those of training."""
        beyond = (
            f"{condition.name} is {np.float32(value)!s} and was {condition.low:g} to {condition.high:g} in training"
            for condition, value in zip(CONDITIONS, self.conditions, strict=True)
            if not np.float32(condition.low) <= np.float32(value) <= np.float32(condition.high)
        )
        return (*self.unit.warnings, *(text.replace(".0 and", " and") for text in beyond))


PolymerInput: TypeAlias = RepeatUnit | Copolymer | PolymerWithConditions


def kind_of(polymer: PolymerInput) -> InputKind:
    """Return the kind of an input."""
    if isinstance(polymer, Copolymer):
        return InputKind.COPOLYMER
    return InputKind.CONDITIONS if isinstance(polymer, PolymerWithConditions) else InputKind.HOMOPOLYMER


def monomers_of(polymer: PolymerInput) -> tuple[RepeatUnit, ...]:
    """Return the repeat units of an input: one, or A and B."""
    if isinstance(polymer, Copolymer):
        return polymer.a, polymer.b
    return (polymer.unit,) if isinstance(polymer, PolymerWithConditions) else (polymer,)


def read_input(
    kind: InputKind, cells: Sequence[str], *, parse: Callable[[str], RepeatUnit] = RepeatUnit.parse
) -> PolymerInput:
    """Read an input from the cells of a table.

    Parameters
    ----------
    kind : InputKind
        What the cells hold.
    cells : sequence of str
        In the order of ``INPUT_COLUMNS``; of a copolymer the ratio of B may follow, blank where it is not known.
    parse : callable
        Makes a repeat unit of a SMILES.

    Raises
    ------
    ValidationError
        Naming the cell.

    Examples
    --------
    >>> read_input(InputKind.COPOLYMER, ["*CC*", "*CCO*", "0.50", "random"]).architecture
    'random'
    """
    if kind is InputKind.HOMOPOLYMER:
        return parse(cells[0])
    if kind is InputKind.CONDITIONS:
        named = zip(INPUT_COLUMNS[kind][1:], cells[1:], strict=True)
        numbers = {name: _number(name, cell) for name, cell in named}
        return PolymerWithConditions.of(parse(cells[0]), numbers)
    a, b = (parse_monomer(name, smiles, parse) for name, smiles in (("A", cells[0]), ("B", cells[1])))
    ratio_b = _number("ratio_b", cells[4]) if len(cells) > 4 and cells[4].strip() else None
    return Copolymer.of(a, b, ratio_a=_number("ratio_a", cells[2]), architecture=cells[3].strip(), ratio_b=ratio_b)


def parse_monomer(name: str, smiles: str, parse: Callable[[str], RepeatUnit]) -> RepeatUnit:
    """Parse monomer A or B; a ValidationError names it."""
    try:
        return parse(smiles)
    except ValidationError as error:
        raise ValidationError(f"Monomer {name}: {error.message}", error.details) from error


def plain_number(value: Any) -> Any:
    """Return a number of any type as one that JSON has, and anything that is no number as its text.

    Examples
    --------
    >>> plain_number(Decimal("0.5")), plain_number(2), plain_number(np.float32(0.25)), plain_number([0.5])
    (0.5, 2, 0.25, '[0.5]')
    """
    if value is None or isinstance(value, bool | int | float | str):
        # Of numpy's float64 the text would be another one.
        return float(value) if isinstance(value, float) else value
    if not isinstance(value, Real | Decimal):
        return str(value)
    try:
        return float(value)
    except (ValueError, OverflowError):  # a signalling NaN, and fractions beyond a float
        return str(value)


def _number(name: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError as error:
        found = f"is {cell[:40]!r}" if cell.strip() else "is blank"
        raise ValidationError(f"{name} {found}; expected a number.{decimal_comma_hint(cell)}") from error


def _condition(name: str, value: float) -> float:
    """Return a condition as the float32 that the network gets."""
    value = plain_number(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN and infinity are not in these bounds; a whole number of any size can be compared with them.
    if is_number and abs(value) <= float(np.finfo(np.float32).max):
        return float(np.float32(value)) + 0.0  # -0 becomes 0
    raise ValidationError(
        f"The condition {name} is {value!r:.60}; expected a standardised number, finite as a 32-bit float."
    )
