"""`periogt evaluate` on the embedded model: figures, files, units, and the intervals it stores."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from periogt_ray.artifacts.calibration import Calibration, calibration_path, polymer_hash
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.cli import cli
from periogt_ray.errors import ValidationError
from periogt_ray.polymer.chain import chain_key
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.predict import PerioGT
from periogt_ray.settings import EMBEDDED_DIR
from periogt_ray.training.measured import read_measured
from periogt_ray.training.overlap import overlap_of

SMILES = [f"*{'C' * n}S*" for n in range(2, 8)] + [f"*{'C' * n}O*" for n in range(1, 7)]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the embedded model without calibrations."""
    root = Path(shutil.copytree(EMBEDDED_DIR, tmp_path_factory.mktemp("evaluate") / "artifacts"))
    for path in root.glob("finetuned_ckpt/*/calibration.npz"):
        path.unlink()
    return root


@pytest.fixture(scope="module")
def values(artifacts: Path) -> np.ndarray:
    predicted = PerioGT(artifacts, device="cpu").predict(SMILES, "egc").prediction_value.to_numpy()
    return np.asarray(predicted + np.random.default_rng(1).normal(0, 0.1, len(predicted)))


def table(path: Path, values: np.ndarray, *, extra: str = "") -> Path:
    path.write_text("smiles,value\n" + "".join(f"{s},{v}\n" for s, v in zip(SMILES, values, strict=True)) + extra)
    return path


def run(artifacts: Path, *arguments: object) -> Result:
    environment = {"PERIOGT_CHECKPOINT_DIR": str(artifacts), "PERIOGT_DEVICE": "cpu"}
    return CliRunner().invoke(cli, ["-q", "evaluate", *map(str, arguments)], env=environment)


def test_figures_files_and_intervals(artifacts: Path, values: np.ndarray, tmp_path: Path) -> None:
    root = Path(shutil.copytree(artifacts, tmp_path / "artifacts"))
    extra = "*CC,4.1\n*CCC*,high\n"
    given = table(tmp_path / "in.csv", values, extra=extra)
    output = tmp_path / "out"
    result = run(root, "--input", given, "--property", "egc", "--output", output, "--calibrate", "--json")
    assert result.exit_code == 1, result.output  # two rows are left out
    document: dict[str, Any] = json.loads(result.stdout)
    assert json.loads((output / "evaluation.json").read_text()) == document
    of_all = document["groups"]["all"]
    assert (of_all["n"], document["n_rows"], document["is_calibrated"]) == (12, 14, False)
    assert 0.02 < of_all["rmse"] < 0.3
    assert [one["reason"][:12] for one in document["left_out"]][1] == "The value is"
    errors = [abs(one["value"] - one["prediction"]) for one in document["worst"]]
    assert len(errors) == 10
    assert errors == sorted(errors, reverse=True)
    html = (output / "evaluation.html").read_text()
    assert html.count("<circle") >= 12
    assert " src=" not in html
    assert "<script" not in html
    calibration = Calibration.load(root / calibration_path("egc"))
    assert (calibration.facts.reference, calibration.facts.report["n_rows"]) == ("calibration", 12)
    row = PerioGT(root, device="cpu").predict("*CCC*", "egc").iloc[0]
    assert row.interval_lower < row.prediction_value < row.interval_upper
    again = run(root, "--input", given, "--property", "egc", "--table")
    assert "90 % covers" in again.stdout
    assert "inside" in again.stdout


