"""Screening: constraints, goals, the front, and what is downloaded. No service predicts anything here."""

import csv
import io
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from periogt_ray.tables.predictions import OUTPUT_COLUMNS, OutputLayout, Prediction, RowFailure
from support.looks import check
from support.page_site import calibrated, page_site
from support.way import Way, way_to

Open = Callable[..., Page]
# id, egc and nc with half widths, and the domain of both; four of them are on the front of maximising both.
POLYMERS = [
    ("a", 5.0, 1.0, 0.5, "inside"),
    ("b", 4.0, 2.0, 0.5, "inside"),
    ("b, again", 4.0, 2.0, 0.1, "outside"),
    ("beaten", 4.0, 1.5, 0.1, "inside"),
    ("c", 1.0, 3.0, 0.1, "far_outside"),
    ("low", 0.5, 0.5, 0.1, "inside"),
    ("failed", None, None, 0.0, ""),
]
FRONT = ["a", "b", "b, again", "c"]


def table(*, is_wide: bool, delimiter: str = ",") -> str:
    """A table as `periogt batch` writes it, with a column of the input."""
    layout = OutputLayout(("egc", "nc"), is_wide=is_wide, kept=("cost",))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(layout.columns)
    for n, (name, egc, nc, half, domain) in enumerate(POLYMERS):
        answers = [
            RowFailure("validation_error", "It has 1 connection point.")
            if value is None
            else Prediction(value, units, (), (value - half, value + half), domain)
            for value, units in ((egc, "eV"), (nc, ""))
        ]
        smiles = "*CC" if egc is None else f"*{'C' * (n + 1)}*"
        writer.writerows(layout.rows(name, smiles, answers, kept=(str(10 * n),)))
    return text.getvalue()


def many(n: int) -> str:
    chosen = random.Random(3)
    layout = OutputLayout(("egc", "nc"), is_wide=True)
    lines = [",".join(layout.columns)]
    for i in range(n):
        a, b = round(chosen.gauss(4, 1), 4), round(chosen.gauss(2, 0.3), 4)
        trust = f"{a - 1:.3f},{a + 1:.3f},inside,{b - 0.1:.3f},{b + 0.1:.3f},inside"
        lines.append(f"p{i},*{'C' * (i % 60 + 1)}*,{a},{b},true,,,{trust},,r")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with page_site() as url:
        yield url


@pytest.fixture
def screen_way(site: str) -> Iterator[Way]:
    with way_to(site, answers=calibrated) as way:
        yield way


@pytest.fixture(scope="module")
def modules(browser: Browser, site: str) -> Iterator[Page]:
    """A page whose only use is to import modules."""
    with closing(browser.new_context()) as context:
        page = context.new_page()
        page.goto(f"{site}/")
        yield page


def opened(open_page: Open, way: Way, content: str, **options: object) -> Page:
    page = open_page(f"{way.url}#screen", **options)
    expect(page.locator("#state-text")).to_have_text("Ready")
    expect(page.locator("#property-choices input")).to_have_count(7)
    given = {"name": "mine.csv", "mimeType": "text/csv", "buffer": content.encode()}
    page.locator("#screen-file").set_input_files(given)
    expect(page.locator("#screen-name")).to_contain_text("mine.csv: ")
    return page


def listed(page: Page) -> list[str]:
    return page.locator("#screen-grid tbody tr[data-at] td:nth-child(2)").all_text_contents()


def counted(page: Page, n_passing: int, n_front: int) -> None:
    text = f"{n_passing} of 7 polymers meet the constraints; on the front: {n_front}."
    expect(page.locator("#screen-count")).to_have_text(text)


def saved(page: Page) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").last.click()
    return Path(download.value.path()).read_bytes().decode()


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


