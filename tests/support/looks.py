"""What every view of the page is held to: accessibility, nothing that sticks out, and a picture for people."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

PICTURES = Path(__file__).parents[1] / "web" / "artifacts"
# Each colour scheme and each width once; the other pairs with --full.
LOOKS = [
    pytest.param("light", 1280),
    pytest.param("dark", 390),
    pytest.param("light", 390, marks=pytest.mark.full),
    pytest.param("dark", 1280, marks=pytest.mark.full),
]


def serious(page: Page) -> list[str]:
    found: dict[str, Any] = page.evaluate(
        "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'],"
        " resultTypes: ['violations'] })"
    )
    return [
        f"{one['id']} ({one['impact']}): {[node['html'][:120] for node in one['nodes'][:3]]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def check(page: Page, name: str) -> None:
    """Hold a page to the rules, take its picture, and see that nothing sticks out to the side."""
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True, animations="disabled")
    assert serious(page) == [], name
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), name
