"""The command line of finetuning: options, exit statuses, and what is printed."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from periogt_ray.cli import cli
from periogt_ray.errors import ValidationError
from periogt_ray.training import prepared
from periogt_ray.training.options import FinetuneOptions
from support.golden import ARTIFACTS
from support.packages import write_small_package


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERIOGT_CHECKPOINT_DIR", str(ARTIFACTS))
    monkeypatch.setenv("PERIOGT_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("PERIOGT_DEVICE", "cpu")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def table(path: Path, n: int = 24, more: str = "") -> Path:
    rows = "".join(f"*{'C' * k}O*,{k * k}\n" for k in range(2, 2 + n))
    path.write_text(f"smiles,value\n{rows}{more}")
    return path


def invoke(*args: str) -> Any:
    return CliRunner().invoke(cli, ["-q", *args])


def test_the_check_reports_and_estimates(tmp_path: Path) -> None:
    data = table(tmp_path / "data.csv")
    result = invoke("finetune", "--data", str(data), "--property", "my_eps", "--units", "eV", "--check")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["labels"]["n_polymers"] == 24
    assert found["estimated_seconds"] >= 0
    assert not (tmp_path / "models").exists()


def test_rows_that_are_left_out_show_in_the_exit_status(tmp_path: Path) -> None:
    data = table(tmp_path / "data.csv", more="*CC,1\n")
    result = invoke("finetune", "--data", str(data), "--property", "my_eps", "--units", "", "--check")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["left_out"][0]["line"] == 26


@pytest.mark.parametrize(
    ("n", "more", "expected"),
    [(19, "", "19 different polymers"), (24, "*CC,1\n" * 3, "3 of 27 rows"), (0, "", "no rows")],
)
def test_what_cannot_be_used_is_refused_before_any_training(tmp_path: Path, n: int, more: str, expected: str) -> None:
    data = table(tmp_path / "data.csv", n, more)
    result = invoke("finetune", "--data", str(data), "--property", "my_eps", "--units", "")
    assert isinstance(result.exception, ValidationError)
    assert result.exception.exit_code == 2
    assert expected in result.exception.message
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("missing", ["--data", "--property", "--units"])
def test_required_options_are_required(missing: str) -> None:
    given = {"--data": "x.csv", "--property": "my_eps", "--units": "eV"}
    del given[missing]
    result = invoke("finetune", *(word for pair in given.items() for word in pair))
    assert result.exit_code == 2
    assert missing in result.output


def test_options_reach_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[FinetuneOptions] = []

    def interrupted(columns: list[FinetuneOptions], _settings: object) -> None:
        given.extend(columns)

    monkeypatch.setattr("periogt_ray.commands.finetune_progress.run_columns", interrupted)
    base = ["finetune", "--data", "d.csv", "--property", "my_eps", "--units", "eV"]
    assert invoke(*base).exit_code == 1, "an interrupted run"
    assert invoke(*base, "--recipe", "authors").exit_code == 1
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    more = ["--transform", "log10", "--freeze", "--lr", "0.001", "--members", "1", "--output", "out", "--seed", "7"]
    assert invoke(*base, *more).exit_code == 1
    plain, authors, chosen = given
    assert plain.output == tmp_path / "models" / "my_eps"
    assert (plain.engine, plain.dropout, plain.recipes(96)[0].learning_rate) == ("local", None, 1e-3)
    assert [recipe.learning_rate for recipe in plain.recipes(768)] == [1e-4, 5e-4]
    assert authors.recipes(96)[0].dropout == 0.0
    assert (chosen.engine, chosen.address) == ("ray", "10.0.0.1:6379")
    assert (chosen.table.is_log10, chosen.is_frozen, chosen.n_members, chosen.seed) == (True, True, 1, 7)
    assert chosen.output == Path("out").absolute()


def two_columns(path: Path, n: int = 48) -> Path:
    """Write values of two kinds; every third polymer lacks one of them."""
    rows = [f"*{'C' * k}O*,{k * k if k % 3 else ''},{1 / k if k % 3 != 1 else ''}" for k in range(2, 2 + n)]
    path.write_text("\n".join(["smiles,Tg,rho", *rows]))
    return path


def test_several_columns_are_checked_each(tmp_path: Path) -> None:
    data = two_columns(tmp_path / "data.csv")
    base = ["finetune", "--data", str(data), "--property", "my_tg,my_rho", "--value-column", "Tg,rho", "--check"]
    result = invoke(*base, "--units", "K,g/cm3")
    assert result.exit_code == 0, "a value that another column has instead is not left out"
    found = json.loads(result.stdout)["properties"]
    assert [(one["property"], one["labels"]["n_polymers"], one["labels"]["n_blank"]) for one in found] == [
        ("my_tg", 32, 16),
        ("my_rho", 32, 16),
    ]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"--units": "K,g/cm3,eV"}, "--units 3"),
        ({"--value-column": "Tg"}, "--value-column 1"),
        ({"--property": "my_tg,my_tg"}, "different"),
        ({"--property": "my_tg"}, "--property a,b"),
        ({"--label": "Tg"}, "--label 1"),
        ({"--units": "W/(m,K)"}, "'\"W/(m,K)\"'"),
    ],
)
def test_lists_of_columns_have_one_length(tmp_path: Path, changed: dict[str, str], told: str) -> None:
    data = two_columns(tmp_path / "data.csv", 4)
    given = {"--property": "my_tg,my_rho", "--value-column": "Tg,rho", "--units": "K,g/cm3", "--data": str(data)}
    result = invoke("finetune", *(word for pair in {**given, **changed}.items() for word in pair))
    assert isinstance(result.exception, ValidationError)
    assert told in result.exception.message


def test_a_unit_or_column_with_a_comma_stands_in_quotes(tmp_path: Path) -> None:
    data = two_columns(tmp_path / "data.csv")
    data.write_text(data.read_text().replace("Tg,rho", '"Tg, onset",rho'))
    given = ["--property", "my_tg,my_rho", "--value-column", '"Tg, onset",rho', "--units", '"K, dry", g/cm3', "--check"]
    result = invoke("finetune", "--data", str(data), *given)
    assert result.exit_code == 0, result.output
    given[given.index("--units") + 1] = "K, dry, g/cm3"
    assert "--units 3" in invoke("finetune", "--data", str(data), *given).exception.message


def test_two_columns_become_two_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed of a polymer is computed once, and a column alone gives the same networks."""
    monkeypatch.setattr("periogt_ray.training.baselines.has_trees", lambda: False)
    n_encoded: list[int] = []
    encode = prepared.encode

    def counting(encoder: Any, polymers: Any, *given: Any, **options: Any) -> Any:
        n_encoded.append(len(polymers))
        return encode(encoder, polymers, *given, **options)

    monkeypatch.setattr(prepared, "encode", counting)
    data = two_columns(tmp_path / "data.csv", 32)
    base = ["finetune", "--data", str(data), "--folds", "2", "--members", "2", "--epochs", "1", "--freeze"]
    both = ["--property", "my_tg,my_rho", "--value-column", "Tg,rho", "--units", "K,g/cm3"]
    result = invoke(*base, *both)
    assert result.exit_code == 0, result.output
    assert [one["property"] for one in json.loads(result.stdout)["properties"]] == ["my_tg", "my_rho"]
    assert sum(n_encoded) == 32
    models = tmp_path / "models"
    assert not (models / "my_tg" / ".work" / "shared").exists()
    assert "other columns only" in (models / "my_rho" / "MODEL_CARD.md").read_text()
    served = {entry["id"]: entry["units"] for entry in json.loads(invoke("models", "list", "--json").stdout)["models"]}
    assert served == {"my_tg": "K", "my_rho": "g/cm3"}
    again = invoke(*base, *both)
    assert json.loads(again.stdout) == json.loads(result.stdout), "the same command finds both finished"