def test_the_front_is_exact_also_with_ties(modules: Page, chance: random.Random) -> None:
    find = """async ([goals, signs]) => {
        const { paretoFront } = await import(`${location.origin}/web/pareto.js`);
        const columns = goals.map((values) => Float64Array.from(values, (value) => value ?? NaN));
        return paretoFront(columns[0].keys(), columns.map((values, i) => ({ values, sign: signs[i] })));
    }"""
    for n_values in (3, 40, 10**6):  # few values have many ties
        for signs in ([1, 1], [1, -1], [-1, -1], [-1]):
            goals = [
                [None if chance.random() < 0.02 else float(chance.randrange(n_values)) for _ in range(200)]
                for _ in signs
            ]
            points = {
                row: tuple(sign * value for sign, value in zip(signs, values, strict=True) if value is not None)
                for row, values in enumerate(zip(*goals, strict=True))
                if None not in values
            }
            expected = {
                row for row, point in points.items() if not any(dominates(other, point) for other in points.values())
            }
            found = modules.evaluate(find, [goals, signs])
            assert len(found) == len(set(found))
            assert set(found) == expected


@pytest.mark.parametrize("is_wide", [False, True], ids=["long", "wide"])
def test_constraints_front_and_download_of_a_file(open_page: Open, screen_way: Way, is_wide: bool) -> None:
    content = table(is_wide=is_wide)
    page = opened(open_page, screen_way, content)
    expect(page.locator("#goal-x option")).to_have_text(["Band gap, chain (eV)", "Refractive index", "cost"])
    # One polymer has no values.
    counted(page, 6, 4)
    assert listed(page) == FRONT
    group = page.get_by_role("group", name="Band gap, chain (eV)")
    group.get_by_label("From, Band gap").fill("4")
    counted(page, 4, 3)
    group.get_by_label("whole interval").check()
    counted(page, 1, 1)
    assert listed(page) == ["a"]
    page.get_by_role("button", name="Clear").last.click()
    page.get_by_label("Inside the domain of every property").check()
    counted(page, 4, 2)
    assert listed(page) == ["a", "b"]
    page.get_by_role("button", name="Clear").last.click()
    page.get_by_role("group", name="cost").get_by_label("To, cost").fill("20")
    counted(page, 3, 3)
    page.get_by_role("button", name="Clear").last.click()
    page.locator("#goal-x-sign").select_option("minimise")
    page.locator("#goal-y-sign").select_option("none")
    counted(page, 6, 1)
    assert listed(page) == ["low"]
    page.locator("#goal-x-sign").select_option("none")
    counted(page, 6, 0)
    page.locator("#screen-list").select_option("passing")
    assert len(listed(page)) == 6
    expect(page.locator("#screen-list option:checked")).to_have_text("All that meet the constraints (6)")
    for name in ("x", "y"):
        page.locator(f"#goal-{name}-sign").select_option("maximise")
    page.locator("#screen-list").select_option("front")
    # The download has the lines of the file, with all their columns.
    lines = list(csv.reader(io.StringIO(content)))
    given = [line for line in lines[1:] if line[0] in FRONT]
    order = {name: n for n, name in enumerate(FRONT)}
    found = list(csv.reader(io.StringIO(saved(page))))
    assert found == [lines[0], *sorted(given, key=lambda line: order[line[0]])]


def test_rows_are_ticked_by_keys_pointer_and_rectangle(open_page: Open, screen_way: Way) -> None:
    page = opened(open_page, screen_way, table(is_wide=True))
    page.locator("#screen-grid table").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#screen-detail img")).to_have_attribute("alt", "Structure of *C*")
    expect(page.locator("#screen-detail")).to_contain_text("5.000 eV4.500 to 5.500")
    page.keyboard.press("Space")
    page.locator("#screen-grid tbody tr").nth(3).get_by_role("checkbox").click()
    expect(page.locator("#screen-grid tbody input:checked")).to_have_count(2)
    expect(page.locator("#screen-list option").last).to_have_text("Ticked (2)")
    # Along the front, which is listed, by keys.
    plot = page.locator("#screen-plot")
    plot.focus()
    page.keyboard.press("Home")
    expect(page.locator("#screen-detail h3")).to_have_text("c")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#screen-detail h3")).to_have_text("b")
    expect(page.locator("#screen-plot .tip img")).to_have_attribute("alt", "Structure of *CC*")
    expect(page.locator("#screen-plot .tip")).to_contain_text("Band gap, chain: 4.000 eV")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    expect(page.locator("#screen-plot .tip")).to_have_count(0)
    page.locator("#screen-list").select_option("ticked")
    assert listed(page) == ["a", "b", "c"]
    over = page.locator("#screen-plot .u-over").bounding_box()
    assert over is not None
    # The right half: all that are above the middle of the horizontal axis.
    page.mouse.move(over["x"] + over["width"] / 2, over["y"] + 3)
    page.mouse.down()
    page.mouse.move(over["x"] + over["width"] - 3, over["y"] + over["height"] - 3, steps=4)
    page.mouse.up()
    expect(page.locator("#screen-list option:checked")).to_have_text("In the rectangle (4)")
    assert listed(page) == ["a", "b", "b, again", "beaten"]
    page.get_by_role("button", name="Tick all listed").click()
    expect(page.locator("#screen-list option").last).to_have_text("Ticked (5)")
    page.get_by_role("button", name="Untick all").click()
    expect(page.locator("#screen-list option").last).to_have_text("Ticked (0)")
    # Another file takes its place; only the rows that are visible have elements.
    given = {"name": "many.csv", "mimeType": "text/csv", "buffer": many(10_000).encode()}
    page.locator("#screen-file").set_input_files(given)
    expect(page.locator("#screen-count")).to_contain_text("10000 of 10000 polymers meet")
    page.get_by_role("group", name="Band gap, chain (eV)").get_by_label("From, Band gap").fill("4")
    expect(page.locator("#screen-count")).not_to_contain_text("10000 of 10000")
    page.locator("#screen-list").select_option("passing")
    assert page.locator("#screen-grid tbody tr").count() < 60


