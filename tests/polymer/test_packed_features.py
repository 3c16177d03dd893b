"""Features as bytes: equal to the bit when they come back, and refused when they are damaged."""

import random
from dataclasses import replace

import numpy as np
import pytest

from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.packed_features import packed, unpacked
from periogt_ray.polymer.prompt_scheme import SCHEMES, PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from support.golden import golden_polymers
from support.graphs import assert_equal_features

MONOMER = PromptScheme.MONOMER
STYRENE = RepeatUnit.parse("*CC(*)c1ccccc1")


def again(polymer: FeaturizedPolymer) -> FeaturizedPolymer:
    return unpacked(packed(polymer), polymer.smiles, polymer.scheme)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_what_is_unpacked_is_what_was_packed(scheme: PromptScheme) -> None:
    for golden in golden_polymers()[::3]:
        polymer = featurize(RepeatUnit.parse(golden.smiles), scheme)
        found = again(polymer)
        assert_equal_features(found, polymer)
        arrays = [array for graph in found.graphs for array in graph]
        assert all(array.flags.writeable and array.flags.c_contiguous for array in arrays)


def test_numbers_of_any_size_and_sign_come_back(chance: random.Random) -> None:
    polymer = featurize(STYRENE, MONOMER)
    [graph], [features] = polymer.graphs, polymer.oligomers.values()
    rng = np.random.default_rng(chance.randrange(1 << 30))
    for size in (100, 30_000, 2_000_000_000):
        other = graph._replace(
            atom_features=rng.standard_normal(graph.atom_features.shape).astype(np.float32),
            bond_class=rng.integers(-size, size, graph.bond_class.shape, np.int32),
        )
        descriptors = rng.standard_normal(features.descriptors.shape).astype(np.float32) * np.float32(1e12)
        descriptors[:2] = -0.0, np.inf
        changed = replace(polymer, graphs=(other,), oligomers={1: features._replace(descriptors=descriptors)})
        found = again(changed)
        assert_equal_features(found, changed)
        assert np.signbit(found.oligomers[1].descriptors[0]), "by its bits"


def test_a_polymer_takes_few_bytes() -> None:
    polymer = featurize(STYRENE, PromptScheme.RELEASE)
    n_bytes = sum(array.nbytes for graph in polymer.graphs for array in graph)
    n_bytes += sum(array.nbytes for features in polymer.oligomers.values() for array in features)
    assert len(packed(polymer)) < n_bytes / 4


def test_what_is_damaged_is_refused_or_of_the_same_form(chance: random.Random) -> None:
    """Damage is found by the record's checksum; without it nothing worse than an error comes of it."""
    content = packed(featurize(STYRENE, MONOMER))
    n_refused = 0
    for _ in range(1000):
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] = chance.randrange(256)
        cut = bytes(damaged[: chance.randrange(len(content)) if chance.random() < 0.3 else None])
        try:
            unpacked(cut, STYRENE.smiles, MONOMER)
        except ValueError:
            n_refused += 1
    assert n_refused > 50
    for nothing in (b"", b"\xff" * 4, b"\xff" * 40):
        with pytest.raises(ValueError, match=r"."):
            unpacked(nothing, STYRENE.smiles, MONOMER)
