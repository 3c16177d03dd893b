import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.index import write_index
from periogt_ray.errors import (
    CheckpointMissingError,
    GPUOutOfMemoryError,
    InternalError,
    UnsupportedPropertyError,
    ValidationError,
)
from periogt_ray.model.packing import Packing
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings
from support.golden import ARTIFACTS, GoldenPolymer, golden_polymers

CPU = torch.device("cpu")


def normalized(outcome: Outcome, predictor: Predictor, property_id: str) -> float:
    statistics = predictor.artifacts.label_stats(property_id)
    assert outcome.error is None
    assert outcome.value is not None
    return (outcome.value - statistics.mean) / statistics.std


@pytest.fixture(scope="module")
def polymers() -> list[FeaturizedPolymer]:
    return [featurize(RepeatUnit.parse(golden.smiles)) for golden in golden_polymers()[:24]]


def test_predictions_and_embeddings_equal_the_reference(golden: GoldenPolymer, golden_predictor: Predictor) -> None:
    polymer = featurize(RepeatUnit.parse(golden.smiles))
    eps, tg, embedding = golden_predictor.predict_many([Task(polymer, "eps", True), Task(polymer, "tg"), Task(polymer)])
    expected = golden.record["raw_prediction"]
    assert normalized(eps, golden_predictor, "eps") == pytest.approx(expected["eps"], abs=1e-5)
    assert normalized(tg, golden_predictor, "tg") == pytest.approx(expected["tg"], abs=1e-5)
    assert embedding.embedding is not None
    np.testing.assert_allclose(embedding.embedding, golden.embedding, atol=1e-5)
    np.testing.assert_array_equal(eps.embedding, embedding.embedding)
    assert (eps.checkpoint, tg.units, tg.embedding) == ("finetuned_ckpt/eps/best_model.pth", "degC", None)


@pytest.fixture(scope="module")
def monomer_predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    root = Path(shutil.copytree(ARTIFACTS, tmp_path_factory.mktemp("monomer") / "artifacts"))
    write_index(root, scheme=PromptScheme.MONOMER)
    return Predictor(ArtifactDirectory.open(root), CPU)


def test_monomer_scheme_equals_the_reference(golden: GoldenPolymer, monomer_predictor: Predictor) -> None:
    polymer = featurize(RepeatUnit.parse(golden.smiles), PromptScheme.MONOMER)
    [outcome] = monomer_predictor.predict_many([Task(polymer, "eps")])
    expected = golden.record["monomer_scheme"]["raw_prediction_eps"]
    assert normalized(outcome, monomer_predictor, "eps") == pytest.approx(expected, abs=1e-5)


def test_an_answer_does_not_depend_on_its_company(polymers: list[FeaturizedPolymer]) -> None:
    """Bit for bit on a CPU, however polymers are packed."""
    answers = []
    for max_nodes in (1, 300, 10_000):
        predictor = Predictor(ArtifactDirectory.open(ARTIFACTS), CPU, packing=Packing(max_nodes, 0.0))
        answers.append(predictor.predict_many([Task(polymer, "eps", True) for polymer in polymers]))
    for alone, *others in zip(*answers, strict=True):
        for other in others:
            assert other.value == alone.value
            np.testing.assert_array_equal(other.embedding, alone.embedding)


def test_passes_made_ahead_give_the_same_answers(
    polymers: list[FeaturizedPolymer], golden_predictor: Predictor
) -> None:
    """As on a GPU: a thread makes the tensors of the next passes, and answers are read one pass later."""
    packing = Packing(600, 0.0, first_nodes=50, n_ahead=2)
    predictor = Predictor(ArtifactDirectory.open(ARTIFACTS), CPU, packing=packing)
    tasks = [Task(polymer, property_id, True) for polymer in polymers for property_id in ("tg", "eps")]
    assert len(list(packing.passes(polymers))) > 4
    for found, expected in zip(predictor.predict_many(tasks), golden_predictor.predict_many(tasks), strict=True):
        assert found.value == expected.value
        np.testing.assert_array_equal(found.embedding, expected.embedding)


def test_the_first_passes_are_small(polymers: list[FeaturizedPolymer]) -> None:
    small = [polymer for polymer in polymers if polymer.n_triplets < 100]
    passes = list(Packing(1600, 0.0, first_nodes=200).passes(small * 10))
    sizes = [sum((small * 10)[position].n_triplets for position in together) for together in passes]
    for size, bound in zip(sizes, [200, 400, 800, *[1600] * len(sizes)], strict=False):
        assert size <= bound
    assert max(sizes) > 1400
    assert sorted(position for together in passes for position in together) == list(range(10 * len(small)))


