import random

import numpy as np
import pytest
from rdkit import Chem, RDLogger

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.limits import MAX_SMILES_LENGTH
from periogt_ray.polymer.repeat_unit import OLIGOMER_SIZES, RepeatUnit
from support.golden import GoldenPolymer, golden_polymers


def test_oligomers_equal_the_reference(golden: GoldenPolymer) -> None:
    unit = RepeatUnit.parse(golden.smiles)
    found = {str(n): Chem.MolToSmiles(unit.oligomer(n)) for n in OLIGOMER_SIZES}
    assert found == golden.record["oligomers"]


def test_frame_shifts_equal_the_reference(golden: GoldenPolymer) -> None:
    assert RepeatUnit.parse(golden.smiles).frame_shifts() == golden.record["augmented"]


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("*" + "C" * MAX_SMILES_LENGTH + "*", "has 2002 characters"),
        ("*CC(*", "extra open parentheses"),
        ("*CC(*)c1cccc1", "kekulize"),
        ("*C(C)(C)(C)(C)*", "valence"),
        ("not a smiles", "a space"),
        ("*CC* polyethylene", "a space"),
        ("*CC*\x00", "control"),
        ("*CC*é", "non-ASCII"),
        ("*CC(*)C(=O)[O-].[Na+]", "2 fragments.*neutral acid or base"),
        ("CC", "0 connection points"),
        ("*CC", "1 connection point "),
        ("*C(*)C*", "3 connection points"),
        ("*1CC*1", "2 neighbours"),
        ("*=CC*", r"unequal bonds \(double and single\)"),
        ("*~C~*", "unspecified bonds"),
        ("**", "no atoms between"),
        ("*C~C*", "bond of .* has no order"),
        ("*[As@TB1](F)(Cl)(Br)*", "stereo label other than @"),
        ("[*H]CC*", "a charge, hydrogen or radical"),
        ("[*+]CC*", "a charge, hydrogen or radical"),
    ],
)
def test_invalid_input_is_told_apart(smiles: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        RepeatUnit.parse(smiles)


def test_messages_quote_a_bounded_part_of_the_input() -> None:
    with pytest.raises(ValidationError) as caught:
        RepeatUnit.parse("*" + "C" * 1900)
    assert len(caught.value.message) < 400


def test_rdkit_writes_nothing_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    for smiles in ("*CC(*", "*CC(*)c1cccc1"):
        with pytest.raises(ValidationError):
            RepeatUnit.parse(smiles)
    RepeatUnit.parse("*C(*)[H]").oligomer(3)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("[*]CC[*]", "*CC*"),
        ("[1*]C[*:2]", "*C*"),
        (" *CC*\n", "*CC*"),
        ("*C(*)[H]", "*C*"),
        ("C(*)(C)*", "*C(*)C"),
        ("*C1=CC=C(*)C=C1", "*c1ccc(*)cc1"),
    ],
)
def test_equivalent_spellings_have_one_canonical_form(spelling: str, canonical: str) -> None:
    assert RepeatUnit.parse(spelling).smiles == RepeatUnit.parse(canonical).smiles


def test_canonical_form_does_not_depend_on_atom_order() -> None:
    generator = random.Random(7)
    RDLogger.DisableLog("rdApp.*")
    for golden in golden_polymers():
        unit = RepeatUnit.parse(golden.smiles)
        for _ in range(10):
            order = list(range(unit.mol.GetNumAtoms()))
            generator.shuffle(order)
            shuffled = Chem.RenumberAtoms(unit.mol, order)
            spelling = Chem.MolToSmiles(shuffled, canonical=False, kekuleSmiles=False)
            assert RepeatUnit.parse(spelling) == unit
        kekule = Chem.Mol(unit.mol)
        Chem.Kekulize(kekule, clearAromaticFlags=True)
        assert RepeatUnit.parse(Chem.MolToSmiles(kekule, canonical=False)) == unit


def test_canonical_form_is_a_fixed_point(golden: GoldenPolymer) -> None:
    unit = RepeatUnit.parse(golden.smiles)
    assert RepeatUnit.parse(unit.smiles) == unit


@pytest.mark.parametrize(
    ("labelled", "plain"),
    [
        ("[2H]C([2H])(*)C([2H])([2H])*", "*CC*"),
        ("*C[14CH2]*", "*CC*"),
        ("[13CH3][13C](*)(C*)c1ccccc1", "*CC(*)(C)c1ccccc1"),
        ("*O[C@@]([2H])(C)C(=O)*", "*O[C@@]([H])(C)C(=O)*"),
        ("*C[C@]([2H])([H])O*", "*CCO*"),  # no stereocentre without the isotope
        ("[2H]/N=C(/*)C*", "[H]/N=C(/*)C*"),
        ("*[CH2:7][CH:8](*)[c:9]1ccccc1", "*CC(*)c1ccccc1"),
    ],
)
def test_isotopes_and_map_numbers_are_left_out_with_a_warning(labelled: str, plain: str) -> None:
    unit, expected = RepeatUnit.parse(labelled), RepeatUnit.parse(plain)
    assert unit == expected
    assert expected.warnings == ()
    assert len(unit.warnings) == 1
    assert ("Atom-map" if ":" in labelled else "Isotopes") in unit.warnings[0]


def test_numbers_at_connection_points_are_no_reason_to_warn() -> None:
    assert RepeatUnit.parse("[1*]CC[*:2]").warnings == ()


