"""Copolymers of the embedded model: what is shipped, and the training that makes it."""

import csv
import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from periogt_ray.artifacts.architecture import ModelSizes
from periogt_ray.artifacts.card import read_card
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import PerioGTError, ValidationError
from periogt_ray.model.answers import properties_response
from periogt_ray.model.network import PerioGTEncoder, load_encoder
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.input_features import featurized_input
from periogt_ray.polymer.inputs import Copolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "periogt_ray" / "embedded"
sys.path.insert(0, str(ROOT / "scripts"))

from compact import copolymer_recipe  # noqa: E402
from compact.artifact import write_artifacts  # noqa: E402
from compact.copolymer_card import with_copolymers  # noqa: E402
from compact.copolymer_finish import add_copolymers, evaluate_copolymers, lookup  # noqa: E402
from compact.copolymer_recipe import (  # noqa: E402
    CopolymerStages,
    held_out_monomers,
    held_out_task,
    train_copolymer_network,
    train_held_out_network,
    write_copolymer_features,
)
from compact.copolymer_training import predict_copolymers, property_networks, train_copolymers  # noqa: E402
from compact.copolymers import (  # noqa: E402
    COPOLYMER_PROPERTIES,
    CopolymerRow,
    CopolymerStore,
    read_copolymer_file,
    read_copolymers,
)
from compact.dataset import PROPERTIES, Dataset, Row  # noqa: E402
from compact.features import load_polymers  # noqa: E402
from compact.finetune import joint_network, property_network  # noqa: E402
from compact.recipe import Recipe, Stages, scaler_of  # noqa: E402
from compact.stored import write_packed  # noqa: E402
from compact.training_file import read_training_file, write_training_file  # noqa: E402

PHENYLENE, THIOPHENE = "*c1ccc(*)cc1", "*c1ccc(*)s1"
SCHEME = PromptScheme.MIRROR_INVARIANT
# ea and ip, in eV, of the copolymers below, from the shipped files.
EXPECTED = [[2.4907284, 5.432934], [2.2760136, 5.30544]]


@pytest.fixture(scope="module")
def directory() -> ArtifactDirectory:
    return ArtifactDirectory.open(MODEL)


@pytest.fixture(scope="module")
def predictor(directory: ArtifactDirectory) -> Predictor:
    return Predictor(directory, torch.device("cpu"))


def answers(predictor: Predictor, *made: Copolymer) -> list[list[Outcome]]:
    """Answer ea and ip of each copolymer, each by itself."""
    polymers = [featurized_input(one, lambda unit: featurize(unit, SCHEME)) for one in made]
    return [predictor.predict_many([Task(one, name) for name in COPOLYMER_PROPERTIES]) for one in polymers]


# --- what is shipped


def test_values_of_two_copolymers(predictor: Predictor) -> None:
    made = [
        Copolymer.parse(PHENYLENE, THIOPHENE, ratio_a=0.5, architecture="alternating"),
        Copolymer.parse(PHENYLENE, "*c1ccc(*)o1", ratio_a=0.25, architecture="block"),
    ]
    values = [[outcome.value for outcome in one] for one in answers(predictor, *made)]
    np.testing.assert_allclose(values, EXPECTED, atol=2e-5)


def test_which_monomer_is_a_changes_no_bit(predictor: Predictor) -> None:
    one = Copolymer.parse(PHENYLENE, THIOPHENE, ratio_a=0.25, architecture="random")
    other = Copolymer.parse("s1c(*)ccc1*", "c1(*)ccc(*)cc1", ratio_a=0.75, architecture="random")
    first, second = answers(predictor, one, other)
    assert [outcome.value for outcome in first] == [outcome.value for outcome in second]
    [changed] = answers(predictor, replace(one, ratio_a=0.75, ratio_b=0.25))
    assert all(a.value != b.value for a, b in zip(first, changed, strict=True))


def test_a_known_pair_has_an_interval_and_a_new_monomer_has_none(predictor: Predictor) -> None:
    known, new = answers(
        predictor,
        Copolymer.parse(PHENYLENE, THIOPHENE, ratio_a=0.5, architecture="block"),
        Copolymer.parse(PHENYLENE, "*CC*", ratio_a=0.5, architecture="block"),
    )
    for outcome in known:
        assert outcome.interval is not None
        assert outcome.interval.lower < outcome.value < outcome.interval.upper
        assert outcome.interval.upper - outcome.interval.lower < 0.5  # eV
        assert outcome.domain is not None
        assert outcome.domain.status == "inside"
        assert outcome.warnings == ()
    for outcome in new:
        assert outcome.interval is None
        assert outcome.domain is not None
        assert outcome.domain.status in ("outside", "far_outside")
        assert any("No interval" in warning for warning in outcome.warnings)


def test_properties_and_card_tell_of_copolymers(directory: ArtifactDirectory) -> None:
    listed = {entry.id: entry for entry in properties_response(directory).properties}
    assert {name for name, entry in listed.items() if entry.input == "copolymer"} == set(COPOLYMER_PROPERTIES)
    cards = {entry.id: entry for entry in read_card(directory).properties}
    for name in COPOLYMER_PROPERTIES:
        assert cards[name].interval_scale == "constant"
        assert cards[name].n_train == 30745


