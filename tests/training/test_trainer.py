"""The trainer against the reference's own training steps, and against interruptions."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor, load_encoder
from periogt_ray.model.packing import Packing
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.training.new_network import new_network
from periogt_ray.training.polymer_set import PolymerSet
from periogt_ray.training.prompts import encode
from periogt_ray.training.recipe import Recipe, learning_rate, seed_of
from periogt_ray.training.trainer import Epoch, Labels, Rows, Stopped, Trained, Trainer, Watch, train
from support.golden import ARTIFACTS, GOLDEN

STEPS = json.loads((GOLDEN / "finetune" / "steps.json").read_text())
CPU = torch.device("cpu")
PACKING = Packing.for_device(CPU, width=24)


@cache
def encoder() -> PerioGTEncoder:
    artifacts = ArtifactDirectory.open(ARTIFACTS)
    return load_encoder(artifacts.encoder_state_dict(), artifacts.encoder)


@cache
def polymer_set(scheme: PromptScheme) -> PolymerSet:
    inputs = np.load(GOLDEN / "finetune" / "inputs.npz")
    polymers = [featurize(RepeatUnit.parse(str(smiles)), scheme) for smiles in inputs["smiles"]]
    scaler = ArtifactDirectory.open(ARTIFACTS).scaler()
    encoded = encode(encoder(), polymers, scaler, packing=PACKING, device=CPU)
    return PolymerSet.of(polymers, [found.prompts for found in encoded], scaler, packing=PACKING, device=CPU)


def golden_network() -> PerioGTRegressor:
    """The reference's start: the pretrained encoder with the new parts of the file for eps."""
    network = new_network(encoder(), dropout=0.0, seed=0)
    head = ArtifactDirectory.open(ARTIFACTS).property_state_dict("eps")
    new = {key: value for key, value in head.items() if key.startswith(("node_attn.", "predictor."))}
    _, unknown = network.load_state_dict(new, strict=False)
    assert not unknown
    return network


def golden_labels(settings: dict[str, Any]) -> Labels:
    common = STEPS["common"]
    values = np.load(GOLDEN / "finetune" / "inputs.npz")["value"]
    normalized = (values - np.float32(common["label_mean"])) / np.float32(common["label_std"])
    normalized = normalized + np.float32(settings.get("label_offset_in_std", 0.0))
    weights = np.ones(16, np.float32)
    weights[settings.get("missing_labels", [])] = 0
    return Labels(normalized.astype(np.float32), weights)