@pytest.mark.parametrize(
    "smiles",
    [
        "*O[C@@H](C)C(=O)*",
        "*C[C@H](O)[C@@H](O)[C@H](F)*",
        "*[C@@H]1CC[C@H](*)C1",
        "*/C=C/[C@@H](C)*",
        "*C[S@](=O)C*",
        "*[C@](C)(F)C[C@](C)(F)*",
    ],
)
def test_mirror_images_share_one_form(smiles: str) -> None:
    unit = RepeatUnit.parse(smiles)
    mirrored = RepeatUnit.parse(smiles.replace("@@", "%").replace("@", "@@").replace("%", "@"))
    assert unit.mirror_image() == mirrored
    assert unit.first_of_mirror_images() == mirrored.first_of_mirror_images()
    assert unit.first_of_mirror_images() in (unit, mirrored)


FRAGMENTS = (
    *("C", "CC", "O", "C(=O)O", "N", "C(=O)N", "S", "[Si](C)(C)", "C#C", "N=N", "P(=O)(O)", "S(=O)", "[N+](C)(C)"),
    *("[C@@H](C)", "[C@H](c1ccccc1)", "[C@](C)(F)", "[C@@H]1CC[C@H](C1)", "[S@](=O)", "[C@]1(C)C[C@@H](O1)"),
    *("[C@@H](O[C@H](C)F)", "[C@@H]([2H])", "[13CH2]", "C([2H])([2H])", "[CH2:5]", "/C=C/", "/C=C\\", "C(/C=C/C)"),
    *("c1ccc(cc1)", "c1sc(cc1)", "C1CC[C@@H](CC1)"),
)


def test_random_units_have_one_canonical_form_and_mirror_images_share_it(chance: random.Random, is_full: bool) -> None:
    """Rings, isotopes, map numbers and stereo labels, joined at random, in random and Kekule spellings."""
    n_checked = 0
    while n_checked < (15_000 if is_full else 300):
        text = f"*{''.join(chance.choices(FRAGMENTS, k=chance.randint(1, 6)))}*"
        mol = Chem.MolFromSmiles(text)
        if mol is None:
            continue
        n_checked += 1
        unit = RepeatUnit.parse(text)
        assert RepeatUnit.parse(unit.smiles) == unit, text
        for source in (mol, unit.mol):
            order = list(range(source.GetNumAtoms()))
            chance.shuffle(order)
            shuffled = Chem.RenumberAtoms(source, order)
            assert RepeatUnit.parse(Chem.MolToSmiles(shuffled, canonical=False)) == unit, text
            Chem.Kekulize(shuffled, clearAromaticFlags=True)
            assert RepeatUnit.parse(Chem.MolToSmiles(shuffled, canonical=False)) == unit, text
        mirrored = unit.mirror_image()
        assert mirrored.mirror_image() == unit, text
        assert mirrored.first_of_mirror_images() == unit.first_of_mirror_images(), text


def test_diastereomers_are_no_mirror_images() -> None:
    forms = {
        RepeatUnit.parse(f"*C[C{a}](O)[C{b}](F)*").first_of_mirror_images()
        for a in ("@H", "@@H")
        for b in ("@H", "@@H")
    }
    assert len(forms) == 2


def test_multimer_keeps_its_outer_connection_points() -> None:
    unit = RepeatUnit.parse("*CC(*)C")
    assert unit.multimer(1) == unit.smiles
    assert RepeatUnit.parse(unit.multimer(3)).mol.GetNumAtoms() == 3 * 3 + 2


def test_stereocentres_that_crash_the_reference_are_accepted() -> None:
    for smiles in ("*C[C@H](*)C", "*C[C@@H](*)c1ccccc1"):
        assert RepeatUnit.parse(smiles).oligomer(9).GetNumAtoms() > 0


@pytest.mark.parametrize(
    "smiles",
    [
        "*C*",
        "*C(=O)*",
        "*CC(*)(C)C(=O)OC",
        "*Oc1ccc(*)cc1",
        "*N(C)C*",
        "*C1CCC(*)C1",
        "*SC#CC*",
        "*C=C*",
        "*P(=O)(C)O*",
    ],
)
def test_a_chain_of_cores_is_the_chain_of_repeat_units(smiles: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = RepeatUnit.parse(smiles)
    assert unit._core is not None
    joined = [Chem.MolToSmiles(unit.oligomer(n_units)) for n_units in (1, 2, 5)]
    monkeypatch.setattr(RepeatUnit, "_core", None)
    assert [Chem.MolToSmiles(RepeatUnit(unit.smiles).oligomer(n_units)) for n_units in (1, 2, 5)] == joined


@pytest.mark.parametrize("smiles", ["*CC(*)(C)C(=O)OC", "*Oc1ccc(*)cc1", "*N(C)C*", "*C1CCC(*)C1"])
def test_each_atom_of_a_chain_is_of_one_unit(smiles: str) -> None:
    unit = RepeatUnit.parse(smiles)
    mol, units = unit.oligomer_and_units(4)
    assert units is not None
    n_atoms = unit.mol.GetNumAtoms() - 2
    assert np.bincount(units).tolist() == [n_atoms] * 4
    steps = [abs(units[bond.GetBeginAtomIdx()] - units[bond.GetEndAtomIdx()]) for bond in mol.GetBonds()]
    assert (sum(steps), max(steps)) == (3, 1)


def test_units_of_a_chain_with_stereocentres_are_not_told() -> None:
    assert RepeatUnit.parse("*[C@H](C)O*").oligomer_and_units(3)[1] is None


@pytest.mark.parametrize("smiles", ["*[C@H](C)O*", "*C/C=C/C*", "*n1ccc(*)c1", "*[SiH2]C*", "*=CC=*"])
def test_what_needs_more_than_bonds_has_no_core(smiles: str) -> None:
    assert RepeatUnit.parse(smiles)._core is None
