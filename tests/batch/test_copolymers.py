"""Batches of copolymers and of polymers with conditions, with the real stages in this process."""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from periogt_ray import PerioGT
from periogt_ray.batch import run as batch_run
from periogt_ray.batch.featurize_stage import FeaturizePart
from periogt_ray.batch.ledger import Ledger
from periogt_ray.batch.local_engine import LocalPipeline
from periogt_ray.batch.options import BatchOptions
from periogt_ray.batch.predict_stage import PredictPart
from periogt_ray.batch.results import FinishedPart
from periogt_ray.batch.run import run_batch
from periogt_ray.batch.spec import BatchSpec
from periogt_ray.batch.summary import BatchSummary
from periogt_ray.errors import ValidationError
from periogt_ray.settings import Settings
from periogt_ray.tables.columns import TableOptions
from periogt_ray.tables.pair_table import PairOptions
from periogt_ray.tables.parts import Part
from support.golden_copolymers import make_artifacts

pytestmark = pytest.mark.usefixtures("here")

EA = """smiles_A,smiles_B,rA,rB,type,value
*CC*,*CCO*,0.25,0.75,block,1.5
*OCC*,*CC*,0.75,0.25,Block,1.5
*CC*,*CCO*,0.3,0.7,block,1.5
*CC*,*CC,0.5,0.5,random,1.5
*CC(*)C,*CC(*)C,0.5,0.5,alternating,1.5
*CC*,*CCO*,0.5,0.25,random,1.5
*CC*,*CCO*,0.25,0.75,alternating,1.5
"""
OPV = """\ufeffsmiles,HOMO (eV),Bandgap (eV),Mw (kg/mol),PCE_ave
*c1ccc(*)s1,-0.61,1.04,-0.49,3.1
*c1ccc(*)s1,,1.04,-0.49,3.1
*c1ccc(*)s1,-0.61,1.04,30,3.1
"""


class OwnPipeline:
    """The stages, one after the other."""

    def __init__(self, spec: BatchSpec, **_shares: object) -> None:
        self._ledger = Ledger()
        self._stages = FeaturizePart(spec, self._ledger), PredictPart(spec, self._ledger)

    @staticmethod
    def device_for(settings: Settings) -> str:
        assert settings.device == "cpu"
        return "cpu"

    def claim(self, part: int, keys: Sequence[str]) -> None:
        self._ledger.claim(part, keys)

    def finish(self, part: int) -> None:
        self._ledger.finish(part)

    def results(self, parts: Sequence[Part], *, is_stopped: Callable[[], bool]) -> Iterator[FinishedPart | None]:
        featurize, predict = self._stages
        for part in parts:
            if is_stopped():
                return
            yield predict(featurize(part._asdict()))["message"].take()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_run, "LocalPipeline", OwnPipeline)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifacts(tmp_path_factory.mktemp("batch") / "artifacts")


def run(artifacts: Path, path: Path, *properties: str, **more: Any) -> tuple[BatchSummary, list[dict[str, str]]]:
    settings = Settings(base_dir=artifacts, checkpoint_dir=artifacts, results_dir=artifacts, device="cpu")
    options = BatchOptions(path, None, properties, **more)
    summary = run_batch(options, settings)
    assert summary is not None
    with options.output_path.open(newline="") as file:
        return summary, list(csv.DictReader(file))


