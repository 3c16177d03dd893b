"""The embedded model as it is shipped, and the training that makes it."""

import csv
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from periogt_ray.artifacts.architecture import ModelSizes
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import PerioGTError, ValidationError
from periogt_ray.model.collate import collate, collate_prompts, match_prompts
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor, load_encoder, load_regressor
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Outcome
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.predict import predict_properties

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "periogt_ray" / "embedded"
sys.path.insert(0, str(ROOT / "scripts"))

from compact import recipe as training  # noqa: E402
from compact.dataset import PROPERTIES, Dataset, Row, read_dataset  # noqa: E402
from compact.features import fit_scaler, load_polymers  # noqa: E402

TINY = [f"*{'C' * length}{part}*" for length in range(1, 7) for part in ("", "O", "C(F)", "C(=O)", "S")]
TINY_RECIPE = training.Recipe(
    sizes=ModelSizes(width=16, n_layers=1, n_heads=4, path_width=4, ffn_width=16, head_width=8),
    pretraining=replace(training.Recipe().pretraining, epochs=1),
    joint=replace(training.Recipe().joint, epochs=1),
    single=replace(training.Recipe().single, epochs=1),
    n_shown=1,
    n_transfer=3,
    fewest_transfer=1,
    n_trees=3,
)


@pytest.fixture(scope="session")
def directory() -> ArtifactDirectory:
    return ArtifactDirectory.open(MODEL)


@pytest.fixture(scope="session")
def card() -> dict:
    return json.loads((MODEL / "model_card.json").read_text())


@pytest.fixture(scope="session")
def networks(directory: ArtifactDirectory) -> tuple[PerioGTEncoder, dict[str, PerioGTRegressor]]:
    regressors = {name: load_regressor(directory.property_state_dict(name), name) for name in PROPERTIES}
    return load_encoder(directory.encoder_state_dict(), "encoder"), regressors


def predict(directory: ArtifactDirectory, networks: tuple, smiles: str) -> dict[str, float]:
    """Predict one polymer from the shipped files, independently of the training's own batches."""
    encoder, regressors = networks
    polymer = featurize(RepeatUnit.parse(smiles), PromptScheme.MIRROR_INVARIANT)
    features = polymer.oligomers[1]
    descriptors = directory.scaler().transform(features.descriptors)
    n_graphs = len(polymer.graphs)
    batch = collate(polymer.graphs, [features.fingerprint] * n_graphs, [descriptors] * n_graphs)
    states = encoder(batch)
    firsts = zip(batch.first_nodes, polymer.graphs, strict=True)
    nodes_of_graphs = np.concatenate([first + np.arange(graph.n_triplets) for first, graph in firsts])
    counts, nodes = match_prompts(
        [graph.bond_class for graph in polymer.graphs], PromptScheme.MIRROR_INVARIANT.max_prompts
    )
    own = collate(polymer.graphs[:1], [features.fingerprint], [descriptors])
    rows = [nodes_of_graphs[nodes]]
    prompts = collate_prompts([counts], rows, own.first_nodes)
    values = {}
    for name, network in regressors.items():
        stats = directory.label_stats(name)
        values[name] = network.predict(own, states, prompts).item() * stats.std + stats.mean
    return values


# --- the shipped directory


def test_ships_every_property_under_the_mirror_invariant_scheme(directory: ArtifactDirectory) -> None:
    assert directory.supported == sorted(PROPERTIES)
    assert {info.prompt_scheme for info in directory.properties.values()} == {PromptScheme.MIRROR_INVARIANT}
    assert directory.name == "PerioGT compact"


def test_files_are_those_of_the_card(card: dict) -> None:
    files = {path.relative_to(MODEL).as_posix(): path for path in MODEL.rglob("*") if path.is_file()}
    for name in ("model_card.json", "MODEL_CARD.md"):
        del files[name]
    assert files.keys() == card["files"].keys()
    for name, path in files.items():
        content = path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == card["files"][name]["sha256"], name
        assert len(content) == card["files"][name]["bytes"]


def test_directory_is_small() -> None:
    assert sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file()) <= 25_000_000


def test_card_reports_test_scores_beside_the_baseline(card: dict) -> None:
    text = (MODEL / "MODEL_CARD.md").read_text()
    assert card["test"].keys() == set(PROPERTIES)
    for name, score in card["test"].items():
        assert score["n"] == card["data"]["n_rows"][name]["test"]
        assert f"| {score['r2']:.3f} | {score['rmse']:.3f} |" in text
    assert card["baseline"].keys() <= set(PROPERTIES)
    for name, score in card["baseline"].items():
        assert score["n"] == card["test"][name]["n"]
        assert f"| {score['r2']:.3f} | {score['rmse']:.3f} |" in text


