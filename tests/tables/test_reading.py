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


def test_a_byte_that_windows_does_not_have_gets_no_wrong_command(tmp_path: Path) -> None:
    path = tmp_path / "polymers.csv"
    path.write_bytes(b"smiles,n\n*CC*,\x81\x40\n")
    with pytest.raises(ValidationError, match=r"0x81\)\. Save it as UTF-8") as caught:
        scan_table(path, TableOptions(), copies=tmp_path)
    assert "WINDOWS-1252" not in caught.value.message


def test_what_workers_would_not_find_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="not a regular file"):
        scan_table(Path("/dev/stdin"), TableOptions(), copies=tmp_path)


def test_a_missing_header_names_the_column(tmp_path: Path) -> None:
    path = tmp_path / "polymers.csv"
    path.write_text("PE,*CC*\n")
    with pytest.raises(ValidationError, match="--smiles-column 2 says"):
        scan_table(path, TableOptions(), copies=tmp_path)
