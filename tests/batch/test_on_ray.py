"""Batches on a real Ray, started as users start them."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from shutil import copytree

import pytest

from periogt_ray.batch.parts import PartsDirectory
from periogt_ray.model.predictor import Predictor
from periogt_ray.polymer.feature_store import FeatureStore
from support.batch_tables import expected_rows, rows_but_request_ids, write_input
from support.golden import ARTIFACTS
from support.ray_cluster import LINE_OF_CORE, Cluster, clean_environment

pytestmark = pytest.mark.ray

TIMEOUT_S = 180


@pytest.fixture
def input_path(tmp_path: Path) -> Path:
    """A file of small polymers with duplicates, in one and in several spellings, and bad rows."""
    return write_input(tmp_path / "input.csv")


IN_SMALL_PARTS = ("--property", "tg", "--part-size", "2")


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[list[str]], float]:
    """Output of a run in small parts that nothing disturbs, and the seconds that it takes."""
    given = write_input(tmp_path_factory.mktemp("undisturbed") / "input.csv")
    output = given.with_name("output.csv")
    started_s = time.monotonic()
    assert cluster.run("batch", "--input", str(given), *IN_SMALL_PARTS, "--output", str(output)).returncode == 1
    return rows_but_request_ids(output), time.monotonic() - started_s


def test_the_output_does_not_depend_on_workers_and_sizes(
    cluster: Cluster, input_path: Path, golden_predictor: Predictor
) -> None:
    expected = expected_rows(input_path, golden_predictor, ["tg", "eps"])
    outputs = []
    # More of them run on the local engine, whose stages are the same: tests/batch/test_local_engine.py.
    for workers, size in ((1, 64), (2, 3)):
        output = input_path.with_name(f"output_{workers}_{size}.csv")
        options = ["--output", str(output), "--workers", str(workers), "--part-size", str(size)]
        result = cluster.run("batch", "--input", str(input_path), "--property", "tg,eps", *options)
        assert result.returncode == 1, result.stderr
        assert not LINE_OF_CORE.search(result.stderr), result.stderr
        assert json.loads(result.stdout)["failures"] == {"validation_error": 4}
        outputs.append(rows_but_request_ids(output))
    assert all(rows == outputs[0] for rows in outputs)
    found = [row if row[5] == "true" else row[:3] for row in outputs[0][1:]]
    assert found == expected


def test_another_property_finds_the_features_on_disk(
    cluster: Cluster, input_path: Path, tmp_path: Path, golden_predictor: Predictor
) -> None:
    directory = tmp_path / "features"
    directory.mkdir(mode=0o700)

    def predicted(name: str, property_id: str, **env: str) -> list[list[str]]:
        output = tmp_path / name
        given = ("batch", "--input", str(input_path), "--property", property_id, "--output", str(output))
        result = cluster.run(*given, **env)
        assert result.returncode == 1, result.stderr
        return rows_but_request_ids(output)

    def kept() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in directory.rglob("*.segment")}

    predicted("first.csv", "tg", PERIOGT_FEATURE_STORE=str(directory))
    first = kept()
    assert FeatureStore(directory, 1 << 30).facts(engine="native").n_entries == 12, "one a polymer"
    found = predicted("second.csv", "eps", PERIOGT_FEATURE_STORE=str(directory))
    assert kept() == first
    cells = [row if row[5] == "true" else row[:3] for row in found[1:]]
    assert cells == expected_rows(input_path, golden_predictor, ["eps"])


def test_a_polymer_that_kills_its_worker_becomes_an_error(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "deadly.csv"
    path.write_text("smiles\n*CC*\n*C[Se]C*\n*OCC*\n*C[Te]C*\n*C[As](C)C*\n*C[Te]C*\n*CCC*\n")
    result = cluster.run("batch", "--input", str(path), "--property", "tg", "--part-size", "8")
    assert result.returncode == 1, result.stderr
    rows = rows_but_request_ids(tmp_path / "deadly_predictions.csv")[1:]
    assert [row[5] for row in rows] == ["true", "false", "true", "false", "false", "false", "true"]
    assert {row[6] for row in rows if row[5] == "false"} == {"internal_error"}
    assert "ended abruptly" in rows[1][7]
    assert rows[3][6:] == rows[5][6:]
    assert "unexpected" in rows[4][7]


def wait_for(output: Path, n_parts: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while len(PartsDirectory(output).finished()) < n_parts:
        assert time.monotonic() < deadline, "no parts"
        time.sleep(0.02)


def pids_of(words: str) -> list[int]:
    """Processes of this user with a command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words.encode() in path.read_bytes() and path.stat().st_uid == os.getuid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_killed_workers_and_drivers_cost_nothing(
    cluster: Cluster, input_path: Path, undisturbed: tuple[list[list[str]], float]
) -> None:
    options = ["--input", str(input_path), *IN_SMALL_PARTS]
    expected, _ = undisturbed
    output = input_path.with_name("killed.csv")
    before = cluster.processes("MapWorker(Map(PredictPart))")
    for signum, n_parts in ((signal.SIGKILL, 1), (signal.SIGTERM, 3)):
        driver = cluster.start("batch", *options, "--output", str(output), "--resume")
        wait_for(output, n_parts)
        driver.send_signal(signum)
        stdout, stderr = driver.communicate(timeout=TIMEOUT_S)
        assert (driver.returncode, stdout) == (1 if signum == signal.SIGTERM else -signal.SIGKILL, "")
        assert not output.exists()
        assert ("--resume" in stderr) == (signum == signal.SIGTERM)
        assert "Traceback" not in stderr
    n_kept = len(PartsDirectory(output).finished())

    driver = cluster.start("batch", *options, "--output", str(output), "--resume")
    wait_for(output, n_kept + 1)
    for pid in cluster.processes("MapWorker(Map(PredictPart))") - before:
        os.kill(pid, signal.SIGKILL)
    stdout, stderr = driver.communicate(timeout=TIMEOUT_S)
    assert driver.returncode == 1, stderr
    assert json.loads(stdout)["n_rows_computed"] == 20 - 2 * n_kept
    assert rows_but_request_ids(output) == expected
    assert not output.with_name("killed.csv.parts").exists()


