from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from math import factorial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.statistics import LabelStats
from periogt_ray.errors import ValidationError
from periogt_ray.model.explain import explain, explanation_steps
from periogt_ray.model.explanation import Explanation
from periogt_ray.model.network import PerioGTEncoder
from periogt_ray.model.predictor import HeldNetworks, Predictor
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.equivalent_bonds import atoms_in
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.reference_triplets import reference_triplets
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import EMBEDDED_DIR
from support.golden import ARTIFACTS
from support.packages import FACTOR, write_small_package


@pytest.fixture(scope="module")
def embedded() -> Predictor:
    return Predictor(ArtifactDirectory.open(EMBEDDED_DIR), torch.device("cpu"))


def explained(predictor: Predictor, smiles: str, property_id: str = "eps", **given: Any) -> Explanation:
    unit = RepeatUnit.parse(smiles)
    polymer = featurize(unit, predictor.scheme(property_id))
    return explain(predictor, polymer, unit, property_id=property_id, **given)


def predicted(predictor: Predictor, smiles: str, property_id: str = "eps") -> float:
    polymer = featurize(RepeatUnit.parse(smiles), predictor.scheme(property_id))
    [outcome] = predictor.predict_many([Task(polymer, property_id)])
    assert outcome.value is not None
    return outcome.value


def by_atoms(explanation: Explanation) -> dict[frozenset[int], float]:
    return {frozenset(bond.atoms): bond.value for bond in explanation.bonds}


def check_sum(explanation: Explanation, predictor: Predictor) -> None:
    tolerance = 1e-6 * predictor.artifacts.label_stats(explanation.property).std
    parts = sum(bond.value for bond in explanation.bonds) + explanation.whole_molecule.value
    assert explanation.baseline + parts == pytest.approx(explanation.prediction, abs=tolerance)
    of_atoms = sum(atom.value for atom in explanation.atoms)
    assert of_atoms == pytest.approx(sum(bond.value for bond in explanation.bonds), abs=tolerance)


@pytest.mark.parametrize(
    ("smiles", "property_id", "passes"),
    [("*CC(*)C", "eps", None), ("*CC(*)C(=O)OC", "tg", 60), ("*OCC(=O)*", "eps", 26), ("*=CC=*", "tg", None)],
)
def test_values_sum_to_the_prediction_less_the_baseline(
    golden_predictor: Predictor, smiles: str, property_id: str, passes: int | None
) -> None:
    found = explained(golden_predictor, smiles, property_id, passes=passes)
    check_sum(found, golden_predictor)
    assert found.prediction == predicted(golden_predictor, smiles, property_id)
    assert any(abs(bond.value) > 1e-4 for bond in found.bonds)
    assert (found.method == "sampled") == (passes is not None)


def test_members_are_averaged_as_in_a_prediction(embedded: Predictor) -> None:
    found = explained(embedded, "*CC(*)C", "egc")
    check_sum(found, embedded)
    assert found.prediction == predicted(embedded, "*CC(*)C", "egc")
    assert (found.units, found.method, found.passes) == ("eV", "exact", 16)


def test_a_finetuned_property_is_explained_in_its_own_unit(golden_predictor: Predictor, tmp_path: Path) -> None:
    """The package is the network of eps twice, with twice its statistics."""
    write_small_package(tmp_path)
    artifacts = ArtifactDirectory.open(ARTIFACTS).with_packages(tmp_path)
    found = explained(Predictor(artifacts, torch.device("cpu")), "*CC(*)C", "my_eps")
    expected = explained(golden_predictor, "*CC(*)C", "eps")
    assert (found.units, found.label) == ("eV", "My constant")
    assert found.baseline == pytest.approx(FACTOR * expected.baseline, abs=1e-5)
    for one, other in zip(found.bonds, expected.bonds, strict=True):
        assert one.value == pytest.approx(FACTOR * other.value, abs=1e-5)


