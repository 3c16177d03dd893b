"""Outermost eigenvalues by Lanczos's method against LAPACK."""

import numpy as np
import pytest
from rdkit import Chem

from periogt_ray.polymer.descriptors.distances import component_distances, components, compose
from periogt_ray.polymer.descriptors.lanczos import find_ends
from periogt_ray.polymer.descriptors.molecule import extract

# The last are mirror images of themselves, so that half of the eigenvectors change their sign under the symmetry.
MOLECULES = ("CC(C)(C)c1ccc(CC(=O)O)cc1" * 3, "CCOC(=O)c1ccccc1" * 8, "C" * 40, "C1" + "C" * 30 + "1")


@pytest.mark.parametrize("smiles", MOLECULES)
def test_ends_are_those_of_lapack(smiles: str) -> None:
    arrays = extract(Chem.MolFromSmiles(smiles))
    parts, n_atoms = components(arrays.graph), arrays.n_atoms
    random = np.random.default_rng(0)
    cells = component_distances(arrays.graph, parts, random.uniform(0.5, 1.0, (5, len(arrays.begin))))
    cells[0] = component_distances(arrays.graph, parts, np.ones((1, len(arrays.begin))))[0]
    diagonals = random.uniform(-0.3, 0.3, (5, n_atoms))
    diagonals[0] = 0.0
    matrices = np.stack([compose(parts, one) for one in cells])
    matrices[:, range(n_atoms), range(n_atoms)] = diagonals
    values, vectors = np.linalg.eigh(matrices)
    largest, smallest, leading = np.empty(5), np.empty(5), np.empty((n_atoms, 5))
    find_ends(
        (parts.start, parts.atoms, np.ascontiguousarray(cells.T), np.ascontiguousarray(diagonals.T)),
        largest,
        smallest,
        leading,
    )
    np.testing.assert_allclose(largest, values[:, -1], rtol=1e-13)
    np.testing.assert_allclose(smallest, values[:, 0], rtol=1e-11)
    np.testing.assert_allclose(np.abs(leading.T), np.abs(vectors[:, :, -1]), atol=1e-12)


def test_an_eigenvalue_that_is_not_exact_is_none() -> None:
    start, atoms = np.array([0, 2], dtype=np.int32), np.array([0, 1], dtype=np.int32)
    cells = np.array([0.0, np.nan, np.nan, 0.0])[:, None]
    largest, smallest, leading = np.empty(1), np.empty(1), np.empty((2, 1))
    find_ends((start, atoms, cells, np.zeros((2, 1))), largest, smallest, leading)
    assert np.isnan(largest[0])
