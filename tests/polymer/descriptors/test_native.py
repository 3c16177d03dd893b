"""The native engine against golden vectors and against mordred, column by column."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from rdkit import Chem
from threadpoolctl import threadpool_info, threadpool_limits

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.descriptors import descriptors, eta
from periogt_ray.polymer.descriptors.columns import assemble, blocks, column_names
from periogt_ray.polymer.descriptors.estate import _MOST_MATCHES
from periogt_ray.polymer.descriptors.molecule import extract
from periogt_ray.polymer.descriptors.native import native_descriptors
from periogt_ray.polymer.descriptors.reference import descriptor_names
from periogt_ray.polymer.dimensions import N_DESCRIPTORS
from periogt_ray.polymer.limits import MAX_ATOMS
from periogt_ray.polymer.repeat_unit import RepeatUnit
from support.golden import UNITS, GoldenPolymer, golden_polymers

# Sums that cancel (centred autocorrelations of equal atoms) are rounding noise of this size on both sides.
NOISE = 1e-9

# Between them: elements that few tables know, charges, isotopes, rings fused, bridged, spiro and aromatic with N, S,
# Se and P; single atoms and bonds; acids, bases, nitro, sulfone.
_ODD = """
C CC [Cu] O [SiH4] C=C C#C C[2H] [2H]C([2H])[2H] [13CH3]C C[Ge](C)(C)C C[Se]C c1cc[se]c1 CB(C)C CP(C)C CP(=O)(O)O
C[Si](C)(C)O[Si](C)(C)C FS(F)(F)(F)(F)F CP(F)(F)(F)F CS(=O)(=O)C CS([O-])(=O)=O C[N+](C)(C)C CC(=O)[O-] C[N+](=O)[O-]
CON(=O)=O C[Sn](C)(C)C C[As](C)C Cl[Cu]Cl C[Zn]C [Li]C CI BrCCBr ClC(Cl)(Cl)Cl [He] [NH4+] [CH3] C[S+](C)C
c1ccc2ccccc2c1 C1CC1C2CC2 C12CC1C2 c1ccncc1 c1cc[nH]c1 c1ccsc1 c1ccpcc1 Cn1cnnn1 NS(=O)(=O)C(F)(F)F CC(N)=N
C1CC2CCC1CC2 C1CCC2(CC1)CCCCC2 C1=CC2=CC=CC2=C1 [O-][n+]1ccccc1 CN=[N+]=[N-] C[B-](F)(F)F CC(=S)C [2H]c1ccccc1
"""


def finished(values: np.ndarray) -> np.ndarray:
    """What the public function makes of raw values."""
    with np.errstate(over="ignore"):
        single = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=np.inf)
    return np.minimum(single, np.float32(1e12))


@cache
def computed(smiles: str) -> np.ndarray:
    values = descriptors(Chem.MolFromSmiles(smiles))
    values.flags.writeable = False
    return values


def columns_of(block: str) -> slice:
    names = [name for name, _ in blocks()]
    widths = [len(columns) for _, columns in blocks()]
    first = sum(widths[: names.index(block)])
    return slice(first, first + widths[names.index(block)])


def test_columns_are_those_of_mordred_in_its_order() -> None:
    assert column_names() == descriptor_names()
    assert len(column_names()) == N_DESCRIPTORS


@pytest.mark.parametrize("block", [name for name, _ in blocks()])
def test_golden_values(block: str) -> None:
    chosen = columns_of(block)
    for polymer in golden_polymers():
        for index, n_units in enumerate(UNITS):
            expected = finished(polymer.descriptors[index, chosen])
            values = computed(polymer.record["oligomers"][str(n_units)])[chosen]
            np.testing.assert_allclose(values, expected, rtol=1e-5, atol=NOISE, err_msg=f"{polymer.smiles}, {n_units}")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("smiles", _ODD.split())
def test_odd_molecules_are_as_in_mordred(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    expected = descriptors(mol, engine="mordred")
    values = descriptors(mol)
    off = [
        (name, float(a), float(b))
        for name, a, b in zip(column_names(), values, expected, strict=True)
        if not np.isclose(a, b, rtol=1e-5, atol=NOISE)
    ]
    assert not off


def test_missing_values_are_zero_and_large_ones_cut() -> None:
    names = column_names()
    raw = native_descriptors(Chem.MolFromSmiles("C"))
    assert np.isnan(raw[names.index("Kier1")])
    assert np.isnan(raw[names.index("ATS0s")])  # methane's carbon has no sigma bond to a heavy atom
    values = descriptors(Chem.MolFromSmiles("C"))
    assert np.isfinite(values).all()
    assert values.dtype == np.float32
    assert values[names.index("Kier1")] == 0.0


def test_unknown_element_empties_its_columns_alone() -> None:
    names = column_names()
    raw = native_descriptors(Chem.MolFromSmiles("C[Cu]C"))
    assert np.isnan(raw[names.index("Vabc")])
    assert not np.isnan(raw[names.index("SpMax_A")])


def test_distance_edge_overflow_is_zero() -> None:
    # ln(distance) over 4095 pairs of CH2 groups sums to more than ln(1.8e308): the product of mordred 1.2.0 overflowed.
    names = column_names()
    long, short = (native_descriptors(Chem.MolFromSmiles("C" * n)) for n in (92, 20))
    assert long[names.index("MDEC-22")] == 0.0
    assert short[names.index("MDEC-22")] > 0.0


def test_state_search_ends_after_a_thousand_matches() -> None:
    # Each carbon with four neighbours matches in 24 orders, so 42 of 60 are counted.
    names = column_names()
    values = native_descriptors(Chem.MolFromSmiles("F" + "C(F)(F)" * 60 + "F"))
    assert values[names.index("NssssC")] == -(-_MOST_MATCHES // 24)


@pytest.mark.parametrize("polymer", golden_polymers()[::6], ids=repr)
def test_same_value_whatever_the_number_of_threads(polymer: GoldenPolymer) -> None:
    mol = Chem.MolFromSmiles(polymer.record["oligomers"]["9"])
    results = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            results.append(native_descriptors(mol))
    assert results[0].tobytes() == results[1].tobytes()


def test_threads_of_a_process_do_not_disturb_each_other() -> None:
    mols = [Chem.MolFromSmiles(polymer.record["oligomers"]["6"]) for polymer in golden_polymers()[:12]]
    alone = [native_descriptors(mol).tobytes() for mol in mols]
    with threadpool_limits(2), ThreadPoolExecutor(4) as pool:
        together = [row.tobytes() for row in pool.map(native_descriptors, mols)]
        n_threads = {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
    assert together == alone
    assert n_threads == {2}


def test_molecule_is_not_modified() -> None:
    mol = RepeatUnit.parse("*Oc1ccc(C(=O)N*)cc1").oligomer(3)
    before = mol.ToBinary(Chem.PropertyPickleOptions.AllProps)
    descriptors(mol)
    assert mol.ToBinary(Chem.PropertyPickleOptions.AllProps) == before


def test_equivalent_spellings_give_equal_values() -> None:
    spellings = ("*CC(*)c1ccc(C#N)cc1", "C(C(c1ccc(cc1)C#N)*)*", "N#Cc1ccc(cc1)C(*)C*")
    rows = [descriptors(RepeatUnit.parse(text).oligomer(6)) for text in spellings]
    assert rows[0].tobytes() == rows[1].tobytes() == rows[2].tobytes()


def test_too_many_atoms_are_refused() -> None:
    descriptors(Chem.MolFromSmiles("C" * 300))
    with pytest.raises(ValidationError, match=f"{MAX_ATOMS + 1} atoms.*at most {MAX_ATOMS}"):
        descriptors(Chem.MolFromSmiles("C" * (MAX_ATOMS + 1)))


@pytest.mark.parametrize(
    "smiles", ["*Oc1ccc(C(=O)N*)cc1", "*C(C=C*)=CC#C", "*C[n+]1ccc(*)cc1", "*N=Nc1ccc2[nH]c(*)cc2c1"]
)
def test_hydrogens_of_the_saturated_skeleton(smiles: str) -> None:
    # The short way, by valences, against the skeleton built and sanitized by RDKit.
    arrays = extract(RepeatUnit.parse(smiles).oligomer(3))
    assert eta._saturated_hydrogens(arrays) == eta._rebuilt_hydrogens(arrays)


def test_deuterium_counts_as_an_atom() -> None:
    with pytest.raises(ValidationError, match=f"{3 * 401 + 2} atoms"):
        descriptors(Chem.MolFromSmiles("[2H]" + "C([2H])([2H])" * 401 + "[2H]"))


def test_fragments_are_refused() -> None:
    with pytest.raises(ValidationError, match="2 fragments"):
        descriptors(Chem.MolFromSmiles("CC.O"))


def test_ring_system_with_too_many_paths_is_refused_the_same_way_each_time() -> None:
    fullerene = (
        "c12c3c4c5c1c1c6c7c2c2c8c3c3c9c4c4c%10c5c5c1c1c6c6c%11c7c2c2c7c8c3c3c8c9c4c4c9c%10c5c5c1c1c6c6c%11c2c2c7c3c3"
        "c8c4c4c9c5c1c1c6c2c3c41"
    )
    mol = Chem.MolFromSmiles(fullerene)
    messages = set()
    for _ in range(2):
        with pytest.raises(ValidationError, match="60 atoms") as refused:
            descriptors(mol)
        messages.add(refused.value.message)
    assert len(messages) == 1


def test_importing_descriptors_loads_neither_numba_nor_mordred() -> None:
    code = "import sys, periogt_ray.polymer.descriptors; print([m for m in ('numba', 'mordred') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_blocks_of_a_wrong_length_are_a_bug() -> None:
    values = {name: np.zeros(len(columns)) for name, columns in blocks()}
    assert assemble(values).shape == (N_DESCRIPTORS,)
    values["weight"] = np.zeros(3)
    with pytest.raises(ValueError, match="weight has 3 values for 2 columns"):
        assemble(values)