@pytest.mark.parametrize("name", STEPS["cases"])
def test_updates_are_those_of_the_reference(name: str) -> None:
    case, common = STEPS["cases"][name], STEPS["common"]
    settings = case["settings"]
    recipe = Recipe(
        common["lr"],
        dropout=0.0,
        weight_decay=settings["weight_decay"],
        clip_norm=common["clip_norm"],
        is_frozen=settings["mode"] == "freeze",
    )
    polymers = polymer_set(PromptScheme.named(settings["scheme"]))
    network = golden_network()
    trainer = Trainer(network, polymers, golden_labels(settings), recipe=recipe, n_updates=common["total_updates"])
    # The golden schedule warms up for 2 of 8 updates, where a tenth would be none.
    rates = dict(enumerate(case["lr"], 1))
    everything = list(range(16))
    in_units = [common["label_mean"], common["label_std"]]
    tolerance = 1e-4 if name == "clipped" else 1e-5
    # The reference counts two vectors for masked triplets, which only pretraining uses.
    n_masks = 0 if recipe.is_frozen else 2 * network.sizes.width
    assert sum(value.numel() for value in network.parameters() if value.requires_grad) + n_masks == case["n_trainable"]
    assert trainer.loss(everything) == pytest.approx(case["loss_all16_before"], abs=tolerance)
    predicted = polymers.predict(network, everything) * in_units[1] + in_units[0]
    np.testing.assert_allclose(predicted, case["prediction_before"], atol=1e-5, rtol=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("periogt_ray.training.trainer.learning_rate", lambda number, **_: rates[number])
        for number, chosen in enumerate(settings["batches"], 1):
            loss, norm = trainer.update(number, chosen)
            assert loss == pytest.approx(case["loss"][number - 1], abs=tolerance)
            assert norm == pytest.approx(case["grad_norm"][number - 1], rel=1e-5)
            assert trainer.loss(chosen) == pytest.approx(case["loss_after"][number - 1], abs=tolerance)
    assert trainer.loss(everything) == pytest.approx(case["loss_all16_after"], abs=tolerance)
    predicted = polymers.predict(network, everything) * in_units[1] + in_units[0]
    np.testing.assert_allclose(predicted, case["prediction_after"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("example", STEPS["schedule_examples"])
def test_the_schedule_is_that_of_the_reference(example: dict[str, Any]) -> None:
    recipe = Recipe(example["lr"], epochs=example["n_epochs"])
    n_updates = recipe.n_updates(example["n_train"])
    assert n_updates == example["total_updates"]
    assert recipe.updates_per_epoch(example["n_train"]) == example["steps_per_epoch"]
    for number, rate in example["lr_at"].items():
        assert float(f"{learning_rate(int(number), peak=example['lr'], n_updates=n_updates):.9g}") == rate
    assert learning_rate(n_updates + 1, peak=example["lr"], n_updates=n_updates) == example["lr_after_total"]


def test_fewer_polymers_than_a_batch_are_trained_on_together() -> None:
    recipe = Recipe(1e-3, epochs=3)
    assert (recipe.rows_per_update(20), recipe.updates_per_epoch(20), recipe.n_updates(20)) == (20, 1, 3)


RECIPE = Recipe(1e-3, epochs=4, batch_size=4, dropout=0.2)
ROWS = Rows(tuple(range(12)), tuple(range(12, 16)))


def trained(path: Path | None, watch: Watch | None = None, *, recipe: Recipe = RECIPE, seed: int = 3) -> Trained:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        labels = golden_labels({})
        polymers = polymer_set(PromptScheme.MONOMER)
        return train(encoder(), polymers, labels, ROWS, recipe=recipe, seed=seed, snapshot=path, watch=watch)
    finally:
        torch.set_num_threads(threads)


@cache
def undisturbed() -> Trained:
    return trained(None)


def assert_same(found: Trained, expected: Trained) -> None:
    assert found.history == expected.history
    assert found.best_epoch == expected.best_epoch
    assert {key: value.numpy().tobytes() for key, value in found.state.items()} == {
        key: value.numpy().tobytes() for key, value in expected.state.items()
    }


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("n_before", [0, 1, 3, 4, 7, 11])
def test_a_stopped_training_goes_on_with_the_same_bytes(tmp_path: Path, n_before: int) -> None:
    done = []
    watch = Watch(is_stopping=lambda: len(done) >= n_before, on_update=done.append)
    with pytest.raises(Stopped):
        trained(tmp_path / "snapshot", watch)
    assert len(done) == n_before
    assert_same(trained(tmp_path / "snapshot"), undisturbed())


@pytest.mark.slow
def test_a_training_killed_at_every_update_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """A hundred kills, at each update in turn, while a snapshot is written at each."""
    recipe = replace(RECIPE, epochs=34, patience=34, is_frozen=True)

    def kill_at(number: int) -> Watch:
        def on_update(done: int) -> None:
            if done == number:
                raise Killed

        return Watch(on_update=on_update, save_every_s=0.0)

    for number in range(2, 34 * 3 + 1):
        with pytest.raises(Killed):
            trained(tmp_path / "snapshot", kill_at(number), recipe=recipe)
    assert_same(trained(tmp_path / "snapshot", recipe=recipe), trained(None, recipe=recipe))


def test_a_snapshot_of_another_training_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    with pytest.raises(Stopped):
        trained(path, Watch(is_stopping=iter([False, False, True]).__next__), seed=4)
    assert_same(trained(path), undisturbed())
    path.write_bytes(path.read_bytes()[:1000] if path.exists() else b"torn")
    assert_same(trained(path), undisturbed())


def test_what_one_purpose_draws_moves_no_other() -> None:
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first = trained(None)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(1)
    np.random.default_rng().random(3)
    assert_same(trained(None), first)
    assert_same(trained(None, recipe=replace(RECIPE, patience=30)), first)


def test_dropout_acts_in_training_only() -> None:
    no_dropout = trained(None, recipe=replace(RECIPE, dropout=0.0))
    assert no_dropout.history != undisturbed().history
    polymers = polymer_set(PromptScheme.MONOMER)
    network = new_network(encoder(), dropout=0.5, seed=1)
    first, second = (polymers.predict(network, range(16)) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    network.train()
    outputs = [network.predict(*polymers.batch(range(16))) for _ in range(2)]
    assert not torch.equal(*outputs)


def test_it_ends_when_no_epoch_is_better() -> None:
    seen: list[Epoch] = []
    result = trained(
        None, Watch(on_epoch=seen.append), recipe=replace(RECIPE, epochs=60, patience=3, learning_rate=0.05)
    )
    assert tuple(seen[1:]) == result.history
    assert seen[0].number == 0, "before the first update"
    assert len(result.history) == result.best_epoch + 3 < 60
    assert result.best_epoch == min(seen[1:], key=lambda epoch: epoch.validation_rmse).number


def test_the_error_before_the_first_update_is_told_once() -> None:
    """That of the network as it is made; a continued training has no such line."""
    seen: list[Epoch] = []
    trained(None, Watch(on_epoch=seen.append))
    network = new_network(encoder(), dropout=RECIPE.dropout, seed=seed_of(3, "initial"))
    found = polymer_set(PromptScheme.MONOMER).predict(network, ROWS.validation)
    values = golden_labels({}).values[list(ROWS.validation)]
    assert seen[0] == Epoch(0, pytest.approx(float(np.sqrt(((found - values) ** 2).mean())), rel=1e-6), False)
    assert [epoch.number for epoch in seen] == list(range(len(seen)))


def test_a_continued_training_has_no_error_before_the_first_update(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        trained(tmp_path / "snapshot", Watch(is_stopping=iter([False, False, True]).__next__))
    seen: list[Epoch] = []
    trained(tmp_path / "snapshot", Watch(on_epoch=seen.append))
    assert seen[0].number == 1


def test_a_batch_that_does_not_fit_is_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    polymers = polymer_set(PromptScheme.MONOMER)
    recipe = replace(RECIPE, dropout=0.0)

    def one_update(room: int) -> tuple[Trainer, tuple[float, float]]:
        network = golden_network()
        trainer = Trainer(network, polymers, golden_labels({}), recipe=recipe, n_updates=20)
        make_batch = polymers.batch

        def batch(chosen: Any, **options: Any) -> Any:
            if len(chosen) > room:
                raise torch.OutOfMemoryError("no room")
            return make_batch(chosen, **options)

        monkeypatch.setattr(polymers, "batch", batch)
        result = trainer.update(2, range(16))
        monkeypatch.undo()
        return trainer, result

    whole, expected = one_update(16)
    parts, found = one_update(3)
    assert found == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(
        polymers.predict(parts.network, range(16)), polymers.predict(whole.network, range(16)), atol=1e-5
    )


def test_new_parts_have_the_initial_values_of_the_reference() -> None:
    network = new_network(encoder(), dropout=0.0, seed=0)
    network.requires_grad_(False)
    head = network.node_attn
    assert float(head.linear_1.weight.std()) == pytest.approx(0.02, rel=0.1)
    assert float(head.self_attn_2.out_proj.weight.std()) == pytest.approx(0.02, rel=0.1)
    assert float(head.cls_token.std()) == pytest.approx(1, abs=0.3)
    width = network.sizes.width
    assert float(head.self_attn_1.in_proj_weight.abs().max()) == pytest.approx((6 / (4 * width)) ** 0.5, rel=0.02)
    assert float(head.alpha) == 0.5
    biases = [value for key, value in network.named_parameters() if key.startswith("predictor") and "bias" in key]
    assert not any(bias.any() for bias in biases)
    before = encoder().state_dict()["node_emb.in_proj.weight"].clone()
    with torch.no_grad():
        network.node_emb.in_proj.weight.zero_()
    assert torch.equal(encoder().state_dict()["node_emb.in_proj.weight"], before)
