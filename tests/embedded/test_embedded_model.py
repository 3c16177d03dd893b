"""The embedded model as it is shipped, and the training that makes it."""

import csv
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from periogt_ray.artifacts.architecture import ModelSizes
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import PerioGTError, ValidationError
from periogt_ray.model.collate import collate, collate_prompts, match_prompts
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor, load_encoder, load_regressor
from periogt_ray.model.tasks import Outcome
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.predict import PerioGT

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "periogt_ray" / "embedded"
sys.path.insert(0, str(ROOT / "scripts"))

from compact.copolymers import COPOLYMER_PROPERTIES  # noqa: E402
from compact.dataset import PROPERTIES, Dataset, Row, read_dataset  # noqa: E402
from compact.features import fit_scaler, load_polymers  # noqa: E402
from compact.finish import add_other_training, evaluate_on_test, finish  # noqa: E402
from compact.folds import N_FOLDS, fold_of, held_out_rows, joint_rows, property_rows  # noqa: E402
from compact.recipe import Recipe, Stages, train_encoder, train_fold  # noqa: E402
from compact.training_file import read_training_file, write_training_file  # noqa: E402

TINY = [f"*{'C' * length}{part}*" for length in range(1, 7) for part in ("", "O", "C(F)", "C(=O)", "S")]
TINY_RECIPE = Recipe(
    sizes=ModelSizes(width=16, n_layers=1, n_heads=4, path_width=4, ffn_width=16, head_width=8)
).shortened()


@pytest.fixture(scope="session")
def directory() -> ArtifactDirectory:
    return ArtifactDirectory.open(MODEL)


@pytest.fixture(scope="session")
def card() -> dict:
    return json.loads((MODEL / "model_card.json").read_text())


@pytest.fixture(scope="session")
def networks(directory: ArtifactDirectory) -> tuple[PerioGTEncoder, dict[str, list[PerioGTRegressor]]]:
    regressors = {
        name: [
            load_regressor(directory.property_state_dict(name, member=number), path)
            for number, path in enumerate(directory.property(name).weight_paths)
        ]
        for name in PROPERTIES
    }
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
    for name, members in regressors.items():
        stats = directory.label_stats(name)
        normalized = np.mean([network.predict(own, states, prompts).item() for network in members])
        values[name] = normalized * stats.std + stats.mean
    return values


# --- the shipped directory


def test_ships_every_property_under_the_mirror_invariant_scheme(directory: ArtifactDirectory) -> None:
    assert directory.supported == sorted((*PROPERTIES, *COPOLYMER_PROPERTIES))
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
    assert sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file()) <= 30_000_000


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
    # The property's own stage uses its own split alone.
    assert propylene in {row.smiles for row in dataset.split("nc", "train")}
    for fold in range(N_FOLDS):
        learned = joint_rows(dataset, fold)
        assert propylene not in {row.smiles for rows in learned.values() for row in rows}
        for name in PROPERTIES:
            left_out = {row.smiles for row in held_out_rows(dataset, name, fold)}
            assert not left_out & {row.smiles for row in property_rows(dataset, name, fold)}
            # A polymer is in the same fold for every property.
            assert not left_out & {row.smiles for rows in learned.values() for row in rows}
    held_out = [row for fold in range(N_FOLDS) for row in held_out_rows(dataset, "eps", fold)]
    assert sorted(row.value for row in held_out) == [2, 3]


def test_folds_are_even_and_do_not_move() -> None:
    assert fold_of("*CC*") == fold_of("*CC*") < N_FOLDS
    counts = np.bincount([fold_of(f"*{'C' * n}*") for n in range(1, 501)], minlength=N_FOLDS)
    assert counts.min() > 70


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
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stages, Path]:
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
    stages = Stages(root / "work")
    dataset = read_dataset(root / "data")
    write_training_file(stages.features, dataset, load_polymers(dataset.polymers()))
    return stages, trained(stages, root / "first")


def trained(stages: Stages, out: Path, *, seed: int = 0) -> Path:
    """Train what is not done, and return the artifact directory."""
    train_encoder(stages, TINY_RECIPE, seed=seed)
    for fold in stages.missing_folds():
        train_fold(stages, fold, TINY_RECIPE, seed=seed)
    finish(stages, out, TINY_RECIPE, seed=seed)
    return out


def test_a_training_file_holds_what_was_put_in(tmp_path: Path) -> None:
    polymers = load_polymers([RepeatUnit.parse(smiles).smiles for smiles in TINY[:3]])
    dataset = Dataset({"eps": (Row(next(iter(polymers)), 1.5, "val"),)})
    write_training_file(tmp_path / "training.npz", dataset, polymers)
    found, read = read_training_file(tmp_path / "training.npz")
    assert found == dataset
    for name, polymer in polymers.items():
        np.testing.assert_array_equal(read[name].descriptors, polymer.descriptors)
        for graph, expected in zip(read[name].graphs, polymer.graphs, strict=True):
            for part, wanted in zip(graph, expected, strict=True):
                np.testing.assert_array_equal(part, wanted)


@pytest.mark.slow
def test_training_writes_a_complete_directory(tiny: tuple[Stages, Path]) -> None:
    _, out = tiny
    directory = ArtifactDirectory.open(out)
    assert directory.supported == sorted(PROPERTIES)
    assert all(len(directory.property(name).members) == N_FOLDS for name in PROPERTIES)
    calibration = directory.calibration("eps")
    assert calibration is not None
    assert len(calibration.residuals) == 27  # all but the test rows
    card = json.loads((out / "model_card.json").read_text())
    assert card["test"] is None
    assert "test rows have not been evaluated" in (out / "MODEL_CARD.md").read_text()