def test_results_of_the_page_are_screened(open_page: Open, screen_way: Way) -> None:
    page = open_page(f"{screen_way.url}#screen")
    expect(page.locator("#property-choices input")).to_have_count(7)
    page.get_by_role("button", name="take the results of the view CSV file").click()
    expect(page.locator("#screen-error")).to_contain_text("There are no results yet")
    page.goto(f"{screen_way.url}#csv")
    given = "id,smiles,cost\nshort,*CC*,3\nlong,*CCCC*,2\nbad,*CC,1\nlead,*[Pb]*,1\n"
    page.locator("#file").set_input_files({"name": "my.csv", "mimeType": "text/csv", "buffer": given.encode()})
    page.locator("#start").click()
    expect(page.locator("#progress-text")).to_contain_text("3 of 4 rows predicted")
    page.get_by_role("button", name="Screen these results").click()
    expect(page.locator("#screen-name")).to_have_text("my.csv: 4 polymers")
    expect(page.locator("#goal-x option")).to_have_count(8)
    page.get_by_label("Inside the domain of every property").check()
    expect(page.locator("#screen-count")).to_contain_text("2 of 4 polymers meet")
    rows = list(csv.DictReader(io.StringIO(saved(page))))
    assert tuple(rows[0]) == OUTPUT_COLUMNS
    assert [row["id"] for row in rows] == ["long"] * 7
    assert {row["prediction_value"] for row in rows} == {"1.5"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("*CC*,1\n*CCC*,2\n", "has no header line"),
        ("id,smiles\n1,*CC*\n", "has no column of numbers"),
        ("id,value\n1,2\n", "No column has a known name, such as smiles."),
    ],
)
def test_what_cannot_be_screened_is_told(modules: Page, content: str, problem: str) -> None:
    read = """async (content) => {
        const at = (name) => `${location.origin}/web/${name}`;
        const [{ readCsv }, { tableRules }, { ofFile }] = await Promise.all(["csv_file.js", "columns.js", "screen_table.js"].map((name) => import(at(name))));
        const rules = await tableRules();
        try { return ofFile(await readCsv(new Blob([content]), "mine.csv", rules), rules, []).n_rows; } catch (error) { return error.message; }
    }"""  # noqa: E501
    assert problem in str(modules.evaluate(read, content))


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_looks(open_page: Open, screen_way: Way, scheme: str, width: int) -> None:
    size = {"width": width, "height": 900}
    page = opened(open_page, screen_way, table(is_wide=True), color_scheme=scheme, viewport=size)
    page.get_by_role("group", name="Band gap, chain (eV)").get_by_label("From, Band gap").fill("1")
    counted(page, 5, 4)
    page.get_by_role("button", name="Tick all listed").click()
    page.locator("#screen-grid table").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#screen-detail img")).to_be_visible()
    check(page, f"screen-{scheme}-{width}")