def test_values_of_well_known_polymers(directory: ArtifactDirectory, networks: tuple, card: dict) -> None:
    for name in ("polyethylene", "polystyrene", "poly(ethylene terephthalate)"):
        stored = card["well_known"][name]
        values = predict(directory, networks, stored["smiles"])
        for key in PROPERTIES:
            assert values[key] == pytest.approx(stored[key], abs=1e-5 + 1e-6), (name, key)


def test_band_gap_of_polyethylene(directory: ArtifactDirectory, networks: tuple) -> None:
    assert predict(directory, networks, "*CC*")["egc"] == pytest.approx(6.9, abs=0.4)


def test_no_absurd_values(card: dict) -> None:
    ranges = {"eat": (-7, -4.5), "eea": (-0.5, 5), "egb": (0, 10), "egc": (0, 10), "ei": (3, 10), "eps": (1.5, 10)}
    for name, values in card["well_known"].items():
        for key, (low, high) in {**ranges, "nc": (1.2, 3.5)}.items():
            assert low < values[key] < high, (name, key)


# --- what each stage of the training may see


def write_sets(directory: Path, rows: dict[str, list[tuple[str, float, str]]]) -> None:
    directory.mkdir(exist_ok=True)
    for name in PROPERTIES:
        with (directory / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("smiles", "value", "split"), *rows.get(name, [])])


def test_stages_see_no_test_polymer_in_any_spelling(tmp_path: Path) -> None:
    write_sets(
        tmp_path,
        {
            "eps": [("*CC(*)C", 1, "test"), ("*CCO*", 2, "train"), ("*CCS*", 3, "val")],
            "nc": [("C([*])C([*])C", 4, "train"), ("*CCO*", 5, "train"), ("*CC*", 6, "train")],
        },
    )
    dataset = read_dataset(tmp_path)
    propylene = RepeatUnit.parse("*CC(*)C").smiles
    assert propylene not in dataset.unlabelled()
    assert dataset.unlabelled() == sorted(RepeatUnit.parse(s).smiles for s in ("*CCO*", "*CCS*", "*CC*"))
    assert [row.value for row in dataset.joint_rows()["nc"]] == [5, 6]
    assert [row.value for row in dataset.joint_rows()["eps"]] == [2]  # no val row
    # The property's own stage uses its own split alone.
    assert propylene in {row.smiles for row in dataset.split("nc", "train")}


def test_train_duplicates_of_held_out_polymers_are_dropped(tmp_path: Path) -> None:
    held_out = [("[*]CC[*]", 2, "test"), ("*CS*", 5, "val")]
    write_sets(tmp_path, {"eps": [("*CC*", 1, "train"), ("*CO*", 3, "train"), ("*OC*", 4, "train"), *held_out]})
    dataset = read_dataset(tmp_path)
    assert [(row.value, row.split) for row in dataset.rows["eps"]] == [(3, "train"), (2, "test"), (5, "val")]
    assert [(row.property_id, row.reason) for row in dataset.dropped] == [("eps", "also in test"), ("eps", "repeated")]


def test_label_stats_are_those_of_the_train_rows() -> None:
    rows = (Row("*C*", 1.0, "train"), Row("*CC*", 3.0, "train"), Row("*CO*", 90.0, "test"), Row("*CS*", 90.0, "val"))
    assert Dataset({"eps": rows}).label_stats("eps") == (2.0, 1.0)


def test_unknown_split_is_refused_with_its_line(tmp_path: Path) -> None:
    write_sets(tmp_path, {"eps": [("*CC*", 1, "train"), ("*CO*", 1, "dev")]})
    with pytest.raises(ValidationError, match=r"eps.csv, line 3: split 'dev'"):
        read_dataset(tmp_path)


def test_scaler_keeps_rare_and_constant_columns_in_bounds() -> None:
    polymers = list(load_polymers([RepeatUnit.parse(smiles).smiles for smiles in TINY[:12]]).values())
    values = np.zeros((200, 1613), dtype=np.float32)
    values[0, 0], values[:, 1], values[:, 2] = 1e6, 7.0, np.arange(200)
    scaler = fit_scaler([replace(polymers[0], descriptors=row) for row in values])
    scaled = scaler.transform(values)
    assert np.abs(scaled).max() <= 8.001
    assert scaler.scale[1] == 1.0
    assert not scaled[:, 1].any()
    assert scaled[:, 2].std() == pytest.approx(1.0, rel=1e-4)


