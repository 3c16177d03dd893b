from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from periogt_ray.errors import ValidationError
from periogt_ray.tables.columns import TableOptions
from periogt_ray.tables.parts import PartSize
from periogt_ray.tables.reading import scan_table


def rows_of(path: Path, *, n_rows: int = 3, **options: Any) -> list[tuple[str, str, tuple[str, ...]]]:
    scan = scan_table(path, TableOptions(**options), copies=path.parent, size=PartSize(n_rows, n_rows))
    return [tuple(row) for part in scan.parts for row in scan.table.read(part)]  # type: ignore[misc]


def written(tmp_path: Path, columns: dict[str, Any], name: str = "in.parquet") -> Path:
    path = tmp_path / name
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


@pytest.mark.parametrize("name", ["in.parquet", "in.pq", "in.csv"])
@pytest.mark.parametrize("n_rows", [1, 3, 64])
def test_rows_of_several_row_groups(tmp_path: Path, name: str, n_rows: int) -> None:
    smiles = [f"*{'C' * (i + 1)}*" for i in range(7)]
    path = written(tmp_path, {"note": ["x"] * 7, "polymer_id": [f"{i:03}" for i in range(7)], "PSMILES": smiles}, name)
    expected = [(f"{i:03}", text, ()) for i, text in enumerate(smiles)]
    assert rows_of(path, n_rows=n_rows) == expected


def test_every_value_is_a_text(tmp_path: Path) -> None:
    columns = {
        "smiles": ["*CC*", None, "", 'a,"b"\r\n'],
        "n": pa.array([1, None, 2**62, -1]),
        "x": [0.1, None, 300.0, 1e-30],
        "ok": [True, None, False, True],
        "kind": pa.array(["a", "b", None, "a"]).dictionary_encode(),
        "raw": pa.array([b"x", None, "\u00fc".encode(), b""]),
    }
    assert rows_of(written(tmp_path, columns), keeps_columns=True) == [
        ("0", "*CC*", ("1", "0.1", "true", "a", "x")),
        ("1", "", ("", "", "", "b", "")),
        ("2", "", (str(2**62), "300.0", "false", "", "\u00fc")),
        ("3", 'a,"b"\r\n', ("-1", "1e-30", "true", "a", "")),
    ]


def test_odd_numbers_and_times(tmp_path: Path) -> None:
    columns = {
        "smiles": ["*CC*", "*OC*"],
        "half": pa.array(np.array([0.1, np.nan], np.float32)),
        "day": pa.array([10**7, None], pa.int32()).cast(pa.date32()),
        "when": pa.array([10**15, 0], pa.timestamp("s")),
        "zone": pa.array([0, None], pa.timestamp("s", tz="Foo/Bar")),
    }
    first, second = rows_of(written(tmp_path, columns), keeps_columns=True)
    assert (first[2][0], second[2][0]) == ("0.1", "")
    assert (second[2][1], second[2][3]) == ("", "")
    assert second[2][2].startswith("1970-01-01")
    assert all(first[2])


def test_numbers_are_ids_and_a_missing_one_is_blank(tmp_path: Path) -> None:
    assert rows_of(written(tmp_path, {"id": [7, None], "smiles": ["*CC*", "*OC*"]})) == [
        ("7", "*CC*", ()),
        ("", "*OC*", ()),
    ]


@pytest.mark.parametrize(
    ("columns", "options", "reason"),
    [
        ({"monomer": ["ethene"]}, {}, "no_smiles_column"),
        ({"smiles": ["*CC*"]}, {"id_column": "key"}, "no_id_column"),
        ({"SMILES": ["*CC*"], "psmiles": ["*CC*"]}, {}, "two_candidates"),
        ({"smiles": ["*CC*"]}, {"has_header": False}, "format"),
        ({"smiles": pa.array([], pa.string())}, {}, "empty"),
        ({"smiles": pa.array([b"\xe4"])}, {}, "encoding"),
    ],
)
def test_what_is_refused(tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], reason: str) -> None:
    path = written(tmp_path, columns)
    with pytest.raises(ValidationError) as caught:
        rows_of(path, **options)
    assert caught.value.details["reason"] == reason
    assert str(path) in caught.value.message


@pytest.mark.parametrize("content", [b"smiles\n*CC*\n", b"PAR1", b"PAR1" + bytes(50) + b"PAR1"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "in.parquet"
    path.write_bytes(content)
    with pytest.raises(ValidationError) as caught:
        rows_of(path)
    assert caught.value.details["reason"] == "format"
    assert "in.parquet" in caught.value.message
