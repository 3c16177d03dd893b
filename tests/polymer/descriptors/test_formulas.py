"""The kernels against plain implementations and against RDKit."""

import itertools
import math

import numpy as np
import pytest
from rdkit import Chem

from periogt_ray.polymer.descriptors import path_spectra as path_spectra_module
from periogt_ray.polymer.descriptors.distances import component_distances, components, compose, topological_distances
from periogt_ray.polymer.descriptors.extremes import elimination_plan, extreme_eigenvalues
from periogt_ray.polymer.descriptors.fragments import fragment_descriptors
from periogt_ray.polymer.descriptors.molecule import MoleculeArrays, extract
from periogt_ray.polymer.descriptors.path_spectra import dense_sums, path_sums, total_length
from periogt_ray.polymer.descriptors.simple_paths import SimplePaths, molecular_ids
from periogt_ray.polymer.descriptors.spectra import path_spectra
from periogt_ray.polymer.descriptors.weights import FIRST_ELEMENT, atom_weights, carbon_weights

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
    parts = components(arrays.graph)
    for cells, length in zip(component_distances(arrays.graph, parts, lengths), lengths, strict=True):
        matrix = compose(parts, cells)
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
    parts = components(arrays.graph)
    paths = SimplePaths(arrays.graph, parts)
    np.testing.assert_array_equal(compose(parts, paths.longest), longest)
    assert total_length(parts, paths.longest, arrays.n_atoms) == longest.sum()
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
    found = extreme_eigenvalues(elimination_plan(arrays.graph), bonds, diagonals, constant)
    for diagonal, (largest, smallest) in zip(diagonals, found, strict=True):
        matrix = np.diag(diagonal)
        matrix[arrays.begin, arrays.end] = matrix[arrays.end, arrays.begin] = bonds
        values = np.linalg.eigvalsh(matrix + constant)
        np.testing.assert_allclose([largest, smallest], values[[-1, 0]], atol=1e-11)


@pytest.mark.parametrize(
    "smiles",
    [
        "CCOC(=O)c1ccccc1" * 8,  # few positive eigenvalues
        "CC(Cl)(Br)" * 20,  # two more for each repeat unit
        "C[Si](C)(F)OB(O)" * 12,  # a mean below zero
        "C1CC2CCC1CC2" * 12,
        "C#CC=CN1C(=O)c2cc3ccc4ccccc4c3cc2C1=O",  # a large component
    ],
)
def test_sums_over_spectra_are_those_of_all_eigenvalues(smiles: str) -> None:
    arrays = extract(Chem.MolFromSmiles(smiles))
    parts = components(arrays.graph)
    random = np.random.default_rng(5)
    lengths = np.concatenate([np.ones((1, len(arrays.begin))), random.uniform(0.5, 2.0, (10, len(arrays.begin)))])
    cells = component_distances(arrays.graph, parts, lengths)
    diagonals = np.ascontiguousarray(random.choice([-0.4, 0.0, 0.2, 0.8], (11, arrays.n_atoms)))
    diagonals[0] = 0.0
    found = path_sums(parts, cells, diagonals)
    matrices = np.stack([compose(parts, one) for one in cells])
    matrices[:, range(arrays.n_atoms), range(arrays.n_atoms)] = diagonals
    expected = dense_sums(matrices)
    for name, values, others in zip(found._fields, found, expected, strict=True):
        np.testing.assert_allclose(np.abs(values), np.abs(others), rtol=1e-8, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("smiles", ["CCCC(=S)" * 9 + "C", "CC(c1cccc2c1OCO2)" * 6, "CC(=O)C(C)C(c1ccc(O)c2ncccc12)"])
def test_sums_where_a_pivot_vanishes_just_at_a_threshold(smiles: str) -> None:
    arrays = extract(Chem.MolFromSmiles(smiles))
    parts = components(arrays.graph)
    weights, carbon = atom_weights(arrays)[FIRST_ELEMENT:], carbon_weights()
    bonds = (carbon**2)[:, None] / (weights[:, arrays.begin] * weights[:, arrays.end] * arrays.bond_order)
    cells = component_distances(arrays.graph, parts, np.ascontiguousarray(bonds))
    diagonals = 1.0 - carbon[:, None] / weights
    matrices = np.stack([compose(parts, one) for one in cells])
    matrices[:, range(arrays.n_atoms), range(arrays.n_atoms)] = diagonals
    found, expected = path_sums(parts, cells, diagonals), dense_sums(matrices)
    np.testing.assert_allclose(found.absolute, expected.absolute, rtol=1e-8)
    np.testing.assert_allclose(found.deviation, expected.deviation, rtol=1e-8)


def test_small_matrices_have_all_their_eigenvalues_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(path_spectra_module, "dense_sums", lambda matrix: asked.append(matrix) or dense_sums(matrix))
    for smiles in ("CCC", "CCOC(=O)c1ccccc1" * 8):
        arrays = extract(Chem.MolFromSmiles(smiles))
        parts = components(arrays.graph)
        path_sums(
            parts,
            component_distances(arrays.graph, parts, np.ones((1, len(arrays.begin)))),
            np.zeros((1, arrays.n_atoms)),
        )
    assert [matrix.shape for matrix in asked] == [(1, 3, 3)]


def test_leading_eigenvector_of_a_large_matrix() -> None:
    arrays = extract(Chem.MolFromSmiles("CCOC(=O)c1ccccc1" * 8))
    parts = components(arrays.graph)
    cells = component_distances(arrays.graph, parts, np.ones((1, len(arrays.begin))))
    found = path_spectra(arrays, parts, cells, np.empty((0, arrays.n_atoms)), np.empty(0))[0][0]
    values, vectors = np.linalg.eigh(topological_distances(arrays.graph).astype(np.float64))
    leading = np.abs(vectors[:, -1])
    np.testing.assert_allclose(found[1], values[-1], rtol=1e-12)
    np.testing.assert_allclose(found[7], leading.sum(), rtol=1e-12)
    np.testing.assert_allclose(found[10], ((leading[arrays.begin] * leading[arrays.end]) ** -0.5).sum(), rtol=1e-12)