def test_rows_that_made_the_intervals_are_no_test_of_them(artifacts: Path, values: np.ndarray, tmp_path: Path) -> None:
    root = Path(shutil.copytree(artifacts, tmp_path / "artifacts"))
    given = table(tmp_path / "in.csv", values)
    assert run(root, "--input", given, "--property", "egc", "--calibrate").exit_code == 0

    def evaluated(path: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run(root, "--input", path, "--property", "egc", "--json").stdout)
        return found

    same = evaluated(given)
    assert (same["n_in_training_data"], same["n_in_calibration"], same["n_new"]) == (0, 12, 0)
    assert same["groups"]["all"]["n"] == 12
    assert same["groups"]["all"]["intervals"] == {}
    # Another cut of one chain, and two units of another in one: rows of the calibration, too. And one that is new.
    cut = tmp_path / "cut.csv"
    cut.write_text("smiles,value\n*COC*,6.8\n*CCOCCO*,6.8\n*CC(*)C,6.7\n")
    some = evaluated(cut)
    assert (some["n_in_calibration"], some["n_new"]) == (2, 1)
    assert {level: found["n"] for level, found in some["groups"]["all"]["intervals"].items()}["0.9"] == 1
    told = run(root, "--input", cut, "--property", "egc", "--table").stdout
    assert "2 among those that the intervals were made from, coverage on the 1 that are new" in told
    assert "% of 1" in told


def test_training_polymers_are_known_by_their_chain(tmp_path: Path) -> None:
    """Also by the embedded model's file, which keeps hashes of SMILES."""
    calibration = Calibration.load(EMBEDDED_DIR / calibration_path("egc"))
    assert calibration.facts.known_by == "smiles"
    known = RepeatUnit.parse("*C=CCCC*")
    given = tmp_path / "in.csv"
    rows = [f"{smiles},4.0" for smiles in (*known.frame_shifts(), known.multimer(2), "*CC(*)CCCCCCCCCCCCF")]
    given.write_text("\n".join(["smiles,value", *rows]))
    assert calibration.is_known(known.smiles), "the example has to be a training polymer"
    document = json.loads(run(EMBEDDED_DIR, "--input", given, "--property", "egc", "--json").stdout)
    assert (document["n_in_training_data"], document["n_new"]) == (len(rows) - 1, 1)


def test_a_table_that_is_wrong_throughout_does_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = tmp_path / "in.csv"
    given.write_text("smiles,value\n*CC*,1\n" + "*CC*,much\n" * 1000)
    measured = read_measured(given, ArtifactDirectory.open(EMBEDDED_DIR).property("egc"))
    assert (len(measured.rows), len(measured.left_out)) == (1, 1000)
    assert sum("is left out" in message for message in caplog.messages) == 20
    assert "980 more rows are left out." in caplog.messages


def test_stereo_labels_make_no_new_polymer() -> None:
    calibration = Calibration.load(EMBEDDED_DIR / calibration_path("egc"))
    by_chain = replace(
        calibration,
        facts=replace(calibration.facts, known_by="chain"),
        hashes=np.full_like(calibration.hashes, polymer_hash(chain_key(RepeatUnit.parse("*CC(*)C")))),
    )
    for file in (calibration, by_chain):
        assert overlap_of(file, RepeatUnit.parse("*CC(*)C")).is_known, "the example has to be a training polymer"
        for smiles in ("*C[C@@H](*)C", "*C[C@H](*)C", "*C[C@H](C)C[C@@H](*)C"):
            assert overlap_of(file, RepeatUnit.parse(smiles)).is_known
        assert overlap_of(file, RepeatUnit.parse("*C[C@@H](*)CCCCCCCCCCCCF")).is_new


def test_another_unit_is_refused(artifacts: Path, values: np.ndarray, tmp_path: Path) -> None:
    given = table(tmp_path / "in.csv", values * 96.485)
    result = run(artifacts, "--input", given, "--property", "egc")
    assert result.exception is not None
    assert "kJ/mol" in str(result.exception)


def test_too_few_rows_for_an_interval_are_refused(artifacts: Path, tmp_path: Path) -> None:
    given = tmp_path / "in.csv"
    given.write_text("smiles,value\n*CC*,7\n*CCC*,7.1\n")
    result = run(artifacts, "--input", given, "--property", "egc", "--calibrate")
    assert "expected at least 9" in str(result.exception)


def test_a_table_without_values_is_refused_with_its_columns(artifacts: Path, tmp_path: Path) -> None:
    given = tmp_path / "in.csv"
    given.write_text("smiles,note\n*CC*,x\n")
    assert "--value-column" in str(run(artifacts, "--input", given, "--property", "egc").exception)
    assert "no column 'gap'" in str(
        run(artifacts, "--input", given, "--property", "egc", "--value-column", "gap").exception
    )


