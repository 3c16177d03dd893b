"""Polymers side by side. The answers are made up: values are numbers of characters."""

import csv
import io
import json
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from periogt_ray.tables.predictions import OutputLayout
from support.looks import check
from support.page_site import Answer, calibrated, page_site
from support.way import Asked, Way, way_to

Open = Callable[..., Page]
BATCH = "/v1/predict/batch"
N_PROPERTIES = 7


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with page_site() as url:
        yield url


@pytest.fixture
def compared_way(site: str) -> Iterator[Way]:
    with way_to(site, answers=calibrated) as way:
        yield way


def opened(open_page: Open, way: Way, **options: object) -> Page:
    page = open_page(f"{way.url}#compare", **options)
    expect(page.locator("#compare-examples button").first).to_be_visible()
    return page


def add(page: Page, *polymers: str) -> None:
    for smiles in polymers:
        page.get_by_label("Add a polymer, as SMILES").fill(smiles)
        page.keyboard.press("Enter")


def columns(page: Page) -> list[str]:
    return page.locator("#compare-head .smiles").all_text_contents()


def asked_smiles(way: Way) -> list[set[str]]:
    return [
        {item["smiles"] for item in json.loads(asked.body)["items"]} for asked in way.seen if asked.path == BATCH
    ]  # fmt: skip


def test_values_intervals_errors_and_copies(open_page: Open, compared_way: Way) -> None:
    page = opened(open_page, compared_way, permissions=["clipboard-read", "clipboard-write"])
    expect(page.locator("#compare-answer")).to_be_hidden()
    add(page, "*CC*", '*CC,"', "*CCCC[Pb]*")
    expect(page.locator("#compare-values tr")).to_have_count(N_PROPERTIES)
    row = page.locator("#compare-values tr", has_text="Band gap, chain")
    expect(row.locator(".value")).to_have_text(["1.000", "2.500"])
    expect(row.locator(".range:not(.domain)")).to_have_text(["0.500 to 1.500", "2.000 to 3.000"])
    expect(row.locator(".domain")).to_have_text(["inside the domain", "far outside the domain"])
    plot = row.locator("svg.ranges")
    expect(plot).to_have_attribute(
        "aria-label", "Band gap, chain. Polymer 1: 1.000, 0.500 to 1.500; Polymer 3: 2.500, 2.000 to 3.000"
    )
    # One axis: the gap between the bars is half as long as a bar. The numbers are those of the columns.
    ends = [[float(bar.get_attribute(end) or "nan") for end in ("x1", "x2")] for bar in plot.locator(".interval").all()]
    assert ends[1][0] - ends[0][1] == pytest.approx((ends[0][1] - ends[0][0]) / 2)
    expect(row.locator(".number")).to_have_text(["1", "3"])
    expect(page.locator("#compare-warnings li")).to_have_text("Polymer 3: Pb occurs in no training polymer")
    expect(page.locator("#compare-head img")).to_have_count(3)
    # The bad SMILES is an error in its column only.
    expect(page.locator("#compare-head .error")).to_have_text('*CC," has not 2 connection points.')
    expect(page.locator("#compare-head th.polymer").nth(1).locator(".error")).to_be_visible()
    expect(row.locator("td").nth(1)).to_have_text("none")
    assert asked_smiles(compared_way) == [{"*CC*"}, {'*CC,"'}, {"*CCCC[Pb]*"}]
    for name, delimiter in (("CSV", ","), ("TSV", "\t")):
        page.get_by_role("button", name=f"Copy as {name}").click()
        expect(page.locator("#compare-done")).to_contain_text(f"{name} is on the clipboard")
        text = page.evaluate("navigator.clipboard.readText()")
        good, bad, _ = csv.DictReader(io.StringIO(text), delimiter=delimiter)
        assert tuple(good) == OutputLayout(tuple(good)[2:9], is_wide=True).columns
        assert (good["id"], good["smiles"], good["egc"], good["ok"]) == ("1", "*CC*", "1", "true")
        assert (good["egc_interval_lower"], good["egc_interval_upper"], good["egc_domain"]) == ("0.5", "1.5", "inside")
        assert (bad["smiles"], bad["egc"], bad["ok"], bad["error_code"]) == ('*CC,"', "", "false", "validation_error")


