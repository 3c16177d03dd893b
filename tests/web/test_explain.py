"""Explanations of one polymer's predictions, in a browser."""

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from support.looks import LOOKS, check
from support.served_process import ServedProcess
from support.way import Asked, Way

Open = Callable[..., Page]
ACRYLATE = "*CC(*)C(=O)OC"


def predicted(page: Page, smiles: str = ACRYLATE) -> Page:
    expect(page.locator("#state-text")).to_have_text("Ready")
    expect(page.locator("#examples button").first).to_be_attached()
    page.get_by_label("Repeat unit, as SMILES").fill(smiles)
    page.keyboard.press("Enter")
    expect(page.locator("#one-values tr")).to_have_count(7)
    return page


def test_a_prediction_is_explained_by_the_keyboard(open_page: Open, way: Way, service: ServedProcess) -> None:
    page = predicted(open_page(way.url))
    page.get_by_label("Property", exact=True).focus()
    page.get_by_label("Property", exact=True).select_option("egc")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#explanation-title")).to_be_focused()
    expect(page.locator("#explanation-title")).to_have_text("Band gap, chain: what each bond adds")
    body = {"smiles": ACRYLATE, "property": "egc"}
    found = service.client.post("/v1/explain", json=body).json()
    rows = [
        row.inner_text().replace("\N{MINUS SIGN}", "-").split("\t")
        for row in page.locator("#explanation-values tr").all()
    ]
    assert len(rows) == len(found["bonds"]) + 1
    values = {name: float(value) for name, value, *_ in rows}
    assert values["Whole-molecule features"] == pytest.approx(found["whole_molecule"]["value"], abs=1e-3)
    assert values["C4-O5"] == pytest.approx(next(b for b in found["bonds"] if b["atoms"] == [4, 5])["value"], abs=1e-3)
    sizes = [abs(value) for value in values.values()]
    assert sizes == sorted(sizes, reverse=True)
    total = sum(values.values())
    assert total == pytest.approx(found["prediction"] - found["baseline"], abs=5e-3)
    drawing = page.locator("#explanation-drawing img")
    assert drawing.evaluate("image => image.decode().then(() => image.naturalWidth)") > 200
    expect(page.locator("#explanation-sum")).to_contain_text("128 passes, all subsets")
    expect(page.locator("#explanation-meaning")).to_have_text(found["meaning"])
    expect(page.get_by_role("button", name="Explain")).to_be_enabled()


def test_an_error_is_told_and_another_polymer_clears_what_was_explained(open_page: Open, way: Way) -> None:
    page = predicted(open_page(way.url))
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#explanation")).to_be_visible()
    predicted(page, "*CCO*")
    expect(page.locator("#one-meta")).to_contain_text("*CCO*")
    expect(page.locator("#explanation")).to_be_hidden()
    refusal = {
        "error": {"code": "overloaded", "message": "4 explanations are in work", "details": {}},
        "request_id": "x",
    }

    def refuse(asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
        if asked.path.endswith("/v1/explain"):
            return 503, {"Content-Type": "application/json", "Retry-After": "2"}, json.dumps(refusal).encode()
        return None

    way.answers = refuse
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#explain-error")).to_have_text("4 explanations are in work")
    page.get_by_label("Repeat unit, as SMILES").fill("*CC")
    page.get_by_role("button", name="Predict").first.click()
    expect(page.locator("#one-explain")).to_be_hidden()


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_how_an_explanation_looks(open_page: Open, way: Way, scheme: str, width: int) -> None:
    page = predicted(open_page(way.url, color_scheme=scheme, viewport={"width": width, "height": 900}))
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#explanation-drawing img")).to_be_visible()
    check(page, f"explain-{scheme}-{width}")
