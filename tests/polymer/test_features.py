import random

import numpy as np
import pytest
from rdkit import Chem

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.bond_classes import BondClasses
from periogt_ray.polymer.descriptors import descriptors
from periogt_ray.polymer.features import FeaturizedPolymer, featurize, prompt_graphs
from periogt_ray.polymer.fingerprint import (
    fingerprint,
    have_same_fingerprint,
    have_same_keys,
    have_same_patterns,
    keys_of_longer,
)
from periogt_ray.polymer.prompt_scheme import SCHEMES, PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.triplet_graph import build_triplet_graph
from support.golden import UNITS, GoldenPolymer, golden_polymers, rejected_by_reference

TEN_GRAPHS = {name: scheme for name, scheme in SCHEMES.items() if scheme.max_graphs == 10}


def arrays_of(polymer: FeaturizedPolymer) -> list[np.ndarray]:
    graphs = [array for graph in polymer.graphs for array in graph]
    return graphs + [array for n in polymer.n_units[:3] for array in polymer.oligomers[n]]


def test_fingerprints_equal_the_reference_bit_for_bit(golden: GoldenPolymer) -> None:
    for index, n_units in enumerate(UNITS):
        mol = Chem.MolFromSmiles(golden.record["oligomers"][str(n_units)])
        np.testing.assert_array_equal(fingerprint(mol), golden.fingerprints[index])


@pytest.mark.parametrize(
    "smiles",
    ["*CCCC*", "*OCCC(C)*", "*NCCO*", "*C(=O)CCO*", "*OCC(O)C*", "*SCC(F)C*", "*c1ccc(*)cc1", "*NC(=O)CC*", "*CC=CC*"],
)
def test_three_units_have_the_patterns_of_six(smiles: str) -> None:
    unit = RepeatUnit.parse(smiles)
    assert have_same_patterns(6, 3, unit.n_backbone_atoms, unit.connection_bond)
    three, six = unit.oligomer(3), unit.oligomer(6)
    expected = fingerprint(six)
    np.testing.assert_array_equal(fingerprint(six, same_keys=keys_of_longer(six, fingerprint(three))), expected)


def test_keys_that_ask_for_more_matches_are_counted_in_the_longer_chain() -> None:
    """More than three oxygens, key 140."""
    unit = RepeatUnit.parse("*OCCC*")
    three, six = (fingerprint(unit.oligomer(n_units)) for n_units in (3, 6))
    assert (three[140], six[140]) == (0, 1)
    assert keys_of_longer(unit.oligomer(6), three)[140] == 1


@pytest.mark.parametrize("smiles", ["*CCC*", "*OCC*", "*CC(C)O*", "*c1cc(*)cs1", "*NC(=O)C*", "*CCCCCCC*"])
def test_six_units_have_the_fingerprint_of_nine(smiles: str) -> None:
    unit = RepeatUnit.parse(smiles)
    assert have_same_fingerprint(9, 6, unit.n_backbone_atoms, unit.connection_bond)
    np.testing.assert_array_equal(fingerprint(unit.oligomer(6)), fingerprint(unit.oligomer(9)))


def test_short_backbones_and_double_bonds_have_fingerprints_of_their_own() -> None:
    single, double = Chem.BondType.SINGLE, Chem.BondType.DOUBLE
    assert not have_same_fingerprint(9, 6, 2, single)
    assert not have_same_fingerprint(9, 6, 3, double)
    assert not have_same_fingerprint(6, 3, 3, single)
    assert not have_same_patterns(6, 3, 3, single)
    assert not have_same_patterns(6, 3, 4, double)


@pytest.mark.parametrize(
    "smiles",
    ["*CC*", "*CO*", "*C(F)C*", "*OCC*", "*CCC*", "*CC(C)*", "*C(=O)N*", "*SC*", "*c1ccc(*)cc1", "*CC1CC1*", "*C=C*"],
)
def test_six_units_have_the_keys_of_nine(smiles: str) -> None:
    unit = RepeatUnit.parse(smiles)
    assert have_same_keys(9, 6, unit.n_backbone_atoms)
    features = featurize(unit)
    for n_units in features.oligomers:
        expected = fingerprint(unit.oligomer(3 * n_units))
        np.testing.assert_array_equal(features.oligomers[n_units].fingerprint, expected)


