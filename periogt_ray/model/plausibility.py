"""Reasons not to trust an answer: what the networks never saw, and values that a property cannot have."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from periogt_ray.artifacts.properties import PropertyInfo, possible_values
from periogt_ray.polymer.input_kinds import InputKind

__all__ = ["polymer_warnings", "value_warnings"]


class _Seen(NamedTuple):
    """What training polymers hold."""

    elements: frozenset[str]
    charges: frozenset[tuple[str, int]]
    n_rows: int
    n_charged: int  # rows with a repeat unit that has a net charge


# Counted over the rows of the published sets: eat, eea, egb, egc, ei, eps and nc; ea, as ip; opv.
_SEEN = {
    InputKind.HOMOPOLYMER: _Seen(
        frozenset({"H", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I"}),
        frozenset({("N", 1), ("O", -1), ("N", -1)}),
        n_rows=5833,
        n_charged=12,
    ),
    InputKind.COPOLYMER: _Seen(
        frozenset({"H", "C", "N", "O", "F", "S", "Cl", "Br", "I"}),
        frozenset({("N", 1), ("O", -1), ("C", -1)}),
        n_rows=42966,
        n_charged=0,
    ),
    InputKind.CONDITIONS: _Seen(
        frozenset({"H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Ge", "Se", "Te"}),
        frozenset(),
        n_rows=1203,
        n_charged=0,
    ),
}

_BRACKET_ATOM = re.compile(r"\[\d*(?P<element>[A-Z][a-z]?|[a-z][a-z]?|\*)[^\]+-]*(?P<charge>(?:\+|-)+\d*)?[^\]]*\]")
_PLAIN_ATOM = re.compile(r"Cl|Br|[BCNOPSFIbcnops]")


@lru_cache(maxsize=4096)
def polymer_warnings(smiles: str, kind: InputKind = InputKind.HOMOPOLYMER) -> tuple[str, ...]:
    """Name the elements and charges of a repeat unit that training did not see, or hardly.

    Parameters
    ----------
    smiles : str
        Canonical SMILES.
    kind : InputKind
        What the property is predicted of, which tells the training polymers.

    Examples
    --------
    >>> polymer_warnings("*[Pb](*)(C)C")
    ('Pb occurs in no training polymer',)
    """
    seen = _SEEN[kind]
    atoms = list(_atoms(smiles))
    warnings = [f"{name} occurs in no training polymer" for name in sorted({e for e, _ in atoms} - seen.elements)]
    net = sum(charge for _, charge in atoms)
    if net:
        warnings.append(
            f"The repeat unit has a charge of {net:+d}, and charged repeat units were hardly seen in training "
            f"({seen.n_charged} of {seen.n_rows} rows)"
        )
    for element, charge in sorted({atom for atom in atoms if atom[1]} - seen.charges):
        if element in seen.elements:
            warnings.append(f"{element} with charge {charge:+d} occurs in no training polymer")
    return tuple(warnings)


def value_warnings(info: PropertyInfo, value: float) -> tuple[str, ...]:
    """Say it if a property cannot have a value; the network extrapolates where it knows little."""
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
