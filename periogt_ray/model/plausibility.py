"""Reasons not to trust an answer: what the networks never saw, and values that a property cannot have."""

import re
from collections.abc import Iterator
from functools import lru_cache

from periogt_ray.artifacts.properties import PropertyInfo, possible_values

__all__ = ["polymer_warnings", "value_warnings"]

# Counted over the 5833 rows of the published sets eat, eea, egb, egc, ei, eps and nc.
_SEEN_ELEMENTS = frozenset({"H", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I"})
_SEEN_CHARGES = frozenset({("N", 1), ("O", -1), ("N", -1)})
_N_ROWS = 5833
_N_CHARGED = 12  # rows whose repeat unit has a net charge

_BRACKET_ATOM = re.compile(r"\[\d*(?P<element>[A-Z][a-z]?|[a-z][a-z]?|\*)[^\]+-]*(?P<charge>(?:\+|-)+\d*)?[^\]]*\]")
_PLAIN_ATOM = re.compile(r"Cl|Br|[BCNOPSFIbcnops]")


@lru_cache(maxsize=4096)
def polymer_warnings(smiles: str) -> tuple[str, ...]:
    """Name the elements and charges of a repeat unit that training did not see, or hardly.

    Parameters
    ----------
    smiles : str
        Canonical SMILES.

    Examples
    --------
    >>> polymer_warnings("*[Pb](*)(C)C")
    ('Pb occurs in no training polymer',)
    """
    atoms = list(_atoms(smiles))
    warnings = [f"{name} occurs in no training polymer" for name in sorted({e for e, _ in atoms} - _SEEN_ELEMENTS)]
    net = sum(charge for _, charge in atoms)
    if net:
        warnings.append(
            f"The repeat unit has a charge of {net:+d}, and charged repeat units were hardly seen in training "
            f"({_N_CHARGED} of {_N_ROWS} rows)"
        )
    for element, charge in sorted({atom for atom in atoms if atom[1]} - _SEEN_CHARGES):
        if element in _SEEN_ELEMENTS:
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
