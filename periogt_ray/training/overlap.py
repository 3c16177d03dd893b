"""Which measured polymers a network learned from, and which its intervals follow from."""

from collections.abc import Sequence
from typing import NamedTuple

from rdkit import Chem

from periogt_ray.artifacts.calibration import Calibration
from periogt_ray.polymer.chain import chain_key, spellings
from periogt_ray.polymer.inputs import PolymerInput
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["Overlap", "overlap_of"]


class Overlap(NamedTuple):
    """What a calibration knows of a polymer.

    Attributes
    ----------
    is_known : bool
        The network learned from it.
    made_intervals : bool
        The intervals follow from it.
    """

    is_known: bool = False
    made_intervals: bool = False

    @property
    def is_new(self) -> bool:
        """Whether the polymer is a test of the intervals."""
        return not (self.is_known or self.made_intervals)


def overlap_of(calibration: Calibration | None, polymer: PolymerInput) -> Overlap:
    """Look a polymer up in a calibration; a repeat unit by its chain, wherever it is cut, also without stereo labels.

    The published data sets have no stereo labels, and the networks' answers hardly differ by them: a training polymer
    with labels added is no test.

    Parameters
    ----------
    calibration : Calibration or None
        Of the property; without one nothing is known.
    polymer : PolymerInput
        What to look up.
    """
    if calibration is None:
        return Overlap()
    names = _names(calibration, polymer)
    return Overlap(calibration.is_known(*names), calibration.made_intervals(*names))


def _names(calibration: Calibration, polymer: PolymerInput) -> Sequence[str]:
    """Return what the polymer may be known by; files that keep hashes of SMILES may hold any cut of the chain."""
    if not isinstance(polymer, RepeatUnit):
        return [polymer.key]
    forms = _forms(polymer)
    if calibration.facts.known_by == "chain":
        return [chain_key(form) for form in forms]
    return [name for form in forms for name in (form.smiles, *spellings(form))]


def _forms(unit: RepeatUnit) -> Sequence[RepeatUnit]:
    """Return a repeat unit and, where it has stereo labels, what a data set without them writes for it."""
    if not any(mark in unit.smiles for mark in "@/\\"):
        return [unit]
    mol = Chem.Mol(unit.mol)
    Chem.RemoveStereochemistry(mol)
    return [unit, RepeatUnit.parse(str(Chem.MolToSmiles(mol)))]