def test_padding_moves_answers_by_rounding_alone(
    polymers: list[FeaturizedPolymer], golden_predictor: Predictor
) -> None:
    padded = Predictor(ArtifactDirectory.open(ARTIFACTS), CPU, packing=Packing(4096, 0.5))
    tasks = [Task(polymer, "eps") for polymer in polymers]
    pairs = zip(padded.predict_many(tasks), golden_predictor.predict_many(tasks), strict=True)
    for one, other in pairs:
        assert normalized(one, padded, "eps") == pytest.approx(normalized(other, padded, "eps"), abs=1e-6)


def test_outcomes_are_in_the_order_of_the_jobs(polymers: list[FeaturizedPolymer], golden_predictor: Predictor) -> None:
    tasks = [Task(polymer, property_id) for property_id in ("tg", "eps", None) for polymer in polymers]
    shuffled = np.random.default_rng(0).permutation(len(tasks))
    straight = golden_predictor.predict_many(tasks)
    for position, index in enumerate(shuffled):
        [outcome] = golden_predictor.predict_many([tasks[index]]) if position % 8 == 0 else [straight[index]]
        assert outcome.value == straight[index].value
        assert outcome.checkpoint == straight[index].checkpoint


def test_the_prompt_pass_runs_once_a_polymer(
    polymers: list[FeaturizedPolymer], golden_predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    encoder = golden_predictor._encoder
    forward = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda batch: seen.append(len(batch.graph_order)) or forward(batch))
    polymer = polymers[0]
    golden_predictor.predict_many(
        [Task(polymer, "eps"), Task(polymer, "tg", True), Task(polymer), Task(polymer, "eps")]
    )
    assert seen == [len(polymer.graphs)]


