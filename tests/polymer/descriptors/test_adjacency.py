import numpy as np
import pytest
from rdkit import Chem

from periogt_ray.polymer.descriptors.adjacency import adjacency_sums
from periogt_ray.polymer.descriptors.extremes import elimination_plan
from periogt_ray.polymer.descriptors.molecule import extract
from periogt_ray.polymer.repeat_unit import RepeatUnit
from support.golden import golden_polymers


def compare(mol: Chem.Mol) -> bool:
    """Compare with LAPACK; False where that is asked in any case."""
    graph = extract(mol).graph
    found = adjacency_sums(graph, elimination_plan(graph))
    if found is None:
        return False
    values, vectors = np.linalg.eigh(Chem.GetAdjacencyMatrix(mol).astype(np.float64))
    expected = [values[-1], values[0], np.abs(values).sum(), np.log(1.0 + np.exp(values).sum())]
    np.testing.assert_allclose(found[0], expected, rtol=1e-7)
    np.testing.assert_allclose(found[1], np.abs(vectors[:, -1]), rtol=1e-6)
    return True


@pytest.mark.parametrize("n_units", [3, 9])
def test_sums_of_golden_polymers_are_those_of_all_eigenvalues(n_units: int) -> None:
    found = [compare(RepeatUnit.parse(polymer.smiles).oligomer(n_units)) for polymer in golden_polymers()]
    assert sum(found) > 0.8 * len(found)


@pytest.mark.parametrize(
    "smiles",
    [
        "CC", "CCC", "C1CC1", "C1CCC1", "c1ccccc1", "FS(F)(F)(F)(F)F", "CC(C)(C)C", "C1CC2CCC1CC2",
        "C12C3C4C1C5C2C3C45", "c1ccc2ccccc2c1", "c1cc2ccc3cccc4ccc(c1)c2c34", "C1CCCCCCCCCCCCCCCC1",
    ],
)  # fmt: skip
def test_sums_of_small_and_singular_matrices(smiles: str) -> None:
    """Chains, rings of even and odd size, stars, cages and sheets."""
    assert compare(Chem.MolFromSmiles(smiles))


def test_an_eigenvector_that_is_rounding_noise_is_left_to_lapack() -> None:
    """Two equal rings far apart have one eigenvalue twice, as far as numbers tell."""
    graph = extract(Chem.MolFromSmiles(f"C1CC1{'C' * 60}C1CC1")).graph
    assert adjacency_sums(graph, elimination_plan(graph)) is None