def test_models_are_listed_exported_imported_and_removed(tmp_path: Path) -> None:
    assert json.loads(invoke("models", "list", "--json").stdout) == {"models": []}
    write_small_package(tmp_path / "models")
    [entry] = json.loads(invoke("models", "list", "--json").stdout)["models"]
    assert (entry["id"], entry["served"], entry["n_networks"]) == ("my_eps", True, 2)
    assert "served" in invoke("models", "list", "--table").stdout
    file = tmp_path / "my.zip"
    assert json.loads(invoke("models", "export", "my_eps", "--output", str(file)).stdout)["bytes"] > 1000
    assert invoke("models", "remove", "my_eps").exit_code == 0
    assert json.loads(invoke("models", "list", "--json").stdout) == {"models": []}
    assert json.loads(invoke("models", "import", str(file)).stdout)["served"] is True
    assert isinstance(invoke("models", "remove", "other").exception, ValidationError)


def test_doctor_compares_packages_with_their_record(tmp_path: Path) -> None:
    from periogt_ray.artifacts.directory import ArtifactDirectory
    from periogt_ray.doctor.report import Status
    from periogt_ray.doctor.run import _check_packages

    package = write_small_package(tmp_path / "models")
    artifacts = ArtifactDirectory.open(ARTIFACTS).with_packages(tmp_path / "models")
    [check] = _check_packages(artifacts, hashes=True)
    assert check.status is Status.PASS
    assert package.data_sha256[:12] in check.message
    (package.root / "rows.csv").write_text("changed")
    [check] = _check_packages(artifacts, hashes=True)
    assert check.status is Status.FAIL
    assert "rows.csv" in check.message
