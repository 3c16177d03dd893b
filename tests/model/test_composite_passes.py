"""Copolymers and polymers with conditions: every stage equals the reference, alone and together."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import GPUOutOfMemoryError, ModelLoadError, ValidationError
from periogt_ray.model.collate import collate
from periogt_ray.model.composite_network import load_head
from periogt_ray.model.composite_passes import composite_input
from periogt_ray.model.network import PerioGTRegressor
from periogt_ray.model.packing import Packing
from periogt_ray.model.passes import prompt_graphs
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.prompts import FinishedPrompts, KeptPrompts, finished, monomer_key
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.input_features import FeaturizedComposite, FeaturizedCopolymer, featurized_input
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.inputs import Copolymer, PolymerWithConditions
from periogt_ray.polymer.prompt_scheme import PromptScheme
from support.golden_copolymers import (
    TOLERANCE,
    arrays,
    conditioned,
    copolymers,
    features_of,
    make_artifacts,
    monomer_features,
    monomers,
)

CPU = torch.device("cpu")
KINDS = {"ea": InputKind.COPOLYMER, "opv": InputKind.CONDITIONS}
STAGES = {"ea": "copolymer", "opv": "conditions"}
CASES = [("ea", "release"), ("ea", "current"), ("opv", "release"), ("opv", "monomer")]


def records(property_id: str) -> list[dict[str, Any]]:
    return copolymers() if property_id == "ea" else conditioned()


@pytest.fixture(scope="module")
def predictors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Predictor]:
    root = tmp_path_factory.mktemp("composites")
    names = ("release", "current", "monomer")
    return {name: Predictor(ArtifactDirectory.open(make_artifacts(root / name, name)), CPU) for name in names}


@pytest.fixture(scope="module", autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def tasks_of(property_id: str, scheme_name: str) -> list[Task]:
    scheme = PromptScheme.named(scheme_name, kind=KINDS[property_id])
    return [Task(features_of(record, scheme), property_id) for record in records(property_id)]


def normalized(outcome: Outcome, predictor: Predictor, property_id: str) -> float:
    statistics = predictor.artifacts.label_stats(property_id)
    assert outcome.error is None
    assert outcome.value is not None
    return (outcome.value - statistics.mean) / statistics.std


def bits(outcomes: list[Outcome]) -> list[str]:
    return [float(outcome.value).hex() for outcome in outcomes if outcome.value is not None]


def test_the_index_says_which_settings_a_scheme_means(predictors: dict[str, Predictor]) -> None:
    assert predictors["release"].scheme("eps") is PromptScheme.RELEASE
    assert predictors["release"].scheme("ea") is PromptScheme.RELEASE_UNSHIFTED
    assert predictors["release"].scheme("opv") is PromptScheme.RELEASE_UNSHIFTED
    assert predictors["current"].scheme("ea") is PromptScheme.CURRENT


@pytest.mark.parametrize(("property_id", "scheme"), CASES)
def test_predictions_equal_the_reference(property_id: str, scheme: str, predictors: dict[str, Predictor]) -> None:
    found = predictors[scheme].predict_many(tasks_of(property_id, scheme))
    for outcome, record in zip(found, records(property_id), strict=True):
        expected = record["raw_prediction"][scheme][property_id]
        assert normalized(outcome, predictors[scheme], property_id) == pytest.approx(expected, abs=TOLERANCE[scheme])


def computed(predictor: Predictor, network: PerioGTRegressor, polymer: FeaturizedComposite) -> float:
    """Return a network's output for one input, from a head pass of its own."""
    given = composite_input([polymer], [Task(polymer, "any")], predictor._scaler, max_padding=0.0)
    [head] = given.heads.values()
    with torch.inference_mode():
        return float(network.predict(head.batch, predictor._monomers.states(given), head.prompts))


@pytest.mark.parametrize("scheme", ["release", "current", "monomer"])
def test_prompts_equal_the_reference_before_they_are_rounded(scheme: str, predictors: dict[str, Predictor]) -> None:
    kind = InputKind.CONDITIONS if scheme == "monomer" else InputKind.COPOLYMER
    wanted = {
        i: arrays("prompts")[f"{scheme}_{i}"] for i in range(len(monomers())) if f"{scheme}_{i}" in arrays("prompts")
    }
    assert len(wanted) >= 3
    settings = PromptScheme.named(scheme, kind=kind)
    polymers = [monomer_features(monomers()[i]["smiles"], settings) for i in wanted]
    predictor = predictors[scheme]
    predictor_rounds = settings.is_rounded_to_half
    for polymer, expected in zip(polymers, wanted.values(), strict=True):
        [given] = predictor._monomer_inputs([polymer])
        with torch.inference_mode():
            made = predictor._monomers._computed(given)[monomer_key(polymer)]
        dense = np.zeros((len(made.counts), int(made.counts.max()), 48), np.float32)
        dense[np.arange(dense.shape[1]) < made.counts[:, None]] = made.states.numpy()
        if predictor_rounds:
            # A last digit may fall on the other side of a step.
            np.testing.assert_allclose(dense, expected.astype(np.float16), atol=2e-3)
            assert (dense == dense.astype(np.float16)).all()
        else:
            assert dense.shape == expected.shape
            np.testing.assert_allclose(dense, expected, atol=1e-5)


