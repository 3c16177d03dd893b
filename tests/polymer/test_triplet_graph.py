from functools import partial

import numpy as np
import pytest
from rdkit import Chem

from periogt_ray.polymer.dgl_graph import to_dgl
from periogt_ray.polymer.features import prompt_graphs
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.triplet_graph import EdgeKind, NodeKind
from support.golden import GoldenPolymer, golden_polymers
from support.graphs import graphs_of

NO_DGL = "has no release for this Python"


def as_edge_set(edges: np.ndarray, paths: np.ndarray, virtual: np.ndarray, loops: np.ndarray) -> set[tuple[int, ...]]:
    rows = zip(edges[0], edges[1], paths.tolist(), virtual, loops, strict=True)
    return {(int(s), int(d), *path, bool(v), bool(loop)) for s, d, path, v, loop in rows}


@pytest.mark.parametrize("polymer", [p for p in golden_polymers() if p.graphs is not None], ids=repr)
def test_graphs_equal_the_reference(polymer: GoldenPolymer) -> None:
    pytest.importorskip("dgl", reason=NO_DGL)
    expected = polymer.graphs
    assert expected is not None
    graphs = graphs_of(polymer.smiles)
    assert f"g{len(graphs) - 1}_src" in expected
    assert f"g{len(graphs)}_src" not in expected
    for index, graph in enumerate(graphs):
        reference = {key.removeprefix(f"g{index}_"): expected[key] for key in expected if key.startswith(f"g{index}_")}
        ours = to_dgl(graph)
        np.testing.assert_array_equal(ours.ndata["begin_end"].numpy(), reference["n_begin_end"])
        np.testing.assert_array_equal(ours.ndata["edge"].numpy(), reference["n_edge"])
        np.testing.assert_array_equal(ours.ndata["vavn"].numpy(), reference["n_vavn"])
        paths = np.maximum(reference["e_path"], -1)
        theirs = as_edge_set(
            np.stack([reference["src"], reference["dst"]]), paths, reference["e_vp"], reference["e_sl"]
        )
        is_virtual, is_loop = graph.edge_kind == EdgeKind.VIRTUAL, graph.edge_kind == EdgeKind.SELF_LOOP
        assert as_edge_set(graph.edges, graph.paths, is_virtual, is_loop) == theirs
        assert len(theirs) == len(graph.paths)
        pairs = set(zip(graph.bond_class.tolist(), reference["n_bid"].tolist(), strict=True))
        assert len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs}) == len(pairs)


def test_features_equal_dgllife(golden: GoldenPolymer) -> None:
    pytest.importorskip("dgllife", reason=NO_DGL)
    from dgllife.utils import (
        BaseAtomFeaturizer,
        BaseBondFeaturizer,
        ConcatFeaturizer,
        atom_chirality_type_one_hot,
        atom_degree_one_hot,
        atom_formal_charge,
        atom_hybridization_one_hot,
        atom_is_aromatic,
        atom_is_chiral_center,
        atom_mass,
        atom_num_radical_electrons_one_hot,
        atom_total_num_H_one_hot,
        atomic_number_one_hot,
        bond_is_conjugated,
        bond_is_in_ring,
        bond_stereo_one_hot,
        bond_type_one_hot,
    )

    atoms = BaseAtomFeaturizer(
        {
            "h": ConcatFeaturizer(
                [
                    partial(atomic_number_one_hot, allowable_set=list(range(101)), encode_unknown=True),
                    partial(atom_degree_one_hot, encode_unknown=True),
                    atom_formal_charge,
                    partial(atom_num_radical_electrons_one_hot, encode_unknown=True),
                    partial(atom_hybridization_one_hot, encode_unknown=True),
                    atom_is_aromatic,
                    partial(atom_total_num_H_one_hot, encode_unknown=True),
                    atom_is_chiral_center,
                    atom_chirality_type_one_hot,
                    atom_mass,
                ]
            )
        }
    )
    bonds = BaseBondFeaturizer(
        {
            "e": ConcatFeaturizer(
                [
                    partial(bond_type_one_hot, encode_unknown=True),
                    bond_is_conjugated,
                    bond_is_in_ring,
                    partial(bond_stereo_one_hot, encode_unknown=True),
                ]
            )
        }
    )
    unit = RepeatUnit.parse(golden.smiles)
    mol = Chem.RenumberAtoms(unit.mol, list(Chem.CanonicalRankAtoms(unit.mol)))
    graph = graphs_of(golden.smiles, PromptScheme.MONOMER)[0]
    np.testing.assert_array_equal(graph.atom_features, atoms(mol)["h"].numpy())
    np.testing.assert_array_equal(graph.bond_features[:-2], bonds(mol)["e"].numpy()[::2])


@pytest.mark.parametrize(
    "smiles", ["*C1CC(*)C1", "*C12CC(*)(C1)C2", "*C1C2CC1C2*", "*C1CCC(*)CC1", "*c1cc2ccc3cccc4ccc(c1*)c2c34"]
)
def test_no_ordered_pair_of_nodes_occurs_twice(smiles: str) -> None:
    for graph in graphs_of(smiles):
        pairs = set(map(tuple, graph.edges.T.tolist()))
        assert len(pairs) == graph.edges.shape[1]


def test_virtual_nodes_close_the_graph() -> None:
    [graph] = graphs_of("*CC(*)c1ccccc1", PromptScheme.MONOMER)
    assert graph.node_kind[-2:].tolist() == [NodeKind.FINGERPRINT, NodeKind.DESCRIPTORS]
    assert graph.bond_class[-2:].tolist() == [-1, -2]
    assert not (
        (graph.edges == graph.n_triplets - 1).any(axis=0) & (graph.edges == graph.n_triplets - 2).any(axis=0)
    ).any()


def test_a_stereocentre_that_crashes_the_reference_gets_its_classes() -> None:
    graphs = graphs_of("*C[C@H](*)C")
    assert len(graphs) == len(prompt_graphs(RepeatUnit.parse("*C[C@H](*)C"), PromptScheme.RELEASE))
    assert all((graph.bond_class[:-2] >= 0).all() for graph in graphs)
