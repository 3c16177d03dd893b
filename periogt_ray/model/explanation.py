"""An explanation of a prediction: what each bond and atom of the repeat unit adds to the value; without torch."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from periogt_ray.artifacts.properties import PropertyInfo
from periogt_ray.errors import ValidationError
from periogt_ray.model.coalitions import ShapleyValues
from periogt_ray.polymer.equivalent_bonds import chain_bonds
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.limits import MAX_EXPLAINED_ATOMS, MOST_PASSES
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.value_drawing import draw_values

__all__ = ["MEANING", "AtomPart", "BondPart", "Explanation", "Part", "check_explained", "checked_passes"]

MEANING = (
    "The values say how this model's answer changes when parts of its input are replaced by an average bond, taken "
    "over all orders of doing so. They describe the model, not causes or chemistry; sampled values have an error, "
    "given as ±."
)


@dataclass(frozen=True)
class Part:
    """What a part of a polymer adds to the prediction, in the unit of the property.

    Attributes
    ----------
    value : float
        Shapley value.
    standard_error : float
        Of the sampling of orders; 0 where all subsets were computed. The error of the model is not in it.
    """

    value: float
    standard_error: float


@dataclass(frozen=True)
class BondPart(Part):
    """What a bond adds.

    Attributes
    ----------
    atoms : tuple of int
        Its atoms in ``repeat_unit``; of the bond between units the attachment atoms, the later one first.
    symbols : tuple of str
        Their elements.
    is_between_units : bool
        Whether it joins two repeat units.
    """

    atoms: tuple[int, int]
    symbols: tuple[str, str]
    is_between_units: bool


@dataclass(frozen=True)
class AtomPart:
    """Half of what the bonds of an atom add.

    Attributes
    ----------
    atom : int
        In ``repeat_unit``.
    symbol : str
        Its element.
    value : float
        In the unit of the property.
    """

    atom: int
    symbol: str
    value: float


@dataclass(frozen=True)
class Explanation:
    """Which bonds and atoms of a repeat unit carry a prediction.

    ``baseline`` plus the values of all bonds, plus that of the whole-molecule features, is ``prediction``. The values
    of atoms sum to those of bonds.

    Attributes
    ----------
    smiles : str
        As given.
    repeat_unit : str
        Canonical SMILES; indices count its atoms from 0, connection points included.
    property, label, units : str
        Id, name and unit of the property.
    prediction : float
        What the model answers.
    baseline : float
        What it answers when every part is replaced by its stand-in.
    bonds : tuple of BondPart
        Bonds of the repeat unit, the bond between units once and last.
    atoms : tuple of AtomPart
        Its atoms without the connection points.
    whole_molecule : Part
        What fingerprint and descriptors add.
    method : {"exact", "sampled"}
        All subsets of parts, or random orders.
    passes : int
        Subsets that were computed.
    warnings : tuple of str
        What was left out of the SMILES.
    """

    smiles: str
    repeat_unit: str
    property: str
    label: str
    units: str
    prediction: float
    baseline: float
    bonds: tuple[BondPart, ...]
    atoms: tuple[AtomPart, ...]
    whole_molecule: Part
    method: Literal["exact", "sampled"]
    passes: int
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        unit: RepeatUnit,
        info: PropertyInfo,
        *,
        smiles: str,
        prediction: float,
        values: ShapleyValues,
        method: Literal["exact", "sampled"],
        passes: int,
    ) -> Self:
        """Make an explanation of the values of a repeat unit's bonds, in the order of ``chain_bonds``.

        Parameters
        ----------
        unit : RepeatUnit
            What is explained.
        info : PropertyInfo
            Of the property.
        smiles : str
            As given.
        prediction : float
            The answer.
        values : ShapleyValues
            Of the bonds, and last of the whole-molecule features.
        method : str
            How they were computed.
        passes : int
            With how many coalitions.
        """
        symbols = [atom.GetSymbol() for atom in unit.mol.GetAtoms()]
        of_atoms = {atom: 0.0 for atom in range(len(symbols)) if atom not in unit.connection_points}
        bonds = []
        found = values.values.tolist(), values.standard_errors.tolist()
        for bond, value, error in zip(chain_bonds(unit), *(one[:-1] for one in found), strict=True):
            ends = (bond.end, bond.begin) if bond.is_between_units else (bond.begin, bond.end)
            of_pair = symbols[ends[0]], symbols[ends[1]]
            bonds.append(BondPart(value, error, ends, of_pair, bond.is_between_units))
            for atom in ends:
                of_atoms[atom] += value / 2
        return cls(
            smiles=smiles,
            repeat_unit=unit.smiles,
            property=info.id,
            label=info.label,
            units=info.units,
            prediction=prediction,
            baseline=prediction - float(values.values.sum()),
            bonds=tuple(bonds),
            atoms=tuple(AtomPart(atom, symbols[atom], value) for atom, value in of_atoms.items()),
            whole_molecule=Part(found[0][-1], found[1][-1]),
            method=method,
            passes=passes,
            warnings=unit.warnings,
        )

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Return the explanation that :meth:`as_dict` made a dict of; further keys are left out."""
        bonds = tuple(
            BondPart(
                float(one["value"]),
                float(one["standard_error"]),
                _pair(one["atoms"]),
                _pair(one["symbols"]),
                bool(one["is_between_units"]),
            )
            for one in document["bonds"]
        )
        atoms = tuple(AtomPart(int(one["atom"]), str(one["symbol"]), float(one["value"])) for one in document["atoms"])
        whole = document["whole_molecule"]
        texts = {name: str(document[name]) for name in ("smiles", "repeat_unit", "property", "label", "units")}
        return cls(
            **texts,
            prediction=float(document["prediction"]),
            baseline=float(document["baseline"]),
            bonds=bonds,
            atoms=atoms,
            whole_molecule=Part(float(whole["value"]), float(whole["standard_error"])),
            method="exact" if document["method"] == "exact" else "sampled",
            passes=int(document["passes"]),
            warnings=tuple(map(str, document["warnings"])),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the same as lists, texts and numbers, for JSON."""
        return {
            **asdict(self),
            "bonds": [{**asdict(bond), "atoms": [*bond.atoms], "symbols": [*bond.symbols]} for bond in self.bonds],
            "atoms": [asdict(atom) for atom in self.atoms],
            "warnings": [*self.warnings],
        }

    def svg(self) -> str:
        """Draw the repeat unit with its bonds and atoms coloured by their values, and a colour bar.

        Returns
        -------
        str
            An ``svg`` element with a white background, without scripts or references.

        Raises
        ------
        DrawingUnavailableError
            If RDKit's drawing module does not load on this machine.
        """
        unit = RepeatUnit(self.repeat_unit)
        of_bonds = {
            index: part.value
            for chain_bond, part in zip(chain_bonds(unit), self.bonds, strict=True)
            for index in chain_bond.in_smiles
        }
        shown = f"{self.prediction:.4g} {self.units}".strip()
        parts = [
            f"baseline {self.baseline:.4g}",
            f"bonds {sum(bond.value for bond in self.bonds):+.3g}",
            f"whole-molecule features {self.whole_molecule.value:+.3g}",
        ]
        return draw_values(
            unit,
            {part.atom: part.value for part in self.atoms},
            of_bonds,
            title=f"{self.label}: {shown}",
            subtitle=", ".join(parts),
            units=self.units,
        )


def check_explained(unit: RepeatUnit, info: PropertyInfo) -> None:
    """Make sure that a prediction can be explained.

    Raises
    ------
    ValidationError
        If the property is not predicted of a repeat unit only, or the repeat unit is too large.
    """
    if info.input_kind is not InputKind.HOMOPOLYMER:
        raise ValidationError(
            f"{info.id} takes the input {info.input_kind.value}; only predictions of properties of a repeat unit are "
            "explained.",
            {"property": info.id, "input": info.input_kind.value},
        )
    n_atoms = unit.mol.GetNumAtoms() - 2
    if n_atoms > MAX_EXPLAINED_ATOMS:
        raise ValidationError(
            f"The repeat unit has {n_atoms} atoms; predictions of at most {MAX_EXPLAINED_ATOMS} are explained.",
            {"n_atoms": n_atoms, "most": MAX_EXPLAINED_ATOMS},
        )


def checked_passes(smiles: object, property_id: object, passes: Any) -> int | None:
    """Make sure that arguments of a call in Python are what is explained, and return the passes as an int.

    Raises
    ------
    ValidationError
        If SMILES or property is not one text, as with the lists that predictions take, or the passes are no integer
        or out of bounds.

    Examples
    --------
    >>> checked_passes("*CC*", "egc", 8)
    8
    """
    for name, given in (("smiles", smiles), ("property_id", property_id)):
        if not isinstance(given, str):
            raise ValidationError(
                f"{name} is of type {type(given).__name__}; expected one text. An explanation is of one SMILES and "
                "one property."
            )
    if passes is None:
        return None
    try:
        n_passes = operator.index(passes)
    except TypeError:
        n_passes = 0
    if isinstance(passes, bool) or not 0 < n_passes <= MOST_PASSES:
        raise ValidationError(f"Passes given: {passes!r}; expected an integer from 1 to {MOST_PASSES}.")
    return n_passes


def _pair(two: Sequence[Any]) -> Any:
    first, second = two
    return first, second
