"""Copolymers and conditions: what is accepted, what is refused, and what is equal."""

import math
from itertools import product

import pytest

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.input_kinds import ARCHITECTURES, RATIOS, TRAINED_COMBINATIONS, InputKind
from periogt_ray.polymer.inputs import Copolymer, PolymerWithConditions, kind_of, monomers_of, read_input
from periogt_ray.polymer.repeat_unit import RepeatUnit

GOOD = {"homo": -0.61, "bandgap": 1.04, "molar_mass": -0.49}


def copolymer(a: str = "*CCO*", b: str = "*CC*", ratio_a: float = 0.25, architecture: str = "block") -> Copolymer:
    return Copolymer.parse(a, b, ratio_a=ratio_a, architecture=architecture)


def test_every_combination_that_adds_up_is_accepted_and_seven_without_a_warning() -> None:
    silent = set()
    for ratio, architecture in product(RATIOS, ARCHITECTURES):
        made = copolymer(ratio_a=ratio, architecture=architecture)
        assert made.ratio_a + made.ratio_b == 1
        if not made.warnings:
            silent.add((ratio, architecture))
        else:
            assert "alternating" in made.warnings[0]
    assert silent == set(TRAINED_COMBINATIONS)
    assert len(silent) == 7


@pytest.mark.parametrize("ratio", [0.3, 0, 1, 50, -0.25, math.nan])
def test_another_ratio_is_refused(ratio: float) -> None:
    with pytest.raises(ValidationError, match=r"ratio_a is .*expected 0\.25, 0\.5 or 0\.75"):
        copolymer(ratio_a=ratio)


@pytest.mark.parametrize("architecture", ["Random", "statistical", "", "block "])
def test_another_architecture_is_refused(architecture: str) -> None:
    with pytest.raises(ValidationError, match="expected alternating, block or random"):
        copolymer(architecture=architecture)


def test_ratios_that_do_not_add_up_are_refused_but_the_record_holds_them() -> None:
    a, b = RepeatUnit.parse("*CCO*"), RepeatUnit.parse("*CC*")
    with pytest.raises(ValidationError, match=r"0\.25 and 0\.5 add up to 0\.75"):
        Copolymer.of(a, b, ratio_a=0.25, ratio_b=0.5, architecture="random")
    assert Copolymer(a, b, 0.25, 0.5, "random").ratio_b == 0.5


def test_a_bad_monomer_is_named() -> None:
    with pytest.raises(ValidationError, match=r"^Monomer B: .*connection point"):
        copolymer(b="*CC")
    with pytest.raises(ValidationError, match=r"^Monomer A: The SMILES is empty"):
        copolymer(a=" ")


def test_monomers_may_have_different_bonds_at_their_connection_points() -> None:
    assert copolymer(a="*=CC=*").a.smiles == "*=CC=*"


def test_swapping_the_monomers_with_their_ratios_is_the_same_copolymer() -> None:
    one = copolymer()
    other = Copolymer.parse("*CC*", "*OCC*", ratio_a=0.75, architecture="block")
    assert one.key == other.key
    assert one.ordered == other.ordered
    assert one.key != Copolymer.parse("*CC*", "*OCC*", ratio_a=0.25, architecture="block").key


def test_equal_monomers_are_ordered_by_ratio() -> None:
    first, second = (copolymer(a="*CC*", b="*CC*", ratio_a=ratio) for ratio in (0.25, 0.75))
    assert first.key == second.key


def test_a_homopolymer_given_as_a_copolymer_is_warned_of() -> None:
    [warning] = copolymer(a="*CCO*", b="*OCC*").warnings
    assert warning.startswith("Monomers A and B are the same, so this is a homopolymer")
    assert "56 of the 42966 rows" in warning


def test_warnings_of_both_monomers_come_once() -> None:
    made = copolymer(a="*[13CH2]CO*", b="*[13CH2]C*")
    assert made.warnings == ("Isotopes were left out, because the networks do not know them",)


def test_conditions_are_float32_and_in_order() -> None:
    made = PolymerWithConditions.parse("*CC*", {"molar_mass": 0.1, "homo": 1, "bandgap": 3.33})
    assert made.conditions == pytest.approx((1, 3.33, 0.1), rel=1e-7)
    assert made.conditions[2] != 0.1
    assert made.warnings == ()


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e39, True, "1"])
def test_a_condition_that_is_no_float32_is_refused(value: float) -> None:
    with pytest.raises(ValidationError, match=r"The condition homo is .*expected a standardised number"):
        PolymerWithConditions.parse("*CC*", {**GOOD, "homo": value})


@pytest.mark.parametrize("given", [{}, {"homo": 1.0}, {**GOOD, "temperature": 3.0}])
def test_conditions_are_exactly_those_of_the_network(given: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="expected exactly homo, bandgap, molar_mass"):
        PolymerWithConditions.parse("*CC*", given)


def test_conditions_beyond_training_are_warned_of() -> None:
    made = PolymerWithConditions.parse("*CC*", {"homo": 100, "bandgap": 0, "molar_mass": -0.63})
    assert made.warnings == (
        "homo is 100 and was -4.96 to 3.84 in training",
        "molar_mass is -0.63 and was -0.62 to 17.55 in training",
    )


def test_cells_of_a_table_are_read_by_kind() -> None:
    made = read_input(InputKind.COPOLYMER, ["*CC*", "*CCO*", "0.75", " alternating", "0.25"])
    assert isinstance(made, Copolymer)
    assert (kind_of(made), made.ratio_b, made.architecture) == (InputKind.COPOLYMER, 0.25, "alternating")
    assert [unit.smiles for unit in monomers_of(made)] == ["*CC*", "*CCO*"]
    conditioned = read_input(InputKind.CONDITIONS, ["*CC*", "0", "1e-1", "-0"])
    assert kind_of(conditioned) is InputKind.CONDITIONS
    assert kind_of(read_input(InputKind.HOMOPOLYMER, ["*CC*"])) is InputKind.HOMOPOLYMER


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["*CC*", "*CCO*", "", "block"], "ratio_a is blank"),
        (["*CC*", "*CCO*", "half", "block"], "ratio_a is 'half'; expected a number.$"),
        (["*CC*", "*CCO*", "0,5", "block"], "ratio_a is '0,5'.* It has a decimal comma: write 0.5, or save the table"),
        (["*CC*", "*CCO*", "0.5", "block", "0.25"], "add up to 0.75"),
        (["*CC*", "*CCO*", "0.5", ""], "architecture is ''"),
    ],
)
def test_cells_that_cannot_be_read_are_named(cells: list[str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        read_input(InputKind.COPOLYMER, cells)
