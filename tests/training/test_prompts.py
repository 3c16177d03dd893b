"""Prompts are computed once, as in serving, and go to disk where there are many."""

from pathlib import Path

import numpy as np
import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.network import load_encoder, load_regressor
from periogt_ray.model.packing import Packing
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.training import prompts
from periogt_ray.training.kept_prompts import KeptPrompts
from periogt_ray.training.polymer_set import PolymerSet
from periogt_ray.training.prompts import Encoded, encode
from support.golden import ARTIFACTS

CPU = torch.device("cpu")
ARTIFACT_DIRECTORY = ArtifactDirectory.open(ARTIFACTS)


def polymers_of(scheme: PromptScheme) -> list[FeaturizedPolymer]:
    smiles = ("*CC(*)c1ccccc1", "*CCO*", "*OCCC(=O)*", "*c1ccc(*)s1", "*CC(*)(F)F")
    return [featurize(RepeatUnit.parse(text), scheme) for text in smiles]


def encoded(polymers: list[FeaturizedPolymer], spill: Path | None = None, max_nodes: int = 2048) -> list[Encoded]:
    encoder = load_encoder(ARTIFACT_DIRECTORY.encoder_state_dict(), ARTIFACT_DIRECTORY.encoder)
    packing = Packing(max_nodes, 0.0)
    return encode(encoder, polymers, ARTIFACT_DIRECTORY.scaler(), packing=packing, device=CPU, spill=spill)


def set_of(polymers: list[FeaturizedPolymer], found: list[Encoded], max_nodes: int = 2048) -> PolymerSet:
    scaler, packing = ARTIFACT_DIRECTORY.scaler(), Packing(max_nodes, 0.0)
    return PolymerSet.of(polymers, [each.prompts for each in found], scaler, packing=packing, device=CPU)


@pytest.mark.parametrize("scheme", [PromptScheme.MONOMER, PromptScheme.RELEASE])
@pytest.mark.parametrize("max_nodes", [2048, 60])
def test_predictions_have_the_bits_of_serving(scheme: PromptScheme, max_nodes: int) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    polymers = polymers_of(scheme)
    network = load_regressor(ARTIFACT_DIRECTORY.property_state_dict("eps"), "eps")
    normalized = set_of(polymers, encoded(polymers, max_nodes=max_nodes), max_nodes).predict(network, range(5))
    statistics = ARTIFACT_DIRECTORY.label_stats("eps")
    predictor = Predictor(ARTIFACT_DIRECTORY, CPU)
    torch.set_num_threads(threads)
    if scheme != ARTIFACT_DIRECTORY.property("eps").prompt_scheme:
        return
    served = [outcome.value for outcome in predictor.predict_many([Task(polymer, "eps") for polymer in polymers])]
    assert statistics.values(normalized).astype(np.float32).tolist() == [np.float32(value) for value in served]


def test_embeddings_are_those_of_serving() -> None:
    polymers = polymers_of(ARTIFACT_DIRECTORY.embedding_scheme)
    served = Predictor(ARTIFACT_DIRECTORY, CPU).predict_many([Task(polymer) for polymer in polymers])
    for mine, outcome in zip(encoded(polymers), served, strict=True):
        assert outcome.embedding is not None
        np.testing.assert_allclose(mine.embedding, outcome.embedding, rtol=1e-5, atol=1e-6)


def test_many_prompts_go_to_disk_in_half_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    polymers = polymers_of(PromptScheme.MONOMER)
    in_memory = encoded(polymers, tmp_path / "unused.npy")
    assert not (tmp_path / "unused.npy").exists()
    monkeypatch.setattr(prompts, "MOST_BYTES_IN_MEMORY", 0)
    on_disk = encoded(polymers, tmp_path / "prompts.npy")
    assert (tmp_path / "prompts.npy").exists()
    assert all(each.prompts.states.dtype == np.float16 for each in on_disk)
    network = load_regressor(ARTIFACT_DIRECTORY.property_state_dict("eps"), "eps")
    predictions = [set_of(polymers, found).predict(network, range(5)) for found in (in_memory, on_disk)]
    np.testing.assert_allclose(*predictions, atol=2e-3)


def test_prompts_of_a_run_before_are_read_back(tmp_path: Path) -> None:
    polymers = polymers_of(PromptScheme.MONOMER)
    found = encoded(polymers)
    names = [polymer.smiles for polymer in polymers]
    kept = KeptPrompts(tmp_path / "kept", encoder_sha256="x", scheme="monomer")
    kept.add(names[:2], found[:2])
    kept.add(names[2:], found[2:])
    again = kept.read()
    assert set(again) == set(names)
    for name, before in zip(names, found, strict=True):
        assert all(map(np.array_equal, before.prompts, again[name].prompts))
        assert np.array_equal(before.embedding, again[name].embedding)
    assert KeptPrompts(tmp_path / "kept", encoder_sha256="y", scheme="monomer").read() == {}
    assert KeptPrompts(tmp_path / "kept", encoder_sha256="x", scheme="release").read() == {}
    damaged = min((tmp_path / "kept").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:200])
    assert len(kept.read()) in (2, len(names) - 2)
