import numpy as np
import pytest
from rdkit import Chem

from periogt_ray.polymer import molecule_table
from periogt_ray.polymer.atoms_and_bonds import atoms_of, bonds_of
from periogt_ray.polymer.molecule_table import (
    MoleculeTable,
    _read_one_by_one,
    bond_ends,
    bond_orders,
    bonds_in_rings,
    masses,
    read_table,
)
from periogt_ray.polymer.repeat_unit import RepeatUnit
from support.golden import GoldenPolymer

UNUSUAL = (
    "C", "[Fe]", "[13CH4]", "[2H]C", "[2H][2H]", "C[N+](=O)[O-]", "[O-][n+]1ccccc1", "C/C=C/C", "C/C=C\\C", "CC=NO",
    "C[S@](=O)CC", "[CH3]", "[CH2]", "[Cu+2]", "C~C", "[NH3]->[Pt]", "[CH3:1]C", "*C*", "[1*]C[2*]", "[SiH4]", "[U]",
    "[Al+3]", "C[As](=O)(O)O", "F[Xe]F", "F[C@@](C)(Cl)Br", "C=[N+]=[N-]", "C$C", "c1ccc2[nH]ccc2c1",
    "C12C3C4C1C5C2C3C45", "FS(F)(F)(F)(F)F", "C[N-]C", "[Li]C", "[H][H]",
)  # fmt: skip


def same(found: MoleculeTable, expected: MoleculeTable) -> bool:
    return all(
        left.dtype == right.dtype and np.array_equal(left, right) for left, right in zip(found, expected, strict=True)
    )


@pytest.fixture
def only_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(mol: Chem.Mol) -> MoleculeTable:
        raise AssertionError(f"{Chem.MolToSmiles(mol)} was read one by one")

    monkeypatch.setattr(molecule_table, "_read_one_by_one", refuse)


@pytest.mark.usefixtures("only_at_once")
def test_a_polymer_is_read_at_once(golden: GoldenPolymer) -> None:
    """Fails where another version of RDKit writes another binary form: features would be slower."""
    unit = RepeatUnit.parse(golden.smiles)
    for mol in (unit.mol, unit.oligomer(3), unit.oligomer(9)):
        assert same(read_table(mol), _read_one_by_one(mol))


@pytest.mark.parametrize("smiles", UNUSUAL)
def test_unusual_molecules_are_read_as_rdkit_tells_them(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    table = read_table(mol)
    assert same(table, _read_one_by_one(mol))
    assert table.rings == tuple(mol.GetRingInfo().AtomRings())
    assert [ends.tolist() for ends in bond_ends(mol)] == [table.begin.tolist(), table.end.tolist()]
    assert bonds_in_rings(table).tolist() == [bond.IsInRing() for bond in bonds_of(mol)]
    assert bond_orders(table).tolist() == [bond.GetBondTypeAsDouble() for bond in bonds_of(mol)]
    assert masses(mol, table).tolist() == [atom.GetMass() for atom in atoms_of(mol)]


@pytest.mark.parametrize("n_atoms", [254, 255, 256, 257])
def test_large_molecules_have_wide_indices(n_atoms: int) -> None:
    mol = Chem.MolFromSmiles("c1ccccc1" + "C" * (n_atoms - 6))
    table = read_table(mol)
    assert same(table, _read_one_by_one(mol))
    assert table.end.max() == n_atoms - 1


@pytest.mark.parametrize("smiles", UNUSUAL)
def test_another_version_is_read_one_by_one(smiles: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mol = Chem.MolFromSmiles(smiles)
    at_once, ends = read_table(mol), bond_ends(mol)
    monkeypatch.setattr(molecule_table, "_HEADER", molecule_table._HEADER + 1)
    assert same(read_table(mol), at_once)
    assert all(np.array_equal(one, other) for one, other in zip(bond_ends(mol), ends, strict=True))


def test_bonds_of_a_molecule_without_rings_or_valences_are_read() -> None:
    mol = Chem.MolFromSmiles("CC(C)(C)(C)C1CC1", sanitize=False)
    assert list(zip(*(ends.tolist() for ends in bond_ends(mol)), strict=True)) == [
        (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in bonds_of(mol)
    ]