def test_a_request_that_fails_is_asked_again_from_its_column(open_page: Open, compared_way: Way) -> None:
    failing = {"is": True}

    def answer(asked: Asked) -> Answer | None:
        if asked.path == BATCH and failing["is"] and b"CCO" in asked.body:
            error = {"code": "overloaded", "message": "256 polymers are waiting.", "details": {}}
            return 503, {"Retry-After": "1"}, json.dumps({"error": error, "request_id": "r"}).encode()
        return calibrated(asked)

    compared_way.answers = answer
    page = opened(open_page, compared_way)
    add(page, "*CCO*", "*CC*")
    expect(page.locator("#compare-head .error")).to_have_text("256 polymers are waiting.")
    expect(page.locator("#compare-values .value")).to_have_count(N_PROPERTIES)
    failing["is"] = False
    page.get_by_role("button", name="Ask again for polymer 1").click()
    expect(page.locator("#compare-values .value")).to_have_count(2 * N_PROPERTIES)


def test_six_at_most_in_an_order_that_a_reload_keeps(open_page: Open, compared_way: Way) -> None:
    page = opened(open_page, compared_way)
    polymers = [f"*{'C' * n}*" for n in range(1, 7)]
    add(page, *polymers, "*CCO*")
    expect(page.locator("#compare-error")).to_have_text("6 polymers are compared; remove one to add another.")
    add(page, "*C*")
    expect(page.locator("#compare-error")).to_have_text("*C* is compared already.")
    assert columns(page) == polymers
    # By keys: the second one goes to the front and keeps the focus.
    page.get_by_role("button", name="Move left polymer 2").focus()
    page.keyboard.press("Enter")
    moved = ["*CC*", "*C*", *polymers[2:]]
    assert columns(page) == moved
    expect(page.get_by_role("button", name="Move right polymer 1")).to_be_focused()
    page.get_by_role("button", name="Remove polymer 6").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Remove polymer 5")).to_be_focused()
    page.reload()
    expect(page.locator("#compare-values .value")).to_have_count(5 * N_PROPERTIES)
    assert columns(page) == moved[:5]
    page.get_by_role("button", name="Remove all").click()
    expect(page.locator("#compare-answer")).to_be_hidden()
    expect(page.get_by_label("Add a polymer, as SMILES")).to_be_focused()
    page.reload()
    expect(page.locator("#compare-empty")).to_be_visible()


def test_an_answer_of_one_polymer_is_added(open_page: Open, compared_way: Way) -> None:
    page = open_page(compared_way.url)
    expect(page.locator("#examples button").first).to_be_visible()
    page.get_by_label("Repeat unit, as SMILES", exact=True).fill("*CCO*")
    page.get_by_role("button", name="Predict").first.click()
    page.get_by_role("button", name="Add to comparison").click()
    expect(page.locator("#one-done")).to_have_text("Added; 1 of 6 is there. Compare")
    page.get_by_role("button", name="Add to comparison").click()
    expect(page.locator("#one-done")).to_have_text("*CCO* is compared already. Compare")
    page.locator("#one-done a").click()
    expect(page.locator("#compare-values .value")).to_have_count(N_PROPERTIES)
    assert columns(page) == ["*CCO*"]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_looks(open_page: Open, compared_way: Way, scheme: str, width: int) -> None:
    page = opened(open_page, compared_way, color_scheme=scheme, viewport={"width": width, "height": 900})
    add(page, "*CC(*)c1ccccc1", "*CC", "*CCCCCCCC[Pb]*")
    expect(page.locator("#compare-values .value")).to_have_count(2 * N_PROPERTIES)
    expect(page.locator("#compare-head img")).to_have_count(3)
    check(page, f"compare-{scheme}-{width}")
