"""Intervals and domain on the page: one polymer, table, filters, parity plot. The answers are made up."""

import json
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from support.page_site import made_up, page_site
from support.way import Asked, Way, way_to

Open = Callable[..., Page]
REASON = "Pb occurs in no training polymer"
ROWS = "id,smiles,egc\nplain,*CC*,4.0\nodd,*CCC*,5.0\nlead,*[Pb]*,3.0\n"


def trusted(asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
    """Calibrate egc: widths, a large one for *CCC*, and a domain that lead is far outside of."""
    found = made_up(lambda _smiles, _property: None)(asked)
    if found is None:
        return None
    status, headers, body = found
    if not body.startswith(b"{"):
        return found
    document = json.loads(body)
    for card in document.get("properties", []):
        card["interval_scale"] = "neighbours" if card["id"] == "egc" else None
    for result in document.get("results", []):
        if result.get("property") != "egc":
            continue
        value = result["prediction"]["value"]
        half = 2.0 if result["smiles"] == "*CCC*" else 0.5
        result["interval"] = {"level": 0.9, "lower": value - half, "upper": value + half}
        is_far = "Pb" in result["smiles"]
        result["domain"] = {
            "status": "far_outside" if is_far else "inside",
            "similarity": 0.5,
            "percentile": 100.0 if is_far else 10.0,
            "reasons": [REASON] if is_far else [],
        }
    return status, headers, json.dumps(document).encode()


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with page_site() as url:
        yield url


@pytest.fixture
def trusted_way(site: str) -> Iterator[Way]:
    with way_to(site, answers=trusted) as way:
        yield way


def test_one_polymer_has_a_range_and_the_reasons_in_words(open_page: Open, trusted_way: Way) -> None:
    page = open_page(trusted_way.url)
    expect(page.locator("#examples button").first).to_be_attached()
    for smiles, words in (("*CC*", None), ("*[Pb]*", "far outside the domain")):
        page.get_by_label("Repeat unit, as SMILES").fill(smiles)
        page.get_by_role("button", name="Predict").first.click()
        expect(page.locator("#one-meta")).to_contain_text(f"of {smiles} in")
        row = page.locator("#one-values tr", has_text="Band gap, chain")
        expect(row.locator(".range").first).to_contain_text("90 %:")
        expect(row.locator(".far")).to_have_count(0 if words is None else 1)
        if words is not None:
            expect(row.locator(".far")).to_have_text(words)
            expect(page.locator("#one-warnings")).to_contain_text(REASON)


def test_table_filters_by_domain_and_width_and_plots_measured_values(open_page: Open, trusted_way: Way) -> None:
    page = open_page(f"{trusted_way.url}#csv")
    expect(page.locator("#property-choices input")).to_have_count(7)
    page.locator("#file").set_input_files({"name": "mine.csv", "mimeType": "text/csv", "buffer": ROWS.encode()})
    page.locator("#start").click()
    expect(page.locator("#progress-text")).to_contain_text("rows predicted")
    expect(page.locator("#grid thead")).to_contain_text("Domain")
    page.get_by_label("Rows", exact=True).select_option("Outside the domain")
    expect(page.locator("#filter-count")).to_have_text("1 of 3 rows are shown.")
    page.locator("#grid tbody tr").first.click()
    expect(page.locator("#detail")).to_contain_text(REASON)
    page.get_by_label("Rows", exact=True).select_option("All")
    page.get_by_label("Range of").select_option("half width of Band gap, chain")
    page.get_by_label("From", exact=True).fill("1")
    expect(page.locator("#filter-count")).to_have_text("1 of 3 rows are shown.")
    expect(page.locator("#scatter-x option:checked")).to_have_text("egc (of the file)")
    expect(page.locator("#scatter-y option:checked")).to_have_text("Band gap, chain")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    lines = download.value.path().read_text().splitlines()
    lead = next(line for line in lines if line.startswith("lead") and ",egc," in line)
    assert ",far_outside," in lead
