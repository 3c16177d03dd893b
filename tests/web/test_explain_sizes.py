"""An explanation of a large polymer. The answer is made up; no service computes it."""

import json
from collections.abc import Callable

from playwright.sync_api import Page, expect

from support.page_site import JSON, Answer, calibrated, page_site
from support.way import Asked, way_to

LARGE = f"*Oc1ccc(C(C)(C)c2ccc(OC(=O)c3ccc(C(=O){'Oc4ccc(C(=O)' * 3}*{')cc4' * 3})cc3)cc2)cc1"
FOUND = {
    "smiles": LARGE, "repeat_unit": LARGE, "property": "egc", "label": "Band gap, chain", "units": "eV",
    "prediction": 3.7, "baseline": 5.3, "bonds": [], "atoms": [], "method": "sampled", "passes": 234, "warnings": [],
    "whole_molecule": {"value": -1.6, "standard_error": 0.03}, "meaning": "What it means.", "drawing": None,
    "request_id": "r",
}  # fmt: skip


def answered(asked: Asked) -> Answer | None:
    if asked.path == "/v1/explain":
        return 200, JSON, json.dumps(FOUND).encode()
    return calibrated(asked)


def test_a_long_smiles_does_not_stick_out_of_a_narrow_page(open_page: Callable[..., Page]) -> None:
    with page_site() as site, way_to(site, answers=answered) as way:
        page = open_page(way.url, viewport={"width": 360, "height": 800})
        expect(page.locator("#state-text")).to_have_text("Ready")
        expect(page.locator("#examples button").first).to_be_attached()
        page.get_by_label("Repeat unit, as SMILES").fill(LARGE)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Explain").click()
        expect(page.locator("#explanation-sum")).to_contain_text(LARGE)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