def test_the_card_compares_with_a_table() -> None:
    card, text = json.loads((MODEL / "model_card.json").read_text()), (MODEL / "MODEL_CARD.md").read_text()
    assert with_copolymers(text, card) == text
    for part in ("test", "held_out"):
        for name in COPOLYMER_PROPERTIES:
            one = card["copolymers"][part][name]
            assert f"| {one['r2']:.3f} | {one['rmse']:.3f} | {one['table']['r2']:.3f} |" in text
    for name in COPOLYMER_PROPERTIES:
        one = card["copolymers"]["test"][name]
        assert one["r2"] > one["table"]["r2"]
        assert 0.87 < one["covered"]["0.9"] < 0.93


# --- the data sets


def write_sets(directory: Path, rows: list[tuple[str, str, float, str, float, str]]) -> None:
    directory.mkdir(exist_ok=True)
    for shift, name in enumerate(COPOLYMER_PROPERTIES):
        with (directory / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("smiles_A", "smiles_B", "rA", "rB", "type", "value", "split"))
            writer.writerows((a, b, r, 1 - r, kind, value + shift, split) for a, b, r, kind, value, split in rows)


def test_a_copolymer_that_is_held_out_is_not_learned_with_a_and_b_swapped(tmp_path: Path) -> None:
    write_sets(
        tmp_path,
        [
            ("*CC*", "*CO*", 0.25, "block", 1.0, "train"),
            ("*CO*", "*CC*", 0.75, "block", 2.0, "test"),
            ("*CO*", "*CC*", 0.25, "block", 3.0, "train"),
            ("*CS*", "C(*)S*", 0.25, "block", 4.0, "train"),
            ("*CS*", "*CS*", 0.75, "block", 5.0, "train"),
        ],
    )
    dataset = read_copolymers(tmp_path)
    assert [row.values for row in dataset.rows] == [(2.0, 3.0), (3.0, 4.0), (4.0, 5.0)]
    assert dataset.n_dropped == 2
    assert dataset.label_stats()[0].tolist() == [3.5, 4.5]


def test_other_rows_in_the_second_file_are_refused(tmp_path: Path) -> None:
    write_sets(tmp_path, [("*CC*", "*CO*", 0.25, "block", 1.0, "train")])
    text = (tmp_path / "ip.csv").read_text()
    (tmp_path / "ip.csv").write_text(text.replace("block", "random"))
    with pytest.raises(ValidationError, match="Line 2: ea and ip hold different copolymers"):
        read_copolymers(tmp_path)


def test_the_table_falls_back_to_monomers() -> None:
    train = [
        CopolymerRow("*CC*", "*CO*", 0.5, "block", (1.0, 10.0), "train"),
        CopolymerRow("*CC*", "*CO*", 0.25, "block", (3.0, 30.0), "train"),
        CopolymerRow("*CC*", "*CS*", 0.5, "block", (8.0, 80.0), "train"),
    ]
    asked = [("*CO*", "*CC*"), ("*CO*", "*CS*"), ("*CO*", "*CN*"), ("*CN*", "*CN*")]
    found = lookup(train, [CopolymerRow(a, b, 0.5, "block", (), "test") for a, b in asked])
    assert found[:, 0].tolist() == [2.0, 5.0, 2.0, 4.0]
    np.testing.assert_allclose(found[:, 1], 10 * found[:, 0])


# --- a whole training, tiny

RECIPE = Recipe(sizes=ModelSizes(width=16, n_layers=1, n_heads=4, path_width=4, ffn_width=16, head_width=8)).shortened()
PARTNERS = ("*c1ccc(*)cc1", "*c1ccc(*)s1", "*CC*", "*CO*")
FURTHER = ("*c1ccc(*)o1", "*CS*", "*CCO*", "*CCS*", "*CC(F)*")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[CopolymerStages, Path]:
    """Stages of a trained network, and an artifact directory of one homopolymers' property."""
    root = tmp_path_factory.mktemp("tiny")
    rows = []
    for a in PARTNERS:
        for b in FURTHER:
            for number, (ratio, kind) in enumerate([(0.5, "alternating"), (0.25, "block"), (0.75, "random")]):
                split = ("train", "train", "val", "train", "test")[len(rows) % 5]
                rows.append((a, b, ratio, kind, len(a) + len(b) / 2 + number, split))
    write_sets(root / "data", rows)
    stages = CopolymerStages(root / "work")
    write_copolymer_features(stages, root / "data")
    homopolymers = load_polymers(["*CC*", "*CCC*", "*CCO*"])
    dataset = Dataset({name: (Row("*CC*", 1.0, "train"), Row("*CCC*", 2.0, "train")) for name in PROPERTIES})
    write_training_file(Stages(stages.root).features, dataset, homopolymers)
    torch.manual_seed(0)
    encoder = PerioGTEncoder(RECIPE.sizes)
    joint = joint_network(encoder, len(PROPERTIES), seed=0, dropout=0.0)
    torch.save(encoder.state_dict(), Stages(stages.root).encoder)
    torch.save(joint.state_dict(), Stages(stages.root).joint(0))
    member, scaler = stages.root / "egc.safetensors", scaler_of(read_training_file(Stages(stages.root).features))
    write_packed(member, property_network(joint, 0, dropout=0.0))
    write_artifacts(root / "out", encoder, {"egc": [member]}, scaler=scaler, label_stats={"egc": (1.0, 2.0)})
    (root / "out" / "model_card.json").write_text('{"data": {"n_rows": {}}}')
    (root / "out" / "MODEL_CARD.md").write_text("# Tiny\n\n## Limits of use\n- It knows nothing.\n")
    train_copolymer_network(stages, RECIPE)
    train_held_out_network(stages, RECIPE)
    add_copolymers(stages, root / "out", RECIPE)
    return stages, root / "out"


