"""From a repeat unit to everything that a prediction needs: numpy arrays, no torch."""

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rdkit import Chem

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.descriptors import DescriptorEngine, descriptors
from periogt_ray.polymer.fingerprint import (
    fingerprint,
    have_same_fingerprint,
    have_same_keys,
    have_same_patterns,
    keys_of_longer,
)
from periogt_ray.polymer.interrupts import undisturbed
from periogt_ray.polymer.limits import MAX_ATOMS
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import OLIGOMER_SIZES, RepeatUnit
from periogt_ray.polymer.spelling import advice_on_period
from periogt_ray.polymer.triplet_graph import TripletGraph, build_triplet_graphs

if TYPE_CHECKING:
    from periogt_ray.polymer.descriptors.pattern_sums import CrippenSums, PatternSums

__all__ = [
    "FeaturizedPolymer",
    "OligomerFeatures",
    "computed_unit",
    "featurize",
    "prompt_graphs",
]

_UNITS_OF_OLIGOMER = 3  # fingerprint and descriptors of n repeat units are those of the 3n-mer


class OligomerFeatures(NamedTuple):
    """The vectors of the virtual nodes."""

    fingerprint: np.ndarray  # uint8   [1191]
    descriptors: np.ndarray  # float32 [1613], not yet scaled


@dataclass(frozen=True)
class FeaturizedPolymer:
    """Everything the network needs to know of a polymer.

    Attributes
    ----------
    smiles : str
        Canonical SMILES of the repeat unit; of the mirror image that sorts first, where the scheme says so.
    scheme : PromptScheme
        The scheme that the prompt graphs were chosen by.
    graphs : tuple of TripletGraph
        The prompt graphs; the first is that of the repeat unit itself.
    n_units : tuple of int
        Repeat units in each prompt graph.
    oligomers : dict of int to OligomerFeatures
        Features of the 3n-mer for each number n of repeat units that occurs.
    """

    smiles: str
    scheme: PromptScheme
    graphs: tuple[TripletGraph, ...]
    n_units: tuple[int, ...]
    oligomers: dict[int, OligomerFeatures]

    @property
    def key(self) -> str:
        """Text that is equal for equal polymers of one scheme."""
        return self.smiles

    @property
    def n_triplets(self) -> int:
        """Nodes of all prompt graphs together, the measure of a polymer's cost."""
        return sum(graph.n_triplets for graph in self.graphs)


def prompt_graphs(unit: RepeatUnit, scheme: PromptScheme) -> list[tuple[str, int]]:
    """Choose the prompt graphs of a polymer.

    Where there are more candidates than the network takes, the reference draws at random. Here the
    choice follows only from the SMILES: the first candidate, and of the others those with the
    smallest SHA-256 of ``<canonical SMILES>|<index>``.

    Returns
    -------
    list of (str, int)
        SMILES and number of repeat units, the repeat unit itself first.
    """
    candidates = [(shift, n_units) for shift in unit.frame_shifts() for n_units in scheme.multimer_sizes]
    if len(candidates) > scheme.max_graphs:
        ranked = sorted(
            range(1, len(candidates)), key=lambda index: sha256(f"{unit.smiles}|{index}".encode()).hexdigest()
        )
        candidates = [candidates[index] for index in (0, *sorted(ranked[: scheme.max_graphs - 1]))]
    units = {shift: RepeatUnit(shift) for shift, _ in candidates}
    return [(units[shift].multimer(n_units), n_units) for shift, n_units in candidates]


def computed_unit(unit: RepeatUnit, scheme: PromptScheme) -> RepeatUnit:
    """Return the repeat unit whose features are computed: the unit itself, or the one that stands for mirror images."""
    return unit.first_of_mirror_images() if scheme.is_mirror_invariant else unit


@undisturbed
def featurize(
    unit: RepeatUnit, scheme: PromptScheme = PromptScheme.RELEASE, *, engine: DescriptorEngine = "native"
) -> FeaturizedPolymer:
    """Compute the graphs, fingerprints and descriptors of a polymer.

    Parameters
    ----------
    unit : RepeatUnit
        The polymer.
    scheme : PromptScheme
        Which prompt graphs the checkpoint was trained with.
    engine : {"native", "mordred"}
        What computes the descriptors.

    Raises
    ------
    ValidationError
        If the repeat unit is too large or not found in its own chain, looking for a prompt graph there takes too many
        steps, or an oligomer is not a valid molecule.
    """
    # Loads numba and compiled kernels, which processes that only pass features on can do without.
    from periogt_ray.polymer.bond_classes import BondClasses

    unit = computed_unit(unit, scheme)
    _check_size(unit, scheme)
    chosen = prompt_graphs(unit, scheme)
    texts = [smiles for smiles, _ in chosen]
    built = [
        (graph, n_units)
        for (smiles, n_units), graph in zip(chosen, build_triplet_graphs(texts, BondClasses(unit)), strict=True)
        if graph is not None or smiles == unit.smiles
    ]
    graphs = [graph for graph, _ in built if graph is not None]
    if len(graphs) < len(built):
        raise ValidationError(
            f"The repeat unit {unit.smiles!r} is not found in a chain of itself, so its bonds have no period. "
            + advice_on_period(unit.mol).rstrip()
        )
    sizes = tuple(n_units for _, n_units in built)
    return FeaturizedPolymer(
        smiles=unit.smiles,
        scheme=scheme,
        graphs=tuple(graphs),
        n_units=sizes,
        oligomers=_oligomer_features(unit, sorted(set(sizes)), engine),
    )


