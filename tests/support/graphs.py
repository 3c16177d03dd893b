"""The prompt graphs of a polymer, without its fingerprints and descriptors; and features held against others."""

import numpy as np

from periogt_ray.polymer.bond_classes import BondClasses
from periogt_ray.polymer.features import FeaturizedPolymer, prompt_graphs
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.triplet_graph import TripletGraph, build_triplet_graph


def graphs_of(smiles: str, scheme: PromptScheme = PromptScheme.RELEASE) -> list[TripletGraph]:
    unit = RepeatUnit.parse(smiles)
    classes = BondClasses(unit)
    built = (build_triplet_graph(text, classes) for text, _ in prompt_graphs(unit, scheme))
    return [graph for graph in built if graph is not None]


def assert_equal_features(found: FeaturizedPolymer, expected: FeaturizedPolymer) -> None:
    """Hold features against others to the bit."""
    assert (found.smiles, found.scheme, found.n_units) == (expected.smiles, expected.scheme, expected.n_units)
    assert list(found.oligomers) == list(expected.oligomers)
    pairs = list(zip(found.graphs, expected.graphs, strict=True))
    pairs += [(found.oligomers[n_units], expected.oligomers[n_units]) for n_units in expected.oligomers]
    for one, other in pairs:
        assert type(one) is type(other)
        for mine, theirs in zip(one, other, strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)
