"""The command line: most of it in this process, which has torch; one real process or more for each command.

`batch`, `serve` and `setup` have theirs in the tests of their wings.
"""

import csv
import io
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from periogt_ray.batch.options import BatchOptions
from periogt_ray.cli import cli, main
from periogt_ray.doctor.report import Check, Status
from periogt_ray.errors import ModelLoadError
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.runtime.ray_environment import LOG_ENVIRONMENT
from periogt_ray.settings import EMBEDDED_DIR, Settings
from periogt_ray.tables.columns import TableOptions
from support.golden import ARTIFACTS, golden_polymers
from support.golden_copolymers import make_artifacts
from support.terminal import Terminal


def run(*args: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PERIOGT_")}
    return subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-m", "periogt_ray", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**inherited, "PERIOGT_DEVICE": "cpu", **env},
        timeout=300,
    )


@pytest.fixture
def called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in this process, from its arguments and environment to its exit status."""

    def call(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        root = logging.getLogger()
        level = root.level
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("PERIOGT_")]:
                patch.delenv(name)
            for name, value in {"DGLBACKEND": "pytorch", "PERIOGT_DEVICE": "cpu", **env}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["periogt", *args])
            # As in a fresh process, where the command sets up logging.
            patch.setattr(root, "handlers", [])
            with pytest.raises(SystemExit) as stop:
                main()
            root.setLevel(level)
            logging.getLogger("periogt_ray").setLevel(logging.NOTSET)
        status = stop.value.code or 0
        assert isinstance(status, int), "a status, not a message"
        return subprocess.CompletedProcess(args, status, *capsys.readouterr())

    return call


Called = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
def test_predict_prints_the_contract_s_json() -> None:
    result = run("predict", "--smiles", " [*]CC* ", "--property", "egc")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert set(answer) >= {"smiles", "property", "prediction", "embedding", "model", "request_id"}
    assert (answer["smiles"], answer["property"], answer["embedding"]) == (" [*]CC* ", "egc", None)
    assert answer["prediction"]["units"] == "eV"
    assert answer["prediction"]["value"] == pytest.approx(6.9, abs=0.35)
    assert answer["model"]["name"] == "PerioGT"
    assert not Path(answer["model"]["checkpoint"]).is_absolute()
    assert "embedded compact model" in result.stderr


def test_predict_with_golden_artifacts_equals_the_reference(called: Called) -> None:
    golden = golden_polymers()[2]
    result = called(
        "predict",
        "--smiles",
        golden.smiles,
        "--property",
        "tg",
        "--return-embedding",
        PERIOGT_CHECKPOINT_DIR=str(ARTIFACTS),
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    expected = golden.record["raw_prediction"]["tg"] * 105.0 + 410.0
    assert answer["prediction"]["value"] == pytest.approx(expected, abs=1e-3)
    assert answer["embedding"] == pytest.approx(golden.embedding.tolist(), abs=1e-5)


def test_csv_is_one_line_with_the_columns_of_a_batch(called: Called) -> None:
    result = called("predict", "--smiles", "*CC*", "--property", "egc", "--format", "csv")
    [row] = csv.reader(io.StringIO(result.stdout))
    assert row[:3] == ["0", "*CC*", "egc"]
    assert row[4:8] == ["eV", "true", "", ""]
    assert float(row[3]) == pytest.approx(6.9, abs=0.35)


def test_several_properties_are_results_in_order(called: Called) -> None:
    result = called("predict", "--smiles", "*CC*", "--property", "nc, egc,nc")
    document = json.loads(result.stdout)
    assert set(document) == {"results", "request_id"}
    assert [(one["property"], one["smiles"]) for one in document["results"]] == [("nc", "*CC*"), ("egc", "*CC*")]
    assert {one["request_id"] for one in document["results"]} == {document["request_id"]}
    single = json.loads(called("predict", "--smiles", "*CC*", "--property", "egc").stdout)
    assert single["prediction"] == document["results"][1]["prediction"]


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_artifacts(tmp_path_factory.mktemp("kinds") / "artifacts"))


def test_a_copolymer_and_conditions_by_options(called: Called, all_kinds: str) -> None:
    pair = ("predict", "--smiles", "*CCO*", "--smiles-b", "*CC*", "--ratio-a", "0.25", "--architecture", "block")
    answer = json.loads(called(*pair, "--property", "ea", PERIOGT_CHECKPOINT_DIR=all_kinds).stdout)
    assert answer["copolymer"] == {"smiles_a": "*CCO*", "smiles_b": "*CC*", "ratio_a": 0.25, "architecture": "block"}
    line = called(*pair, "--property", "all", "--format", "csv", PERIOGT_CHECKPOINT_DIR=all_kinds).stdout
    [row] = csv.reader(io.StringIO(line))
    assert row[:6] == ["0", "*CCO*", "*CC*", "0.25", "block", "ea"]
    assert float(row[6]) == answer["prediction"]["value"]
    given = [text for name in ("homo=-0.6", "bandgap=1", "molar_mass=0") for text in ("--condition", name)]
    with_conditions = ("predict", "--smiles", "*CC*", *given, "--property", "opv")
    found = json.loads(called(*with_conditions, PERIOGT_CHECKPOINT_DIR=all_kinds).stdout)
    assert found["conditions"] == {"homo": -0.6, "bandgap": 1.0, "molar_mass": 0.0}
    assert found["prediction"]["units"] == "%"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--smiles-b", "*CC*", "--property", "ea"), "A copolymer also needs --ratio-a and --architecture."),
        (("--condition", "homo", "--property", "opv"), "expected NAME=NUMBER"),
        (("--condition", "homo=1", "--condition", "homo=2", "--property", "opv"), "--condition homo is given twice"),
        (("--condition", "homo=1", "--property", "opv"), "expected exactly homo, bandgap, molar_mass"),
        (
            ("--property", "ea"),
            "ea is predicted of a copolymer, and the options describe one repeat unit; give --smiles, --smiles-b, "
            "--ratio-a and --architecture.",
        ),
        (
            ("--smiles-b", "*CCO*", "--ratio-a", "0.5", "--architecture", "block", "--property", "eps"),
            "eps is predicted of one repeat unit, and the options describe a copolymer; give --smiles only.",
        ),
        (("--property", "opv"), "--condition homo=NUMBER, --condition bandgap=NUMBER"),
    ],
)
def test_options_of_another_input_are_refused(
    called: Called, all_kinds: str, options: tuple[str, ...], words: str
) -> None:
    result = called("predict", "--smiles", "*CC*", *options, PERIOGT_CHECKPOINT_DIR=all_kinds)
    assert result.returncode == 2
    assert words in result.stderr


@pytest.mark.parametrize(
    "options", [(), ("--input", "a.csv", "--pairs", "a.csv", "b.csv"), ("--input", "a.csv", "--ratios", "0.5")]
)
def test_a_batch_has_one_input(called: Called, options: tuple[str, ...]) -> None:
    result = called("batch", "--property", "ea", *options)
    assert result.returncode == 2
    assert "--pairs" in result.stderr


def test_all_properties_are_those_that_take_such_an_input(called: Called) -> None:
    served = json.loads(called("properties").stdout)["properties"]
    listed = [entry for entry in served if entry["input"] == "homopolymer"]
    assert len(listed) < len(served)
    result = called("predict", "--smiles", "*CC*", "--property", "all", "--format", "csv")
    rows = list(csv.reader(io.StringIO(result.stdout)))
    assert [row[2] for row in rows] == [entry["id"] for entry in listed]
    assert {row[5] for row in rows} == {"true"}


@pytest.mark.parametrize(("bad", "status"), [(["egc"], 1), (["egc", "nc"], 2)])
def test_a_property_that_fails_does_not_cost_the_others(
    called: Called, monkeypatch: pytest.MonkeyPatch, bad: list[str], status: int
) -> None:
    computed = Predictor.predict_many

    def fails(self: Predictor, tasks: Sequence[Task]) -> list[Outcome]:
        error = ModelLoadError("broken weights")
        outcomes = zip(tasks, computed(self, tasks), strict=True)
        return [Outcome(error=error) if task.property_id in bad else outcome for task, outcome in outcomes]

    monkeypatch.setattr(Predictor, "predict_many", fails)
    result = called("predict", "--smiles", "*CC*", "--property", "nc,egc")
    assert result.returncode == status
    results = {one.get("property"): one for one in json.loads(result.stdout)["results"]}
    assert results[None] == {"code": "model_load_failed", "message": "broken weights", "details": {}}
    assert ("nc" in results) == ("nc" not in bad)
    rows = called("predict", "--smiles", "*CC*", "--property", "nc,egc", "--format", "csv")
    assert rows.returncode == status
    assert rows.stdout.splitlines()[1].startswith("0,*CC*,egc,,,false,model_load_failed,broken weights,")
    assert called("predict", "--smiles", "*CC*", "--property", "egc").returncode == 2


@pytest.mark.slow
def test_embeddings() -> None:
    result = run("embeddings", "--smiles", "*CC*", PERIOGT_CHECKPOINT_DIR=str(ARTIFACTS))
    answer = json.loads(result.stdout)
    assert answer["dim"] == len(answer["embedding"]) == 144
    assert answer["embedding"] == pytest.approx(golden_polymers()[0].embedding.tolist(), abs=1e-5)


def test_the_embedded_model_answers_for_a_copolymer(called: Called) -> None:
    pair = ("predict", "--smiles", "*c1ccc(*)cc1", "--smiles-b", "*c1ccc(*)s1", "--ratio-a", "0.5")
    answer = json.loads(called(*pair, "--architecture", "alternating", "--property", "ea").stdout)
    assert answer["prediction"] == {"value": pytest.approx(2.5, abs=0.2), "units": "eV"}
    assert answer["interval"]["level"] == 0.9
    assert answer["domain"]["status"] == "inside"


def test_properties_say_which_model_answers(called: Called) -> None:
    answer = json.loads(called("properties").stdout)
    [entry] = [entry for entry in answer["properties"] if entry["id"] == "egc"]
    assert (entry["label"], entry["units"], entry["input"]) == ("Band gap, chain", "eV", "homopolymer")
    assert "compact" in answer["artifacts"].lower()
    assert "not the published PerioGT weights" in answer["description"]
    assert [entry["id"] for entry in answer["unsupported"]] == ["xc", "tg", "mt", "density", "opv"]
    assert "periogt setup" in answer["unsupported"][0]["reason"]


def shown(called: Called, monkeypatch: pytest.MonkeyPatch, *args: str, **env: str) -> tuple[int, str]:
    """Run a command on a terminal; return its status and what stands there."""
    with Terminal() as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal.file)
        result = called(*args, **env)
    return result.returncode, terminal.shown


def test_a_terminal_gets_a_table_of_properties(called: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    status, table = shown(called, monkeypatch, "properties")
    assert status == 0
    lines = table.splitlines()
    [served] = [line for line in lines if line.startswith("egc ")]
    assert served.split("  ", 1)[1].split("  ")[0].strip() == "Band gap, chain"
    assert served.index("eV") == next(line for line in lines if line.startswith("id ")).index("unit")
    refused = lines[lines.index("Not served:") :]
    assert any(line.startswith("tg ") and "periogt setup" in line for line in refused)
    assert called("properties", "--table").stdout == table
    status, printed = shown(called, monkeypatch, "properties", "--json")
    assert json.loads(printed) == json.loads(called("properties").stdout)


def test_a_terminal_gets_doctor_s_table(called: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [Check("one", Status.PASS, "fine"), Check("other", Status.WARN, "odd", "mend it")]
    monkeypatch.setattr("periogt_ray.doctor.run.run_checks", lambda *_, **__: checks)
    status, table = shown(called, monkeypatch, "doctor")
    assert status == 1
    assert [line.split()[:2] for line in table.splitlines()[:2]] == [["PASS", "one"], ["WARN", "other"]]
    assert "-> mend it" in table
    piped = called("doctor")
    assert json.loads(piped.stdout)["verdict"] == "WARN"
    assert shown(called, monkeypatch, "doctor", "--json")[1] == piped.stdout
    assert called("doctor", "--table").stdout == table


def test_predictions_are_json_on_a_terminal_too(called: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    status, printed = shown(called, monkeypatch, "predict", "--smiles", "*CC*", "--property", "egc")
    assert (status, json.loads(printed)["property"]) == (0, "egc")


@pytest.mark.parametrize(
    ("args", "env", "listens_at"),
    [
        ([], {}, ("0.0.0.0", 8000)),
        ([], {"PERIOGT_HOST": "10.0.0.1", "PERIOGT_PORT": "9000"}, ("10.0.0.1", 9000)),
        (["--port", "8001"], {"PERIOGT_HOST": "10.0.0.1", "PERIOGT_PORT": "9000"}, ("10.0.0.1", 8001)),
        (["--host", "::1", "--port", "8001"], {"PERIOGT_PORT": "none"}, ("::1", 8001)),
    ],
)
def test_options_of_serve_win_over_variables(
    called: Called, monkeypatch: pytest.MonkeyPatch, args: list[str], env: dict[str, str], listens_at: tuple[str, int]
) -> None:
    served: list[Settings] = []
    monkeypatch.setattr("periogt_ray.serve.run.run_service", lambda settings, **_: served.append(settings))
    for name in LOG_ENVIRONMENT:  # put back what serve sets
        monkeypatch.setenv(name, "")
    result = called("serve", *args, **env)
    assert result.returncode == 0, result.stderr
    assert [(settings.host, settings.port) for settings in served] == [listens_at]


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_port_that_cannot_be_is_refused(called: Called, port: str) -> None:
    result = called("serve", "--port", port)
    assert result.returncode == 2
    assert "Invalid value for '--port'" in result.stderr


def test_verbose_shows_every_setting(called: Called) -> None:
    assert "min_driver=" not in called("properties").stderr
    assert "min_driver=" in called("-v", "properties").stderr
    assert called("-q", "properties").stderr == ""
    refused = called("-q", "-v", "properties")
    assert (refused.returncode, "exclude each other" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("args", "env", "code", "words"),
    [
        (["predict", "--smiles", "CC", "--property", "egc"], {}, "validation_error", ["0 connection points"]),
        (["predict", "--smiles", "*CC(*)C(=O)[O-].[Na+]", "--property", "egc"], {}, "validation_error", ["fragments"]),
        (["predict", "--smiles", "*CC*", "--property", "nope"], {}, "unsupported_property", ["egc", "nope"]),
        (["predict", "--smiles", "*CC*", "--property", "tg"], {}, "unsupported_property", ["tg", "periogt setup"]),
        (["properties"], {"PERIOGT_CHECKPOINT_DIR": "/nonexistent"}, "validation_error", ["/nonexistent"]),
        (["properties"], {"PERIOGT_CHECKPOINT_DIR": "/usr/bin"}, "checkpoint_missing", ["/usr/bin/label_stats.json"]),
    ],
)
def test_errors_are_told_and_end_with_2(
    called: Called, args: list[str], env: dict[str, str], code: str, words: list[str]
) -> None:
    result = called(*args, **env)
    assert result.returncode == 2
    assert result.stdout == ""
    assert f"error [{code}]" in result.stderr
    assert "Traceback" not in result.stderr
    assert all(word in result.stderr for word in words)


def test_cuda_that_is_not_there_ends_with_2(called: Called) -> None:
    import torch

    if torch.cuda.is_available():
        assert called("predict", "--smiles", "*CC*", "--property", "egc", PERIOGT_DEVICE="cuda").returncode == 0
        return
    result = called("predict", "--smiles", "*CC*", "--property", "egc", PERIOGT_DEVICE="cuda")
    assert result.returncode == 2
    assert "error [cuda_unavailable]" in result.stderr
    assert "PERIOGT_DEVICE=cpu" in result.stderr


@pytest.mark.slow
def test_an_error_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from periogt_ray.cli import cli\n"
        "try: cli(['predict', '--smiles', 'CC', '--property', 'egc'], standalone_mode=False)\n"
        "except Exception as error: print(error.code, 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["validation_error", "False"]


def test_a_misspelt_option_is_refused() -> None:
    result = run("predict", "--smile", "*CC*", "--property", "egc")
    assert result.returncode == 2
    assert "--smiles" in result.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from periogt_ray.cli import cli\n"
        "for args in [], ['predict'], ['batch'], ['doctor'], ['finetune'], ['models']:\n"
        "    try: cli([*args, '--help'], prog_name='periogt')\n"
        "    except SystemExit as stop: assert stop.code == 0\n"
        "    print('-' * 9)\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'torch', 'ray', 'rdkit', 'numpy', 'pydantic', 'numba', 'dgl', 'httpx'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.count("Usage: periogt") == result.stdout.count("-" * 9) == 6
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_prediction_loads_only_what_it_needs() -> None:
    code = (
        "import sys; from periogt_ray.cli import cli\n"
        "try: cli(['predict', '--smiles', '*CC*', '--property', 'all'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "heavy = {'torch', 'sympy', 'torch._dynamo', 'pandas', 'pyarrow', 'ray', 'fastapi', 'dgl'}\n"
        "print(sorted(heavy & {*sys.modules}))"
    )
    environment = {**os.environ, "PERIOGT_CHECKPOINT_DIR": str(EMBEDDED_DIR), "PERIOGT_DEVICE": "cpu"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.splitlines()[-1] == "['torch']"


def test_unknown_variables_are_warned_about(called: Called) -> None:
    result = called("properties", PERIOGT_CHECKPOINTDIR="/x")
    assert result.returncode == 0
    assert "did you mean PERIOGT_CHECKPOINT_DIR?" in result.stderr


@pytest.mark.slow
def test_doctor_reports_and_exits_by_its_verdict() -> None:
    result = run("doctor", "--json", PERIOGT_CHECKPOINT_DIR=str(ARTIFACTS), DGLBACKEND="pytorch")
    report = json.loads(result.stdout)
    by_name = {check["name"]: check for check in report["checks"]}
    assert by_name["self-test"]["status"] == "PASS"
    assert by_name["property eps"]["status"] == "PASS"
    assert {"PASS": 0, "WARN": 1, "FAIL": 2}[report["verdict"]] == result.returncode
    assert result.returncode < 2, report
    assert [check for check in report["checks"] if check["status"] != "PASS" and not check["remedy"]] == []


def test_doctor_looks_at_the_directory_of_features(called: Called, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    report = json.loads(called("doctor", "--json", PERIOGT_FEATURE_STORE=str(tmp_path)).stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["feature_store"]["status"] == "PASS"
    assert str(tmp_path) in checks["feature_store"]["message"]
    assert "feature store" not in checks


def test_doctor_tells_of_features_in_an_older_form(called: Called, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    older = tmp_path / "v2-native-rdkit2026.9.1"
    older.mkdir()
    report = json.loads(called("doctor", "--json", PERIOGT_FEATURE_STORE=str(tmp_path)).stdout)
    [check] = [one for one in report["checks"] if one["name"] == "feature store"]
    assert check["status"] == "WARN"
    assert check["remedy"].endswith(f"rm -r {older}")


def test_doctor_tells_what_to_do_and_still_tests_itself(called: Called) -> None:
    result = called("doctor", "--table", PERIOGT_CHECKPOINT_DIR="/nonexistent", PERIOGT_DEVCE="cpu")
    assert result.returncode == 2
    assert "FAIL" in result.stdout
    assert "/nonexistent" in result.stdout
    assert "did you mean PERIOGT_DEVICE?" in result.stdout
    assert "self-test" in result.stdout


@pytest.mark.slow
def test_the_smoke_test_of_the_command_line_passes() -> None:
    script = Path(__file__).parents[1] / "scripts" / "hpc_cli_smoke_test.sh"
    result = subprocess.run([script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("ok: ") == 5


@pytest.mark.slow
def test_doctor_reports_on_an_installation_that_is_broken(tmp_path: Path) -> None:
    for package in ("torch", "rdkit"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError('cannot open shared object file')")
        result = run("doctor", "--json", PYTHONPATH=str(tmp_path))
        report = json.loads(result.stdout)
        failed = {check["name"]: check["message"] for check in report["checks"] if check["status"] == "FAIL"}
        assert result.returncode == 2
        assert "cannot open shared object file" in failed["self-test"]
        assert len(report["checks"]) > 10
        shutil.rmtree(tmp_path / package)


@pytest.mark.slow
def test_output_that_cannot_be_written_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "periogt_ray", "properties"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 2
    assert "cannot be written: No space left on device. Free some space" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("option", ["--part-size", "--batch-size"])
def test_the_size_of_parts_has_an_old_name_that_names_the_new_one(
    option: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given: list[BatchOptions] = []

    def interrupted(options: BatchOptions, _settings: object) -> None:
        given.append(options)

    monkeypatch.setattr("periogt_ray.batch.run.run_batch", interrupted)
    result = CliRunner().invoke(cli, ["batch", "--input", "in.csv", "--property", "egc", option, "8"])
    assert result.exit_code == 1, "an interrupted run"
    assert result.stdout == ""
    assert [options.rows_per_part for options in given] == [8]
    assert ("--batch-size is now called --part-size" in caplog.text) == (option == "--batch-size")
    assert "--batch-size" not in CliRunner().invoke(cli, ["batch", "--help"]).stdout


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (["predict", "--smiles", "*CC*", "--property", "egc", "--smiles=*CO*"], "--smiles"),
        (["predict", "--smiles", "*CC*", "--property", "egc", "--property", "nc"], "--property"),
        (["embeddings", "--smiles", "*CC*", "--smiles", "*CC*"], "--smiles"),
        (["batch", "--input", "a.csv", "--property", "egc", "--output", "b.csv", "--output", "c.csv"], "--output"),
        (["featurize", "--input", "a.csv", "--share", "1/2", "--share", "2/2"], "--share"),
        (["setup", "--mirror", "a", "--mirror", "b"], "--mirror"),
    ],
)
def test_an_option_that_is_given_twice_is_refused(args: list[str], option: str) -> None:
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 2
    assert f"{option} is given 2 times; give it once." in result.stderr
    assert result.stdout == ""


def test_batch_takes_several_properties_and_says_how_the_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[BatchOptions] = []
    monkeypatch.setattr("periogt_ray.batch.run.run_batch", lambda options, _settings: given.append(options))
    args = ["batch", "--input", "in.csv", "--property", "egc,nc", "--property", "ei"]
    assert CliRunner().invoke(cli, args).exit_code == 1, "an interrupted run"
    more = ["--smiles-column", "2", "--id-column", "1", "--no-header", "--keep-columns", "--wide"]
    CliRunner().invoke(cli, [*args, *more])
    plain, chosen = given
    assert plain.properties == ("egc", "nc", "ei")
    assert (plain.table, plain.is_wide) == (TableOptions(), False)
    assert (chosen.table, chosen.is_wide) == (TableOptions("2", "1", has_header=False, keeps_columns=True), True)
