import csv
import os
from pathlib import Path

import pytest

from periogt_ray.errors import InternalError, ValidationError
from periogt_ray.tables.columns import TableOptions
from periogt_ray.tables.parts import PartSize
from periogt_ray.tables.reading import TableScan, scan_table


def scan_of(path: Path, *, rows_per_part: int, **options: object) -> TableScan:
    size = PartSize(rows_per_part, rows_per_part)
    return scan_table(path, TableOptions(**options), copies=path.parent, size=size)  # type: ignore[arg-type]


def rows_of(path: Path, *, rows_per_part: int = 3) -> list[tuple[str, str]]:
    scan = scan_of(path, rows_per_part=rows_per_part)
    assert [part.number for part in scan.parts] == list(range(len(scan.parts)))
    rows = [row for part in scan.parts for row in scan.table.read(part)]
    assert len(rows) == scan.n_rows
    return [(row.id, row.smiles) for row in rows]


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "input.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("rows_per_part", [1, 2, 3, 64])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"smiles\n*CC*\n*OC*\n", [("0", "*CC*"), ("1", "*OC*")]),
        (b"\xef\xbb\xbfsmiles,id\n*CC*,007\n", [("007", "*CC*")]),
        (b'\xef\xbb\xbf"smiles"\n*CC*\n', [("0", "*CC*")]),
        (b"id,smiles\r\na,*CC*\r\nb,*OC*\r\n", [("a", "*CC*"), ("b", "*OC*")]),
        (b"smiles\n*CC*", [("0", "*CC*")]),
        (b"\n\nsmiles\n\n*CC*\n\n\n*OC*\n\n", [("0", "*CC*"), ("1", "*OC*")]),
        (b"id,smiles\n,*CC*\nx,*OC*\n,*NC*\n", [("", "*CC*"), ("x", "*OC*"), ("", "*NC*")]),
        (b"id,smiles\nx,*CC*\nx,*CC*\n", [("x", "*CC*"), ("x", "*CC*")]),
        (b'note,smiles,id\n"a, ""b""\nc",*CC*,"1,5"\nd,*OC*,1e3\n', [("1,5", "*CC*"), ("1e3", "*OC*")]),
        (b'smiles\n"*CC*\r\n"\n', [("0", "*CC*\r\n")]),
        (b" id , smiles \n 7 , *CC* \n", [(" 7 ", " *CC* ")]),
        (b"id,smiles\nx\ny,\n,,,\n", [("x", ""), ("y", ""), ("", "")]),
        (b"smiles,extra\n*CC*,1,2,3\n", [("0", "*CC*")]),
        ("id,smiles\nPolystyrol \u00fc\u4e2d,*CC*\n".encode(), [("Polystyrol \u00fc\u4e2d", "*CC*")]),
        (b'smiles\n""\n*CC*\n', [("0", ""), ("1", "*CC*")]),
        (b"smiles\r*CC*\r\n*OC*\n*NC*\r", [("0", "*CC*"), ("1", "*OC*"), ("2", "*NC*")]),
        (b"id\tsmiles\n1\t*CC*\n", [("1", "*CC*")]),
    ],
)
def test_reads(tmp_path: Path, content: bytes, expected: list[tuple[str, str]], rows_per_part: int) -> None:
    assert rows_of(written(tmp_path, content), rows_per_part=rows_per_part) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"monomer,id\nethene,1\n", "'monomer', 'id'"),
        (b"id|smiles\n1|CC\n", "'id|smiles'"),
        (b"smiles,smiles\n*CC*,*CC*\n", "2 columns named smiles"),
        (b"smiles\n*CC*\n\xe4\n", "line 3: byte 0xe4"),
        (b"smiles\n*CC*\n\x93\n", "as in Windows-1252"),
        (b"smiles\n*CC*\n*C\0C*\n", "line 3 holds a NUL byte"),
        ("smiles\n*CC*\n".encode("utf-16-le"), "iconv -f UTF-16LE -t UTF-8"),
        (b"BZh91AY", "bzip2 -dc"),
        (b'smiles\n*CC*\n"*OC*\n*NC*\n', "begins on line 3"),
        (b'smiles\n"*CC*"x\n', "begins on line 2"),
        (b'smiles\r*CC*\r"', "begins on line 3"),
        (b"*CC*\n*OC*\n", "--no-header"),
    ],
)
def test_refuses(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        scan_of(written(tmp_path, content), rows_per_part=2)
    assert words in caught.value.message
    assert "input.csv" in caught.value.message


def test_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="No such file"):
        scan_of(tmp_path / "absent.csv", rows_per_part=2)
    with pytest.raises(ValidationError, match="directory"):
        scan_of(tmp_path, rows_per_part=2)


def test_a_field_of_a_million_characters(tmp_path: Path) -> None:
    long = "x" * 10**6
    path = written(tmp_path, f"note,smiles\n{long},{long}\nshort,*CC*\n".encode())
    assert rows_of(path) == [("0", long), ("1", "*CC*")]


def test_long_records_make_short_parts(tmp_path: Path) -> None:
    record = "x" * (3 << 20)
    path = written(tmp_path, ("smiles\n" + f"{record}\n" * 7).encode())
    assert [part.n_rows for part in scan_of(path, rows_per_part=64).parts] == [3, 3, 1]


def test_agrees_with_the_csv_module(tmp_path: Path) -> None:
    path = tmp_path / "input.csv"
    hard = ["", " ", '"', ",", "\n", "\r\n", "'", "a\tb", "\u2028", "*CC*"]
    given = [(f"{a}{b}", f"{b}{a}x") for a in hard for b in hard]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "smiles"])
        writer.writerows(given)
    expected = given
    for rows_per_part in (1, 7, 64):
        assert rows_of(path, rows_per_part=rows_per_part) == expected


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    os.mkfifo(path)
    with pytest.raises(ValidationError, match="not a regular file"):
        scan_of(path, rows_per_part=64)


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, b"smiles\n*CC*\n*OC*\n")
    scan = scan_of(path, rows_per_part=1)
    path.write_bytes(b"smiles\n*CC*\n*NC*\n")
    scan.table.read(scan.parts[0])
    with pytest.raises(InternalError, match="changed"):
        scan.table.read(scan.parts[1])


def test_kept_columns_come_with_the_rows(tmp_path: Path) -> None:
    path = written(tmp_path, b"Tg,smiles,,id,Tg\n300,*CC*,x,7,1\n301,*OC*\n")
    scan = scan_of(path, rows_per_part=2, keeps_columns=True)
    assert scan.table.columns.kept_names == ("Tg", "column 3", "Tg")
    assert scan.table.read(scan.parts[0]) == [("7", "*CC*", ("300", "x", "1")), ("", "*OC*", ("301", "", ""))]


def test_a_part_ends_with_new_texts_or_with_rows(tmp_path: Path) -> None:
    path = written(tmp_path, b"smiles\n" + b"*CC*\n*OC*\n" * 10 + b"*NC*\n*SC*\n*PC*\n")
    scan = scan_table(path, TableOptions(), copies=tmp_path, size=PartSize(2, 8))
    assert [part.n_rows for part in scan.parts] == [2, 8, 8, 4, 1]
    assert len([row for part in scan.parts for row in scan.table.read(part)]) == 23