def test_unshifted_paths_matter_and_do_not_touch_the_first_graph(predictors: dict[str, Predictor]) -> None:
    """Under `monomer` the slip hardly moves predictions, so the look-up itself is compared."""
    for scheme, other in (
        (PromptScheme.MONOMER, PromptScheme.MONOMER_UNSHIFTED),
        (PromptScheme.RELEASE, PromptScheme.RELEASE_UNSHIFTED),
    ):
        polymers = [monomer_features("*CC(*)C#N", one) for one in (scheme, other)]
        polymers += [monomer_features("*COC(*)COCCCC", one) for one in (scheme, other)]
        batch, _, first_nodes = prompt_graphs(polymers, predictors["release"]._scaler, max_padding=0.0)
        with torch.inference_mode():
            encoded = predictors["release"]._encoder(batch)
        for shifted in (0, 2):
            for number, graph in enumerate(polymers[shifted].graphs):
                one, two = (first_nodes[i][number] for i in (shifted, shifted + 1))
                states = [encoded[start : start + graph.n_triplets] for start in (one, two)]
                assert torch.equal(*states) == (number == 0)


def test_numbers_in_unshifted_paths_run_on_into_the_following_graphs() -> None:
    """A graph that is larger than the first one names nodes of the second one, whatever the order of sizes."""
    polymer = monomer_features("*CC*", PromptScheme.RELEASE_UNSHIFTED)
    other = monomer_features("*CC(*)c1ccccc1", PromptScheme.RELEASE)
    graphs = [*other.graphs, *polymer.graphs]
    n = len(other.graphs)
    origins = [*range(n), *[n] * len(polymer.graphs)]
    zeros = [np.zeros(1)] * len(graphs)
    batch = collate(graphs, zeros, zeros, path_origins=origins)
    plain = collate(graphs, zeros, zeros)
    through = np.concatenate(
        [
            start + np.arange(graph.n_triplets)
            for start, graph in zip(batch.first_nodes[n:], polymer.graphs, strict=True)
        ]
    )
    own = {graph.n_triplets: graph.paths for graph in polymer.graphs}
    n_total = len(batch.bond_features)
    block = 0
    for n_graphs, n_nodes, start in batch.groups:
        for number in range(n_graphs):
            rows = (batch.edge_slots >= block) & (batch.edge_slots < block + n_nodes**2)
            paths = batch.edge_paths[rows].numpy()
            if start + number * n_nodes in batch.first_nodes[n:]:
                expected = own[n_nodes]
                np.testing.assert_array_equal(paths, np.where(expected < 0, n_total, through[expected]))
            else:
                assert torch.equal(batch.edge_paths[rows], plain.edge_paths[rows])
            block += n_nodes**2
    assert torch.equal(batch.edge_distance, plain.edge_distance)
    assert torch.equal(batch.n_valid_slots, plain.n_valid_slots)


@pytest.mark.parametrize(("property_id", "scheme"), CASES)
def test_readouts_equal_the_reference(property_id: str, scheme: str, predictors: dict[str, Predictor]) -> None:
    predictor = predictors[scheme]
    [network] = predictor._heads.get(predictor.artifacts.property(property_id))
    seen: list[torch.Tensor] = []
    readout = network.readout
    network.readout = lambda states, batch: seen.append(readout(states, batch)) or seen[-1]  # type: ignore[method-assign]
    try:
        polymers = [task.polymer for task in tasks_of(property_id, scheme)]
        for polymer in polymers:
            assert not isinstance(polymer, FeaturizedPolymer)
            computed(predictor, network, polymer)
    finally:
        del network.readout
    found = torch.cat(seen).numpy()
    tolerance = 1e-5 if scheme != "current" else 2e-4
    for index, row in enumerate(found):
        expected = arrays("stages")[f"{STAGES[property_id]}_{scheme}_{property_id}_readout_{index}"]
        np.testing.assert_allclose(row, expected, atol=tolerance)


