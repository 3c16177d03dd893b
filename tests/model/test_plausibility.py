import pytest
from rdkit import Chem

from periogt_ray.artifacts.properties import PROPERTIES, PropertyInfo, describe
from periogt_ray.model.plausibility import _atoms, polymer_warnings, value_warnings
from periogt_ray.polymer.repeat_unit import RepeatUnit
from support.golden import golden_polymers


@pytest.mark.parametrize(
    ("smiles", "said"),
    [
        ("*[Pb](C)(C)*", ["Pb occurs in no"]),
        ("*B(C)C*", ["B occurs in no"]),
        ("*CC(*)c1cc[se]c1", ["Se occurs in no"]),
        ("*CCCCCC[N+](*)(C)C", ["charge of +1"]),
        ("*CC(*)c1ccc(S(=O)(=O)[O-])cc1", ["charge of -1"]),
        ("*CC(*)C(=O)O[Na]", ["Na occurs in no"]),
        ("*C[S+](C)C*", ["charge of +1", "S with charge +1"]),
    ],
)
def test_what_training_did_not_see_is_named(smiles: str, said: list[str]) -> None:
    warnings = polymer_warnings(RepeatUnit.parse(smiles).smiles)
    assert len(warnings) == len(said)
    assert all(part in warning for part, warning in zip(said, warnings, strict=True))
    assert not any(";" in warning for warning in warnings), "tables separate warnings by it"


@pytest.mark.parametrize("smiles", ["*CC(*)c1ccccc1", "*CC(*)c1ccc([N+](=O)[O-])cc1", "*C(Cl)C(*)Br", "*[Si](C)(C)O*"])
def test_ordinary_polymers_get_no_warning(smiles: str) -> None:
    assert polymer_warnings(RepeatUnit.parse(smiles).smiles) == ()


def test_elements_and_charges_are_those_that_rdkit_reads() -> None:
    more = ["*C[N+](C)(C)C*", "*[Zn-2](C)(C)*", "*CC(*)c1cc[se]c1", "*[SiH2][C@@H](Cl)*", "*c1cc[nH]c1*", "*C[O-]C*"]
    for smiles in [RepeatUnit.parse(golden.smiles).smiles for golden in golden_polymers()] + more:
        mol = Chem.MolFromSmiles(smiles, sanitize=False)
        expected = sorted((a.GetSymbol(), a.GetFormalCharge()) for a in mol.GetAtoms() if a.GetAtomicNum())
        assert sorted(_atoms(smiles)) == expected, smiles


@pytest.mark.parametrize(
    ("property_id", "value", "said"),
    [
        ("egc", -0.2, "cannot be below 0 eV"),
        ("nc", 0.9, "cannot be below 1,"),
        ("xc", 104.0, "cannot be above 100 %"),
        ("tm", -300.0, "cannot be below -273.15 degC"),
        ("egc", 0.2, None),
        ("eat", -6.0, None),
        ("my_own", -1e9, None),
    ],
)
def test_values_that_cannot_be_are_said(property_id: str, value: float, said: str | None) -> None:
    warnings = value_warnings(PropertyInfo(property_id, *describe(property_id), "x.safetensors"), value)
    assert len(warnings) == (said is not None)
    assert said is None or said in warnings[0]


def test_temperatures_are_in_degrees_celsius() -> None:
    assert [PROPERTIES[name][1] for name in ("tg", "mt")] == ["degC", "degC"]
