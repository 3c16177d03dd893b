"""What a featurizer does with the rows of a part; without Ray."""

from pathlib import Path
from typing import Any

import pytest

from periogt_ray.batch import featurize_stage
from periogt_ray.batch.featurize_stage import FeaturizePart
from periogt_ray.batch.ledger import Ledger
from periogt_ray.batch.results import PartRow
from periogt_ray.batch.spec import BatchSpec
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings
from periogt_ray.tables.columns import TableOptions
from periogt_ray.tables.predictions import RowFailure
from periogt_ray.tables.reading import scan_table
from support.golden import ARTIFACTS

SETTINGS = Settings(base_dir=ARTIFACTS, checkpoint_dir=ARTIFACTS, results_dir=ARTIFACTS, device="cpu")
GIVEN = ["*CC*", "[*]CC[*]", "bad", "*CC*", "bad"]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that are parsed; none was before."""
    featurize_stage._remembered.cache_clear()
    texts: list[str] = []
    parse = RepeatUnit.parse

    def counted(text: str) -> RepeatUnit:
        texts.append(text)
        return RepeatUnit(parse(text).smiles, ("spelt in another way",) if text.startswith("[") else ())

    monkeypatch.setattr(RepeatUnit, "parse", counted)
    yield texts
    featurize_stage._remembered.cache_clear()


def featurized(path: Path) -> Any:
    scan = scan_table(path, TableOptions(keeps_columns=True), copies=path.parent)
    stage = FeaturizePart(BatchSpec(scan.table, (), SETTINGS), Ledger())
    return [stage(part._asdict())["message"].take() for part in scan.parts]


def test_a_text_is_parsed_once_a_process(tmp_path: Path, parsed: list[str]) -> None:
    path = tmp_path / "in.csv"
    path.write_text("note,smiles\n" + "".join(f"n,{text}\n" for text in GIVEN * 40))
    parts = featurized(path)
    assert len(parts) > 1
    assert sorted(parsed) == ["*CC*", "[*]CC[*]", "bad"]
    rows = [row for part in parts for row in part.rows]
    assert [row.smiles for row in rows] == GIVEN * 40
    assert [row.polymer for row in rows[:2]] == ["*CC*", "*CC*"]
    assert isinstance(rows[-1].polymer, RowFailure)
    assert rows[1] == PartRow("1", "[*]CC[*]", "*CC*", ("spelt in another way",), ("n",))
    assert rows[0].warnings == ()


def test_a_text_too_long_to_be_a_repeat_unit_is_not_remembered(tmp_path: Path, parsed: list[str]) -> None:
    path = tmp_path / "in.csv"
    path.write_text("smiles\n" + f"*{'C' * 3000}*\n" * 3)
    parts = featurized(path)
    assert [row.polymer.code for part in parts for row in part.rows] == ["validation_error"] * 3
    assert featurize_stage._remembered.cache_info().currsize == 0
    assert len(parsed) == len(parts), "once a part"