def test_processes_of_this_machine_compute_the_same(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text, property_id in (("ea.csv", EA, "ea"), ("opv.csv", OPV, "opv")):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        _, here = run(artifacts, path, property_id, rows_per_part=2)
        with monkeypatch.context() as patched:
            patched.setattr(batch_run, "LocalPipeline", LocalPipeline)
            _, there = run(artifacts, path, property_id, rows_per_part=2)
        assert [{**row, "request_id": ""} for row in there] == [{**row, "request_id": ""} for row in here]
        assert {row["interval_lower"] + row["domain"] for row in there} == {""}


def test_a_table_as_the_data_set_has_it(artifacts: Path, tmp_path: Path) -> None:
    path = tmp_path / "ea.csv"
    path.write_text(EA)
    summary, rows = run(artifacts, path, "ea", rows_per_part=2)
    given = list(csv.DictReader(EA.splitlines()))
    assert list(rows[0])[:6] == ["id", "smiles_a", "smiles_b", "ratio_a", "architecture", "property"]
    for row, one in zip(rows, given, strict=True):
        cells = (row["smiles_a"], row["smiles_b"], row["ratio_a"], row["architecture"])
        assert cells == (one["smiles_A"], one["smiles_B"], one["rA"], one["type"])
    assert [row["ok"] for row in rows] == ["true", "true", "false", "false", "true", "false", "true"]
    assert [row["error_message"][:12] for row in rows if row["ok"] == "false"] == [
        "ratio_a is 0",
        "Monomer B: T",
        "The ratios 0",
    ]
    assert rows[0]["prediction_value"] == rows[1]["prediction_value"], "A and B swapped"
    assert rows[0]["prediction_value"] != rows[6]["prediction_value"]
    assert "alternating" in rows[6]["warnings"]
    assert (summary.n_failed, rows[0]["prediction_units"]) == (3, "eV")
    frame = PerioGT(artifacts, device="cpu").predict(
        [{"smiles_a": "*CC*", "smiles_b": "*CCO*", "ratio_a": 0.25, "architecture": "block"}], "ea"
    )
    assert [repr(value) for value in frame.prediction_value.tolist()] == [rows[0]["prediction_value"]]
    assert list(frame.columns) == list(rows[0])


def test_an_output_is_an_input_and_kept_columns_stay(artifacts: Path, tmp_path: Path) -> None:
    path = tmp_path / "ea.csv"
    path.write_text(EA)
    _, rows = run(artifacts, path, "ea", is_wide=True, table=TableOptions(keeps_columns=True))
    assert list(rows[0])[5:6] == ["ea"]
    assert rows[0]["value"] == "1.5"
    _, again = run(artifacts, tmp_path / "ea_predictions.csv", "ea", is_wide=True)
    del rows[5], again[5]  # its ratio of B is not in the output
    assert [row["ea"] for row in again] == [row["ea"] for row in rows]


def test_conditions_with_the_headings_of_the_data_set(artifacts: Path, tmp_path: Path) -> None:
    path = tmp_path / "opv.csv"
    path.write_text(OPV)
    report = tmp_path / "report.html"
    _, rows = run(artifacts, path, "opv", report=report)
    assert list(rows[0])[:6] == ["id", "smiles", "homo", "bandgap", "molar_mass", "property"]
    assert [row["molar_mass"] for row in rows] == ["-0.49", "-0.49", "30"]
    assert [row["ok"] for row in rows] == ["true", "false", "true"]
    assert rows[1]["error_message"] == "homo is blank; expected a number."
    assert "molar_mass is 30" in rows[2]["warnings"]
    assert report.read_text().count("<svg") > 2


def test_the_report_draws_both_monomers(artifacts: Path, tmp_path: Path) -> None:
    path = tmp_path / "ea.csv"
    path.write_text("".join(EA.splitlines(keepends=True)[:2]))
    report = tmp_path / "report.html"
    run(artifacts, path, "ea", report=report)
    text = report.read_text()
    assert "*CC* | *CCO* | 0.25 | block" in text
    assert text.count("<svg") == 1 + 2 * 2, "a histogram, and both monomers as lowest and as highest"


@pytest.mark.parametrize(
    ("properties", "header", "message"),
    [
        (
            ("ea", "eps"),
            "smiles_A,smiles_B,rA,type",
            r"eps is predicted of a table of repeat units .* and ea, named",
        ),
        (
            ("eps", "opv"),
            "smiles,homo,bandgap,molar_mass",
            "opv is predicted of a table with conditions",
        ),
        (("ea",), "smiles,value", "no column smiles_a, and the property takes smiles_a, smiles_b, ratio_a"),
        (("ea",), "smiles_A,smiles_B,rA,ratio_a_,type", "2 columns that may hold ratio_a"),
        (("opv",), "smiles,HOMO (eV)", "no column bandgap"),
        (("eps",), "smiles_A,smiles_B,rA,type", "looks like a table of copolymers"),
    ],
)
def test_a_table_of_another_kind_is_refused(
    artifacts: Path, tmp_path: Path, properties: tuple[str, ...], header: str, message: str
) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"{header}\n" + ",".join("x" for _ in header.split(",")) + "\n")
    with pytest.raises(ValidationError, match=message):
        run(artifacts, path, *properties)