def test_keys_of_a_short_chain_or_unit_are_its_own() -> None:
    # Six carbon atoms in a row hold no pattern of seven, nine do.
    shorter, longer = (fingerprint(RepeatUnit.parse("*C*").oligomer(n_units))[:167] for n_units in (6, 9))
    assert not np.array_equal(shorter, longer)
    assert not have_same_keys(9, 6, RepeatUnit.parse("*C*").n_backbone_atoms)
    assert not have_same_keys(6, 3, RepeatUnit.parse("*CC*").n_backbone_atoms)
    np.testing.assert_array_equal(featurize(RepeatUnit.parse("*C*")).oligomers[3].fingerprint[:167], longer)


def test_descriptors_equal_the_reference(golden: GoldenPolymer) -> None:
    for index, n_units in enumerate(UNITS):
        mol = Chem.MolFromSmiles(golden.record["oligomers"][str(n_units)])
        np.testing.assert_allclose(descriptors(mol), golden.descriptors[index], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scheme", TEN_GRAPHS.values(), ids=TEN_GRAPHS)
def test_prompt_graphs_equal_the_reference(golden: GoldenPolymer, scheme: PromptScheme) -> None:
    record = golden.record if len(scheme.multimer_sizes) == 3 else golden.record["monomer_scheme"]
    unit = RepeatUnit.parse(golden.smiles)
    classes = BondClasses(unit)
    kept = [list(entry) for entry in prompt_graphs(unit, scheme) if build_triplet_graph(entry[0], classes) is not None]
    assert kept == record["selected"]


def test_equivalent_spellings_give_identical_arrays() -> None:
    generator = random.Random(3)
    for golden in golden_polymers()[::6]:
        unit = RepeatUnit.parse(golden.smiles)
        order = list(range(unit.mol.GetNumAtoms()))
        generator.shuffle(order)
        spelling = Chem.MolToSmiles(Chem.RenumberAtoms(unit.mol, order), canonical=False)
        expected = arrays_of(featurize(unit, PromptScheme.MONOMER))
        found = arrays_of(featurize(RepeatUnit.parse(spelling), PromptScheme.MONOMER))
        assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("smiles", ["*O[C@@H](C)C(=O)*", "*C[C@H](O)[C@@H](F)*"])
def test_mirror_images_have_the_same_features_where_the_scheme_says_so(smiles: str) -> None:
    left = RepeatUnit.parse(smiles)
    right = left.mirror_image()
    assert left != right
    found, mirrored = (featurize(unit, PromptScheme.MIRROR_INVARIANT) for unit in (left, right))
    assert found.smiles == mirrored.smiles
    assert all(np.array_equal(a, b) for a, b in zip(arrays_of(found), arrays_of(mirrored), strict=True))
    # The published networks see the difference, and so do their schemes.
    assert [featurize(unit, PromptScheme.MONOMER).smiles for unit in (left, right)] == [left.smiles, right.smiles]


def test_what_the_reference_rejects() -> None:
    salt, *stereocentres = rejected_by_reference()
    with pytest.raises(ValidationError, match="2 fragments"):
        RepeatUnit.parse(salt)
    assert stereocentres == ["*C[C@H](*)C", "*C[C@@H](*)c1ccccc1"]
    for smiles in stereocentres:
        assert featurize(RepeatUnit.parse(smiles), PromptScheme.MONOMER).graphs


def test_only_the_oligomers_that_the_scheme_needs_are_computed() -> None:
    unit = RepeatUnit.parse("*CCO*")
    assert set(featurize(unit, PromptScheme.MONOMER).oligomers) == {1}
    assert set(featurize(unit, PromptScheme.RELEASE).oligomers) == {1, 2, 3}


@pytest.mark.parametrize(("scheme", "most"), [(PromptScheme.RELEASE, 133), (PromptScheme.MONOMER, 400)])
def test_cost_is_bounded_by_size(scheme: PromptScheme, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("periogt_ray.polymer.bond_classes.BondClasses", lambda _unit: pytest.fail("work was begun"))
    with pytest.raises(ValidationError, match=f"has {most + 1} atoms.*at most {most} atoms"):
        featurize(RepeatUnit.parse(f"*{'C' * (most + 1)}*"), scheme)


def test_the_largest_that_fits_is_answered() -> None:
    assert featurize(RepeatUnit.parse(f"*{'C' * 133}*"), PromptScheme.RELEASE).graphs


@pytest.mark.parametrize("smiles", ["*[Og]C*", "*[Ts]C*"])
def test_an_input_that_is_not_found_in_its_chain_is_refused(smiles: str) -> None:
    with pytest.raises(ValidationError, match="not found in a chain of itself"):
        featurize(RepeatUnit.parse(smiles), PromptScheme.RELEASE)