@pytest.mark.slow
def test_same_seed_gives_the_same_files_also_after_an_interruption(tiny: tuple[Stages, Path], tmp_path: Path) -> None:
    stages, first = tiny
    files = json.loads((first / "model_card.json").read_text())["files"]
    other = Stages(tmp_path / "work")
    other.root.mkdir()
    # Of an interrupted run: features, the encoder, one fold's joint network and its first members.
    done = [stages.features, stages.encoder, stages.joint(0)]
    done += [path for name in ("eat", "eea") for path in (stages.member(name, 0), stages.held_out(name, 0))]
    for path in done:
        (other.root / path.name).write_bytes(path.read_bytes())
    again = trained(other, tmp_path / "again")
    assert json.loads((again / "model_card.json").read_text())["files"] == files
    fresh = Stages(tmp_path / "seeded")
    fresh.root.mkdir()
    (fresh.root / stages.features.name).write_bytes(stages.features.read_bytes())
    seeded = trained(fresh, tmp_path / "other", seed=1)
    changed = json.loads((seeded / "model_card.json").read_text())["files"]
    assert changed["pretrained_ckpt/base.safetensors"] != files["pretrained_ckpt/base.safetensors"]
    compared = add_other_training(stages, fresh, first)["other_training"]["properties"]
    assert set(compared) == set(PROPERTIES)
    assert all(one["rms_difference"] > 0 and one["n"] == 27 for one in compared.values())
    assert "start from encoders of their own" in (first / "MODEL_CARD.md").read_text()
    itself = add_other_training(stages, other, first)["other_training"]["properties"]
    assert all(one["rms_difference"] == 0 and one["r2"] == one["other_r2"] for one in itself.values())


@pytest.mark.slow
def test_evaluation_fills_the_card_once(tiny: tuple[Stages, Path]) -> None:
    stages, out = tiny
    card = evaluate_on_test(stages, out)
    assert card["test"]["eps"]["n"] == 3
    assert card["intervals"]["pooled"]["n"] == sum(one["n"] for one in card["test"].values())
    assert json.loads((out / "model_card.json").read_text())["test"] == card["test"]
    assert "Coverage over all" in (out / "MODEL_CARD.md").read_text()
    with pytest.raises(PerioGTError, match="already"):
        evaluate_on_test(stages, out)


@pytest.mark.slow
def test_folds_train_without_rdkit(tiny: tuple[Stages, Path], tmp_path: Path) -> None:
    stages, _ = tiny
    (tmp_path / stages.features.name).write_bytes(stages.features.read_bytes())
    code = (
        "import runpy, sys\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from compact.without_rdkit import _Finder\n"
        "sys.meta_path.insert(0, _Finder(('rdkit', 'numba')))\n"  # before the ones that would find them
        f"sys.argv = ['train_compact.py', 'encoder', '--work', {str(tmp_path)!r}, '--short']\n"
        f"runpy.run_path({str(ROOT / 'scripts' / 'train_compact.py')!r}, run_name='__main__')\n"
        "import rdkit\n"
        "assert type(rdkit).__name__ == '_StandIn'\n"
    ).replace("run_name='__main__')", "run_name='trained')['main']()")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "encoder.pt").is_file()


# --- what people send


@pytest.fixture(scope="module")
def model(directory: ArtifactDirectory) -> PerioGT:
    return PerioGT(directory.root, device="cpu")


def answers(model: PerioGT, *spellings: str) -> list[Outcome]:
    return [model.outcomes(smiles, ["egc"])["egc"] for smiles in spellings]


def test_isotopes_do_not_change_a_value(model: PerioGT) -> None:
    plain, *labelled = answers(model, "*CC*", "[2H]C([2H])(*)C([2H])([2H])*", "[2H]C(*)C*", "*C[14CH2]*")
    assert {outcome.value for outcome in labelled} == {plain.value}
    assert plain.warnings == ()
    assert all("Isotopes" in outcome.warnings[0] for outcome in labelled)


def test_mirror_images_have_the_same_value_and_embedding(model: PerioGT) -> None:
    left, right = ("*O[C@@H](C)C(=O)*", "*O[C@H](C)C(=O)*")
    assert len({outcome.value for outcome in answers(model, left, right)}) == 1
    vectors = [model.embedding(smiles).embedding for smiles in (left, right)]
    np.testing.assert_array_equal(*vectors)


@pytest.mark.parametrize(
    ("smiles", "said"),
    [
        ("*CCCCCC[N+](*)(C)C", ["charge of +1"]),
        ("*[Pb](C)(C)*", ["Pb occurs in no", "cannot be below 0 eV"]),
        ("*C=C(*)c1ccc(C#C)cc1", ["cannot be below 0 eV"]),
        ("*CC(*)c1ccc(S(=O)(=O)[O-])cc1", ["charge of -1"]),
    ],
)
def test_what_cannot_be_trusted_says_so(model: PerioGT, smiles: str, said: list[str]) -> None:
    [outcome] = answers(model, smiles)
    assert all(any(part in warning for warning in outcome.warnings) for part in said)
