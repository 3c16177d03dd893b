"""Batches in processes of this machine, started as users start them."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from pathlib import Path
from shutil import copytree

import pytest

from periogt_ray.batch import local_engine
from periogt_ray.batch.local_engine import LocalPipeline
from periogt_ray.batch.parts import PartsDirectory
from periogt_ray.batch.spec import BatchSpec
from periogt_ray.errors import InternalError
from periogt_ray.model.predictor import Predictor
from periogt_ray.settings import Settings
from periogt_ray.tables.columns import TableOptions
from periogt_ray.tables.parts import Part
from periogt_ray.tables.reading import scan_table
from support.batch_tables import expected_rows, rows_but_request_ids, write_input
from support.golden import ARTIFACTS
from support.ray_cluster import clean_environment
from support.served_process import tree_below

pytestmark = pytest.mark.slow

TIMEOUT_S = 180


def start(path: Path, *options: str, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "periogt_ray", "batch", "--input", str(path), *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**clean_environment(), **env})


def run(path: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    process = start(path, *options, **env)
    stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    return subprocess.CompletedProcess(options, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def input_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of small polymers with duplicates, in one and in several spellings, and bad rows."""
    return write_input(tmp_path_factory.mktemp("local") / "input.csv")


@pytest.fixture(scope="module")
def expected(input_path: Path, golden_predictor: Predictor) -> list[list[str]]:
    return expected_rows(input_path, golden_predictor, ["tg", "eps"])


def test_rows_are_those_of_the_predictor_whatever_workers_and_sizes(
    input_path: Path, expected: list[list[str]], tmp_path: Path
) -> None:
    for workers, size in ((1, 64), (3, 1)):
        output = tmp_path / f"{workers}.csv"
        options = ["--output", str(output), "--workers", str(workers), "--part-size", str(size)]
        result = run(input_path, "--property", "tg,eps", *options)
        assert result.returncode == 1, result.stderr
        assert "without Ray" in result.stderr
        assert json.loads(result.stdout)["failures"] == {"validation_error": 4}
        rows = rows_but_request_ids(output)[1:]
        assert [row if row[5] == "true" else row[:3] for row in rows] == expected


def test_a_polymer_that_kills_its_worker_becomes_an_error(tmp_path: Path) -> None:
    path = tmp_path / "deadly.csv"
    path.write_text("smiles\n*CC*\n*C[Se]C*\n*OCC*\n*C[Te]C*\n*C[As](C)C*\n*C[Te]C*\n*CCC*\n")
    result = run(path, "--property", "tg", "--part-size", "8")
    assert result.returncode == 1, result.stderr
    rows = rows_but_request_ids(tmp_path / "deadly_predictions.csv")[1:]
    assert [row[5] for row in rows] == ["true", "false", "true", "false", "false", "false", "true"]
    assert {row[6] for row in rows if row[5] == "false"} == {"internal_error"}
    assert "ended abruptly" in rows[1][7]
    assert "unexpected" in rows[4][7]


def test_killed_workers_and_drivers_cost_nothing(
    input_path: Path, tmp_path: Path, chance: random.Random, is_full: bool
) -> None:
    options = ["--property", "tg", "--part-size", "2", "--workers", "2"]
    whole = tmp_path / "whole.csv"
    assert run(input_path, *options, "--output", str(whole)).returncode == 1
    output = tmp_path / "killed.csv"
    parts = output.with_name("killed.csv.parts")
    for attempt in range(20 if is_full else 3):
        driver = start(input_path, *options, "--output", str(output), "--resume")
        n_before = len(PartsDirectory(output).finished())
        deadline = time.monotonic() + TIMEOUT_S
        while driver.poll() is None and len(PartsDirectory(output).finished()) == n_before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        children = tree_below(driver.pid)
        if attempt % 3 == 0:
            driver.send_signal(signal.SIGTERM)
        elif attempt % 3 == 1:
            driver.kill()
        else:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
        _, stderr = driver.communicate(timeout=TIMEOUT_S)
        assert "Traceback" not in stderr
        assert driver.returncode in (1, -signal.SIGKILL)
        while any(Path(f"/proc/{pid}").exists() for pid in children):
            assert time.monotonic() < deadline, "workers outlive their driver"
            time.sleep(0.05)
    if not output.exists():
        assert run(input_path, *options, "--output", str(output), "--resume").returncode == 1
    assert rows_but_request_ids(output) == rows_but_request_ids(whole)
    assert not parts.exists()


def test_a_model_that_cannot_be_loaded_ends_the_run_with_its_code(input_path: Path, tmp_path: Path) -> None:
    broken = copytree(ARTIFACTS, tmp_path / "broken")
    output = tmp_path / "output.csv"
    result = run(input_path, "--property", "tg", "--output", str(output), PERIOGT_CHECKPOINT_DIR=str(broken))
    assert result.returncode == 2
    assert "error [model_load_failed]" in result.stderr
    assert "Traceback" not in result.stderr
    assert not output.exists()


def test_workers_that_die_before_they_begin_end_the_run(input_path: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'spawn_main' in ' '.join(sys.orig_argv):\n    os._exit(9)\n"
    )
    paths = os.pathsep.join([str(tmp_path), clean_environment()["PYTHONPATH"]])
    output = tmp_path / "output.csv"
    result = run(input_path, "--property", "tg", "--output", str(output), PYTHONPATH=paths)
    assert result.returncode == 2
    assert "end at their start" in result.stderr
    assert not output.exists()


class DeadWorker:
    """A worker that has begun to work, and whose process is always dead when it is listened to."""

    def __init__(self, *_given: object) -> None:
        self.part: Part | None = None
        self.connection, theirs = Pipe()
        theirs.close()

    def begin(self, part: Part) -> None:
        self.part = part

    def taken_part(self) -> Part:
        assert self.part is not None
        return self.part

    def replaced(self) -> "DeadWorker":
        self.end()
        return DeadWorker()

    def end(self) -> None:
        self.connection.close()


def test_workers_that_die_whatever_they_begin_end_the_run(monkeypatch: pytest.MonkeyPatch, input_path: Path) -> None:
    monkeypatch.setattr(local_engine, "_Worker", DeadWorker)
    settings = Settings(ARTIFACTS, ARTIFACTS, ARTIFACTS, device="cpu")
    table = scan_table(input_path, TableOptions(), copies=input_path.parent).table
    pipeline = LocalPipeline(BatchSpec(table, (), settings), device="cpu", n_workers=2)
    with pytest.raises(InternalError, match=r"end again and again over the rows 1 to 3"):
        list(pipeline.results([Part(0, 0, 10, 0, 0, 3)], is_stopped=lambda: False))
