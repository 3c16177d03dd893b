"""All repeat units of one chain have one key."""

import csv

import pytest

from periogt_ray.polymer import chain
from periogt_ray.polymer.chain import chain_key, spellings
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import EMBEDDED_DIR

EXAMPLES_DIR = EMBEDDED_DIR.parent / "examples"


def key(smiles: str) -> str:
    return chain_key(RepeatUnit.parse(smiles))


@pytest.mark.parametrize(
    "same",
    [
        ("*CC*", "*CCCC*", "*CCC*", "*C*"),
        ("*CCO*", "*COC*", "*OCC*", "*OCCOCCOCC*"),
        ("*CC(C)*", "*C(C)C*", "*CC(C)CC(C)*"),
        ("*CC(*)c1ccccc1", "*C(c1ccccc1)C*", "*CC(CC(*)c1ccccc1)c1ccccc1"),
        ("*C=CC=C*", "*C=C*", "*=CC=*", "*=CC=CC=*"),
        ("*c1ccc(cc1)*", "*c1ccc(cc1)c1ccc(*)cc1"),
        ("*Oc1ccc(*)cc1", "*c1ccc(O*)cc1", "*c1ccc(Oc2ccc(O*)cc2)cc1"),
        ("*O[C@@H](C)C(=O)*", "*O[C@H](C)C(=O)*"),
    ],
)
def test_cuts_multiples_and_mirror_images_have_one_key(same: tuple[str, ...]) -> None:
    assert len(set(map(key, same))) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("*CC(C)CC(C)*", "*CC(C)C(C)C*"),  # head to tail, head to head
        ("*CC*", "*C=C*"),
        ("*CCO*", "*CCCO*"),
        ("*c1ccc(*)cc1", "*c1cccc(*)c1"),
        ("*CC(F)*", "*CC(Cl)*"),
        ("*OCC*", "*OCCOC*"),
    ],
)
def test_other_chains_have_other_keys(first: str, second: str) -> None:
    assert key(first) != key(second)


@pytest.mark.parametrize("smiles", ["*CC(*)(C)C(=O)OC", "*CCCCNC(=O)CCCCC(=O)N*", "*C(=O)c1ccc2c(c1)C(=O)N(*)C2=O"])
def test_each_cut_has_the_key_of_the_chain(smiles: str) -> None:
    unit = RepeatUnit.parse(smiles)
    assert {key(cut) for cut in unit.frame_shifts()} == {chain_key(unit)}
    assert key(unit.multimer(2)) == key(unit.multimer(3)) == chain_key(unit)


@pytest.mark.parametrize(
    ("given", "others"),
    [
        ("*CCO*", ("*COC*", "*OCC*", "*OCCOCCOCC*")),
        ("*CC*", ("*C*", "*CCC*", f"*{'C' * 24}*")),
        ("*CC(*)c1ccccc1", ("*C(c1ccccc1)C*", "*CC(CC(*)c1ccccc1)c1ccccc1")),
        ("*O[C@@H](C)C(=O)*", ("*O[C@H](C)C(=O)*", "*[C@@H](C)C(=O)O*")),
        ("*=CC=*", ("*C=C*", "*C=CC=C*")),
    ],
)
def test_a_chain_is_found_by_each_of_its_spellings(given: str, others: tuple[str, ...]) -> None:
    found = list(spellings(RepeatUnit.parse(given)))
    assert found[0] == key(given)
    assert {key(text) for text in found} == {key(given)}
    assert {RepeatUnit.parse(other).smiles for other in others} <= set(found)


def test_cuts_are_canonical_without_being_read_again() -> None:
    with (EXAMPLES_DIR / "polymers_120.csv").open() as file:
        examples = [row["smiles"] for row in csv.DictReader(file)]
    rare = ["*CC[N+](C)(C)C*", "*C[SiH2]CC*", "*n1ccc(*)c1", "*CC[CH]C*", "*c1c[nH]c(*)c1", "*[B-](C)(C)CC*"]
    rare += ["*N=C1C(=Nc2ccc(*)cc2)c2cccc3cccc1c23", "*=NC=*", "*C=CC*"]
    for smiles in [*examples, *rare]:
        unit = RepeatUnit.parse(smiles)
        assert chain._first_cut(unit) == min(map(chain._canonical, unit.frame_shifts())), smiles
