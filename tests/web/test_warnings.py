"""Warnings that come with answers: beside one polymer, in the table and in the download. The answers are made up."""

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
CLEARED = "The isotopes of 4 atoms were cleared; they do not change the value."
IMPOSSIBLE = "A band gap is not negative; the value is not possible."
ROWS = "id,smiles\nplain,*CC*\nlabelled,*C[14CH2]*\nbad,*CC\nlead,*[Pb]*\n"


def warnings_of(smiles: str, property_id: str) -> list[str] | None:
    if "14" in smiles:
        return [CLEARED]
    if "Pb" in smiles:
        return [CLEARED, IMPOSSIBLE] if property_id == "egc" else [CLEARED]
    return None


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with page_site() as url:
        yield url


@pytest.fixture
def warned_way(site: str) -> Iterator[Way]:
    with way_to(site, answers=made_up(warnings_of)) as way:
        yield way


def predict_one(page: Page, smiles: str) -> None:
    page.get_by_label("Repeat unit, as SMILES").fill(smiles)
    page.get_by_role("button", name="Predict").first.click()
    expect(page.locator("#one-meta")).to_contain_text(f"of {smiles} in")


def predict_rows(page: Page) -> None:
    expect(page.locator("#property-choices input")).to_have_count(7)
    page.locator("#file").set_input_files({"name": "mine.csv", "mimeType": "text/csv", "buffer": ROWS.encode()})
    page.locator("#start").click()
    expect(page.locator("#progress-text")).to_contain_text("rows predicted")


def test_beside_one_polymer(open_page: Open, warned_way: Way) -> None:
    page = open_page(warned_way.url)
    expect(page.locator("#examples button").first).to_be_attached()
    box = page.locator("#one-warnings")
    predict_one(page, "*C[14CH2]*")
    expect(box.get_by_role("listitem")).to_have_text([CLEARED])
    expect(box).to_contain_text("1 warning")
    # In the part of the page that a screen reader follows.
    expect(page.locator("#one-results[aria-live=polite] #one-warnings")).to_be_visible()
    predict_one(page, "*[Pb]*")
    expect(box.get_by_role("listitem")).to_have_text([CLEARED, f"Band gap, chain: {IMPOSSIBLE}"])
    predict_one(page, "*CC*")
    expect(box).to_be_empty()


def test_in_the_table_and_the_download(open_page: Open, warned_way: Way) -> None:
    page = open_page(f"{warned_way.url}#csv")
    predict_rows(page)
    expect(page.locator("#progress-text")).to_contain_text("3 of 4 rows predicted, 2 with warnings, 1 failed, in ")
    rows = page.locator("#grid tbody tr[data-at]")
    expect(rows.nth(0).locator(".mark")).to_have_count(0)
    expect(rows.nth(1)).to_contain_text(f"predicted ⚠ 1, 1 warning: {CLEARED}")
    expect(rows.nth(3)).to_contain_text(f"2 warnings: {CLEARED}; Band gap, chain: {IMPOSSIBLE}")
    # Reached by the keyboard, and shown in full.
    page.locator("#grid table").focus()
    for key in ("Home", "End"):
        page.keyboard.press(key)
    expect(page.locator("#detail").get_by_role("listitem")).to_have_text([CLEARED, f"Band gap, chain: {IMPOSSIBLE}"])
    page.keyboard.press("Home")
    expect(page.locator("#detail h3")).to_have_text("plain")
    expect(page.locator("#detail .warnings")).to_have_count(0)
    page.get_by_label("Rows", exact=True).select_option("With warnings")
    expect(page.locator("#filter-count")).to_have_text("2 of 4 rows are shown.")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    text = Path(download.value.path()).read_bytes().decode()
    assert text.splitlines()[0].endswith(",request_id,interval_lower,interval_upper,domain,warnings")
    found = {(r["id"], r["property"]): r["warnings"] for r in csv.DictReader(io.StringIO(text))}
    assert found["plain", "egc"] == found["bad", "egc"] == ""
    assert found["labelled", "nc"] == found["lead", "nc"] == CLEARED
    assert found["lead", "egc"] == f"{CLEARED}; {IMPOSSIBLE}"


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_looks(open_page: Open, warned_way: Way, scheme: str, width: int) -> None:
    page = open_page(warned_way.url, color_scheme=scheme, viewport={"width": width, "height": 900})
    expect(page.locator("#examples button").first).to_be_attached()
    predict_one(page, "*[Pb]*")
    check(page, f"warnings-one-{scheme}-{width}")
    page.goto(f"{warned_way.url}#csv")
    predict_rows(page)
    page.locator("#grid tbody tr", has_text="lead").click()
    expect(page.locator("#detail .warnings")).to_be_visible()
    check(page, f"warnings-rows-{scheme}-{width}")
