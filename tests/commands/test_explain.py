import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from periogt_ray import Explanation, PerioGT
from periogt_ray.cli import cli
from periogt_ray.commands.explain import explanation_table
from periogt_ray.errors import ValidationError
from periogt_ray.model.explanation import MEANING
from periogt_ray.settings import EMBEDDED_DIR

ARGUMENTS = ["-q", "explain", "--device", "cpu", "--property", "egc"]


def run(*args: str) -> Result:
    return CliRunner(env={"PERIOGT_CHECKPOINT_DIR": str(EMBEDDED_DIR)}).invoke(cli, [*ARGUMENTS, *args])


@pytest.fixture(scope="module")
def acrylate() -> Explanation:
    return PerioGT(EMBEDDED_DIR, device="cpu").explain("C(*)C(*)C(=O)O", "egc", passes=62)


def test_json_is_the_explanation_of_the_python_api(acrylate: Explanation) -> None:
    found = run("--smiles", "C(*)C(*)C(=O)O", "--passes", "62", "--json")
    assert found.exit_code == 0
    document = json.loads(found.stdout)
    assert document == json.loads(json.dumps(acrylate.as_dict()))
    assert Explanation.from_dict(document) == acrylate
    assert document["smiles"] == "C(*)C(*)C(=O)O"
    assert document["repeat_unit"] == "*CC(*)C(=O)O"
    assert document["method"] == "sampled"


def test_the_table_states_the_sum_and_what_it_means(acrylate: Explanation) -> None:
    table = explanation_table(acrylate)
    lines = table.splitlines()
    assert MEANING in table
    numbers = {}
    for line in lines[3:-2]:
        name, value = line[:24].strip(), line[24:36].strip()
        numbers[name] = float(value)
    prediction, baseline = numbers.pop("prediction"), numbers["baseline"]
    assert sum(numbers.values()) == pytest.approx(prediction, abs=2e-3)
    assert (prediction, baseline) == (pytest.approx(acrylate.prediction, 1e-3), pytest.approx(acrylate.baseline, 1e-3))
    assert set(numbers) == {
        *("baseline", "whole-molecule features"),
        *("C1-C2", "C2-C1", "C2-C4", "C4-O5", "C4-O6"),
    }
    assert "between units" in next(line for line in lines if line.startswith("C2-C1"))
    assert sum("±" in line for line in lines[:-1]) == 6


def test_the_smallest_parts_are_one_row(acrylate: Explanation) -> None:
    many = replace(acrylate, bonds=acrylate.bonds * 4)
    lines = explanation_table(many).splitlines()
    assert lines[4 + 12].startswith("9 smaller parts")


def test_the_drawing_is_written(tmp_path: Path, acrylate: Explanation) -> None:
    found = run("--smiles", "*CC*", "--output", str(tmp_path / "out.svg"), "--table")
    assert found.exit_code == 0
    assert "Band gap, chain of *CC*, eV; 8 passes, all subsets" in found.stdout
    text = (tmp_path / "out.svg").read_text()
    assert text.startswith("<svg")
    assert "Band gap, chain: 6.842 eV" in text
    assert "whole-molecule features" in acrylate.svg()


@pytest.mark.parametrize(
    ("name", "problem"),
    [("no/out.svg", "directory does not exist"), ("", "is a directory"), ("there", "is a directory")],
)
def test_a_drawing_that_cannot_be_written_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    found = run("--smiles", "*CC*", "--output", name)
    assert isinstance(found.exception, ValidationError)
    assert problem in found.exception.message
    assert found.stdout == ""


def test_a_directory_without_permission_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root can write anywhere
    found = run("--smiles", "*CC*", "--output", str(tmp_path / "out.svg"))
    assert isinstance(found.exception, ValidationError)
    assert "you cannot write to its directory" in found.exception.message
    assert found.stdout == ""


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--smiles", "*CC"], "1 connection point"),
        (["--smiles", "*CC*", "--passes", "3"], "needs at least 8"),
    ],
)
def test_what_cannot_be_explained_is_an_error(options: list[str], problem: str) -> None:
    found = run(*options)
    assert isinstance(found.exception, ValidationError)
    assert problem in found.exception.message


def test_passes_have_a_bound() -> None:
    with pytest.raises(ValidationError, match="from 1 to 20000"):
        PerioGT(EMBEDDED_DIR, device="cpu").explain("*CC*", "egc", passes=20_001)
