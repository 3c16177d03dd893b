"""The kernels against plain implementations and against RDKit."""

import itertools
import math

import numpy as np
import pytest
from rdkit import Chem

from periogt_ray.polymer.descriptors.distances import components, topological_distances, weighted_distances
from periogt_ray.polymer.descriptors.extremes import extreme_eigenvalues
from periogt_ray.polymer.descriptors.fragments import fragment_descriptors
from periogt_ray.polymer.descriptors.molecule import MoleculeArrays, extract
from periogt_ray.polymer.descriptors.simple_paths import SimplePaths, molecular_ids
from periogt_ray.polymer.descriptors.spectra import dense_spectra

MOLECULES = [
    "CCCCC",
    "C1CCCCC1",
    "CC(C)(C)c1ccc2c(c1)C1CC2C1",
    "c1ccc2cc3ccccc3cc2c1",
    "C1CC2CCC1CC2C1CC1",
    "O=C1N(c2ccccc2)C(=O)c2cc3c(cc21)C(=O)NC3=O",
    "C12C3C4C1C5C2C3C45",
    "FC(F)(F)C(F)(F)S(=O)(=O)N",
]


@pytest.fixture(params=MOLECULES)
def arrays(request: pytest.FixtureRequest) -> MoleculeArrays:
    return extract(Chem.MolFromSmiles(request.param))


def bonded(arrays: MoleculeArrays) -> dict[int, list[int]]:
    near: dict[int, list[int]] = {atom: [] for atom in range(arrays.n_atoms)}
    for a, b in zip(arrays.begin.tolist(), arrays.end.tolist(), strict=True):
        near[a].append(b)
        near[b].append(a)
    return near


def simple_paths(near: dict[int, list[int]], source: int) -> list[tuple[int, ...]]:
    paths, growing = [], [(source,)]
    while growing:
        path = growing.pop()
        paths.append(path)
        growing += [(*path, atom) for atom in near[path[-1]] if atom not in path]
    return paths


def test_distances_are_those_of_rdkit(arrays: MoleculeArrays) -> None:
    np.testing.assert_array_equal(topological_distances(arrays.graph), Chem.GetDistanceMatrix(arrays.mol))


def test_weighted_distances(arrays: MoleculeArrays) -> None:
    lengths = np.random.default_rng(3).uniform(0.2, 3.0, (2, len(arrays.begin)))
    found = weighted_distances(arrays.graph, components(arrays.graph), lengths)
    for matrix, length in zip(found, lengths, strict=True):
        expected = np.full((arrays.n_atoms, arrays.n_atoms), np.inf)
        np.fill_diagonal(expected, 0.0)
        expected[arrays.begin, arrays.end] = expected[arrays.end, arrays.begin] = length
        for atom in range(arrays.n_atoms):
            expected = np.minimum(expected, expected[:, atom, None] + expected[None, atom])
        np.testing.assert_allclose(matrix, expected, rtol=1e-12)


def test_components_cover_all_bonds_once(arrays: MoleculeArrays) -> None:
    parts = components(arrays.graph)
    groups = [set(parts.atoms[a:b].tolist()) for a, b in itertools.pairwise(parts.start)]
    for a, b in zip(arrays.begin.tolist(), arrays.end.tolist(), strict=True):
        assert sum({a, b} <= group for group in groups) == 1
    for index, group in enumerate(groups[1:], start=1):
        joint = int(parts.atoms[parts.start[index]])
        assert group & set().union(*groups[:index]) == {joint}


def test_detours_and_ids_are_those_of_all_simple_paths(arrays: MoleculeArrays) -> None:
    near = bonded(arrays)
    longest = np.zeros((arrays.n_atoms, arrays.n_atoms))
    ids = np.ones(arrays.n_atoms)
    for source in near:
        for path in simple_paths(near, source)[1:]:
            longest[source, path[-1]] = max(longest[source, path[-1]], len(path) - 1)
            ids[source] += 0.5 * math.prod((len(near[a]) * len(near[b])) ** -0.5 for a, b in itertools.pairwise(path))
    paths = SimplePaths(arrays.graph, components(arrays.graph))
    np.testing.assert_array_equal(paths.detours(), longest)
    np.testing.assert_allclose(molecular_ids(arrays, paths)[0], ids.sum(), rtol=1e-9)


def test_path_counts(arrays: MoleculeArrays) -> None:
    near = bonded(arrays)
    lengths = [len(path) - 1 for source in near for path in simple_paths(near, source)]
    found = fragment_descriptors(arrays, np.ones((2, arrays.n_atoms)))["path_count"]
    np.testing.assert_array_equal(found[:9], [lengths.count(k) // 2 for k in range(2, 11)])


def test_subgraphs_are_those_of_rdkit(arrays: MoleculeArrays) -> None:
    # With all deltas 1 a chi sum is the number of subgraphs of its kind.
    chi = fragment_descriptors(arrays, np.ones((2, arrays.n_atoms)))["chi"]
    for order in range(3, 8):
        counts = {"chain": 0, "cluster": 0, "path_cluster": 0}
        for bonds in Chem.FindAllSubgraphsOfLengthN(arrays.mol, order):
            ends = [*arrays.begin[list(bonds)].tolist(), *arrays.end[list(bonds)].tolist()]
            degrees = [ends.count(atom) for atom in set(ends)]
            if len(degrees) <= order:
                counts["chain"] += 1
            elif max(degrees) > 2:
                counts["path_cluster" if 2 in degrees else "cluster"] += 1
        assert chi[order - 3] == counts["chain"]
        if order <= 6:
            assert chi[10 + order - 3] == counts["cluster"]
        if 4 <= order <= 6:
            assert chi[18 + order - 4] == counts["path_cluster"]


@pytest.mark.parametrize("constant", [0.001, 0.3])
def test_extreme_eigenvalues(arrays: MoleculeArrays, constant: float) -> None:
    rng = np.random.default_rng(1)
    bonds = rng.uniform(-0.3, 0.4, len(arrays.begin))
    diagonals = np.stack([rng.normal(size=arrays.n_atoms), np.full(arrays.n_atoms, 6.0), np.zeros(arrays.n_atoms)])
    found = extreme_eigenvalues(arrays.graph, bonds, diagonals, constant)
    for diagonal, (largest, smallest) in zip(diagonals, found, strict=True):
        matrix = np.diag(diagonal)
        matrix[arrays.begin, arrays.end] = matrix[arrays.end, arrays.begin] = bonds
        values = np.linalg.eigvalsh(matrix + constant)
        np.testing.assert_allclose([largest, smallest], values[[-1, 0]], atol=1e-11)


def test_leading_eigenvector_of_a_large_matrix() -> None:
    arrays = extract(Chem.MolFromSmiles("CCOC(=O)c1ccccc1" * 8))
    distances = topological_distances(arrays.graph).astype(np.float64)
    found = dense_spectra(arrays, distances[None])[0]
    values, vectors = np.linalg.eigh(distances)
    leading = np.abs(vectors[:, -1])
    assert arrays.n_atoms > 48  # else all eigenvectors are computed
    np.testing.assert_allclose(found[1], values[-1], rtol=1e-12)
    np.testing.assert_allclose(found[7], leading.sum(), rtol=1e-12)
    np.testing.assert_allclose(found[10], ((leading[arrays.begin] * leading[arrays.end]) ** -0.5).sum(), rtol=1e-12)