@pytest.mark.parametrize("property_id", ["ea", "opv"])
def test_states_after_the_prompts_equal_the_reference(property_id: str, predictors: dict[str, Predictor]) -> None:
    """Of inputs that are in the order in which they are computed; the reference's are in the order given."""
    predictor = predictors["release"]
    [network] = predictor._heads.get(predictor.artifacts.property(property_id))
    seen: list[torch.Tensor] = []
    handle = network.node_attn.register_forward_hook(lambda *args: seen.append(args[2]))
    n_compared = 0
    try:
        for index, task in enumerate(tasks_of(property_id, "release")):
            polymer = task.polymer
            assert not isinstance(polymer, FeaturizedPolymer)
            given = records(property_id)[index]["smiles"]
            if isinstance(polymer, FeaturizedCopolymer) and [one.smiles for one in polymer.monomers] != given:
                continue
            computed(predictor, network, polymer)
            expected = arrays("stages")[f"{STAGES[property_id]}_release_{property_id}_states_{index}"]
            np.testing.assert_allclose(seen[-1].numpy(), expected, atol=1e-5)
            n_compared += 1
    finally:
        handle.remove()
    assert n_compared >= 8


@pytest.mark.parametrize("max_nodes", [1, 300, 100_000])
@pytest.mark.parametrize("property_id", ["ea", "opv"])
def test_an_answer_does_not_depend_on_its_company(
    property_id: str, max_nodes: int, predictors: dict[str, Predictor]
) -> None:
    """Bit for bit on a CPU, with homopolymers beside it, in any order, with kept prompts and without."""
    tasks = tasks_of(property_id, "release")
    alone = [predictors["release"].predict_many([task])[0] for task in tasks]
    fresh = Predictor(predictors["release"].artifacts, CPU, packing=Packing(max_nodes, 0.0))
    others = [Task(monomer_features(smiles, PromptScheme.RELEASE), "eps") for smiles in ("*CC*", "*c1ccc(*)s1")]
    order = np.random.default_rng(5).permutation(len(tasks))
    mixed = fresh.predict_many([others[0], *(tasks[i] for i in order), others[1]])
    assert bits(mixed[1:-1]) == bits([alone[i] for i in order])
    assert bits(fresh.predict_many(tasks)) == bits(alone)


def test_swapped_monomers_get_the_same_bits(predictors: dict[str, Predictor]) -> None:
    tasks = tasks_of("ea", "release")
    swapped = []
    for record in copolymers():
        scheme = PromptScheme.RELEASE_UNSHIFTED
        turned = {**record, "given": record["given"][::-1], "ratio": record["ratio"][::-1]}
        swapped.append(Task(features_of(turned, scheme), "ea"))
    assert bits(predictors["release"].predict_many(swapped)) == bits(predictors["release"].predict_many(tasks))