@pytest.mark.slow
def test_networks_are_added_to_a_directory_of_homopolymers(tiny: tuple[CopolymerStages, Path]) -> None:
    _, out = tiny
    directory = ArtifactDirectory.open(out)
    assert directory.supported == ["ea", "egc", "ip"]
    assert directory.label_stats("egc").mean == 1.0
    card = json.loads((out / "model_card.json").read_text())
    assert card["copolymers"]["test"] is None
    for name, entry in card["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == entry["sha256"]
    text = (out / "MODEL_CARD.md").read_text()
    assert "The test rows have not been evaluated." in text
    assert text.endswith("## Limits of use\n- It knows nothing.\n")


@pytest.mark.slow
def test_files_answer_as_the_trained_network_does(tiny: tuple[CopolymerStages, Path]) -> None:
    """The way of training, with prompts that shift known nodes, is that of a prediction."""
    stages, out = tiny
    dataset = read_copolymer_file(stages.rows)
    rows = dataset.split("val")
    directory = ArtifactDirectory.open(out)
    network = property_networks(train_copolymer_network(stages, RECIPE))["ip"]
    write_packed(stages.root / "rounded.safetensors", network)  # rounds it, as the files are
    encoder = load_encoder(directory.encoder_state_dict(), "encoder")
    monomers = read_training_file(stages.monomers).polymers
    store = CopolymerStore(monomers, encoder, directory.scaler(), max_padding=0.3)
    expected = directory.label_stats("ip").values(predict_copolymers(network, store, rows)[:, 0])
    made = Predictor(directory, torch.device("cpu"))
    polymers = [featurized_input(row.copolymer, lambda unit: featurize(unit, SCHEME)) for row in rows]
    found = [outcome.value for outcome in made.predict_many([Task(polymer, "ip") for polymer in polymers])]
    # So short a training extrapolates far, and the last bits depend on the processor.
    np.testing.assert_allclose(found, expected, rtol=5e-6, atol=2e-5)


@pytest.mark.slow
def test_a_network_is_measured_on_monomers_that_it_did_not_see(tiny: tuple[CopolymerStages, Path]) -> None:
    stages, out = tiny
    dataset = read_copolymer_file(stages.rows)
    unseen = set(held_out_monomers(dataset))
    task = held_out_task(dataset)
    assert len(unseen) == 3
    assert {row.a for row in task.rows} == {row.a for row in dataset.rows} - unseen
    assert all(not unseen & {row.a, row.b} for row in task.rows)
    card = evaluate_copolymers(stages, out)
    assert card["copolymers"]["test"]["ea"]["n"] == len(dataset.split("test"))
    assert card["copolymers"]["held_out"]["ea"]["n"] == sum(row.a in unseen for row in dataset.split("test"))
    assert ArtifactDirectory.open(out).calibration("ea").facts.report["test"]["n"] == len(dataset.split("test"))
    assert "New monomers" in (out / "MODEL_CARD.md").read_text()
    with pytest.raises(PerioGTError, match="evaluated already"):
        evaluate_copolymers(stages, out)


@pytest.mark.slow
def test_an_interrupted_training_gives_the_same_network(tiny: tuple[CopolymerStages, Path], tmp_path: Path) -> None:
    stages, _ = tiny
    two = replace(RECIPE, copolymers=replace(RECIPE.copolymers, epochs=2))
    for name in ("whole", "interrupted"):
        shutil.copytree(stages.root, tmp_path / name)
        for path in (tmp_path / name).glob("copolymers_*"):
            path.unlink()
    whole = train_copolymer_network(CopolymerStages(tmp_path / "whole"), two)

    def stop(epoch: int, _network: object) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    interrupted = CopolymerStages(tmp_path / "interrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copolymer_recipe, "train_copolymers", partial(train_copolymers_until, stop))
        with pytest.raises(KeyboardInterrupt):
            train_copolymer_network(interrupted, two)
    again = train_copolymer_network(interrupted, two)
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0)


def train_copolymers_until(stop: Callable[[int, object], None], *arguments: Any, **options: Any) -> Any:
    return train_copolymers(*arguments, **{**options, "on_epoch": stop})
