"""An input as a caller gave it, before it is read; answers repeat it, and other processes receive it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.input_kinds import CONDITIONS, INPUT_COLUMNS, InputKind
from periogt_ray.polymer.inputs import Copolymer, PolymerInput, PolymerWithConditions, parse_monomer, plain_number
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["AnyInput", "GivenInput", "as_given", "given_kind"]

AnyInput: TypeAlias = str | RepeatUnit | Copolymer | PolymerWithConditions | Mapping[str, Any]

_COPOLYMER_FIELDS = INPUT_COLUMNS[InputKind.COPOLYMER]


@dataclass(frozen=True)
class GivenInput:
    """An input as a caller gave it.

    Attributes
    ----------
    kind : InputKind
        What it is meant to be.
    cells : tuple of str
        Its texts, as a table of that kind has them; see :data:`~periogt_ray.polymer.input_kinds.INPUT_COLUMNS`.
    body : dict
        As JSON has it.
    """

    kind: InputKind
    cells: tuple[str, ...]
    body: dict[str, Any] = field(hash=False)

    @classmethod
    def of_smiles(cls, smiles: str) -> "GivenInput":
        """Return a repeat unit, as given."""
        return cls(InputKind.HOMOPOLYMER, (smiles,), {"smiles": smiles})

    @classmethod
    def of_copolymer(cls, smiles_a: Any, smiles_b: Any, ratio_a: Any, architecture: Any) -> "GivenInput":
        """Return a copolymer, as given; what is no text or number becomes a text."""
        values = (_text(smiles_a), _text(smiles_b), plain_number(ratio_a), _text(architecture))
        body = {"smiles": None, "copolymer": dict(zip(_COPOLYMER_FIELDS, values, strict=True))}
        return cls(InputKind.COPOLYMER, tuple(map(_text, values)), body)

    @classmethod
    def with_conditions(cls, smiles: Any, conditions: Mapping[str, Any]) -> "GivenInput":
        """Return a repeat unit with conditions, as given; those that are missing are blank cells."""
        plain = {_text(name): plain_number(value) for name, value in conditions.items()}
        smiles = _text(smiles)
        cells = (smiles, *(_text(plain.get(condition.name, "")) for condition in CONDITIONS))
        return cls(InputKind.CONDITIONS, cells, {"smiles": smiles, "conditions": plain})

    @property
    def smiles(self) -> tuple[str, ...]:
        """The SMILES of its repeat units."""
        return self.cells[:2] if self.kind is InputKind.COPOLYMER else self.cells[:1]

    def read(self, parse: Callable[[str], RepeatUnit] = RepeatUnit.parse) -> PolymerInput:
        """Return what it is.

        Parameters
        ----------
        parse : callable
            Makes a repeat unit of a SMILES.

        Raises
        ------
        ValidationError
            If it is not that.
        """
        if self.kind is InputKind.HOMOPOLYMER:
            return parse(self.cells[0])
        if self.kind is InputKind.CONDITIONS:
            return PolymerWithConditions.of(parse(self.cells[0]), self.body["conditions"])
        a, b = (parse_monomer(name, smiles, parse) for name, smiles in zip("AB", self.smiles, strict=True))
        given = self.body["copolymer"]
        return Copolymer.of(a, b, ratio_a=given["ratio_a"], architecture=given["architecture"])


def as_given(one: AnyInput) -> GivenInput:
    """Return the input of a Python caller, for every form that it may have.

    Parameters
    ----------
    one : str, RepeatUnit, Copolymer, PolymerWithConditions or Mapping
        A mapping has the fields of a copolymer, or ``smiles`` and ``conditions``.

    Raises
    ------
    ValidationError
        If a mapping has other fields.

    Examples
    --------
    >>> as_given({"smiles": "*CC*", "conditions": {"homo": 0, "bandgap": 0.5, "molar_mass": 0}}).cells
    ('*CC*', '0', '0.5', '0')
    """
    if isinstance(one, Copolymer):
        return GivenInput.of_copolymer(one.a.smiles, one.b.smiles, one.ratio_a, one.architecture)
    if isinstance(one, PolymerWithConditions):
        names = [condition.name for condition in CONDITIONS]
        return GivenInput.with_conditions(one.unit.smiles, dict(zip(names, one.conditions, strict=True)))
    if isinstance(one, RepeatUnit):
        return GivenInput.of_smiles(one.smiles)
    if isinstance(one, str):
        return GivenInput.of_smiles(_text(one))
    fields = one["copolymer"] if set(one) == {"copolymer"} and isinstance(one["copolymer"], Mapping) else one
    if set(fields) == set(_COPOLYMER_FIELDS):
        return GivenInput.of_copolymer(*(fields[name] for name in _COPOLYMER_FIELDS))
    if set(fields) == {"smiles"}:
        return GivenInput.of_smiles(_text(fields["smiles"]))
    if set(fields) == {"smiles", "conditions"} and isinstance(fields["conditions"], Mapping):
        return GivenInput.with_conditions(fields["smiles"], fields["conditions"])
    raise ValidationError(
        f"An input has the fields {', '.join(map(repr, fields))}; expected {', '.join(_COPOLYMER_FIELDS)} for a "
        "copolymer, or smiles and conditions."
    )


def given_kind(inputs: Sequence[GivenInput]) -> InputKind:
    """Return the kind that inputs have in common; without any, that of repeat units.

    Raises
    ------
    ValidationError
        If there are several kinds.
    """
    kinds = list(dict.fromkeys(one.kind for one in inputs)) or [InputKind.HOMOPOLYMER]
    if len(kinds) > 1:
        raise ValidationError(f"The inputs are of kinds {' and '.join(kinds)}; expected one kind a call.")
    return kinds[0]


def _text(value: Any) -> str:
    """Return a cell of a table; a lone surrogate, which no table and no SMILES can hold, as its escape."""
    text = repr(value) if isinstance(value, float) else str(value)
    return text.encode("utf-8", "backslashreplace").decode()
