"""All repeat units of one chain have one key."""

import pytest

from periogt_ray.polymer.chain import chain_key
from periogt_ray.polymer.repeat_unit import RepeatUnit


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
