"""Tables of every form, by the cases that the page's reader passes, too."""

import json
from pathlib import Path
from typing import Any

import pytest

from periogt_ray.errors import ValidationError
from periogt_ray.tables.columns import TableOptions
from periogt_ray.tables.parts import PartSize
from periogt_ray.tables.reading import scan_table

FOLDER = Path(__file__).parents[1] / "golden" / "tables"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))


def options_of(case: dict[str, Any]) -> TableOptions:
    given = dict(case["options"])
    return TableOptions(has_header=not given.pop("no_header", False), **given)


def place(case: dict[str, Any], tmp_path: Path) -> Path:
    if "file" in case:
        return FOLDER / case["file"]
    path = tmp_path / "polymers.csv"
    path.write_bytes(bytes.fromhex(case["hex"]) if "hex" in case else case["text"].encode())
    return path


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_cases(case: dict[str, Any], tmp_path: Path) -> None:
    path = place(case, tmp_path)
    for n_rows in (1, 2, 64):
        size = PartSize(n_rows, n_rows)
        if "error" in case:
            with pytest.raises(ValidationError) as caught:
                scan_table(path, options_of(case), copies=tmp_path, size=size)
            assert caught.value.details["reason"] == case["error"], caught.value.message
            assert str(path) in caught.value.message
            continue
        scan = scan_table(path, options_of(case), copies=tmp_path, size=size)
        found = [list(row[:2]) for part in scan.parts for row in scan.table.read(part)]
        assert found == case["rows"]
        assert [part.number for part in scan.parts] == list(range(len(scan.parts)))


def test_the_names_of_cases_are_unique() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)