def test_rows_that_tell_nothing_store_no_intervals(artifacts: Path, values: np.ndarray, tmp_path: Path) -> None:
    root = Path(shutil.copytree(artifacts, tmp_path / "artifacts"))
    for name, given, said in (
        ("nm", 1240 / values, "R2 is -"),
        ("equal", np.full(len(SMILES), 5.0), "the values are all equal"),
        # Its mean is not itself, by rounding.
        ("unround", np.full(len(SMILES), 6.6), "the values are all equal"),
    ):
        result = run(root, "--input", table(tmp_path / f"{name}.csv", given), "--property", "egc", "--calibrate")
        assert result.exit_code != 0
        assert said in str(result.exception)
        assert not (root / calibration_path("egc")).exists()


def test_copies_of_a_polymer_count_once(
    artifacts: Path, values: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(shutil.copytree(artifacts, tmp_path / "artifacts"))
    (tmp_path / "in.csv").write_text("smiles,value\n*CCO*,6.8\n*CCC*,6.9\n" + f"*CC*,{values[0]}\n" * 30)
    result = run(root, "--input", tmp_path / "in.csv", "--property", "egc", "--calibrate")
    assert "2 polymers are not in the training data" in str(result.exception)
    twice = table(tmp_path / "twice.csv", values, extra=f"{SMILES[0]},{values[0]}\n")
    with caplog.at_level("INFO"):
        run(root, "--input", twice, "--property", "egc", "--calibrate")
    assert f"intervals from {len(SMILES)} polymers" in caplog.text


def test_the_same_rows_twice_give_the_same_intervals(artifacts: Path, values: np.ndarray, tmp_path: Path) -> None:
    """Polymers that stand for the training of a network are not those that it learned from."""
    root = Path(shutil.copytree(artifacts, tmp_path / "artifacts"))
    given = table(tmp_path / "in.csv", values)
    contents = []
    for _ in range(2):
        assert run(root, "--input", given, "--property", "egc", "--calibrate").exit_code == 0
        contents.append((root / calibration_path("egc")).read_bytes())
    assert contents[0] == contents[1]


def test_the_installed_model_is_not_changed(values: np.ndarray, tmp_path: Path) -> None:
    before = (EMBEDDED_DIR / calibration_path("egc")).read_bytes()
    given = table(tmp_path / "in.csv", values)
    result = run(EMBEDDED_DIR, "--input", given, "--property", "egc", "--calibrate")
    assert "copy" in str(result.exception)
    assert (EMBEDDED_DIR / calibration_path("egc")).read_bytes() == before


def test_the_installed_model_is_known_by_a_link(values: np.ndarray, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(EMBEDDED_DIR, tmp_path / "installed"))
    (tmp_path / "link").symlink_to(copy)
    given = table(tmp_path / "in.csv", values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("periogt_ray.training.changeable.EMBEDDED_DIR", copy)
        result = run(tmp_path / "link", "--input", given, "--property", "egc", "--calibrate")
    assert "belong to the installed package" in str(result.exception)
    assert (copy / calibration_path("egc")).read_bytes() == (EMBEDDED_DIR / calibration_path("egc")).read_bytes()


def test_artifacts_that_cannot_be_written_are_told_before_the_work(
    artifacts: Path, values: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = table(tmp_path / "in.csv", values)
    folder = (artifacts / calibration_path("egc")).parent
    # Root may write everywhere, so the answer of the system stands in for the permissions.
    can = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and can(path, mode))
    monkeypatch.setattr("periogt_ray.model.predictor.Predictor.load", lambda *_: pytest.fail("it loaded the network"))
    result = run(artifacts, "--input", given, "--property", "egc", "--calibrate")
    assert f"{folder} cannot be written" in str(result.exception)
    assert "PERIOGT_CHECKPOINT_DIR" in str(result.exception)


def test_an_output_that_cannot_be_made_is_said_first(artifacts: Path, values: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = table(tmp_path / "in.csv", values)
    result = run(artifacts, "--input", given, "--property", "egc", "--output", tmp_path / "file")
    assert "--output" in str(result.exception)
    assert "polymers" not in result.output


def test_the_column_of_values_is_never_guessed_among_several(artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("smiles,value,egc\n*CC*,1,2\n*CCC*,3,1e308\n")
    result = run(artifacts, "--input", tmp_path / "in.csv", "--property", "egc")
    assert "2 columns that may hold the values: value, egc" in str(result.exception)
    result = run(artifacts, "--input", tmp_path / "in.csv", "--property", "egc", "--value-column", "egc", "--json")
    assert json.loads(result.stdout)["left_out"][0]["reason"].endswith("a 32-bit float can hold.")


# Two polymers at a time, so that a few are done when the signal comes. Where a shell runs the tests in the background,
# its children ignore the signal.
IN_SMALL_STEPS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from periogt_ray.training import evaluate
evaluate._AT_ONCE = 2
from periogt_ray.cli import main
main()
"""


def test_ctrl_c_ends_it_with_one_line_and_leaves_no_file(artifacts: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(artifacts, tmp_path / "artifacts"))
    before = sorted(root.rglob("*"))
    rows = [f"*{'C' * i}O{'C' * j}*,1" for i in range(1, 25) for j in range(1, 25)]
    (tmp_path / "in.csv").write_text("\n".join(["smiles,value", *rows]))
    arguments = ["evaluate", "--input", "in.csv", "--property", "egc", "--output", "out", "--calibrate"]
    running = subprocess.Popen(
        [sys.executable, "-c", IN_SMALL_STEPS, *arguments],
        env={**os.environ, "PERIOGT_CHECKPOINT_DIR": str(root), "PERIOGT_DEVICE": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
    )
    assert running.stderr is not None
    try:
        for line in running.stderr:
            if "4 of 576 polymers" in line:
                break
        running.send_signal(signal.SIGINT)
        printed, logged = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130, logged
    said = [line for line in logged.splitlines() if "polymers" not in line]
    assert said == ["Interrupted. No file is half written; give the command again to start over."]
    assert printed == ""
    assert list((tmp_path / "out").iterdir()) == []
    assert sorted(root.rglob("*")) == before


def test_a_signal_between_the_two_files_of_a_report_waits_for_the_second(
    artifacts: Path, values: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from periogt_ray.runtime import files

    write = files.write_json_atomically

    def interrupted(*given: Any, **options: Any) -> None:
        write(*given, **options)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(files, "write_json_atomically", interrupted)
    given = table(tmp_path / "in.csv", values)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = run(artifacts, "--input", given, "--property", "egc", "--output", tmp_path / "out")
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["evaluation.html", "evaluation.json"]


def test_half_a_number_is_no_value(artifacts: Path, tmp_path: Path) -> None:
    given = tmp_path / "in.csv"
    given.write_text("smiles,value\n*CC*,7,1\n*CCO*,6.9,\n*CCCO*,6.1\n")
    result = run(artifacts, "--input", given, "--property", "egc", "--json")
    document = json.loads(result.stdout)
    [left_out] = document["left_out"]
    assert (result.exit_code, left_out["id"], document["groups"]["all"]["n"]) == (1, "0", 2)
    assert "The row has 3 cells, and the header 2; a decimal comma without quotes does that" in left_out["reason"]


@pytest.mark.parametrize("text", ['smiles,value\n*CC*,"7,1"\n*CCO*,"6,9"\n', "smiles;value\n*CC*;7,1\n*CCO*;6,9\n"])
def test_decimal_commas_are_told_with_what_to_do(artifacts: Path, tmp_path: Path, text: str) -> None:
    given = tmp_path / "in.csv"
    given.write_text(text)
    result = run(artifacts, "--input", given, "--property", "egc")
    assert isinstance(result.exception, ValidationError)
    assert "The first: The value is '7,1'" in result.exception.message
    assert "It has a decimal comma: write 7.1, or save the table with decimal points" in result.exception.message
