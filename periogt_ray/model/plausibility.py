"""Reasons not to trust an answer: inputs that the networks never saw, and values that a property cannot have."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from periogt_ray.artifacts.properties import PropertyInfo, possible_values
from periogt_ray.polymer.input_kinds import InputKind

__all__ = ["PUBLISHED", "Composition", "polymer_warnings", "unseen_parts", "value_warnings"]


class Composition(NamedTuple):
    """Elements and charges of the training polymers.

    Attributes
    ----------
    elements : frozenset of str
        That occur.
    charges : frozenset of (str, int)
        Charged atoms that occur.
    n_rows, n_charged : int
        Polymers, and those among them whose repeat unit has a net charge.
    """

    elements: frozenset[str]
    charges: frozenset[tuple[str, int]]
    n_rows: int
    n_charged: int

    @classmethod
    def of(cls, polymers: Sequence[str]) -> "Composition":
        """Count over polymers, given by canonical SMILES."""
        atoms = [list(_atoms(smiles)) for smiles in polymers]
        return cls(
            frozenset(element for of_one in atoms for element, _ in of_one),
            frozenset(atom for of_one in atoms for atom in of_one if atom[1]),
            len(polymers),
            sum(sum(charge for _, charge in of_one) != 0 for of_one in atoms),
        )


# Counted over the rows of the published sets, for a network whose training polymers are not known: eat, eea, egb, egc,
# ei, eps and nc; ea, as ip; opv.
PUBLISHED: Mapping[InputKind, Composition] = MappingProxyType(
    {
        InputKind.HOMOPOLYMER: Composition(
            frozenset({"H", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I"}),
            frozenset({("N", 1), ("O", -1), ("N", -1)}),
            n_rows=5833,
            n_charged=12,
        ),
        InputKind.COPOLYMER: Composition(
            frozenset({"H", "C", "N", "O", "F", "S", "Cl", "Br", "I"}),
            frozenset({("N", 1), ("O", -1), ("C", -1)}),
            n_rows=42966,
            n_charged=0,
        ),
        InputKind.CONDITIONS: Composition(
            frozenset({"H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Ge", "Se", "Te"}),
            frozenset(),
            n_rows=1203,
            n_charged=0,
        ),
    }
)
_FEW = 0.01  # share of the polymers below which charged ones were hardly seen

_BRACKET_ATOM = re.compile(r"\[\d*(?P<element>[A-Z][a-z]?|[a-z][a-z]?|\*)[^\]+-]*(?P<charge>(?:\+|-)+\d*)?[^\]]*\]")
_PLAIN_ATOM = re.compile(r"Cl|Br|[BCNOPSFIbcnops]")


@lru_cache(maxsize=4096)
def polymer_warnings(smiles: str, seen: Composition = PUBLISHED[InputKind.HOMOPOLYMER]) -> tuple[str, ...]:
    """Name the elements and charges of a repeat unit that training did not see, or hardly.

    Parameters
    ----------
    smiles : str
        Canonical SMILES.
    seen : Composition
        Of the training polymers.

    Examples
    --------
    >>> polymer_warnings("*[Pb](*)(C)C")
    ('Pb occurs in no training polymer',)
    """
    return (*_unseen_elements(smiles, seen), *_net_charge(smiles, seen), *_unseen_charges(smiles, seen))


def unseen_parts(smiles: str, seen: Composition) -> tuple[str, ...]:
    """Name the elements and the charged atoms of a repeat unit that occur in no training polymer."""
    return (*_unseen_elements(smiles, seen), *_unseen_charges(smiles, seen))


def _unseen_elements(smiles: str, seen: Composition) -> Iterator[str]:
    for element in sorted({element for element, _ in _atoms(smiles)} - seen.elements):
        yield f"{element} occurs in no training polymer"


def _unseen_charges(smiles: str, seen: Composition) -> Iterator[str]:
    for element, charge in sorted({atom for atom in _atoms(smiles) if atom[1]} - seen.charges):
        if element in seen.elements:
            yield f"{element} with charge {charge:+d} occurs in no training polymer"


def _net_charge(smiles: str, seen: Composition) -> tuple[str, ...]:
    """Say it if a repeat unit has a net charge and training hardly saw any."""
    net = sum(charge for _, charge in _atoms(smiles))
    if not net or seen.n_charged > _FEW * seen.n_rows:
        return ()
    return (
        f"The repeat unit has a charge of {net:+d}, and charged repeat units were hardly seen in training "
        f"({seen.n_charged} of {seen.n_rows} rows)",
    )


def value_warnings(info: PropertyInfo, value: float) -> tuple[str, ...]:
    """Warn if a property cannot have a value: there the network extrapolates."""
    lowest, highest = possible_values(info.id)
    for is_impossible, side, bound in ((value < lowest, "below", lowest), (value > highest, "above", highest)):
        if is_impossible:
            limit = f"{bound:g} {info.units}".strip()
            return (f"{info.label} cannot be {side} {limit}, so the polymer is outside what the network knows",)
    return ()


def _atoms(smiles: str) -> Iterator[tuple[str, int]]:
    """Yield element and charge of every atom that a SMILES writes, connection points aside."""
    for match in _BRACKET_ATOM.finditer(smiles):
        if match["element"] != "*":
            yield match["element"].capitalize(), _charge(match["charge"] or "")
    for match in _PLAIN_ATOM.finditer(_BRACKET_ATOM.sub("", smiles)):
        yield match[0].capitalize(), 0


def _charge(text: str) -> int:
    """Return the charge that ``+``, ``--`` or ``+2`` stands for."""
    signs = text.rstrip("0123456789")
    size = int(text[len(signs) :] or len(signs))
    return size if signs.startswith("+") else -size if signs else 0
