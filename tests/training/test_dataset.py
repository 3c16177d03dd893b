"""What becomes of the rows of a table: nothing is left out in silence."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from periogt_ray.errors import ValidationError
from periogt_ray.training.dataset import DataOptions, Dataset, read_dataset, without_polymers
from periogt_ray.training.label_report import describe_labels

# 2 to 31 carbons with an oxygen: none is a cut or a multiple of another one.
CHAINS = [f"*{'C' * n}O*" for n in range(2, 32)]


def rows(n: int = 30) -> list[str]:
    return [f"{smiles},{1 + 0.1 * i * i}" for i, smiles in enumerate(CHAINS[:n])]


def read(tmp_path: Path, lines: list[str], header: str = "smiles,value", **options: object) -> Dataset:
    path = tmp_path / "data.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return read_dataset(path, DataOptions(**options))  # type: ignore[arg-type]


def refusal(tmp_path: Path, lines: list[str], header: str = "smiles,value", **options: object) -> str:
    with pytest.raises(ValidationError) as caught:
        read(tmp_path, lines, header, **options)
    return caught.value.message


def test_every_row_has_a_fate(tmp_path: Path) -> None:
    data = read(tmp_path, [*rows(), "*CC,1.5"])
    assert [row.line for row in data.rows] == list(range(2, 33))
    assert {row.fate for row in data.rows[:-1]} == {"used"}
    assert data.rows[-1].fate == "left out"
    assert "1 connection point" in data.rows[-1].reason
    assert len(data.polymers) == 30


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("*CCN*,nan", "not finite"),
        ("*CCN*,inf", "not finite"),
        ("*CCN*,n/a", "not a number"),
        ('*CCN*,"1,5"', "decimal point"),
        ("*CCN*,1,5", "The row has 3 cells, and the header 2"),
        ("*CCN*,", "no value"),
        ("*CCN*", "no value"),
        ("*CCN*,1e40", "beyond"),
        ("CCN,1.0", "0 connection points"),
        (",1.0", "empty"),
        ("*C(C*,1.0", "cannot parse"),
    ],
)
def test_a_bad_row_is_left_out_with_its_line_and_reason(tmp_path: Path, row: str, reason: str) -> None:
    data = read(tmp_path, [*rows(10), row, *rows()[10:]])
    [left_out] = data.left_out
    assert left_out.line == 12
    assert reason in left_out.reason
    assert len(data.polymers) == 30


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    data = read(tmp_path, ["", *rows(5), "", '"*CC\n*",2', *rows()[5:]])
    assert [row.line for row in data.rows] == [3, 4, 5, 6, 7, 9, *range(11, 36)]
    assert data.left_out[0].line == 9


def test_many_bad_rows_are_refused_with_the_first_of_them(tmp_path: Path) -> None:
    bad = [f"*CC,{i}" for i in range(3)]
    message = refusal(tmp_path, [*rows(), *bad])
    assert "3 of 33 rows" in message
    assert "line 32" in message
    assert "--force" in message
    assert len(read(tmp_path, [*rows(), *bad], is_forced=True).left_out) == 3


def test_rows_of_one_polymer_are_merged_whichever_way_it_is_cut(tmp_path: Path) -> None:
    same = ["*OCC*,1.1", "*COC*,1.2", "*CCOCCO*,1.9"]
    data = read(tmp_path, [*rows(), *same])
    assert len(data.polymers) == 30
    assert data.polymers[0].lines == (2, 32, 33, 34)
    assert data.polymers[0].value == pytest.approx(1.15)
    assert read(tmp_path, [*rows(), *same], duplicates="mean").polymers[0].value == pytest.approx(1.3)
    assert [row.fate for row in data.rows if row.line in (2, 32, 33, 34)] == ["merged"] * 4
    assert "line 2, 33, 34" in data.rows[30].reason
    assert describe_labels(data).largest_spread == pytest.approx(0.9)
    message = refusal(tmp_path, [*rows(), *same], duplicates="error")
    assert "[2, 32, 33, 34]" in message


def test_contradictions_are_counted_and_many_are_refused(tmp_path: Path) -> None:
    contradicting = [f"{smiles},500" for smiles in CHAINS[:3]]
    assert read(tmp_path, [*rows(), *contradicting]).n_conflicting == 3
    message = refusal(tmp_path, [*rows(), *[f"{smiles},500" for smiles in CHAINS[:4]]])
    assert "4 of 30 polymers" in message


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (rows(19), "19 different polymers"),
        ([f"*CC*,{i}" for i in range(500)], "1 different polymers"),
        ([f"{smiles},3.0" for smiles in CHAINS], "all equal"),
        ([f"{smiles},{i % 2}" for i, smiles in enumerate(CHAINS)], "two different numbers"),
    ],
)
def test_what_no_regression_can_be_made_of_is_refused(tmp_path: Path, lines: list[str], expected: str) -> None:
    assert expected in refusal(tmp_path, lines, is_forced=True)


def test_a_polymer_in_several_parts_is_tested_and_not_trained_on(tmp_path: Path) -> None:
    lines = [f"{row},train" for row in rows()] + ["*OCC*,1.1,TEST", "*CCOCCO*,1.2,val"]
    data = read(tmp_path, lines, "smiles,value,split", split_column="split")
    polymer = data.polymers[0]
    assert (polymer.part, polymer.lines, polymer.value) == ("test", (32,), 1.1)
    assert [row.line for row in data.left_out] == [2, 33]
    assert "in the part test" in data.left_out[0].reason


def test_parts_and_weights_are_checked(tmp_path: Path) -> None:
    lines = [f"{row},train,1" for row in rows()] + ["*CCN*,1,training,1"]
    header = "smiles,value,split,weight"
    data = read(tmp_path, lines, header, split_column="split", weight_column="weight")
    assert "'training'" in data.left_out[0].reason
    lines[-1] = "*CCN*,1,train,0"
    assert "weight" in read(tmp_path, lines, header, split_column="split", weight_column="weight").left_out[0].reason


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, rows(), "smiles,tg")
    assert "no column 'value'" in message
    assert "'tg'" in message
    assert len(read(tmp_path, rows(), "smiles,Tg", value_column="tg").polymers) == 30


def test_tables_of_every_form_are_read(tmp_path: Path) -> None:
    text = "\n".join(["SMILES;Value", *[row.replace(",", ";") for row in rows()]])
    zipped = tmp_path / "data.csv.gz"
    zipped.write_bytes(gzip.compress(text.encode()))
    wide = tmp_path / "wide.csv"
    wide.write_text(text, encoding="utf-16")
    parquet = tmp_path / "data.parquet"
    pd.DataFrame([row.split(",") for row in rows()], columns=["smiles", "value"]).to_parquet(parquet)
    values = [read_dataset(path, DataOptions()).values.tolist() for path in (zipped, wide, parquet)]
    assert values[0] == values[1] == values[2] == read(tmp_path, rows()).values.tolist()


def test_two_units_in_a_column_are_noticed(tmp_path: Path) -> None:
    def warnings(values: list[float]) -> str:
        lines = [f"{smiles},{value}" for smiles, value in zip(CHAINS, values, strict=True)]
        return " ".join(describe_labels(read(tmp_path, lines)).warnings)

    celsius = [20.0 + i % 7 for i in range(30)]
    assert "degC and K" in warnings([t + 273.15 * (i > 20) for i, t in enumerate(celsius)])
    assert "GPa and MPa" in warnings([(1.0 + i % 5) * (1000 if i > 20 else 1) for i in range(30)])
    assert "two units" not in warnings([50.0 + 10 * (i % 13) + i for i in range(30)])


def test_outliers_and_skew_are_reported_and_kept(tmp_path: Path) -> None:
    lines = [f"{smiles},{1 + 0.01 * i}" for i, smiles in enumerate(CHAINS[:-1])] + [f"{CHAINS[-1]},90"]
    data = read(tmp_path, lines)
    report = describe_labels(data)
    assert report.outliers == (31,)
    assert len(data.polymers) == 30
    assert any("log10" in text for text in report.warnings)
    assert not any("log10" in text for text in describe_labels(data, is_log10=True).warnings)
    negative = [*lines[:-1], f"{CHAINS[-1]},-1"]
    assert "no logarithm" in read(tmp_path, negative, is_log10=True).left_out[0].reason


def test_a_hundred_thousand_rows_are_read(tmp_path: Path) -> None:
    data = read(tmp_path, [f"{CHAINS[i % 30]},{i % 30 + 1e-6 * i}" for i in range(100_000)])
    assert len(data.rows) == 100_000
    assert len(data.polymers) == 30
    assert sum(len(polymer.lines) for polymer in data.polymers) == 100_000


def test_polymers_without_features_are_left_out_with_the_reason(tmp_path: Path) -> None:
    data = read(tmp_path, rows())
    kept = without_polymers(data, {data.polymers[2].key: "It is too large"})
    assert len(kept.polymers) == 29
    assert [(row.line, row.reason) for row in kept.left_out] == [(4, "It is too large")]


def test_a_table_of_one_polymer_is_too_little_rather_than_contradictory(tmp_path: Path) -> None:
    assert "1 different polymers" in refusal(tmp_path, [f"*CC*,{i * 0.01}" for i in range(500)])


@pytest.mark.parametrize("value", ["1_000", "25 K", "٣", "0x10", "1,234.5"])
def test_what_python_would_read_and_a_person_would_not_is_no_number(tmp_path: Path, value: str) -> None:
    data = read(tmp_path, [*rows(), f'*CCN*,"{value}"'])
    assert "not a number" in data.left_out[0].reason


def test_a_table_without_a_header_is_read_by_numbers_of_columns(tmp_path: Path) -> None:
    assert "--no-header" in refusal(tmp_path, rows()[1:], rows()[0])
    data = read(tmp_path, rows()[1:], rows()[0], has_header=False, value_column="2")
    assert (len(data.polymers), data.rows[0].line) == (30, 1)


@pytest.mark.parametrize(
    ("other", "told"),
    [(lambda v: v + 273.15, "as degC and K"), (lambda v: v * 96.485, "as eV and kJ/mol")],
    ids=["offset", "factor"],
)
def test_the_two_units_of_a_mixture_are_named(tmp_path: Path, other: Callable[[float], float], told: str) -> None:
    """Clusters of 2 to 3.75 eV and of the same in kJ/mol are about 273 apart, and are no temperatures."""
    values = [20 + 2.0 * i if "degC" in told else 2 + 0.05 * i for i in range(30)]
    mixed = [f"{smiles},{other(v) if i % 2 else v}" for i, (smiles, v) in enumerate(zip(CHAINS, values, strict=True))]
    [warning] = [text for text in describe_labels(read(tmp_path, mixed)).warnings if "clusters" in text]
    assert told in warning


def test_a_large_table_tells_how_far_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("periogt_ray.training.progress_lines._EVERY_S", 0.0)
    with caplog.at_level("INFO"):
        read(tmp_path, rows())
    assert "rows read: 29 of 30, about " in caplog.text
    assert "polymers compared: 29 of 30, about " in caplog.text
