"""The view of copolymers. The answers are made up."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.inputs import read_input
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


TABLE = f"""name;Monomer A;Monomer B;ratio_A;ratio_B;architecture;ea
p1;{A};{B};0.50;0.5;alternating;5
p2;*CCO*;{B};0.25;;block;7
p3;*CC;{B};0.25;0.75;block;
p4;{A};{B};half;;block;
p5;{A};{B};0.25;0.25;random;
p6;{A};;0.25;;random;
"""


def with_table(open_page: Open, way: Way, content: str, **options: object) -> Page:
    page = open_page(f"{way.url}#csv", **options)
    expect(page.locator("#property-choices input")).to_have_count(1)
    given = {"name": "pairs.csv", "mimeType": "text/csv", "buffer": content.encode()}
    page.locator("#file").set_input_files(given)
    return page


def test_a_table_of_copolymers_is_predicted_and_downloaded(open_page: Open, copolymer_way: Way) -> None:
    page = with_table(open_page, copolymer_way, TABLE)
    expect(page.locator("#plan-source")).to_have_text(
        "Semicolons; copolymers from the columns Monomer A, Monomer B, ratio_A, architecture; ids are row numbers."
    )
    expect(page.get_by_label("SMILES column")).to_be_hidden()
    assert page.locator("#property-choices input").evaluate_all("all => all.map(({ value }) => value)") == ["ea", "ip"]
    page.get_by_label("Id column").select_option("name")
    page.locator("#start").click()
    expect(page.locator("#progress-text")).to_contain_text("2 of 6 rows predicted, 4 failed")
    titles = ["Id", "Monomer A", "Monomer B", "Ratio of A", "Architecture", "Result"]
    names = ["Property ea (eV)", "Property ip (eV)"]
    expect(page.locator("#grid th")).to_have_text([*titles, *names, *(f"± {name}" for name in names), "Domain"])
    page.locator("#grid tbody tr").nth(1).click()
    expect(page.locator("#detail img")).to_have_count(2)
    expect(page.locator("#detail")).to_contain_text("0.25 block")
    # The column that is named after a property is plotted against it.
    expect(page.locator("#scatter-x option:checked")).to_have_text("ea (of the file)")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert list(rows[0])[:6] == ["id", "smiles_a", "smiles_b", "ratio_a", "architecture", "property"]
    assert [(row["id"], row["prediction_value"]) for row in rows if row["ok"] == "true"] == [
        ("p1", "16"), ("p1", "116"), ("p2", "7.5"), ("p2", "107.5"),
    ]  # fmt: skip
    assert [rows[0][name] for name in list(rows[0])[1:5]] == [A, B, "0.50", "alternating"]
    # In the words of `periogt batch`, for what the page does not send.
    cells = [line.split(";") for line in TABLE.splitlines()[1:]]
    said = {row["id"]: row["error_message"] for row in rows if row["property"] == "ea"}
    for name, a, b, ratio_a, ratio_b, architecture, _ in cells[3:]:
        with pytest.raises(ValidationError) as failure:
            read_input(InputKind.COPOLYMER, [a, b, ratio_a, architecture, ratio_b])
        assert said[name] == failure.value.message
    assert "Monomer A: *CC has 1 connection point" in said["p3"]
    asked = [json.loads(one.body)["items"] for one in copolymer_way.seen if one.path == "/v1/predict/batch"]
    assert {item["copolymer"]["smiles_b"] for items in asked for item in items} == {B}


def test_a_service_without_such_properties_says_so_of_the_table(open_page: Open, site: str) -> None:
    with way_to(site, answers=made_up(lambda _smiles, _property: [])) as way:
        page = open_page(f"{way.url}#csv")
        expect(page.locator("#property-choices input")).to_have_count(7)
        given = {"name": "pairs.csv", "mimeType": "text/csv", "buffer": TABLE.encode()}
        page.locator("#file").set_input_files(given)
        expect(page.locator("#plan-note")).to_contain_text("this service has no property of copolymers")


def test_another_file_brings_its_own_properties_back(open_page: Open, copolymer_way: Way) -> None:
    page = with_table(open_page, copolymer_way, TABLE)
    expect(page.locator("#property-choices input")).to_have_count(2)
    given = {"name": "units.csv", "mimeType": "text/csv", "buffer": b"smiles\n*CC*\n"}
    page.locator("#file").set_input_files(given)
    expect(page.locator("#property-choices input")).to_have_count(1)
    expect(page.get_by_label("SMILES column")).to_be_visible()
    page.locator("#start").click()
    expect(page.locator("#progress-text")).to_contain_text("1 of 1 rows predicted")


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_a_table_looks_right(open_page: Open, copolymer_way: Way, scheme: str, width: int) -> None:
    size = {"width": width, "height": 900}
    page = with_table(open_page, copolymer_way, TABLE, color_scheme=scheme, viewport=size)
    page.locator("#start").click()
    expect(page.locator("#progress-text")).to_contain_text("2 of 6 rows predicted")
    page.locator("#grid tbody tr").nth(1).click()
    expect(page.locator("#detail img")).to_have_count(2)
    check(page, f"copolymer-table-{scheme}-{width}")


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_looks(open_page: Open, copolymer_way: Way, scheme: str, width: int) -> None:
    page = opened(open_page, copolymer_way, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.get_by_role("button", name="benzene and thiophene").click()
    expect(page.locator("#copolymer-values tr")).to_have_count(7)
    expect(page.locator("#smiles-b-drawing img")).to_be_visible()
    check(page, f"copolymer-{scheme}-{width}")