# --- a whole training, tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("tiny")
    write_sets(
        root / "data",
        {
            name: [
                (smiles, len(smiles) + 0.1 * shift, {shift: "test", (shift + 1) % 10: "val"}.get(index % 10, "train"))
                for index, smiles in enumerate(TINY)
            ]
            for shift, name in enumerate(PROPERTIES)
        },
    )
    training.train(root / "data", root / "first", cache=root / "cache.npz", recipe=TINY_RECIPE)
    return root / "data", root / "first"


@pytest.mark.slow
def test_training_writes_a_complete_directory(tiny: tuple[Path, Path]) -> None:
    _, out = tiny
    directory = ArtifactDirectory.open(out)
    assert directory.supported == sorted(PROPERTIES)
    load_encoder(directory.encoder_state_dict(), "encoder")
    card = json.loads((out / "model_card.json").read_text())
    assert card["test"] is None
    assert "test rows have not been evaluated" in (out / "MODEL_CARD.md").read_text()


@pytest.mark.slow
def test_same_seed_gives_the_same_files(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    data, first = tiny
    first_files = json.loads((first / "model_card.json").read_text())["files"]
    again, other = (
        training.train(data, tmp_path / str(seed), cache=data.parent / "cache.npz", recipe=TINY_RECIPE, seed=seed)
        for seed in (0, 1)
    )
    assert again["files"] == first_files
    assert other["files"]["pretrained_ckpt/base.safetensors"] != first_files["pretrained_ckpt/base.safetensors"]


@pytest.mark.slow
def test_training_never_reads_features_of_polymers_in_tests_alone(tmp_path: Path) -> None:
    rows = [(smiles, float(index), "val" if index % 5 == 0 else "train") for index, smiles in enumerate(TINY[:10])]
    write_sets(tmp_path / "data", {name: [*rows, ("*CCCCCCCCCN*", 1.0, "test")] for name in PROPERTIES})
    training.train(tmp_path / "data", tmp_path / "out", cache=tmp_path / "cache.npz", recipe=TINY_RECIPE)
    with np.load(tmp_path / "cache.npz") as cache:
        assert RepeatUnit.parse("*CCCCCCCCCN*").smiles not in cache["smiles"]
        assert {RepeatUnit.parse(smiles).smiles for smiles in TINY[:10]} <= set(cache["smiles"])


@pytest.mark.slow
def test_evaluation_fills_the_card_once(tiny: tuple[Path, Path]) -> None:
    data, out = tiny
    card = training.evaluate_on_test(data, out, cache=data.parent / "cache.npz")
    assert card["test"]["eps"]["n"] == 3
    assert json.loads((out / "model_card.json").read_text())["test"] == card["test"]
    with pytest.raises(PerioGTError, match="already"):
        training.evaluate_on_test(data, out, cache=data.parent / "cache.npz")


# --- what people send


@pytest.fixture(scope="module")
def predictor(directory: ArtifactDirectory) -> Predictor:
    return Predictor(directory, torch.device("cpu"))


def answers(predictor: Predictor, *spellings: str) -> list[Outcome]:
    return [predict_properties(predictor, smiles, ["egc"])[0] for smiles in spellings]


def test_isotopes_do_not_change_a_value(predictor: Predictor) -> None:
    plain, *labelled = answers(predictor, "*CC*", "[2H]C([2H])(*)C([2H])([2H])*", "[2H]C(*)C*", "*C[14CH2]*")
    assert {outcome.value for outcome in labelled} == {plain.value}
    assert plain.warnings == ()
    assert all("Isotopes" in outcome.warnings[0] for outcome in labelled)


def test_mirror_images_have_the_same_value_and_embedding(predictor: Predictor) -> None:
    left, right = ("*O[C@@H](C)C(=O)*", "*O[C@H](C)C(=O)*")
    assert len({outcome.value for outcome in answers(predictor, left, right)}) == 1
    vectors = [predict_properties(predictor, smiles, [None])[0].embedding for smiles in (left, right)]
    np.testing.assert_array_equal(*vectors)


@pytest.mark.parametrize(
    ("smiles", "said"),
    [
        ("*CCCCCC[N+](*)(C)C", ["charge of +1", "cannot be below 0 eV"]),
        ("*[Pb](C)(C)*", ["Pb occurs in no", "cannot be below 0 eV"]),
        ("*C=C(*)c1ccc(C#C)cc1", ["cannot be below 0 eV"]),
        ("*CC(*)c1ccc(S(=O)(=O)[O-])cc1", ["charge of -1"]),
    ],
)
def test_what_cannot_be_trusted_says_so(predictor: Predictor, smiles: str, said: list[str]) -> None:
    [outcome] = answers(predictor, smiles)
    assert len(outcome.warnings) == len(said)
    assert all(part in warning for part, warning in zip(said, outcome.warnings, strict=True))
