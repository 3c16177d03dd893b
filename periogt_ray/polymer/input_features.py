"""Features of copolymers and of polymers with conditions, composed of those of their repeat units."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from periogt_ray.polymer.composite_graph import compose
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.input_kinds import ARCHITECTURES, RATIOS, InputKind
from periogt_ray.polymer.inputs import Copolymer, PolymerInput, PolymerWithConditions
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.triplet_graph import TripletGraph

__all__ = [
    "Featurized",
    "FeaturizedComposite",
    "FeaturizedConditions",
    "FeaturizedCopolymer",
    "featurized_input",
    "featurized_kind",
    "fingerprint_of",
]


@dataclass(frozen=True)
class FeaturizedCopolymer:
    """Everything the network needs to know of a copolymer.

    Nothing is computed of the pair: it is the features of both monomers, so a monomer is featurized once. Under a
    mirror-invariant scheme each monomer is brought to the form that stands for both mirror images, so that the relative
    handedness of two chiral monomers is not told apart.

    Attributes
    ----------
    monomers : tuple of FeaturizedPolymer
        Of A and B, by one scheme, in the order in which they are computed.
    ratios : tuple of int
        Places of their ratios in :data:`~periogt_ray.polymer.input_kinds.RATIOS`.
    architecture : int
        Place in :data:`~periogt_ray.polymer.input_kinds.ARCHITECTURES`.
    """

    monomers: tuple[FeaturizedPolymer, FeaturizedPolymer]
    ratios: tuple[int, int]
    architecture: int

    @property
    def smiles(self) -> str:
        """Both monomers, for messages."""
        return " and ".join(monomer.smiles for monomer in self.monomers)

    @property
    def scheme(self) -> PromptScheme:
        """The scheme of the repeat units' features."""
        return self.monomers[0].scheme

    @property
    def n_triplets(self) -> int:
        """Nodes of all prompt graphs together."""
        return sum(monomer.n_triplets for monomer in self.monomers)

    @property
    def graph(self) -> TripletGraph:
        """The graph of the property's network."""
        return compose([monomer.graphs[0] for monomer in self.monomers], has_ratios=True)

    @property
    def key(self) -> str:
        """Text that is equal for equal inputs of one scheme."""
        first, second = (monomer.smiles for monomer in self.monomers)
        return f"{first} {second} {self.ratios} {self.architecture}"


@dataclass(frozen=True)
class FeaturizedConditions:
    """Everything the network needs to know of a polymer with conditions.

    Attributes
    ----------
    monomers : tuple of FeaturizedPolymer
        Of the repeat unit, one.
    conditions : tuple of float
        In the order of :data:`~periogt_ray.polymer.input_kinds.CONDITIONS`.
    """

    monomers: tuple[FeaturizedPolymer]
    conditions: tuple[float, ...]

    @property
    def smiles(self) -> str:
        """The repeat unit, for messages."""
        return self.monomers[0].smiles

    @property
    def scheme(self) -> PromptScheme:
        """The scheme of the repeat units' features."""
        return self.monomers[0].scheme

    @property
    def n_triplets(self) -> int:
        """Nodes of all prompt graphs together."""
        return sum(monomer.n_triplets for monomer in self.monomers)

    @property
    def graph(self) -> TripletGraph:
        """The graph of the property's network."""
        return compose([self.monomers[0].graphs[0]], has_ratios=False)

    @property
    def key(self) -> str:
        """Text that is equal for equal inputs of one scheme."""
        return f"{self.monomers[0].smiles} {self.conditions}"


FeaturizedComposite: TypeAlias = FeaturizedCopolymer | FeaturizedConditions
Featurized: TypeAlias = FeaturizedPolymer | FeaturizedComposite


def featurized_kind(polymer: Featurized) -> InputKind:
    """Return the kind of an input by its features."""
    if isinstance(polymer, FeaturizedCopolymer):
        return InputKind.COPOLYMER
    return InputKind.CONDITIONS if isinstance(polymer, FeaturizedConditions) else InputKind.HOMOPOLYMER


def featurized_input(polymer: PolymerInput, featurize: Callable[[RepeatUnit], FeaturizedPolymer]) -> Featurized:
    """Compose the features of an input.

    Parameters
    ----------
    polymer : RepeatUnit, Copolymer or PolymerWithConditions
        The input.
    featurize : callable
        Returns the features of a repeat unit by the property's scheme, computed or kept.

    Examples
    --------
    >>> from periogt_ray.polymer.features import featurize
    >>> made = featurized_input(Copolymer.parse("*CCO*", "*CC*", ratio_a=0.25, architecture="block"), featurize)
    >>> [monomer.smiles for monomer in made.monomers], made.ratios
    (['*CC*', '*CCO*'], (2, 0))
    """
    if isinstance(polymer, RepeatUnit):
        return featurize(polymer)
    if isinstance(polymer, PolymerWithConditions):
        return FeaturizedConditions((featurize(polymer.unit),), polymer.conditions)
    return _copolymer(polymer, featurize)


def fingerprint_of(polymer: Featurized) -> np.ndarray:
    """Return the bits of a polymer, uint8 [1191]; of a copolymer those that either monomer has."""
    monomers = (polymer,) if isinstance(polymer, FeaturizedPolymer) else polymer.monomers
    return np.asarray(np.max([monomer.oligomers[1].fingerprint for monomer in monomers], axis=0))


def _copolymer(polymer: Copolymer, featurize: Callable[[RepeatUnit], FeaturizedPolymer]) -> FeaturizedCopolymer:
    first = featurize(polymer.a)
    second = first if polymer.b == polymer.a else featurize(polymer.b)
    pairs = [(first, RATIOS.index(polymer.ratio_a)), (second, RATIOS.index(polymer.ratio_b))]
    # By the SMILES that is computed, so that swapped monomers, or their mirror images, get the same bits.
    (a, ratio_a), (b, ratio_b) = sorted(pairs, key=lambda pair: (pair[0].smiles, pair[1]))
    return FeaturizedCopolymer((a, b), (ratio_a, ratio_b), ARCHITECTURES.index(polymer.architecture))