@contextmanager
def replaced_states(predictor: Predictor, polymer: Any, absent: set[int]) -> Iterator[None]:
    """Within it, nodes of these bond classes start from their stand-ins, in every pass of the predictor."""
    with predictor.held("eps", polymer) as networks:
        held = networks
    known = reference_triplets()
    originals = [(network, network.embed) for network in (held.encoder, *held.members)]

    def replacing(network: PerioGTEncoder, embed: Any) -> Any:
        def embedded_batch(batch: Any) -> Tensor:
            states: Tensor = embed(batch).clone()
            stand_in = network.embed_triplets(*map(torch.from_numpy, known[:3]))
            mean = (stand_in * torch.from_numpy(known.shares)[:, None]).sum(dim=0)
            graphs = polymer.graphs if len(batch.first_nodes) > 1 else polymer.graphs[:1]
            for first, graph in zip(batch.first_nodes, graphs, strict=True):
                for node, bond_class in enumerate(graph.bond_class.tolist()):
                    if bond_class >= 0 and bond_class in absent:
                        states[first + node] = mean
            if -1 in absent:
                nothing = torch.zeros_like(batch.fingerprints), torch.zeros_like(batch.descriptors)
                states[batch.fingerprint_nodes] = network.triplet_emb.fp_proj(nothing[0])
                states[batch.descriptor_nodes] = network.triplet_emb.md_proj(nothing[1])
            return states

        return embedded_batch

    try:
        for network, embed in originals:
            network.embed = replacing(network, embed)
        yield
    finally:
        for network, _ in originals:
            del network.embed


def test_exact_values_are_those_of_the_definition(golden_predictor: Predictor) -> None:
    """By other code: the predictor's own pass with first states replaced, and the mean over all orders."""
    unit = RepeatUnit.parse("*OCC(*)=O")
    polymer = featurize(unit, golden_predictor.scheme("eps"))
    own = polymer.graphs[0]
    classes = [*dict.fromkeys(own.bond_class[:-2].tolist()), -1]
    worth: dict[frozenset[int], float] = {}
    for order in permutations(classes):
        for n in range(len(order) + 1):
            absent = frozenset(order[n:])
            if absent not in worth:
                with replaced_states(golden_predictor, polymer, set(absent)):
                    [outcome] = golden_predictor.predict_many([Task(polymer, "eps")])
                assert outcome.value is not None
                worth[absent] = outcome.value
    values = dict.fromkeys(classes, 0.0)
    for order in permutations(classes):
        for n, player in enumerate(order):
            added = worth[frozenset(order[n + 1 :])] - worth[frozenset(order[n:])]
            values[player] += added / factorial(len(classes))
    found = explain(golden_predictor, polymer, unit, property_id="eps")
    assert found.method == "exact"
    assert found.baseline == pytest.approx(worth[frozenset(classes)], abs=1e-6)
    assert found.whole_molecule.value == pytest.approx(values[-1], abs=1e-6)
    points = unit.connection_points
    for bond, bond_class in zip(unit.mol.GetBonds(), own.bond_class[:-2].tolist(), strict=True):
        ends = {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}
        pair = frozenset(unit.attachment_atoms) if ends & set(points) else frozenset(ends)
        assert by_atoms(found)[pair] == pytest.approx(values[bond_class], abs=1e-6)


def test_sampled_values_agree_with_exact_ones_within_their_errors(embedded: Predictor) -> None:
    exact, sampled = (explained(embedded, "*CC(*)C(=O)O", "nc", passes=passes) for passes in (64, 62))
    assert (exact.method, sampled.method) == ("exact", "sampled")
    for one, other in zip((*exact.bonds, exact.whole_molecule), (*sampled.bonds, sampled.whole_molecule), strict=True):
        assert one.standard_error == 0
        assert other.standard_error > 0
        # Six pairs of orders: Student's distribution of 5 degrees of freedom has 0.998 within 5.9.
        assert abs(other.value - one.value) < 5.9 * other.standard_error
    check_sum(sampled, embedded)


def test_equal_bonds_get_equal_values(golden_predictor: Predictor) -> None:
    found = explained(golden_predictor, "*CC(*)c1ccccc1", passes=60)
    values = [bond.value for bond in found.bonds]
    assert len(values) == 9
    assert len(set(values)) == 5
    polyethylene = explained(golden_predictor, "*CC*")
    assert len({bond.value for bond in polyethylene.bonds}) == 1


def test_the_order_of_atoms_does_not_matter(golden_predictor: Predictor) -> None:
    one, other = (explained(golden_predictor, smiles) for smiles in ("*CC(*)OC", "COC(*)C*"))
    assert one == other


