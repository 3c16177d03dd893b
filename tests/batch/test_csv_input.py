import csv
import os
from pathlib import Path

import pytest

from periogt_ray.batch.csv_input import InputRow, read_part, scan_csv
from periogt_ray.errors import InternalError, ValidationError


def rows_of(path: Path, *, rows_per_part: int = 3) -> list[InputRow]:
    scan = scan_csv(path, rows_per_part=rows_per_part)
    assert [part.number for part in scan.parts] == list(range(len(scan.parts)))
    return [
        row
        for part in scan.parts
        for row in read_part(scan.path, part, smiles_column=scan.smiles_column, id_column=scan.id_column)
    ]


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
        (b"id,smiles\n,*CC*\nx,*OC*\n,*NC*\n", [("0", "*CC*"), ("x", "*OC*"), ("2", "*NC*")]),
        (b"id,smiles\nx,*CC*\nx,*CC*\n", [("x", "*CC*"), ("x", "*CC*")]),
        (b'note,smiles,id\n"a, ""b""\nc",*CC*,"1,5"\nd,*OC*,1e3\n', [("1,5", "*CC*"), ("1e3", "*OC*")]),
        (b'smiles\n"*CC*\r\n"\n', [("0", "*CC*\r\n")]),
        (b" id , smiles \n 7 , *CC* \n", [(" 7 ", " *CC* ")]),
        (b"id,smiles\nx\ny,\n,,,\n", [("x", ""), ("y", ""), ("2", "")]),
        (b"smiles,extra\n*CC*,1,2,3\n", [("0", "*CC*")]),
        ("id,smiles\nPolystyrol \u00fc\u4e2d,*CC*\n".encode(), [("Polystyrol \u00fc\u4e2d", "*CC*")]),
        (b"smiles\n", []),
    ],
)
def test_reads(tmp_path: Path, content: bytes, expected: list[tuple[str, str]], rows_per_part: int) -> None:
    assert rows_of(written(tmp_path, content), rows_per_part=rows_per_part) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"SMILES,id\n*CC*,1\n", "'SMILES', 'id'"),
        (b"id;smiles\n1;*CC*\n", "no smiles column"),
        (b"smiles,smiles\n*CC*,*CC*\n", "2 columns named smiles"),
        (b"smiles\n*CC*\n\xe4\n", "line 3: byte 0xe4"),
        ("smiles\n*CC*\n".encode("utf-16"), "UTF-16"),
        (b'smiles\n*CC*\n"*OC*\n*NC*\n', "begins on line 3"),
        (b'smiles\n"*CC*"x\n', "begins on line 2"),
        (b"smiles\r*CC*\r", "malformed"),
    ],
)
def test_refuses(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        scan_csv(written(tmp_path, content), rows_per_part=2)
    assert words in caught.value.message
    assert "input.csv" in caught.value.message


def test_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="No such file"):
        scan_csv(tmp_path / "absent.csv", rows_per_part=2)
    with pytest.raises(ValidationError, match="directory"):
        scan_csv(tmp_path, rows_per_part=2)


def test_a_field_of_a_million_characters(tmp_path: Path) -> None:
    long = "x" * 10**6
    path = written(tmp_path, f"note,smiles\n{long},{long}\nshort,*CC*\n".encode())
    assert rows_of(path) == [("0", long), ("1", "*CC*")]


def test_long_records_make_short_parts(tmp_path: Path) -> None:
    record = "x" * (3 << 20)
    path = written(tmp_path, ("smiles\n" + f"{record}\n" * 7).encode())
    assert [part.n_rows for part in scan_csv(path, rows_per_part=64).parts] == [3, 3, 1]


def test_agrees_with_the_csv_module(tmp_path: Path) -> None:
    path = tmp_path / "input.csv"
    hard = ["", " ", '"', ",", "\n", "\r\n", "'", "a\tb", "\u2028", "*CC*"]
    given = [(f"{a}{b}", f"{b}{a}x") for a in hard for b in hard]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "smiles"])
        writer.writerows(given)
    expected = [(identifier or str(row), smiles) for row, (identifier, smiles) in enumerate(given)]
    for rows_per_part in (1, 7, 64):
        assert rows_of(path, rows_per_part=rows_per_part) == expected


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    os.mkfifo(path)
    with pytest.raises(ValidationError, match="not a regular file"):
        scan_csv(path, rows_per_part=64)


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, b"smiles\n*CC*\n*OC*\n")
    scan = scan_csv(path, rows_per_part=1)
    path.write_bytes(b"smiles\n*CC*\n*NC*\n")
    read_part(path, scan.parts[0], smiles_column=0, id_column=None)
    with pytest.raises(InternalError, match="changed"):
        read_part(path, scan.parts[1], smiles_column=0, id_column=None)