def test_one_prompt_pass_a_monomer_and_one_head_pass_a_copolymer(
    predictors: dict[str, Predictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(predictors["release"].artifacts, CPU)
    encoder = predictor._encoder
    [network] = predictor._heads.get(predictor.artifacts.property("ea"))
    seen: list[int] = []
    heads: list[int] = []
    forward, predict = encoder.forward, network.predict
    monkeypatch.setattr(encoder, "forward", lambda batch: seen.append(len(batch.graph_order)) or forward(batch))
    monkeypatch.setattr(
        network, "predict", lambda batch, *rest: heads.append(len(batch.graph_order)) or predict(batch, *rest)
    )
    scheme = predictor.scheme("ea")
    tasks = [
        Task(features_of({"given": pair, "ratio": [r, 1 - r], "type": kind}, scheme), "ea")
        for pair in (["*CC*", "*CCO*"], ["*CCO*", "*CC(*)C"])
        for r in (0.25, 0.5, 0.75)
        for kind in ("block", "random")
    ]
    predictor.predict_many([*tasks, tasks[0]])
    n_graphs = [len(monomer_features(smiles, scheme).graphs) for smiles in ("*CC*", "*CCO*", "*CC(*)C")]
    assert seen == [sum(n_graphs)]
    assert heads == [len(tasks)]
    predictor.predict_many(tasks[:3])
    assert len(seen) == 1


def test_all_27_combinations_have_different_values(predictors: dict[str, Predictor]) -> None:
    scheme = predictors["release"].scheme("ea")
    tasks = [
        Task(features_of({"given": ["*CC*", "*CCO*"], "ratio": [a, b], "type": kind}, scheme), "ea")
        for a in (0.25, 0.5, 0.75)
        for b in (0.25, 0.5, 0.75)
        for kind in ("alternating", "block", "random")
    ]
    assert len({value[:12] for value in bits(predictors["release"].predict_many(tasks))}) == 27


def test_the_wrong_kind_of_input_is_an_error_of_this_task(predictors: dict[str, Predictor]) -> None:
    predictor = predictors["release"]
    unshifted = PromptScheme.RELEASE_UNSHIFTED
    both = features_of(copolymers()[22], unshifted)
    plain = monomer_features("*CC*", unshifted)
    found = predictor.predict_many(
        [Task(both, "opv"), Task(both, "eps"), Task(plain, "ea"), Task(both), Task(both, "ea", True), Task(both, "ea")]
    )
    messages = [outcome.error.message for outcome in found[:-1] if isinstance(outcome.error, ValidationError)]
    assert len(messages) == 5
    assert "opv is predicted of a repeat unit with conditions, and a copolymer was given" in messages[0]
    assert "eps is predicted of a repeat unit, and a copolymer was given" in messages[1]
    assert 'ea is predicted of a copolymer, and a repeat unit was given; expected {"copolymer"' in messages[2]
    assert "no embedding" in messages[3]
    assert "no embedding" in messages[4]
    assert found[-1].error is None


def test_a_value_in_its_unit_carries_warnings_of_both_monomers(predictors: dict[str, Predictor]) -> None:
    predictor = predictors["release"]
    made = Copolymer.parse("*CC(*)[Si](C)(C)C", "*CC*", ratio_a=0.25, architecture="alternating")
    features = featurized_input(made, lambda unit: monomer_features(unit.smiles, predictor.scheme("ea")))
    [outcome] = predictor.predict_many([Task(features, "ea", warnings=made.warnings)])
    assert (outcome.units, outcome.checkpoint) == ("eV", "finetuned_ckpt/ea/best_model.pth")
    assert "Si occurs in no training polymer" in outcome.warnings
    assert any("alternating" in warning for warning in outcome.warnings)


def test_conditions_beyond_numbers_are_a_validation_error(predictors: dict[str, Predictor]) -> None:
    predictor = predictors["release"]
    good, far = (
        PolymerWithConditions.parse("*CCO*", {"homo": homo, "bandgap": 0, "molar_mass": 0}) for homo in (0.0, 3e38)
    )
    tasks = [
        Task(featurized_input(one, lambda unit: monomer_features(unit.smiles, predictor.scheme("opv"))), "opv")
        for one in (far, good)
    ]
    first, second = predictor.predict_many(tasks)
    assert isinstance(first.error, ValidationError)
    assert "not a finite number" in first.error.message
    assert second.value == predictor.predict_many(tasks[1:])[0].value


def test_out_of_memory_halves_the_inputs(predictors: dict[str, Predictor], monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = predictors["release"]
    [network] = predictor._heads.get(predictor.artifacts.property("ea"))
    tasks = tasks_of("ea", "release")
    expected = predictor.predict_many(tasks)
    predict = network.predict

    def limited(batch: Any, *rest: Any) -> torch.Tensor:
        if len(batch.bond_features) > 60:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return predict(batch, *rest)

    monkeypatch.setattr(network, "predict", limited)
    found = predictor.predict_many(tasks)
    sizes = [record["n_nodes"] for record in copolymers()]
    assert max(sizes) <= 60 or any(isinstance(outcome.error, GPUOutOfMemoryError) for outcome in found)
    for size, one, other in zip(sizes, found, expected, strict=True):
        assert (one.value == other.value) if size <= 60 else isinstance(one.error, GPUOutOfMemoryError)


def test_prompts_are_kept_within_their_bound() -> None:
    kept = KeptPrompts(max_bytes=3 * 4 * 10)
    keys = [monomer_key(monomer_features(smiles, PromptScheme.MONOMER)) for smiles in ("*CC*", "*CCO*", "*CC(*)C")]
    for key in keys[:2]:
        kept.put(key, FinishedPrompts(np.array([1]), torch.zeros(2, 7)))
    assert kept.get(keys[0]) is not None
    kept.put(keys[2], FinishedPrompts(np.array([1]), torch.zeros(2, 7)))
    assert [kept.get(key) is not None for key in keys] == [True, False, True]


def test_rounding_is_that_of_binary16() -> None:
    states = torch.tensor([[1.0002, 0.1, -3.14159]])
    assert torch.equal(finished(states, PromptScheme.CURRENT), states.half().float())
    assert finished(states, PromptScheme.RELEASE) is states


def test_weights_that_have_no_effect_must_still_be_there(predictors: dict[str, Predictor]) -> None:
    artifacts = predictors["release"].artifacts
    state = artifacts.property_state_dict("ea")
    polymer = features_of(copolymers()[22], PromptScheme.RELEASE_UNSHIFTED)
    values = []
    for scale in (1.0, 1e3):
        changed = {**state, "node_attn.virutal_node_emb.weight": state["node_attn.virutal_node_emb.weight"] * scale}
        network = load_head("copolymer", changed, "ea.pth")
        values.append(computed(predictors["release"], network, polymer))
    assert values[0] == values[1]
    del state["node_attn.virutal_node_emb.weight"]
    with pytest.raises(ModelLoadError, match=r"missing: node_attn\.virutal_node_emb\.weight"):
        load_head("copolymer", state, "ea.pth")
