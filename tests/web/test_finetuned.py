"""Finetuned properties and cards on the page. The answers are made up; cards are rendered by the page's own code."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from periogt_ray.schemas import (
    Coverage,
    LeftOutPackage,
    PropertiesResponse,
    PropertyCardResponse,
    PropertyEntry,
    Score,
    UnsupportedProperty,
)
from support.looks import check
from support.page_site import JSON, Answer, calibrated, page_site
from support.way import Asked, Way, way_to

Open = Callable[..., Page]
VERDICT = "The network's error is 31% below that of the mean, and 0.1 +- 0.02 eV below that of trees."
CARD = """# My <b>gap</b>

The *network* learned from `rows.csv`; see [the report](https://elsewhere.example/x.js) or ![image](https://elsewhere.example/y.png).
Second line of **the paragraph**. <img src=x onerror=alert(1)> <script>alert(2)</script>

## Accuracy
| property | n | RMSE |
| --- | ---: | --- |
| a \\| b | 10 | 0.41 |
| `c` | 12 | -0.5 |

## Limits of use
- Only values from 1 to 2
  were seen.
- [click](javascript:alert(3))
1. first
2. second

```
periogt predict --smiles '*CC*'
**not strong**
```
"""
LISTED = PropertiesResponse(
    properties=[
        PropertyEntry(id="egc", label="Band gap, chain", units="eV", input="homopolymer"),
        PropertyEntry(id="my_gap", label="My gap", units="eV", input="homopolymer", is_package=True),
    ],
    unsupported=[
        UnsupportedProperty(id="my_old", label="Old", reason="it was finetuned from another encoder", is_package=True),
        UnsupportedProperty(id="tg", label="Glass transition", reason="no weights"),
    ],
    left_out=[LeftOutPackage(name="broken", reason="broken/package.json: not a package.")],
    artifacts="made-up answers",
    description="Made up.",
)
CARDS = {
    "my_gap": PropertyCardResponse(
        id="my_gap", label="My gap", units="eV", is_package=True, verdict=VERDICT, n_train=160, n_networks=5, text=CARD,
        scores=[
            Score(division="test", model="network", n=40, r2=0.81, rmse=0.4),
            Score(division="test", model="trees", n=40, r2=0.7, rmse=0.5),
            Score(division="cluster", model="network", n=200, r2=-0.2, rmse=1.25),
        ],
        coverage=[Coverage(division="test", level=0.9, coverage=0.875, n=40)],
    ),
    "my_old": PropertyCardResponse(
        id="my_old", label="Old", units="", is_package=True, reason="it was finetuned from another encoder",
        n_networks=1, text=None,
    ),
}  # fmt: skip


def answered(asked: Asked) -> Answer | None:
    if asked.path == "/v1/properties":
        return 200, JSON, LISTED.model_dump_json().encode()
    if asked.path.startswith("/v1/properties/"):
        return 200, JSON, CARDS[asked.path.split("/")[3]].model_dump_json().encode()
    return calibrated(asked)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with page_site() as url:
        yield url


@pytest.fixture
def finetuned_way(site: str) -> Iterator[Way]:
    with way_to(site, answers=answered) as way:
        yield way


def opened(open_page: Open, way: Way, **options: object) -> Page:
    page = open_page(f"{way.url}#finetuned", **options)
    expect(page.locator("#finetuned-list section")).to_have_count(3)
    return page


def test_packages_are_listed_with_what_was_measured_and_why_they_are_not_used(
    open_page: Open, finetuned_way: Way
) -> None:
    page = opened(open_page, finetuned_way)
    good, old, broken = page.locator("#finetuned-list section").all()
    expect(good.locator("h2")).to_have_text("My gap my_gap")
    expect(good.locator(".verdict")).to_have_text(VERDICT)
    expect(good).to_contain_text("160 polymers of training · 5 networks · unit eV")
    scores = good.get_by_role("region", name="Errors of My gap").locator("tbody tr")
    expect(scores).to_have_text(
        [
            "held-out testnetwork400.4000.810",
            "held-out testtrees400.5000.700",
            "unlike trainingnetwork2001.250\u22120.200",
        ]
    )
    expect(good.get_by_role("region", name="Coverage").locator("tbody tr")).to_have_text(["held-out test90 %88 %40"])
    expect(old.locator(".error")).to_have_text("Not served: it was finetuned from another encoder.")
    expect(old).to_contain_text("no card")
    expect(broken).to_have_text("brokenLeft out: broken/package.json: not a package.")
    assert "egc" not in page.locator("#finetuned-list").inner_text()
    holds_only_text(page)
    # The card of the model.
    page.goto(f"{finetuned_way.url}#model")
    text = page.locator("#model-text")
    expect(text.locator("h2")).to_have_text("PerioGT compact")
    expect(text.locator("h3", has_text="Intervals and domain")).to_be_visible()
    expect(text.locator("table").first.locator("tbody tr")).to_have_count(7)


def holds_only_text(page: Page) -> None:
    """Open a card by keys: nothing of it is run or fetched, to which open_page holds the page."""
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    card = page.locator(".card-text").first
    expect(card.locator("h3")).to_have_text("My <b>gap</b>")
    expect(card.locator("h4")).to_have_text(["Accuracy", "Limits of use"])
    paragraph = card.locator("p").first
    expect(paragraph).to_contain_text("the report (https://elsewhere.example/x.js)")
    expect(paragraph).to_contain_text("<img src=x onerror=alert(1)> <script>alert(2)</script>")
    expect(paragraph.locator("code")).to_have_text("rows.csv")
    expect(paragraph.locator("strong")).to_have_text("the paragraph")
    expect(card.locator("tbody tr")).to_have_text(["a | b100.41", "c12-0.5"])
    expect(card.locator("ul li")).to_have_text(
        ["Only values from 1 to 2 were seen.", "[click](javascript:alert(3))"]
    )  # fmt: skip
    expect(card.locator("ol li")).to_have_text(["first", "second"])
    expect(card.locator("pre")).to_have_text("periogt predict --smiles '*CC*'\n**not strong**")
    assert card.locator("a, img, script, b, iframe, [onerror]").count() == 0


def cards_of_any_text_are_read_in_time(page: Page) -> None:
    n_blocks = """async (text) => {
        const { markdown } = await import(`${location.origin}/web/markdown.js`);
        return markdown(text).length;
    }"""
    n = 1 << 17
    hostile = ["`" * n, "`a" * n, "[" * n, "*" * n, "**a " * n, "|" * n, "|a\n" + " " * n + "x", "# " + " " * n + "#x"]
    hostile += [
        "| a |\n" + "|-" * n,
        "- " * n,
        "#" * n,
        "1. a\n" * 999,
        "```\n" + "x" * n,
        "\\|" * n,
        "| a |\n| - |\n|" * 99,
    ]
    for text in hostile:
        assert page.evaluate(n_blocks, text) >= 1


def test_a_service_without_packages_says_how_to_make_one(open_page: Open, site: str) -> None:
    empty = LISTED.model_copy(update={"properties": LISTED.properties[:1], "unsupported": [], "left_out": []})
    # As services before this answer.
    document: dict[str, Any] = json.loads(empty.model_dump_json())
    del document["left_out"], document["properties"][0]["is_package"]

    def answer(asked: Asked) -> Answer | None:
        return (200, JSON, json.dumps(document).encode()) if asked.path == "/v1/properties" else calibrated(asked)

    with way_to(site, answers=answer) as way:
        page = open_page(f"{way.url}#finetuned")
        expect(page.locator("#finetuned-list")).to_contain_text("periogt finetune makes one")
        cards_of_any_text_are_read_in_time(page)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_looks(open_page: Open, finetuned_way: Way, scheme: str, width: int) -> None:
    size = {"width": width, "height": 900}
    page = opened(open_page, finetuned_way, color_scheme=scheme, viewport=size)
    page.locator("summary").click()
    check(page, f"finetuned-{scheme}-{width}")
