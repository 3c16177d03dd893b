import pytest

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.repeat_unit import RepeatUnit


@pytest.mark.parametrize(
    ("smiles", "advice"),
    [
        ("[Ce]OCC[Th]", r"Ce and Th .* write them as \*: \*CCO\*\."),
        ("[At]CC[At]", r"At .* write them as \*: \*CC\*\."),
        ("[Lr]CC[Lr]", r"write them as \*: \*CC\*\."),
        ("[Po]CC(C)[Po]", r"write them as \*: \*CC\(\*\)C\."),
        ("[Xe]CC[Xe]", r"write them as \*: \*CC\*\."),
        ("[U]CC[U]", r"write them as \*: \*CC\*\."),
        ("[R1]CC[R2]", r"Write a connection point as \*: \*CC\*\."),
        ("*c1cc(*)c(*)cc1*", "Ladder polymers"),
        ("{[][$]CC(c1ccccc1)[$][]}", "BigSMILES"),
        ("*CC(*)c1ccccc1, *CC(*)C#N", "not a list"),
        ("*CC* |$_AP1;;;_AP2$|", r"Leave out what follows the SMILES '\*CC\*'"),
        ("[*]CC(C)/C=C\\[*](C)", r"connection point \(\*\) .* 2 neighbours; .* next repeat unit"),
        ("*CC(*)c1ccc(S(=O)(=O)[O-])cc1.[Na+]", "neutral acid or base"),
    ],
)
def test_what_was_probably_meant_is_said(smiles: str, advice: str) -> None:
    with pytest.raises(ValidationError, match=advice):
        RepeatUnit.parse(smiles)


@pytest.mark.parametrize("smiles", ["CC", "[U]CC", "[U]C[U]C[U]", "[Ce]1CCCC1", "*CC[Ce]"])
def test_rare_elements_elsewhere_are_not_taken_for_connection_points(smiles: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RepeatUnit.parse(smiles)
    assert "look like" not in caught.value.message


def test_a_metal_in_the_chain_is_named() -> None:
    with pytest.raises(ValidationError, match=r"holds a metal \(Fe\)") as caught:
        featurize(RepeatUnit.parse("*C[Fe]C*"))
    assert "cut at" not in caught.value.message