def _check_size(unit: RepeatUnit, scheme: PromptScheme) -> None:
    """Refuse a polymer that is too large before any work; cost is bounded by size, never by time."""
    n_atoms = unit.mol.GetNumAtoms() - 2
    n_units = _UNITS_OF_OLIGOMER * max(scheme.multimer_sizes)
    if n_atoms * n_units > MAX_ATOMS:
        raise ValidationError(
            f"The repeat unit has {n_atoms} atoms, hydrogens left out, and {n_units} of them more than the {MAX_ATOMS} "
            f"that are accepted; expected at most {MAX_ATOMS // n_units} atoms between the connection points."
        )


class _Known(NamedTuple):
    """An oligomer whose features are known."""

    n_units: int
    fingerprint: np.ndarray
    sums: "PatternSums | None"


def _oligomer_features(unit: RepeatUnit, sizes: list[int], engine: DescriptorEngine) -> dict[int, OligomerFeatures]:
    """Compute the features of the 3n-mer for each number n of repeat units, ascending."""
    features: dict[int, OligomerFeatures] = {}
    known: list[_Known] = []
    crippen: CrippenSums | None = None
    for size in sizes:
        n_units = _UNITS_OF_OLIGOMER * size
        oligomer, units = unit.oligomer_and_units(n_units)
        bits = _fingerprint(unit, oligomer, n_units, known)
        sums = None
        if engine == "native":
            if n_units == _UNITS_OF_OLIGOMER and units is not None:
                crippen = _crippen_sums(unit, oligomer, units)
            sums = _pattern_sums(unit, oligomer, n_units, known, crippen)
        features[size] = OligomerFeatures(bits, descriptors(oligomer, engine=engine, sums=sums))
        known.append(_Known(n_units, bits, sums))
    return features


def _fingerprint(unit: RepeatUnit, oligomer: Chem.Mol, n_units: int, known: list[_Known]) -> np.ndarray:
    """Compute the fingerprint of an oligomer, or what of it does not follow from the shorter one."""
    if not known:
        return fingerprint(oligomer)
    shorter, n_backbone = known[-1], unit.n_backbone_atoms
    if have_same_fingerprint(n_units, shorter.n_units, n_backbone, unit.connection_bond):
        return shorter.fingerprint.copy()
    if have_same_keys(n_units, shorter.n_units, n_backbone):
        return fingerprint(oligomer, same_keys=shorter.fingerprint)
    if have_same_patterns(n_units, shorter.n_units, n_backbone, unit.connection_bond):
        return fingerprint(oligomer, same_keys=keys_of_longer(oligomer, shorter.fingerprint))
    return fingerprint(oligomer)


def _crippen_sums(unit: RepeatUnit, oligomer: Chem.Mol, units: np.ndarray) -> "CrippenSums | None":
    """Compute Crippen's sums of the shortest oligomer, if those of the longest follow from them in any scheme."""
    from periogt_ray.polymer.descriptors.pattern_sums import crippen_grows_evenly, crippen_sums, has_few_matches

    is_even = crippen_grows_evenly(unit.n_backbone_atoms, unit.connection_bond)
    if is_even and has_few_matches(unit.mol, OLIGOMER_SIZES[-1]):
        return crippen_sums(oligomer, units)
    return None


def _pattern_sums(
    unit: RepeatUnit, oligomer: Chem.Mol, n_units: int, known: list[_Known], crippen: "CrippenSums | None"
) -> "PatternSums":
    """Compute an oligomer's sums over patterns, or continue those of two shorter ones in equal steps."""
    # Here, as with all descriptors: who only reads features loads none of this.
    from periogt_ray.polymer.descriptors.pattern_sums import (
        grow_evenly,
        has_few_matches,
        longer_sums,
        pattern_sums,
    )

    is_even = grow_evenly(unit.n_backbone_atoms, unit.connection_bond) and has_few_matches(unit.mol, n_units)
    if len(known) > 1 and is_even:
        before, last = known[-2:]
        is_step = n_units - last.n_units == last.n_units - before.n_units
        if is_step and before.sums is not None and last.sums is not None:
            sums = longer_sums(before.sums, last.sums)
            if sums is not None:
                return sums
    return pattern_sums(oligomer, crippen=None if crippen is None else crippen.of_longer(n_units))