def out_of_memory_over(limit: int, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a prompt pass fail as a full GPU does when it has more than `limit` nodes; returns sizes that passed."""
    passed: list[int] = []
    forward = predictor._encoder.forward

    def limited(batch: object) -> torch.Tensor:
        n_nodes = len(batch.bond_features)  # type: ignore[attr-defined]
        if n_nodes > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        passed.append(n_nodes)
        return forward(batch)

    monkeypatch.setattr(predictor._encoder, "forward", limited)
    return passed


def test_out_of_memory_halves_the_batch(polymers: list[FeaturizedPolymer], monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(ArtifactDirectory.open(ARTIFACTS), CPU, packing=Packing(10_000, 0.0))
    tasks = [Task(polymer, property_id) for polymer in polymers for property_id in ("eps", "tg")]
    expected = predictor.predict_many(tasks)
    sizes = sorted(polymer.n_triplets for polymer in polymers)
    passed = out_of_memory_over(sizes[-2], predictor, monkeypatch)
    found = predictor.predict_many(tasks)
    assert len(passed) > 1
    for polymer, one, other in zip([p for p in polymers for _ in range(2)], found, expected, strict=True):
        if polymer.n_triplets > sizes[-2]:
            assert isinstance(one.error, GPUOutOfMemoryError)
            assert polymer.smiles in one.error.message
        else:
            assert one.value == other.value


def test_a_property_that_cannot_be_served_fails_alone(polymers: list[FeaturizedPolymer], tmp_path: Path) -> None:
    root = Path(shutil.copytree(ARTIFACTS, tmp_path / "artifacts"))
    (root / "label_stats.json").write_text('{"eps": {"mean": 3.9, "std": 0.8}}')
    predictor = Predictor(ArtifactDirectory.open(root), CPU)
    good, missing, unknown = predictor.predict_many([Task(polymers[0], name) for name in ("eps", "tg", "nope")])
    assert good.error is None
    assert isinstance(missing.error, CheckpointMissingError)
    assert "label_stats.json" in missing.error.message
    assert "tg" in missing.error.message
    assert isinstance(unknown.error, UnsupportedPropertyError)
    assert unknown.error.details["supported"] == ["eps"]


def test_a_value_that_is_not_finite_is_never_returned(
    polymers: list[FeaturizedPolymer], golden_predictor: Predictor
) -> None:
    broken = polymers[0].oligomers[1]._replace(descriptors=np.full(1613, math.inf, dtype=np.float32))
    bad = replace(polymers[0], smiles="*bad*", oligomers={**polymers[0].oligomers, 1: broken})
    value, embedding, good = golden_predictor.predict_many([Task(bad, "eps"), Task(bad), Task(polymers[1], "eps")])
    assert isinstance(value.error, InternalError)
    assert isinstance(embedding.error, InternalError)
    assert good.error is None


def test_finetuned_weights_stay_within_their_budget(polymers: list[FeaturizedPolymer]) -> None:
    predictor = Predictor(ArtifactDirectory.open(ARTIFACTS), CPU, weights_bytes=1)
    loads: list[str] = []
    read = predictor.artifacts.property_state_dict

    def recorded(property_id: str, *, member: int = 0) -> dict[str, torch.Tensor]:
        loads.append(property_id)
        return read(property_id, member=member)

    object.__setattr__(predictor.artifacts, "property_state_dict", recorded)
    for property_id in ("eps", "eps", "tg", "eps"):
        predictor.predict_many([Task(polymers[0], property_id)])
        assert predictor._heads.loaded == (property_id,)
    assert loads == ["eps", "tg", "eps"]


def test_an_outcome_carries_its_warnings(golden_predictor: Predictor) -> None:
    charged = featurize(RepeatUnit.parse("*CC(*)C(=O)[O-]"))
    plain, noted, embedding = golden_predictor.predict_many(
        [Task(charged, "eps"), Task(charged, "eps", warnings=("Isotopes ...",)), Task(charged, None)]
    )
    assert plain.value == noted.value
    assert [warning for warning in plain.warnings if "charge of -1" in warning]
    assert noted.warnings == ("Isotopes ...", *plain.warnings)
    assert embedding.warnings == plain.warnings[:1]


def test_an_alias_is_the_property_that_it_stands_for(tmp_path: Path) -> None:
    root = Path(shutil.copytree(ARTIFACTS, tmp_path / "artifacts"))
    (root / "finetuned_ckpt" / "tg").rename(root / "finetuned_ckpt" / "mt")
    (root / "label_stats.json").write_text('{"eps": {"mean": 4.0, "std": 1.0}, "mt": {"mean": 201.5, "std": 108.2}}')
    predictor = Predictor(ArtifactDirectory.open(root), CPU)
    polymer = featurize(RepeatUnit.parse("*CCO*"), predictor.scheme("tm"))
    by_id, by_alias = predictor.predict_many([Task(polymer, "mt"), Task(polymer, "tm")])
    assert by_alias == by_id
    assert (by_alias.units, by_alias.error) == ("degC", None)


def test_nothing_asked_nothing_answered(golden_predictor: Predictor) -> None:
    assert golden_predictor.predict_many([]) == []


def test_absent_artifacts_are_named_before_anything_is_loaded(tmp_path: Path) -> None:
    root = Path(shutil.copytree(ARTIFACTS, tmp_path / "artifacts"))
    shutil.rmtree(root / "pretrained_ckpt")
    settings = Settings(tmp_path, root, tmp_path, device="cpu")
    with pytest.raises(CheckpointMissingError, match="pretrained_ckpt/base"):
        Predictor.load(settings)


def test_schemes_come_from_the_index(tmp_path: Path) -> None:
    root = Path(shutil.copytree(ARTIFACTS, tmp_path / "artifacts"))
    assert Predictor(ArtifactDirectory.open(root), CPU).scheme("eps") is PromptScheme.RELEASE
    write_index(root, scheme=PromptScheme.MONOMER)
    assert json.loads((root / "index.json").read_text())["properties"]["eps"]["prompt_scheme"] == "monomer"
    assert Predictor(ArtifactDirectory.open(root), CPU).scheme("eps") is PromptScheme.MONOMER


def test_a_salt_that_crashes_the_reference_is_a_validation_error() -> None:
    with pytest.raises(ValidationError, match="2 fragments"):
        RepeatUnit.parse("*CC(*)C(=O)[O-].[Na+]")


def test_features_of_another_scheme_are_a_bug_and_loud(golden_predictor: Predictor) -> None:
    polymer = featurize(RepeatUnit.parse("*CCO*"), PromptScheme.MONOMER)
    with pytest.raises(ValueError, match="scheme 'release'"):
        golden_predictor.predict_many([Task(polymer, "eps")])


def test_values_print_as_float32s_shortest_form(polymers: list[FeaturizedPolymer], golden_predictor: Predictor) -> None:
    for outcome in golden_predictor.predict_many([Task(polymer, "tg") for polymer in polymers]):
        assert outcome.value is not None
        assert repr(outcome.value) == str(np.float32(outcome.value))
