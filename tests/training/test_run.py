"""A whole finetuning with small networks: what it leaves, and what interruptions change (nothing)."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.packages import PACKAGE_NAME, read_package
from periogt_ray.errors import ValidationError
from periogt_ray.predict import PerioGT
from periogt_ray.settings import Settings
from periogt_ray.training import checkpoint, claim, members, result, tree_folds
from periogt_ray.training.dataset import DataOptions
from periogt_ray.training.estimate import check_finetune
from periogt_ray.training.figures import figures_of
from periogt_ray.training.options import FinetuneOptions
from periogt_ray.training.result import write_result
from periogt_ray.training.run import Listener, run_finetune
from periogt_ray.training.trainer import Stopped
from support.golden import ARTIFACTS
from support.served_process import wait_for

EXPECTED = {
    "": ["finetuned_ckpt"],
    ".json": ["label_stats", "metrics", "package", "run"],
    ".csv": ["predictions", "rows", "splits"],
    ".md": ["MODEL_CARD"],
    ".html": ["report"],
}
SIDES = ("C", "F", "Cl", "N", "O", "CC", "C#N", "C=C", "OC", "C(=O)O", "CCC", "c1ccccc1")
POLYMERS = [f"*CC(*){side}" for side in SIDES] + [f"*{'C' * n}O*" for n in range(2, 14)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    store = tmp_path_factory.getbasetemp() / "features-of-runs"
    store.mkdir(mode=0o700, exist_ok=True)
    env = {"PERIOGT_CHECKPOINT_DIR": str(ARTIFACTS), "PERIOGT_DEVICE": "cpu"}
    env |= {"PERIOGT_MODELS": str(tmp_path / "models"), "PERIOGT_FEATURE_STORE": str(store)}
    return Settings.from_env(env)


def table(path: Path, polymers: list[str] = POLYMERS, scale: Callable[[int], float] = lambda i: 1 + 0.3 * i) -> Path:
    rows = [f"{smiles},{scale(i)}" for i, smiles in enumerate(polymers)]
    path.write_text("\n".join(["smiles,value", *rows]) + "\n")
    return path


def options_of(tmp_path: Path, **changes: Any) -> FinetuneOptions:
    data = tmp_path / "data.csv"
    if not data.exists():
        table(data)
    options = FinetuneOptions(
        data, "my_eps", "eV", tmp_path / "models" / "my_eps", n_folds=2, n_members=2, epochs=2, is_frozen=True
    )
    return replace(options, **changes)


@pytest.fixture(autouse=True)
def quick_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predict the mean, where trees take seconds a fold."""

    def mean(_features: Any, values: np.ndarray, train: Any, asked: Any, *, seed: int) -> np.ndarray:
        return np.full(len(asked), values[list(train)].mean() + 1e-3 * seed)

    monkeypatch.setattr("periogt_ray.training.baselines.predict_by_trees", mean)


def finish(options: FinetuneOptions, settings: Settings, listener: Listener | None = None) -> Path:
    run = run_finetune(options, settings, listener)
    if run is not None:
        write_result(run, figures_of(run))
    return options.output


def content(root: Path) -> dict[str, bytes]:
    """Bytes of everything that follows from the data, which the time that it took does not."""
    package = read_package(root)
    assert package.problems() == []
    return {name: (root / name).read_bytes() for name in package.files if name != "run.json"}


def test_the_result_is_served_at_once(tmp_path: Path, settings: Settings) -> None:
    root = finish(options_of(tmp_path), settings)
    assert sorted(path.name for path in root.iterdir() if not path.name.startswith(".")) == sorted(
        f"{name}{suffix}" for suffix, names in EXPECTED.items() for name in names
    )
    artifacts = ArtifactDirectory.of_settings(settings)
    assert "my_eps" in artifacts.supported
    outcomes = PerioGT.of_settings(settings).outcomes("*CC(*)Br", ["my_eps"])
    found = outcomes["my_eps"]
    assert found.error is None
    assert found.units == "eV"
    assert found.interval is not None
    assert found.interval.lower < (found.value or 0) < found.interval.upper
    assert found.domain is not None


def test_served_values_are_those_of_the_report(tmp_path: Path, settings: Settings) -> None:
    """Members are rescaled to common statistics; what is served is what was measured."""
    parts = ["train"] * 14 + ["val"] * 4 + ["test"] * 6
    rows = [f"{s},{1 + 0.3 * i},{part}" for i, (s, part) in enumerate(zip(POLYMERS, parts, strict=True))]
    (tmp_path / "data.csv").write_text("\n".join(["smiles,value,split", *rows]))
    root = finish(options_of(tmp_path, table=DataOptions(split_column="split")), settings)
    with (root / "predictions.csv").open() as file:
        reported = {int(row["line"]): float(row["prediction"]) for row in csv.DictReader(file)}
    assert sorted(reported) == list(range(20, 26))
    model = PerioGT.of_settings(settings)
    for line, prediction in reported.items():
        outcomes = model.outcomes(POLYMERS[line - 2], ["my_eps"])
        assert outcomes["my_eps"].value == pytest.approx(prediction, rel=1e-5)