def test_killed_at_random_moments_it_loses_and_doubles_no_row(
    cluster: Cluster,
    input_path: Path,
    undisturbed: tuple[list[list[str]], float],
    chance: random.Random,
    is_full: bool,
) -> None:
    """Three kills; test_run.py has many more on a pipeline of plain functions, and --full has twenty here."""
    options = ["--input", str(input_path), *IN_SMALL_PARTS]
    expected, duration_s = undisturbed
    output = input_path.with_name("often.csv")
    parts = output.with_name("often.csv.parts")
    n_kills = 20 if is_full else 3
    n_killed = n_kept_at_kill = 0
    while n_killed < n_kills:
        driver = cluster.start("batch", *options, "--output", str(output), "--resume")
        delay_s = chance.uniform(0, duration_s)
        if n_killed % 2:
            # Most of a short run is its start; so every other kill comes among the parts.
            n_before = len(PartsDirectory(output).finished())
            while driver.poll() is None and len(PartsDirectory(output).finished()) == n_before:
                time.sleep(0.02)
            delay_s = chance.uniform(0, 0.5)
        try:
            driver.communicate(timeout=delay_s)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.communicate()
            n_killed += 1
            n_kept_at_kill += bool(PartsDirectory(output).finished())
        else:
            assert rows_but_request_ids(output) == expected
            output.unlink()
    assert cluster.run("batch", *options, "--output", str(output), "--resume").returncode == 1
    assert rows_but_request_ids(output) == expected
    assert n_kept_at_kill > n_kills // 4, "the kills came before there was anything to lose"
    assert not parts.exists()


def test_a_model_that_cannot_be_loaded_ends_the_run_with_its_code(
    cluster: Cluster, input_path: Path, tmp_path: Path
) -> None:
    broken = copytree(ARTIFACTS, tmp_path / "broken")
    options = ["--input", str(input_path), "--property", "tg"]
    result = cluster.run("batch", *options, PERIOGT_CHECKPOINT_DIR=str(broken))
    assert result.returncode == 2
    assert "error [model_load_failed]" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("*predictions*"))


def test_a_submitted_job(cluster: Cluster, input_path: Path) -> None:
    good = input_path.with_name("good.csv")
    good.write_text("smiles\n*CC*\n*OCC*\n")
    for path, code in ((good, 0), (input_path.with_name("absent.csv"), 1)):
        entrypoint = [sys.executable, "-m", "periogt_ray", "batch", "--input", str(path), "--property", "tg"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", cluster.dashboard, "--"]
        for _ in range(10):  # Ray's own advice where a busy machine has not started all of it
            result = subprocess.run(
                [*command, *entrypoint], capture_output=True, text=True, timeout=TIMEOUT_S, env=cluster.env
            )
            if "No available agent to submit job, please try again later" not in result.stderr:
                break
        assert result.returncode == code, result.stdout + result.stderr
    assert [row[5] for row in rows_but_request_ids(input_path.with_name("good_predictions.csv"))[1:]] == ["true"] * 2


@pytest.mark.parametrize("when", ["starting", "working"])
def test_its_own_ray_leaves_nothing_behind(input_path: Path, when: str) -> None:
    root = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # Ray needs a short path
    command = [sys.executable, "-m", "periogt_ray", "batch", "--input", str(input_path), "--property", "tg"]
    driver = subprocess.Popen(
        [*command, "--part-size", "1", "--engine", "ray"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean_environment(), "RAY_TMPDIR": str(root)},
    )
    deadline = time.monotonic() + TIMEOUT_S
    while not list(root.glob("pgt-*/token")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    [token] = root.glob("pgt-*/token")
    assert token.stat().st_mode & 0o777 == 0o600
    if when == "working":
        wait_for(input_path.with_name("input_predictions.csv"), 1)
    driver.terminate()
    _, stderr = driver.communicate(timeout=TIMEOUT_S)
    assert driver.returncode == 1, stderr
    assert re.search("SIGTERM.*--resume", stderr)
    assert not pids_of(str(root))
    assert not list(root.iterdir())
    root.rmdir()
