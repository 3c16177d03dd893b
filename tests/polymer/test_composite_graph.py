"""The graphs of copolymers and of polymers with conditions equal the reference's, edge by edge."""

from typing import Any

import numpy as np
import pytest

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.bond_classes import BondClasses
from periogt_ray.polymer.composite_graph import compose
from periogt_ray.polymer.features import prompt_graphs
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.inputs import Copolymer, monomers_of
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.triplet_graph import PAD, EdgeKind, NodeKind, TripletGraph, build_triplet_graph
from support.golden_copolymers import conditioned, copolymers, graph_of, input_of, monomers, rejected_by_reference

KIND_OF_SCHEME = {
    "release": InputKind.COPOLYMER,
    "current": InputKind.COPOLYMER,
    "monomer": InputKind.CONDITIONS,
}


def own_graph(unit: RepeatUnit) -> TripletGraph:
    graph = build_triplet_graph(unit.smiles, BondClasses(unit))
    assert graph is not None
    return graph


def check(graph: TripletGraph, expected: dict[str, np.ndarray]) -> None:
    edges = np.stack([expected["src"], expected["dst"]])
    np.testing.assert_array_equal(graph.edges, edges)
    np.testing.assert_array_equal(np.where(graph.paths == PAD, -1_000_000, graph.paths), expected["e_path"])
    np.testing.assert_array_equal(graph.edge_kind == EdgeKind.VIRTUAL, expected["e_vp"])
    np.testing.assert_array_equal(graph.edge_kind == EdgeKind.SELF_LOOP, expected["e_sl"])
    np.testing.assert_array_equal(graph.bond_features, expected["n_edge"])
    is_bond = graph.node_kind == NodeKind.TRIPLET
    np.testing.assert_array_equal(graph.atom_features[graph.triplet_atoms[is_bond]], expected["n_begin_end"][is_bond])
    assert (expected["n_begin_end"][~is_bond] == -1).all()


@pytest.mark.parametrize("index", range(len(copolymers())))
def test_graphs_of_copolymers_equal_the_reference(index: int) -> None:
    made = input_of(copolymers()[index])
    assert [unit.smiles for unit in monomers_of(made)] == copolymers()[index]["smiles"]
    graph = compose([own_graph(unit) for unit in monomers_of(made)], has_ratios=True)
    expected = graph_of(f"copolymer_{index}")
    check(graph, expected)
    # A's virtual nodes are the first of their kinds, B's the second.
    kinds = expected["n_vavn"]
    own = np.select([kinds == 7, kinds > 3], [NodeKind.GLOBAL, kinds - 3], kinds)
    np.testing.assert_array_equal(graph.node_kind, own)


@pytest.mark.parametrize("index", range(len(conditioned())))
def test_graphs_with_conditions_equal_the_reference(index: int) -> None:
    [unit] = monomers_of(input_of(conditioned()[index]))
    graph = compose([own_graph(unit)], has_ratios=False)
    expected = graph_of(f"conditions_{index}")
    check(graph, expected)
    own = np.where(expected["n_vavn"] == 3, NodeKind.GLOBAL, expected["n_vavn"])
    np.testing.assert_array_equal(graph.node_kind, own)


def test_the_global_node_has_no_self_loop_and_meets_bonds_only() -> None:
    unit = RepeatUnit.parse("*CC(*)C")
    graph = compose([own_graph(unit), own_graph(unit)], has_ratios=True)
    last = len(graph.node_kind) - 1
    source, destination = graph.edges
    assert not ((source == last) & (destination == last)).any()
    assert (graph.node_kind[source[destination == last]] == NodeKind.TRIPLET).all()
    assert len(np.unique(graph.edges, axis=1).T) == graph.edges.shape[1]


@pytest.mark.parametrize("record", monomers(), ids=lambda record: record["smiles"])
def test_prompt_graphs_and_bond_classes_of_monomers_equal_the_reference(record: dict[str, Any]) -> None:
    unit = RepeatUnit.parse(record["smiles"])
    assert unit.smiles == record["smiles"]
    assert unit.frame_shifts() == record["frame_shifts"]
    classes = BondClasses(unit)
    assert own_graph(unit).bond_class.tolist() == record["bond_classes"]
    for name, expected in record["schemes"].items():
        scheme = PromptScheme.named(name, kind=KIND_OF_SCHEME[name])
        chosen = prompt_graphs(unit, scheme)
        assert [list(one) for one in chosen] == expected["selected"]
        graphs = [build_triplet_graph(smiles, classes) for smiles, _ in chosen]
        assert [i for i, graph in enumerate(graphs) if graph is not None] == expected["kept"]
        kept = [graph for graph in graphs if graph is not None]
        assert [graph.n_triplets for graph in kept] == expected["n_nodes"]
        assert [len(graph.paths) for graph in kept] == expected["n_edges"]


@pytest.mark.parametrize("record", rejected_by_reference(), ids=repr)
def test_what_the_reference_cannot_do_is_a_validation_error(record: dict[str, Any]) -> None:
    a, b = record["given"]
    ratio_a, ratio_b = record["ratio"]
    with pytest.raises(ValidationError):
        Copolymer.parse(a, b, ratio_a=ratio_a, ratio_b=ratio_b, architecture=record["type"])
