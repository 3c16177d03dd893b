"""Accessibility by axe-core, and pictures for people to look at, at two widths and in both themes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from support.looks import LOOKS, check
from support.way import Way

Open = Callable[..., Page]


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_every_view(open_page: Open, way: Way, scheme: str, width: int) -> None:
    page = open_page(way.url, color_scheme=scheme, viewport={"width": width, "height": 900})
    shot = f"{scheme}-{width}"
    expect(page.locator("#state-text")).to_have_text("Ready")
    page.get_by_role("button", name="bisphenol A polycarbonate").click()
    expect(page.locator("#one-values tr")).to_have_count(7)
    expect(page.locator("#drawing img")).to_be_visible()
    check(page, f"one-{shot}")
    page.get_by_label("Repeat unit, as SMILES").fill("*CC(C")
    expect(page.locator("#smiles-error")).to_contain_text("RDKit cannot parse")
    check(page, f"error-{shot}")
    page.goto(f"{way.url}#csv")
    page.get_by_role("button", name="Use the example file").click()
    expect(page.locator("#plan")).to_be_visible()
    check(page, f"plan-{shot}")
    page.locator("#start").click()
    expect(page.locator("#progress-text")).to_contain_text("predicted")
    page.locator("#grid tbody tr").nth(2).click()
    expect(page.locator("#detail img")).to_be_visible()
    page.locator("#scatter .plot").focus()
    page.keyboard.press("End")
    expect(page.locator("#scatter .tip img")).to_be_visible()
    check(page, f"results-{shot}")
    page.goto(f"{way.url}#model")
    expect(page.locator("#model-card tbody tr")).to_have_count(9)
    check(page, f"model-{shot}")
    page.goto(f"{way.url}#api")
    expect(page.locator(".op").first).to_be_visible()
    check(page, f"api-{shot}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_dialog_for_the_key(open_page: Open, service: Any, scheme: str) -> None:
    page = open_page(f"{service.url}/", color_scheme=scheme)
    expect(page.get_by_role("dialog")).to_be_visible()
    check(page, f"key-{scheme}")


def test_the_theme_is_chosen_and_kept(open_page: Open, way: Way) -> None:
    page = open_page(way.url, color_scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(colour) != light
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(colour) != light


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_the_batch_report(open_page: Open, report: Path, scheme: str, width: int) -> None:
    page = open_page(report.as_uri(), color_scheme=scheme, viewport={"width": width, "height": 900})
    expect(page.get_by_role("heading", name="Batch report")).to_be_visible()
    check(page, f"report-{scheme}-{width}")
    assert page.locator("img, script, link, iframe").count() == 0