def test_logarithms_are_learned_and_values_served(tmp_path: Path, settings: Settings) -> None:
    table(tmp_path / "data.csv", scale=lambda i: 10.0 ** (i / 6))
    root = finish(options_of(tmp_path, table=DataOptions(is_log10=True)), settings)
    assert json.loads((root / "label_stats.json").read_text())["my_eps"]["transform"] == "log10"
    outcomes = PerioGT.of_settings(settings).outcomes("*CC(*)Br", ["my_eps"])
    assert 1 < (outcomes["my_eps"].value or 0) < 1000
    metrics = json.loads((root / "metrics.json").read_text())
    assert metrics["out_of_fold"]["network"]["rmse"] < 5000


def test_every_row_and_polymer_is_accounted_for(tmp_path: Path, settings: Settings) -> None:
    table(tmp_path / "data.csv", [*POLYMERS, "*CC", "*OCC*"])
    root = finish(options_of(tmp_path, table=DataOptions(is_forced=True)), settings)
    with (root / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["line"]) for row in rows] == list(range(2, 28))
    assert [row["fate"] for row in rows].count("left out") == 1
    assert [row["fate"] for row in rows].count("merged") == 2
    assert {row["part"] for row in rows if row["fate"] != "left out"} == {"fold 0", "fold 1"}
    with (root / "splits.csv").open() as file:
        assert all(row["smiles"] == "" for row in csv.DictReader(file))


class Killed(BaseException):
    """The process ends here."""


def test_what_holds_measurements_is_for_its_owner(tmp_path: Path, settings: Settings) -> None:
    options = options_of(tmp_path)
    seen: dict[str, int] = {}

    def look(*_: Any) -> None:
        seen.update({str(p): p.stat().st_mode & 0o777 for p in [options.output, *options.output.rglob("*")]})

    before = os.umask(0)
    try:
        root = finish(options, replace(settings, feature_store=None), Listener(on_epoch=look, on_baselines=look))
        look()
    finally:
        os.umask(before)
    kinds = {suffix for path in seen if (suffix := Path(path).suffix) not in ("", ".part")}
    assert kinds >= {".npy", ".safetensors", ".csv", ".json", ".npz", ".md", ".html"}
    wide = {path: oct(mode) for path, mode in seen.items() if mode & 0o077}
    assert wide == {}
    # Who shares a directory on purpose keeps what was decided.
    root.chmod(0o755)
    finish(options, settings)
    assert root.stat().st_mode & 0o777 == 0o755


