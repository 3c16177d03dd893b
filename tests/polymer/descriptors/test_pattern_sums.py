import numpy as np
import pytest
from rdkit import Chem

from periogt_ray.polymer.descriptors.pattern_sums import (
    _LEAST_BACKBONE,
    _LEAST_BACKBONE_OF_CRIPPEN,
    _MOST_COUNTED,
    PatternSums,
    crippen_grows_evenly,
    crippen_sums,
    grow_evenly,
    has_few_matches,
    longer_sums,
    pattern_sums,
)
from periogt_ray.polymer.repeat_unit import RepeatUnit
from support.golden import golden_polymers


def compare(longer: PatternSums, expected: PatternSums) -> None:
    assert longer.counts.tolist() == expected.counts.tolist()
    np.testing.assert_allclose(longer.crippen, expected.crippen, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(longer.areas, expected.areas, rtol=1e-11, atol=1e-11)


def continued(smiles: str) -> bool:
    """Compare the 9-mer's sums, where they follow from those of the 3- and the 6-mer."""
    unit = RepeatUnit.parse(smiles)
    if not grow_evenly(unit.n_backbone_atoms, unit.connection_bond):
        return False
    longer = longer_sums(*(pattern_sums(unit.oligomer(n_units)) for n_units in (3, 6)))
    assert longer is not None
    compare(longer, pattern_sums(unit.oligomer(9)))
    return True


def test_nine_units_continue_three_and_six() -> None:
    assert sum(continued(polymer.smiles) for polymer in golden_polymers()) > 10


@pytest.mark.parametrize(
    "smiles",
    [
        "*CCCCC*", "*OCCOC(=O)*", "*NCC(=O)NC(C)C(=O)*", "*CC(C(=O)O)CCN*", "*S(=O)(=O)c1ccc(*)cc1", "*NC(=N)CCC*",
        "*c1cc2ccc(*)cc2[nH]1", "*N1C(=O)c2ccc(*)cc2C1=O", "*C(F)(F)C(C)(C)C#CC*", "*[N+](C)(C)CCCC*",
    ],
)  # fmt: skip
def test_surroundings_that_reach_into_the_next_unit(smiles: str) -> None:
    assert continued(smiles)


def crippen_continued(smiles: str) -> bool:
    """Compare Crippen's sums of 3, 6 and 9 units, where they follow from those of the 3-mer's units."""
    unit = RepeatUnit.parse(smiles)
    three, units = unit.oligomer_and_units(3)
    if units is None or not crippen_grows_evenly(unit.n_backbone_atoms, unit.connection_bond):
        return False
    sums = crippen_sums(three, units)
    for n_units in (3, 6, 9):
        expected = pattern_sums(unit.oligomer(n_units))
        found = pattern_sums(unit.oligomer(n_units), crippen=sums.of_longer(n_units))
        compare(found, expected)
    return True


def test_crippens_sums_follow_from_three_units() -> None:
    assert sum(crippen_continued(polymer.smiles) for polymer in golden_polymers()) > 20


@pytest.mark.parametrize(
    "smiles",
    [
        "*CC*", "*CO*", "*NC*", "*OO*", "*C(=O)N*", "*C(=O)O*", "*CC(O)*", "*C(C(=O)O)C*", "*C(F)C(Cl)*",
        "*c1cc(*)cs1", "*NC(N)*", "*CC[N+](C)(C)C*", "*C(=S)O*", "*C(=O)C=C*", "*OP(O)(=O)*", "*C#C*", "*C(O)N=N*",
        "*S(=O)(=O)C*", "*c1ccc2[nH]c(*)cc2c1",
    ],
)  # fmt: skip
def test_crippens_sums_of_short_backbones(smiles: str) -> None:
    assert crippen_continued(smiles)


def test_crippens_sums_of_a_backbone_of_one_atom_do_not_follow() -> None:
    assert not crippen_grows_evenly(_LEAST_BACKBONE_OF_CRIPPEN - 1, Chem.BondType.SINGLE)
    assert not crippen_grows_evenly(_LEAST_BACKBONE_OF_CRIPPEN, Chem.BondType.DOUBLE)


def test_short_backbones_and_double_bonds_are_not_continued() -> None:
    assert not grow_evenly(_LEAST_BACKBONE - 1, Chem.BondType.SINGLE)
    assert not grow_evenly(_LEAST_BACKBONE, Chem.BondType.DOUBLE)


def test_counts_that_rdkit_may_end_are_not_continued() -> None:
    sums = pattern_sums(Chem.MolFromSmiles("CCN"))
    many = PatternSums(np.full(5, _MOST_COUNTED // 2 + 1), sums.crippen, sums.areas)
    assert longer_sums(sums, many) is None


def test_a_search_that_rdkit_ends_is_foreseen() -> None:
    """Crippen's contributions of a chain with many quaternary carbon atoms do not grow evenly."""
    unit = RepeatUnit.parse("*CCCC(C(C)(C)C)(C(C)(C)C)C(C)(C)C(C)(C)C(C)(C)C*")
    three, six, nine = (pattern_sums(unit.oligomer(n_units)) for n_units in (3, 6, 9))
    longer = longer_sums(three, six)
    assert longer is not None
    assert not np.allclose(longer.crippen, nine.crippen, rtol=1e-6)
    assert not has_few_matches(unit.mol, 9)
    assert has_few_matches(RepeatUnit.parse("*Oc1ccc(CC)cc1*").mol, 9)
