"""Inputs as callers give them."""

import json
from typing import Any

import numpy as np
import pytest

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.given import GivenInput, as_given, given_kind
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.inputs import Copolymer, PolymerWithConditions
from periogt_ray.polymer.repeat_unit import RepeatUnit

FIELDS = {"smiles_a": "*CCO*", "smiles_b": "*CC*", "ratio_a": 0.25, "architecture": "block"}
CONDITIONS = {"homo": -0.5, "bandgap": 1, "molar_mass": 0.0}


@pytest.mark.parametrize("one", [FIELDS, {"copolymer": FIELDS}, {**FIELDS, "ratio_a": np.float32(0.25)}])
def test_a_copolymer_has_the_same_cells_and_json_in_every_form(one: Any) -> None:
    given = as_given(one)
    made = given.read()
    assert isinstance(made, Copolymer)
    assert given.cells == ("*CCO*", "*CC*", "0.25", "block")
    assert json.loads(json.dumps(given.body)) == {"smiles": None, "copolymer": FIELDS}
    assert as_given(made) == given
    assert hash(as_given(made)) == hash(given)


def test_conditions_have_the_same_cells_and_json_in_every_form() -> None:
    given = as_given({"smiles": "*CC*", "conditions": {**CONDITIONS, "homo": np.float64(-0.5)}})
    assert given.cells == ("*CC*", "-0.5", "1", "0.0")
    assert json.loads(json.dumps(given.body)) == {"smiles": "*CC*", "conditions": CONDITIONS}
    made = given.read()
    assert isinstance(made, PolymerWithConditions)
    assert as_given(made).read() == made


def test_texts_and_repeat_units_are_homopolymers() -> None:
    for one in ("*CC*", RepeatUnit.parse("C(*)C*"), {"smiles": "*CC*"}):
        assert as_given(one) == GivenInput.of_smiles("*CC*")


def test_what_is_read_is_strict() -> None:
    with pytest.raises(ValidationError, match="Write 'block'"):
        as_given({**FIELDS, "architecture": "Block"}).read()
    with pytest.raises(ValidationError, match=r"ratio_a is '0\.25'"):
        as_given({**FIELDS, "ratio_a": "0.25"}).read()
    with pytest.raises(ValidationError, match="'temperature'"):
        as_given({"smiles": "*CC*", "conditions": {**CONDITIONS, "temperature": 300}}).read()


def test_inputs_that_differ_in_what_is_refused_are_not_equal() -> None:
    one, other = ({"smiles": "*CC*", "conditions": {**CONDITIONS, **more}} for more in ({}, {"x": 1}))
    assert as_given(one) != as_given(other)


@pytest.mark.parametrize("one", [{}, {"smiles": "*CC*", "ratio_a": 1}, {"copolymer": 3}])
def test_other_fields_are_refused(one: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="expected smiles_a, smiles_b, ratio_a, architecture for a copolymer"):
        as_given(one)


def test_inputs_of_a_call_are_of_one_kind() -> None:
    assert given_kind([]) is InputKind.HOMOPOLYMER
    assert given_kind([as_given(FIELDS)] * 2) is InputKind.COPOLYMER
    with pytest.raises(ValidationError, match="homopolymer and copolymer"):
        given_kind([as_given("*CC*"), as_given(FIELDS)])