def test_another_cut_of_the_chain_moves_values_no_more_than_the_prediction(embedded: Predictor) -> None:
    one, other = (explained(embedded, smiles, "egc") for smiles in ("*CCO*", "*COC*"))

    def values(explanation: Explanation) -> dict[str, float]:
        return {"".join(sorted(bond.symbols)): bond.value for bond in explanation.bonds}

    assert set(values(one)) == set(values(other)) == {"CC", "CO"}
    moved = [abs(value - values(other)[name]) for name, value in values(one).items()]
    assert 0 < max(moved) <= abs(one.prediction - other.prediction)


def test_mirror_images_get_the_same_values_on_the_same_atoms(embedded: Predictor) -> None:
    left = RepeatUnit.parse("*[C@H](F)[C@@H](*)Cl")
    right = left.mirror_image()
    assert atoms_in(left, right) != tuple(range(6)), "their canonical SMILES have other orders"
    one, other = (explained(embedded, unit.smiles, "egc") for unit in (left, right))
    places = atoms_in(left, right)
    assert {frozenset(places[atom] for atom in ends): value for ends, value in by_atoms(other).items()} == by_atoms(one)
    assert other.repeat_unit == right.smiles


class OneBond:
    """A made-up network whose answer depends on one bond of the own graph only."""

    def __init__(self, network: Any, node: int) -> None:
        self._network = network
        self._node = node
        self.embed, self.embed_triplets = network.embed, network.embed_triplets
        self.triplet_emb, self.sizes = network.triplet_emb, network.sizes

    def predict_from(self, first: Tensor, batch: Any, *_: Any) -> Tensor:
        return first[torch.from_numpy(batch.first_nodes) + self._node].sum(dim=1)


@pytest.mark.parametrize("passes", [None, 40])
def test_a_bond_on_which_everything_depends_gets_everything(golden_predictor: Predictor, passes: int | None) -> None:
    unit = RepeatUnit.parse("*CC(*)C#N")
    polymer = featurize(unit, golden_predictor.scheme("eps"))
    node = next(bond.GetIdx() for bond in unit.mol.GetBonds() if bond.GetBondTypeAsDouble() == 3)

    @contextmanager
    def held(property_id: str, polymer: Any) -> Iterator[HeldNetworks]:
        with golden_predictor.held(property_id, polymer) as networks:
            made_up: Any = [OneBond(networks.members[0], node)]
            yield networks._replace(members=made_up, statistics=LabelStats(10.0, 2.0))

    predictor: Any = SimpleNamespace(
        artifacts=golden_predictor.artifacts, device=torch.device("cpu"), packing=golden_predictor.packing, held=held
    )
    found = explain(predictor, polymer, unit, property_id="eps", passes=passes)
    [nitrile] = [bond for bond in found.bonds if set(bond.symbols) == {"C", "N"}]
    assert abs(nitrile.value) > 0.1
    assert nitrile.value == pytest.approx(found.prediction - found.baseline, rel=1e-6)
    assert all(bond.value == 0 for bond in found.bonds if bond is not nitrile)
    assert found.whole_molecule.value == 0
    assert {atom.atom: atom.value for atom in found.atoms if atom.value} == dict.fromkeys(
        nitrile.atoms, nitrile.value / 2
    )


def test_predictions_are_answered_between_the_steps(golden_predictor: Predictor) -> None:
    unit = RepeatUnit.parse("*CC(*)c1ccccc1")
    polymer = featurize(unit, golden_predictor.scheme("eps"))
    steps = explanation_steps(golden_predictor, polymer, unit, property_id="eps", passes=60)
    assert next(steps) is None
    [outcome] = golden_predictor.predict_many([Task(polymer, "tg")])
    assert outcome.error is None
    *others, last = steps
    assert set(others) <= {None}
    assert isinstance(last, Explanation)


def test_what_cannot_be_explained_is_refused(golden_predictor: Predictor, embedded: Predictor) -> None:
    for predictor, smiles, property_id, problem in (
        (golden_predictor, f"*{'C' * 101}*", "eps", "101 atoms; predictions of at most 100"),
        (embedded, "*CC*", "ea", "ea takes the input copolymer"),
    ):
        polymer: Any = None  # refused before it is looked at
        steps = explanation_steps(predictor, polymer, RepeatUnit.parse(smiles), property_id=property_id)
        with pytest.raises(ValidationError, match=problem):
            next(steps)
    with pytest.raises(ValidationError, match=r"Passes given: 10; .* needs at least 38"):
        explained(golden_predictor, "*CC(*)c1ccccc1", passes=10)