def test_parquet_holds_copolymers_too(artifacts: Path, tmp_path: Path) -> None:
    import pandas as pd

    path = tmp_path / "ea.parquet"
    frame = pd.DataFrame(list(csv.DictReader(EA.splitlines())))
    frame.astype({"rA": float, "rB": float}).to_parquet(path)
    output = tmp_path / "out.csv"
    settings = Settings(base_dir=artifacts, checkpoint_dir=artifacts, results_dir=artifacts, device="cpu")
    assert run_batch(BatchOptions(path, output, ("ea",)), settings) is not None
    plain = tmp_path / "ea.csv"
    plain.write_text(EA)
    _, rows = run(artifacts, plain, "ea")
    with output.open(newline="") as file:
        values = [row["prediction_value"] for row in csv.DictReader(file)]
    assert values == [row["prediction_value"] for row in rows]


def test_pairs_are_all_copolymers_of_two_tables(artifacts: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("name,smiles\nx,*CC*\ny,*CCO*\n")
    second.write_text("id,smiles\np,*CC(*)C\nq,bad\n")
    named = tmp_path / "a_b.csv"
    _, rows = run(artifacts, named, "all", pairs=PairOptions(first, second), rows_per_part=5)
    assert len(rows) == 2 * 2 * 7
    assert [row["id"] for row in rows[:8:7]] == ["0|p|0.5|alternating", "0|q|0.5|alternating"]
    assert sum(row["ok"] == "true" for row in rows) == 14
    assert not any("alternating" in row["warnings"] for row in rows)
    few = PairOptions(first, second, ratios=(0.25,), architectures=("alternating",))
    _, chosen = run(artifacts, named, "ea", pairs=few, is_resumed=False)
    assert [(row["ratio_a"], row["architecture"]) for row in chosen] == [("0.25", "alternating")] * 4
    assert chosen[0]["warnings"]


def test_a_run_over_pairs_goes_on_where_it_stopped(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("smiles\n*CC*\n*CCO*\n")
    second.write_text("smiles\n*CC(*)C\n")
    settings = Settings(base_dir=artifacts, checkpoint_dir=artifacts, results_dir=artifacts, device="cpu")
    options = BatchOptions(tmp_path / "a_b.csv", None, ("ea",), rows_per_part=3, pairs=PairOptions(first, second))
    whole = OwnPipeline.results

    def breaks(self: OwnPipeline, parts: Sequence[Part], *, is_stopped: Callable[[], bool]) -> Iterator[Any]:
        for number, part in enumerate(whole(self, parts, is_stopped=is_stopped)):
            if number == 2:
                raise ValidationError("The power fails.")
            yield part

    monkeypatch.setattr(OwnPipeline, "results", breaks)
    with pytest.raises(ValidationError, match="power"):
        run_batch(options, settings)
    monkeypatch.setattr(OwnPipeline, "results", whole)
    summary, rows = run(artifacts, tmp_path / "a_b.csv", "ea", pairs=options.pairs, is_resumed=True)
    assert summary.n_rows_computed == 14 - 6
    assert len(rows) == 14
    assert all(row["ok"] == "true" for row in rows)
