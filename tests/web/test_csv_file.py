"""The page's reader of tables, in a browser, on the cases that Python's reader passes, too."""

import base64
import gzip
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from support.page_site import page_site

TABLES = Path(__file__).parents[1] / "golden" / "tables"
CASES: list[dict[str, Any]] = json.loads((TABLES / "cases.json").read_text(encoding="utf-8"))
# The page has no names to be written, only a choice of the columns that are there.
ONLY_WRITTEN = {"a named column in two spellings", "a named column that is not there", "no header, a number too large"}

READ = """async ([content, options]) => {
    const base = `${location.origin}/web/`;
    const { readCsv } = await import(`${base}csv_file.js`);
    const { lacksHeader, nameOf, rowsOf, tableOf, tableRules } = await import(`${base}columns.js`);
    const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
    try {
        const rules = await tableRules();
        const file = await readCsv(new Blob([bytes]), "given.csv", rules);
        if (!options.no_header && lacksHeader(file, rules)) return { error: "no_header" };
        const table = tableOf(file, rules, !options.no_header);
        if (table.records.length === 0) return { error: "empty" };
        const chosen = (guess, name) => {
            if (name === undefined) return guess;
            const titles = options.no_header ? table.header.map((_, at) => String(at + 1)) : table.header;
            const same = titles.indexOf(name);
            return { at: same < 0 ? titles.findIndex((title) => nameOf(title) === nameOf(name)) : same, problem: null };
        };
        const smiles = chosen(table.smiles, options.smiles_column);
        const id = chosen(table.id, options.id_column);
        const problem = smiles.problem ?? id.problem;
        if (problem) return { error: problem.kind, message: problem.message };
        const rows = rowsOf(table.records, smiles.at, id.at).map((row) => [row.id, ...row.cells]);
        return { rows, source: file.source };
    } catch (error) {
        if (!error.kind) throw error;
        return { error: error.kind, message: error.message };
    }
}"""


def packed(content: bytes) -> bytes:
    """Compress without the time: workers of a run have to find tests of equal names."""
    return gzip.compress(content, mtime=0)


@pytest.fixture(scope="module")
def reader(browser: Browser) -> Iterator[Page]:
    with page_site() as url, closing(browser.new_context()) as context:
        page = context.new_page()
        page.goto(f"{url}/")
        yield page


def read(reader: Page, content: bytes, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = reader.evaluate(READ, [base64.b64encode(content).decode(), options])
    return found


def content_of(case: dict[str, Any]) -> bytes:
    if "file" in case:
        return (TABLES / case["file"]).read_bytes()
    return bytes.fromhex(case["hex"]) if "hex" in case else str(case["text"]).encode()


def test_there_are_cases_of_every_kind() -> None:
    assert {"encoding", "format", "no_smiles_column", "two_candidates", "no_header", "empty", "quotes"} == {
        case["error"] for case in CASES if "error" in case
    }
    assert {case["name"] for case in CASES} >= ONLY_WRITTEN


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["name"] not in ONLY_WRITTEN], ids=lambda case: case["name"]
)
def test_a_shared_case(reader: Page, case: dict[str, Any]) -> None:
    found = read(reader, content_of(case), **case["options"])
    assert {name: found.get(name) for name in ("rows", "error")} == {
        name: case.get(name) for name in ("rows", "error")
    }, found.get("message")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"PK\x03\x04 and more", "an Excel workbook (.xlsx)"),
        ("id,smiles\n1,*CC*\n".encode("utf-16-le"), "iconv -f UTF-16LE -t UTF-8 FILE > NEW-FILE"),
        ("id,smiles\n1,*CC*\n".encode("utf-16-be"), "iconv -f UTF-16BE -t UTF-8 FILE > NEW-FILE"),
        ("id,smiles\n1,*CC*\nPolystyröl,*CC*\n".encode("latin-1"), "Windows-1252 or Latin-1 (see line 3)"),
        ("id,smiles\n1,*CC*\n".encode("utf-32"), "UTF-32"),
        (packed(packed(b"smiles\n*CC*\n")), "gzip once more"),
        (packed(b"\n" * (65 << 20)), "`periogt batch` for larger files"),
        (packed(b"smiles\n*CC*\n")[:-9], "is damaged"),
        (packed(b"smiles\n*CC*\n") * 2, "has several parts"),
        (b"sep=|\nsmiles|id\n", 'its delimiter is "|"'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused_is_named(reader: Page, content: bytes, part: str) -> None:
    assert part in read(reader, content)["message"]


@pytest.mark.parametrize(
    ("content", "source"),
    [
        (b"id,smiles\n1,*CC*\n", ["commas"]),
        (b"id;smiles\n1;*CC*\n", ["semicolons"]),
        (b"sep=\t\nid\tsmiles\n1\t*CC*\n", ["tabs"]),
        (b"smiles\n*CC*\n", ["one column"]),
        (packed("id;smiles\n1;*CC*\n".encode("utf-16")), ["gzip", "UTF-16", "semicolons"]),
    ],
)
def test_what_was_found_is_told(reader: Page, content: bytes, source: list[str]) -> None:
    assert read(reader, content)["source"] == source


def test_an_empty_quoted_line_is_a_row(reader: Page) -> None:
    assert read(reader, b'smiles\n""\n\n*CC*\n')["rows"] == [["0", ""], ["1", "*CC*"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_many_quoted_rows(reader: Page, end: str) -> None:
    rows = [[f'"{n}", and{end}more', "*CC*"] for n in range(3000)]
    lines = [",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row) for row in [["id", "smiles"], *rows]]
    assert read(reader, (end * 2).join(lines).encode())["rows"] == rows


def test_one_row_too_many(reader: Page) -> None:
    # Only the number comes back: a hundred thousand rows take the browser's driver minutes.
    count = f"async (given) => {{ const found = await ({READ})(given); return found.rows?.length ?? found.message; }}"

    def counted(content: bytes, **options: bool) -> Any:
        return reader.evaluate(count, [base64.b64encode(content).decode(), options])

    assert counted(b"smiles\n" + b"*CC*\n" * 100_000) == 100_000
    assert "at most 100000 rows" in counted(b"smiles\n" + b"*CC*\n" * 100_001)
    # All of them are rows where there is no header.
    assert "at most 100000 rows" in counted(b"*CC*\n" * 100_001, no_header=True)