class CrashPoints:
    """Ends the run before or after the n-th write of a file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fatal = -1
        self.n_seen = 0
        for module in (checkpoint, members, result):
            monkeypatch.setattr(module, "write_bytes_atomically", self._deadly(module.write_bytes_atomically))
        for module in (claim, result):
            monkeypatch.setattr(module, "write_json_atomically", self._deadly(module.write_json_atomically))
        monkeypatch.setattr(result, "write_package", self._deadly(result.write_package))
        monkeypatch.setattr(tree_folds, "_save_array", self._deadly(tree_folds._save_array))

    def _deadly(self, write: Callable[..., None]) -> Callable[..., None]:
        def deadly(*given: Any, **options: Any) -> None:
            self._pass()
            write(*given, **options)
            self._pass()

        return deadly

    def _pass(self) -> None:
        self.n_seen += 1
        if self.n_seen == self.fatal:
            raise Killed

    def run(self, fatal: int, options: FinetuneOptions, settings: Settings) -> bool:
        """Run until a crash point; return whether it ended before."""
        self.n_seen, self.fatal = 0, fatal
        try:
            finish(options, settings)
        except Killed:
            return False
        return True


@pytest.mark.slow
def test_a_run_that_was_killed_anywhere_ends_with_the_same_bytes(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = CrashPoints(monkeypatch)
    expected_root = tmp_path / "undisturbed" / "my_eps"
    assert points.run(-1, options_of(tmp_path, output=expected_root), settings)
    n_points = points.n_seen
    assert n_points > 30
    expected = content(expected_root)
    options = options_of(tmp_path)
    # Each run gets one write further than the one before, whose finished steps it finds.
    n_killed = 0
    while not points.run(2, options, settings) and n_killed < 2 * n_points:
        n_killed += 1
        if n_killed % 3 == 0:
            points.run(5, options, settings)
    assert not (options.output / PACKAGE_NAME).is_file() or n_killed < 2 * n_points
    for fatal in range(1, n_points + 1, 7):
        root = tmp_path / f"killed-{fatal}" / "my_eps"
        assert not points.run(fatal, options_of(tmp_path, output=root), settings)
        points.run(-1, options_of(tmp_path, output=root), settings)
        assert content(root) == expected


def test_a_stopped_run_is_continued_by_the_same_command_only(tmp_path: Path, settings: Settings) -> None:
    options = options_of(tmp_path)
    answers = iter([False] * 30 + [True] * 100)
    with pytest.raises(Stopped):
        finish(options, settings, Listener(is_stopping=lambda: next(answers)))
    with pytest.raises(ValidationError, match="epochs"):
        run_finetune(replace(options, epochs=3), settings)
    table(options.data, scale=lambda i: 2.0 + i)
    with pytest.raises(ValidationError, match="the data"):
        run_finetune(options, settings)
    table(options.data)
    finish(options, settings)
    assert run_finetune(options, settings) is None, "it is finished"
    with pytest.raises(ValidationError, match="another kind"):
        run_finetune(replace(options, seed=1), settings)


def test_a_directory_with_other_files_is_left_alone(tmp_path: Path, settings: Settings) -> None:
    options = options_of(tmp_path)
    options.output.mkdir(parents=True)
    (options.output / "thesis.tex").write_text("x")
    with pytest.raises(ValidationError, match="other files"):
        run_finetune(options, settings)
    assert [path.name for path in options.output.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("property_id", ["eps", "All", "a b"])
def test_an_id_that_cannot_be_is_refused_before_any_work(tmp_path: Path, settings: Settings, property_id: str) -> None:
    with pytest.raises(ValidationError, match="--property"):
        run_finetune(options_of(tmp_path, property_id=property_id), settings)
    assert not (tmp_path / "models").exists()


def test_the_check_trains_nothing_and_writes_nothing(tmp_path: Path, settings: Settings) -> None:
    found = check_finetune(options_of(tmp_path), settings)
    assert found["labels"]["n_polymers"] == 24
    assert found["estimated_seconds"] >= 0
    assert any("Only 24 polymers" in warning for warning in found["labels"]["warnings"])
    assert not (tmp_path / "models").exists()


def test_the_recipe_of_the_authors_trains_one_network(tmp_path: Path, settings: Settings) -> None:
    root = finish(options_of(tmp_path, recipe="authors", n_members=None, dropout=0.0), settings)
    assert len(read_package(root).members) == 1
    metrics = json.loads((root / "metrics.json").read_text())
    assert metrics["out_of_fold"] is None
    assert metrics["test"]["network"]["n"] == 5


def test_the_recipe_of_the_authors_follows_own_parts(tmp_path: Path, settings: Settings) -> None:
    options = options_of(tmp_path, recipe="authors", n_members=None, dropout=0.0)
    parts = ["train"] * 16 + ["val"] * 4 + ["test"] * (len(POLYMERS) - 20)
    lines = table(options.data).read_text().splitlines()
    options.data.write_text("\n".join(f"{line},{part}" for line, part in zip(lines, ["part", *parts], strict=True)))
    root = finish(replace(options, table=replace(options.table, split_column="part")), settings)
    assert len(read_package(root).members) == 1
    assert json.loads((root / "metrics.json").read_text())["test"]["network"]["n"] == parts.count("test")


def test_a_time_limit_ends_with_the_best_epoch_so_far(tmp_path: Path, settings: Settings) -> None:
    root = finish(options_of(tmp_path, epochs=10_000, patience=10_000, time_limit_s=3.0), settings)
    metrics = json.loads((root / "metrics.json").read_text())
    assert all(1 <= member["n_epochs"] < 10_000 for member in metrics["members"])


def test_one_member_learns_from_all(tmp_path: Path, settings: Settings) -> None:
    root = finish(options_of(tmp_path, n_members=1), settings)
    assert len(read_package(root).members) == 1
    assert "intervals come from the networks of the folds" in (root / "MODEL_CARD.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_was_killed_is_continued(tmp_path: Path, settings: Settings, number: signal.Signals) -> None:
    """The real command, killed after its first network."""
    table(tmp_path / "data.csv")
    env = {**os.environ, "PERIOGT_CHECKPOINT_DIR": str(ARTIFACTS), "PERIOGT_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    env |= {"PERIOGT_MODELS": str(tmp_path / "models"), "PERIOGT_FEATURE_STORE": str(settings.feature_store)}
    command = [sys.executable, "-m", "periogt_ray", "finetune", "--data", str(tmp_path / "data.csv")]
    command += ["--property", "my_eps", "--units", "eV", "--folds", "2", "--members", "2", "--epochs", "10", "--freeze"]
    first = tmp_path / "models" / "my_eps" / ".work" / "networks" / "member-0.safetensors"
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: first.exists() or process.poll() is not None, 240, "a first network")
        process.send_signal(number)
        _, told = process.communicate(timeout=120)
    assert not (tmp_path / "models" / "my_eps" / PACKAGE_NAME).exists()
    if number == signal.SIGTERM:
        assert process.returncode == 1
        assert "the same command goes on" in told
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"]
    assert not first.exists(), "what it worked with is gone"
    listed = subprocess.run([*command[:3], "properties", "--json"], env=env, capture_output=True, text=True, check=True)
    assert "my_eps" in {entry["id"] for entry in json.loads(listed.stdout)["properties"]}
