"""`periogt evaluate` of properties that take more than a repeat unit."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.cli import cli
from periogt_ray.settings import EMBEDDED_DIR
from support.golden_copolymers import make_artifacts

MONOMERS = ("*CC*", "*CCO*", "*CC(*)C", "*CS*", "*CC(*)F")
PAIRS = [(a, b) for i, a in enumerate(MONOMERS) for b in MONOMERS[i + 1 :]]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifacts(tmp_path_factory.mktemp("evaluate") / "artifacts", "monomer")


def table(path: Path, values: Sequence[float], *, extra: str = "") -> Path:
    rows = [f"{a},{b},0.25,0.75,Block,{value}" for (a, b), value in zip(PAIRS, values, strict=True)]
    path.write_text("\n".join(["smiles_A,smiles_B,rA,rB,type,value", *rows]) + f"\n{extra}")
    return path


def run(artifacts: Path, *arguments: object) -> Result:
    environment = {"PERIOGT_CHECKPOINT_DIR": str(artifacts), "PERIOGT_DEVICE": "cpu", "PERIOGT_MODELS": ""}
    return CliRunner().invoke(cli, ["-q", *map(str, arguments)], env=environment)


def evaluated(artifacts: Path, given: Path, *options: object, code: int = 0) -> dict[str, Any]:
    result = run(artifacts, "evaluate", "--input", given, "--property", "ea", "--json", *options)
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_copolymers_are_compared_and_give_the_property_intervals(artifacts: Path, tmp_path: Path) -> None:
    extra = "*CC*,*CC,0.5,0.5,random,1\n*CC*,*CCO*,0.3,0.7,block,1\n"
    first = evaluated(artifacts, table(tmp_path / "in.csv", range(len(PAIRS)), extra=extra), code=1)
    assert (first["is_overlap_known"], first["n_new"]) == (False, None), "there is no calibration that could tell"
    assert [one["reason"][:9] for one in first["left_out"]] == ["Monomer B", "ratio_a i"]
    predicted = {int(one["id"]): one["prediction"] for one in first["worst"]}
    assert {"*CC* and *CCO* (0.25 to 0.75, block)"} <= {one["smiles"] for one in first["worst"]}
    noise = np.random.default_rng(0).normal(0, 1e-3, len(PAIRS))
    given = table(tmp_path / "in.csv", [predicted[i] + noise[i] for i in range(len(PAIRS))])
    document = evaluated(artifacts, given, "--calibrate", "--output", tmp_path / "out")
    assert document["groups"]["all"]["rmse"] < 2e-3
    assert "*CCO*" in (tmp_path / "out" / "evaluation.html").read_text()
    asked = ("--smiles", "*CC*", "--smiles-b", "*CN*", "--ratio-a", "0.5", "--architecture", "random")
    answer = json.loads(run(artifacts, "predict", *asked, "--property", "ea").stdout)
    interval, value = answer["interval"], answer["prediction"]["value"]
    assert interval["lower"] < value < interval["upper"]
    assert interval["upper"] - interval["lower"] < 0.02
    again = evaluated(artifacts, given)
    assert again["n_in_training_data"] == 0, "they stand for the training's copolymers, which are not known"
    known = ArtifactDirectory.open(artifacts).calibration("ea")
    assert known is not None
    assert len(set(known.hashes)) == len(PAIRS), "both monomers, ratio and architecture tell a copolymer"
    assert (again["n_in_calibration"], again["n_new"]) == (len(PAIRS), 0)
    assert again["groups"]["all"]["intervals"] == {}, "rows that made the intervals are no test of them"


def test_what_is_not_recorded_of_the_embedded_copolymers_is_not_counted(tmp_path: Path) -> None:
    given = tmp_path / "in.csv"
    given.write_text("smiles_a,smiles_b,ratio_a,architecture,ea\n*c1ccc(*)cc1,*c1ccc(*)s1,0.5,alternating,2.0\n")
    document = evaluated(EMBEDDED_DIR, given)
    assert document["is_overlap_known"] is False
    assert [document[key] for key in ("n_in_training_data", "n_in_calibration", "n_new")] == [None, None, None]
    told = run(EMBEDDED_DIR, "evaluate", "--input", given, "--property", "ea", "--table").stdout
    assert "it is not recorded which rows trained the network" in told


def test_a_table_of_repeat_units_is_refused_with_the_columns(artifacts: Path, tmp_path: Path) -> None:
    given = tmp_path / "in.csv"
    given.write_text("smiles,value\n*CC*,1\n")
    result = run(artifacts, "evaluate", "--input", given, "--property", "ea")
    assert "smiles_a, smiles_b, ratio_a, architecture" in str(result.exception)


def test_a_property_with_conditions_is_compared(artifacts: Path, tmp_path: Path) -> None:
    given = tmp_path / "in.csv"
    rows = [f"*c1ccc(*)s1,-0.61,{i / 10},-0.49,{i}" for i in range(3)]
    given.write_text("\n".join(["smiles,HOMO (eV),Bandgap (eV),Mw (kg/mol),PCE_ave", *rows]))
    result = run(artifacts, "evaluate", "--input", given, "--property", "opv", "--value-column", "PCE_ave", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["groups"]["all"]["n"] == 3
