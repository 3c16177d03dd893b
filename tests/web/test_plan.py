"""What the page asks about a file before it predicts: header and columns. The answers are made up."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from support.looks import LOOKS, check
from support.page_site import made_up, page_site
from support.way import Way, way_to

Open = Callable[..., Page]
NO_HEADER = "*CC*\n*CC(*)C\n*CC(*)c1ccccc1\n"
TWO = "ID;PSMILES;Canonical SMILES;Tg\np1;*CC*;*OCC*;1,5\np2;*CC(*)C;*OCC*;2,5\n"


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with page_site() as url:
        yield url


@pytest.fixture
def made_way(site: str) -> Iterator[Way]:
    with way_to(site, answers=made_up(lambda *_: [])) as way:
        yield way


def with_file(open_page: Open, way: Way, content: str | bytes, name: str = "mine.csv", **options: object) -> Page:
    page = open_page(f"{way.url}#csv", **options)
    expect(page.locator("#property-choices input")).to_have_count(7)
    given = content.encode() if isinstance(content, str) else content
    page.locator("#file").set_input_files({"name": name, "mimeType": "text/csv", "buffer": given})
    return page


def predicted(page: Page) -> list[list[str]]:
    page.get_by_role("button", name="Predict").last.click()
    expect(page.locator("#progress-text")).to_contain_text("rows predicted")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = csv.DictReader(io.StringIO(Path(download.value.path()).read_bytes().decode(), newline=""))
    return [[row["id"], row["smiles"]] for row in rows if row["property"] == "egc"]


def test_a_file_without_a_header_loses_no_row(open_page: Open, made_way: Way) -> None:
    page = with_file(open_page, made_way, NO_HEADER)
    question = page.get_by_role("group", name="The first line looks like a polymer: *CC*.")
    expect(question).to_be_visible()
    expect(page.locator("#plan-title")).to_have_text("mine.csv: 3 rows")
    page.locator("#start").click()
    expect(page.locator("#plan-error")).to_have_text("First choose whether the file has a header.")
    expect(page.get_by_role("button", name="The file has no header")).to_be_focused()
    expect(page.locator("#progress")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(question).to_be_hidden()
    expect(page.locator("#plan-error")).to_be_empty()
    expect(page.get_by_label("The file has no header")).to_be_checked()
    expect(page.locator("#plan-source")).to_have_text("One column; polymers from column 1; ids are row numbers.")
    assert predicted(page) == [["0", "*CC*"], ["1", "*CC(*)C"], ["2", "*CC(*)c1ccccc1"]]


def test_the_first_line_may_be_a_header_all_the_same(open_page: Open, made_way: Way) -> None:
    page = with_file(open_page, made_way, "*p*,key\n*CC*,a\n")
    page.get_by_role("button", name="The first line is a header").click()
    expect(page.locator("#plan-title")).to_have_text("mine.csv: 1 row")
    expect(page.locator("#plan-note")).to_contain_text("*p* is used because its cells look like polymers.")
    page.get_by_label("Id column").select_option("key")
    assert predicted(page) == [["a", "*CC*"]]


def test_a_header_can_be_denied(open_page: Open, made_way: Way) -> None:
    page = with_file(open_page, made_way, "ethene,1\n*CC*,2\n")
    page.get_by_label("The file has no header").check()
    expect(page.locator("#plan-title")).to_have_text("mine.csv: 2 rows")
    expect(page.locator("#preview tbody tr").first).to_contain_text("ethene")
    page.get_by_label("SMILES column").select_option("Column 1")
    page.get_by_label("Id column").select_option("Column 2")
    page.locator("#start").click()
    expect(page.locator("#progress-text")).to_contain_text("1 of 2 rows predicted, 1 failed")


def test_of_two_candidates_the_user_chooses(open_page: Open, made_way: Way) -> None:
    page = with_file(open_page, made_way, TWO)
    column = page.get_by_label("SMILES column")
    message = "2 columns may hold the polymers: PSMILES, Canonical SMILES. Choose the SMILES column."
    expect(page.locator("#columns-error")).to_have_text(message)
    expect(column).to_have_attribute("aria-invalid", "true")
    expect(column).to_have_accessible_description(message)
    page.locator("#start").click()
    expect(column).to_be_focused()
    page.keyboard.type("Canon")
    expect(page.locator("#plan-source")).to_have_text(
        "Semicolons; polymers from column Canonical SMILES; ids from column ID."
    )
    expect(page.locator("#columns-error")).to_be_empty()
    expect(column).to_have_attribute("aria-invalid", "false")
    assert predicted(page) == [["p1", "*OCC*"], ["p2", "*OCC*"]]


def test_of_two_columns_of_ids_the_user_chooses(open_page: Open, made_way: Way) -> None:
    page = with_file(open_page, made_way, "sample_id,polymer_id,smiles\n007,,*CC*\n,8,*OCC*\n")
    expect(page.locator("#columns-error")).to_have_text(
        "2 columns may hold the ids: sample_id, polymer_id. Choose the id column."
    )
    page.locator("#start").click()
    expect(page.get_by_label("Id column")).to_be_focused()
    page.get_by_label("Id column").select_option("sample_id")
    assert predicted(page) == [["007", "*CC*"], ["", "*OCC*"]]
    page.locator("#grid tbody tr[data-at]").nth(1).click()
    expect(page.locator("#detail h3")).to_have_text("No id")


def test_an_unknown_name_is_taken_by_its_cells_and_said(open_page: Open, made_way: Way) -> None:
    page = with_file(open_page, made_way, "monomer\tstructure\nethene\t*CC*\n")
    expect(page.locator("#plan-note")).to_contain_text("structure is used because its cells look like polymers.")
    expect(page.locator("#plan-source")).to_have_text("Tabs; polymers from column structure; ids are row numbers.")
    page.get_by_label("SMILES column").select_option("monomer")
    expect(page.locator("#plan-note")).to_be_empty()


def test_a_header_without_rows_is_said(open_page: Open, made_way: Way) -> None:
    page = with_file(open_page, made_way, "smiles\n")
    expect(page.locator("#plan-error")).to_have_text("mine.csv has a header line and no rows.")
    page.locator("#start").click()
    expect(page.locator("#progress")).to_be_hidden()


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
@pytest.mark.parametrize(
    ("name", "content"), [("no-header", NO_HEADER), ("two-columns", TWO)], ids=["no-header", "two-columns"]
)
def test_looks(open_page: Open, made_way: Way, name: str, content: str, scheme: str, width: int) -> None:
    page = with_file(open_page, made_way, content, color_scheme=scheme, viewport={"width": width, "height": 900})
    expect(page.locator("#plan")).to_be_visible()
    check(page, f"{name}-{scheme}-{width}")
