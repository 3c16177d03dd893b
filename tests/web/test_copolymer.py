"""The view of copolymers. The answers are made up."""

import json
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from support.looks import LOOKS, check
from support.page_site import HEALTH, JSON, Answer, made_up, page_site
from support.way import Asked, Way, way_to

Open = Callable[..., Page]
A, B = "*c1ccc(*)cc1", "*c1ccc(*)s1"


def answered(asked: Asked) -> Answer | None:
    """Answers of a service that predicts a property of repeat units, and two of copolymers."""
    plain = made_up(lambda _smiles, _property: [])
    if asked.path == "/v1/model":
        found = plain(asked)
        assert found is not None
        model = json.loads(found[2])
        card = model["properties"][0]
        cards = [(card["id"], "homopolymer"), ("ea", "copolymer"), ("ip", "copolymer"), ("opv", "conditions")]
        test = {"r2": 0.99, "rmse": 0.05, "n": 8594}
        model["properties"] = [
            {**card, "id": name, "label": f"Property {name}", "units": "eV", "input": kind, "test": test}
            for name, kind in cards
        ]
        return 200, JSON, json.dumps(model).encode()
    if asked.path == "/v1/predict/batch":
        items = json.loads(asked.body)["items"]
        if "copolymer" in items[0]:
            results = [_result(**item) for item in items]
            return 200, JSON, json.dumps({"results": results, "request_id": "r"}).encode()
    return plain(asked)


def _result(copolymer: dict, property: str) -> dict[str, object]:  # noqa: A002
    for name, smiles in (("A", copolymer["smiles_a"]), ("B", copolymer["smiles_b"])):
        if smiles.count("*") != 2:
            return {"code": "validation_error", "message": f"Monomer {name}: {smiles} has 1 connection point."}
    is_odd = copolymer["architecture"] == "alternating" and copolymer["ratio_a"] != 0.5
    value = 10 * copolymer["ratio_a"] + len(copolymer["architecture"]) + (100 if property == "ip" else 0)
    return {
        "smiles": None, "copolymer": copolymer, "property": property, "request_id": "r", "embedding": None,
        "prediction": {"value": value, "units": "eV"}, "warnings": ["Training saw no such copolymer"] if is_odd else [],
        "model": {"name": "PerioGT", "checkpoint": "c", "artifacts": HEALTH["artifacts"]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with page_site() as url:
        yield url


@pytest.fixture
def copolymer_way(site: str) -> Iterator[Way]:
    with way_to(site, answers=answered) as way:
        yield way


def opened(open_page: Open, way: Way, **options: object) -> Page:
    page = open_page(f"{way.url}#copolymer", **options)
    expect(page.locator("#copolymer-asked")).to_be_visible()
    return page


def test_the_grid_of_the_seven_combinations(open_page: Open, copolymer_way: Way) -> None:
    page = opened(open_page, copolymer_way)
    page.get_by_label("Monomer A").fill(A)
    page.get_by_label("Monomer B").fill(B)
    for name, smiles in (("a", A), ("b", B)):
        expect(page.locator(f"#smiles-{name}-drawing img")).to_have_attribute("alt", f"Structure of {smiles}")
    page.get_by_label("Architecture").select_option("block")
    page.get_by_label("A : B").select_option("0.25")
    page.keyboard.press("Enter")
    page.locator("#copolymer-predict").click()
    rows = page.locator("#copolymer-values tr")
    expect(rows).to_have_count(7)
    expect(rows.nth(1)).to_have_text("block0.25 : 0.757.500107.5")
    expect(page.locator("#copolymer-values tr.chosen")).to_have_text("block0.25 : 0.757.500107.5")
    expect(page.locator("#copolymer-head th")).to_have_text(
        ["Architecture", "A : B", "Property ea (eV)", "Property ip (eV)"]
    )
    expect(page.locator("#copolymer-warnings")).to_be_empty()
    expect(page.locator("#copolymer-accuracy")).to_contain_text("Property ea: ± 0.050 eV on test rows")


def test_an_untrained_combination_is_a_row_more_and_a_warning(open_page: Open, copolymer_way: Way) -> None:
    page = opened(open_page, copolymer_way)
    page.get_by_role("button", name="benzene and thiophene").click()
    expect(page.locator("#copolymer-values tr")).to_have_count(7)
    page.get_by_label("Architecture").select_option("alternating")
    page.get_by_label("A : B").select_option("0.75")
    page.locator("#copolymer-predict").click()
    expect(page.locator("#copolymer-values tr")).to_have_count(8)
    expect(page.locator("#copolymer-warnings li")).to_have_text(["Training saw no such copolymer"])


def test_errors_are_shown_at_the_monomer_that_has_them(open_page: Open, copolymer_way: Way) -> None:
    page = opened(open_page, copolymer_way)
    page.get_by_label("Monomer A").fill(A)
    page.locator("#copolymer-predict").click()
    expect(page.locator("#smiles-b-error")).to_contain_text("The SMILES is empty")
    page.get_by_label("Monomer B").fill("*CC")
    page.locator("#copolymer-predict").click()
    expect(page.locator("#smiles-b-error")).to_contain_text("Monomer B: *CC has 1 connection point")
    expect(page.get_by_label("Monomer B")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#copolymer-answer")).to_be_hidden()


def test_swapping_swaps_the_ratio_too(open_page: Open, copolymer_way: Way) -> None:
    page = opened(open_page, copolymer_way)
    page.get_by_label("Monomer A").fill(A)
    page.get_by_label("Monomer B").fill(B)
    page.get_by_label("A : B").select_option("0.25")
    page.get_by_role("button", name="Swap A and B").click()
    expect(page.get_by_label("Monomer A")).to_have_value(B)
    expect(page.get_by_label("A : B")).to_have_value("0.75")


def test_other_views_ask_for_properties_of_repeat_units_only(open_page: Open, copolymer_way: Way) -> None:
    page = open_page(copolymer_way.url)
    expect(page.locator("#examples button").first).to_be_attached()
    expect(page.locator("#nav-copolymer")).to_be_visible()
    page.get_by_label("Repeat unit, as SMILES").fill("*CC*")
    page.get_by_role("button", name="Predict").first.click()
    expect(page.locator("#one-values tr")).to_have_count(1)
    page.goto(f"{copolymer_way.url}#csv")
    expect(page.locator("#property-choices input")).to_have_count(1)


def test_a_service_without_such_properties_has_no_such_view(open_page: Open, site: str) -> None:
    with way_to(site, answers=made_up(lambda _smiles, _property: [])) as way:
        page = open_page(f"{way.url}#copolymer")
        expect(page.locator("#examples button").first).to_be_attached()
        expect(page.locator("#nav-copolymer")).to_be_hidden()
        expect(page.locator("#copolymer-absent")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_looks(open_page: Open, copolymer_way: Way, scheme: str, width: int) -> None:
    page = opened(open_page, copolymer_way, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.get_by_role("button", name="benzene and thiophene").click()
    expect(page.locator("#copolymer-values tr")).to_have_count(7)
    expect(page.locator("#smiles-b-drawing img")).to_be_visible()
    check(page, f"copolymer-{scheme}-{width}")
