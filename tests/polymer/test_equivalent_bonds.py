import pytest
from rdkit import Chem

from periogt_ray.polymer.equivalent_bonds import atoms_in, chain_bonds, equivalent_bonds
from periogt_ray.polymer.repeat_unit import RepeatUnit


def n_equal(smiles: str) -> list[int]:
    """Sizes of the classes, ascending."""
    classes = equivalent_bonds(RepeatUnit.parse(smiles)).tolist()
    return sorted(classes.count(one) for one in set(classes))


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("*CC*", [2]),
        ("*CCCC*", [4]),
        ("*C(F)(F)C(*)(F)F", [2, 4]),
        ("*CC(*)c1ccccc1", [1, 2, 2, 2, 2]),  # the phenyl group's bond; backbone; three pairs of its ring
        ("*c1ccc(*)cc1", [1, 2, 4]),
        ("*/C=C/*", [1, 1]),
        ("*N[C@@H](C)C(*)=O", [1, 1, 1, 1, 1]),
    ],
)
def test_equal_bonds_are_found(smiles: str, expected: list[int]) -> None:
    assert n_equal(smiles) == expected


def test_where_the_chain_is_cut_makes_no_difference() -> None:
    assert n_equal("*CCO*") == n_equal("*COC*") == [1, 2]
    assert n_equal("*CC(*)C(=O)OC") == n_equal("*C(C*)C(=O)OC")


def test_the_bond_between_units_is_one_bond() -> None:
    unit = RepeatUnit.parse("*CC(*)c1ccccc1")
    *inner, between = chain_bonds(unit)
    assert between.is_between_units
    assert {between.begin, between.end} == set(unit.attachment_atoms)
    assert len(inner) == unit.mol.GetNumBonds() - 2
    assert not any(bond.is_between_units for bond in inner)


@pytest.mark.parametrize("smiles", ["*O[C@@H](C)C(=O)*", "*OC(=O)[C@H](C)[C@@H](*)CC", "*N/C=C/[C@@H](F)[C@@H](*)Cl"])
def test_atoms_of_a_mirror_image_are_found(smiles: str) -> None:
    unit = RepeatUnit.parse(smiles)
    mirrored = unit.mirror_image()
    assert mirrored != unit
    places = atoms_in(unit, mirrored)
    assert sorted(places) == list(range(unit.mol.GetNumAtoms()))
    for bond in mirrored.mol.GetBonds():
        assert unit.mol.GetBondBetweenAtoms(places[bond.GetBeginAtomIdx()], places[bond.GetEndAtomIdx()]) is not None
    for atom in mirrored.mol.GetAtoms():
        same = unit.mol.GetAtomWithIdx(places[atom.GetIdx()])
        assert (atom.GetSymbol(), atom.GetTotalNumHs()) == (same.GetSymbol(), same.GetTotalNumHs())
    assert Chem.MolToSmiles(mirrored.mol) == mirrored.smiles
