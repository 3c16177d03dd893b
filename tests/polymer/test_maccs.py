"""MACCS keys against RDKit's own."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from periogt_ray.polymer import maccs
from periogt_ray.polymer.maccs import maccs_keys

MOLECULES = (
    "CCO",
    "c1ccccc1",
    "C1CC1",
    "C1CCC1C1CCCC1",
    "C1CCCCCCC1",
    "C1CCCCCCCCCCCCCC1",
    "c1ccc2ccccc2c1",
    "C1CC2CCC1C2",
    "C1CC11CCCC1",
    "C1CCCC2CC12",
    "c1cc2ccc3cccc4ccc(c1)c2c34",
    "c1ccc2c(c1)ccc1c2ccc2ccccc21",
    "O=S(=O)(c1ccccc1)N(C)C",
    "C12C3C4C1C5C2C3C45",
    "CC(=O)OCC(Cl)CBr",
    "FC(F)(F)C(I)P",
    "C[Si](C)(C)O[Si](C)C",
    "OB(O)c1ccccc1",
    "C[Se]C",
    "[13CH3]C",
    "c1ccsc1-c1ccc[nH]1",
    "N#CC(C#N)=C(N)N",
    "CC[N+](C)(C)CC(=O)[O-]",
    "C1CCC2(CC1)CCC1CCCCC1C2",
    "OCC(O)C(O)CO",
    "C=CC=C",
    "O=[N+]([O-])c1ccccc1",
    "C1CCC2C(C1)CCCC2C1CCCCCC1",
    "C1C2CC3CC1CC(C2)C3",
    "CCCC",
    "[2H]C",
    "CSSC",
    "C1=CCCCC1",
)


@pytest.mark.parametrize("smiles", MOLECULES)
def test_keys_are_those_of_rdkit(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    expected = list(rdMolDescriptors.GetMACCSKeysFingerprint(mol).GetOnBits())
    assert np.flatnonzero(maccs_keys(mol)).tolist() == expected


def test_keys_of_cycles_are_those_of_rdkit_whether_or_not_they_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    mols = [Chem.MolFromSmiles(smiles) for smiles in MOLECULES]
    followed = [maccs_keys(mol) for mol in mols]
    unclear = [maccs._cycles(mol) is None for mol in mols]
    assert any(unclear)
    assert not all(unclear)
    monkeypatch.setattr(maccs, "_cycles", lambda _: None)
    np.testing.assert_array_equal(followed, [maccs_keys(mol) for mol in mols])
