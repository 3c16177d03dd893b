"""A CSV file, from dropping it to the download, in a browser."""

import csv
import io
import json
import re
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from periogt_ray.settings import EXAMPLES
from periogt_ray.tables.predictions import OUTPUT_COLUMNS
from support.served_process import ServedProcess
from support.way import Asked, Way

Open = Callable[..., Page]
BATCH = "/v1/predict/batch"


def csv_page(open_page: Open, way: Way) -> Page:
    page = open_page(f"{way.url}#csv")
    expect(page.locator("#state-text")).to_have_text("Ready")
    expect(page.locator("#examples button").first).to_be_attached()
    return page


def choose(page: Page, content: str | bytes, name: str = "polymers.csv") -> None:
    given = content.encode() if isinstance(content, str) else content
    page.locator("#file").set_input_files({"name": name, "mimeType": "text/csv", "buffer": given})


def drop(page: Page, content: str) -> None:
    moved = page.evaluate_handle(
        """content => {
            const moved = new DataTransfer();
            moved.items.add(new File([content], "dropped.csv", { type: "text/csv" }));
            return moved;
        }""",
        content,
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": moved})


def only(page: Page, *properties: str) -> None:
    boxes = page.locator("#property-choices input")
    expect(boxes).to_have_count(7)
    for box in boxes.all():
        box.set_checked(box.get_attribute("value") in properties)


def start(page: Page) -> None:
    page.locator("#start").click()


def finished(page: Page) -> None:
    expect(page.locator("#progress-text")).to_contain_text("predicted")
    expect(page.locator("#cancel")).to_be_hidden()


def downloaded(page: Page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    text = Path(download.value.path()).read_bytes().decode()
    assert text.startswith(",".join(OUTPUT_COLUMNS) + "\n")
    return list(csv.DictReader(io.StringIO(text)))


def fake_answers(asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
    """Answer batches at once: the value is the number of carbon atoms."""
    if asked.path != BATCH:
        return None
    items = json.loads(asked.body)["items"]
    results = [
        {"smiles": item["smiles"], "property": item["property"], "request_id": "r", "embedding": None,
         "prediction": {"value": item["smiles"].count("C") / 4, "units": "eV"},
         "model": {"name": "PerioGT", "checkpoint": "c", "artifacts": "a"}}
        for item in items
    ]  # fmt: skip
    return 200, {"Content-Type": "application/json"}, json.dumps({"results": results, "request_id": "r"}).encode()


ALL_PREDICTED = re.compile(r"^16 of 16 rows predicted, (\d+ with warnings, )?in ")


def test_the_example_dropped_predicted_and_downloaded(open_page: Open, way: Way, service: ServedProcess) -> None:
    page = csv_page(open_page, way)
    drop(page, EXAMPLES.read_text())
    expect(page.locator("#plan-title")).to_have_text("dropped.csv: 16 rows")
    expect(page.locator("#preview tbody tr")).to_have_count(6)
    expect(page.locator("#plan-size")).to_contain_text("7 properties = 112 predictions")
    start(page)
    finished(page)
    expect(page.locator("#progress-text")).to_contain_text(ALL_PREDICTED)
    expect(page.locator("#histograms .card")).to_have_count(7)
    expect(page.locator("#histograms canvas")).to_have_count(7)
    expect(page.locator("#scatter canvas")).to_be_visible()
    rows = downloaded(page)
    given = list(csv.DictReader(EXAMPLES.read_text().splitlines()))
    listed = service.client.get("/v1/properties").json()["properties"]
    served = [entry for entry in listed if entry["input"] == "homopolymer"]
    expected = [(row["id"], row["smiles"], entry["id"], entry["units"]) for row in given for entry in served]
    assert [(r["id"], r["smiles"], r["property"], r["prediction_units"]) for r in rows] == expected
    for start_at in range(0, len(rows), 100):
        items = [{"smiles": r["smiles"], "property": r["property"]} for r in rows[start_at : start_at + 100]]
        results = service.client.post(BATCH, json={"items": items}).json()["results"]
        for row, result in zip(rows[start_at:], results, strict=False):
            assert float(row["prediction_value"]) == pytest.approx(result["prediction"]["value"], rel=1e-5)
            assert (row["ok"], row["error_code"], row["error_message"]) == ("true", "", "")
            assert row["request_id"]
    assert all(len(json.loads(asked.body)["items"]) <= 100 for asked in way.seen if asked.path == BATCH)


FAILING = {
    "one end": "*CC",
    "not a SMILES": "polystyrene",
    "empty": "",
    "two fragments": "*CC*.[Na+]",
    "too long": "*" + "C" * 1999 + "*",
    "too large": "*" + "C" * 1500 + "*",
    "markup": "<img src=x onerror=alert(1)>",
}


def test_a_row_of_each_failure(open_page: Open, way: Way) -> None:
    rows = [["ok 1", "*CC*"], *FAILING.items(), ["<b onclick=alert(1)>007</b>", "*CC(*)C"], ["007", '*CC(*)"']]
    text = io.StringIO()
    csv.writer(text).writerows(
        [["name", "SMILES", "id"], *([f"note, {i}", row[1], row[0]] for i, row in enumerate(rows))]
    )
    page = csv_page(open_page, way)
    choose(page, text.getvalue())
    only(page, "egc")
    start(page)
    finished(page)
    found = downloaded(page)
    assert [row["id"] for row in found] == [row[0] for row in rows]
    assert [row["smiles"] for row in found] == [row[1] for row in rows]
    assert [row["ok"] for row in found] == ["true", *["false"] * len(FAILING), "true", "false"]
    assert {row["error_code"] for row in found} == {"", "validation_error"}
    messages = {row["id"]: row["error_message"] for row in found}
    assert "1 connection point " in messages["one end"]
    assert "is empty" in messages["empty"]
    assert "2001 characters" in messages["too long"]
    assert "2 fragments" in messages["two fragments"]
    page.get_by_label("Rows", exact=True).select_option("failed")
    expect(page.locator("#filter-count")).to_have_text(f"{len(FAILING) + 1} of {len(rows)} rows are shown.")
    page.locator("#grid tbody tr", has_text="one end").click()
    expect(page.locator("#detail .error")).to_contain_text("Expected exactly 2")
    page.locator("#grid tbody tr", has_text="onerror").click()
    expect(page.locator("#detail")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("img[src='x'], b[onclick]").count() == 0


def test_failed_rows_are_asked_again(open_page: Open, way: Way) -> None:
    failing = {"is": True}

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
        if asked.path != BATCH or not failing["is"]:
            return None
        error = {"code": "internal_error", "message": "The request failed by a bug.", "details": {}}
        if '"*CCO*"' not in asked.body.decode():
            return None
        return 500, {}, json.dumps({"error": error, "request_id": "r"}).encode()

    way.answers = answer
    page = csv_page(open_page, way)
    page.get_by_role("button", name="Use the example file").click()
    only(page, "egc")
    start(page)
    finished(page)
    # The row is found among those that were asked with it, which have their values.
    assert [row["id"] for row in downloaded(page) if row["ok"] == "false"] == ["poly(ethylene oxide)"]
    failing["is"] = False
    page.get_by_role("button", name="Retry 1 failed row").click()
    expect(page.locator("#progress-text")).to_contain_text(ALL_PREDICTED)
    expect(page.locator("#retry")).to_be_hidden()
    assert all(row["ok"] == "true" for row in downloaded(page))


def test_retry_after_is_honoured(open_page: Open, way: Way) -> None:
    asked_at: list[float] = []

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
        if asked.path != BATCH:
            return None
        asked_at.append(time.monotonic())
        if len(asked_at) > 2:
            return fake_answers(asked)
        error = {"code": "overloaded", "message": "256 polymers are waiting.", "details": {}}
        return 503, {"Retry-After": "3"}, json.dumps({"error": error, "request_id": "r"}).encode()

    way.answers = answer
    page = csv_page(open_page, way)
    choose(page, "smiles\n*CC*\n")
    start(page)
    expect(page.locator("#progress-wait")).to_contain_text("256 polymers are waiting.")
    expect(page.locator("#state")).to_have_attribute("data-state", "busy")
    finished(page)
    assert len(asked_at) == 3
    assert all(later - earlier >= 2.9 for earlier, later in pairwise(asked_at))
    expect(page.locator("#progress-wait")).to_be_empty()


def test_a_way_that_breaks_and_comes_back(open_page: Open, way: Way) -> None:
    n_answered = {"batches": 0}

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
        if asked.path == BATCH:
            n_answered["batches"] += 1
            if n_answered["batches"] == 3:
                # As a proxy does whose service is gone.
                return 502, {"Content-Type": "text/html"}, b"<h1>Bad gateway</h1>"
        return fake_answers(asked)

    way.answers = answer
    page = csv_page(open_page, way)
    lines = "".join(f"p{i},*{'C' * (i % 40 + 1)}O*\n" for i in range(400))
    choose(page, f"id,smiles\n{lines}")
    only(page, "egc", "nc")
    start(page)
    expect(page.locator("#progress-wait")).to_contain_text("answered with status 502")
    way.close()
    expect(page.locator("#state")).to_have_attribute("data-state", "unreachable")
    expect(page.locator("#progress-wait")).to_contain_text("What is done is kept; trying again")
    way.open()
    finished(page)
    rows = downloaded(page)
    assert [row["id"] for row in rows] == [f"p{i // 2}" for i in range(800)]
    assert all(row["ok"] == "true" and float(row["prediction_value"]) == row["smiles"].count("C") / 4 for row in rows)
    expect(page.locator("#state-text")).to_have_text("Ready")


def test_cancelled_and_gone_on_with(open_page: Open, way: Way) -> None:
    held = {"is": True}

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
        if asked.path == BATCH and held["is"] and b"CCCCCCCCCC" in asked.body:
            error = {"code": "not_ready", "message": "The model is still loading.", "details": {}}
            return 503, {"Retry-After": "1"}, json.dumps({"error": error, "request_id": "r"}).encode()
        return fake_answers(asked)

    way.answers = answer
    page = csv_page(open_page, way)
    choose(page, "smiles\n" + "".join(f"*{'C' * (i + 1)}*\n" for i in range(40)))
    start(page)
    expect(page.locator("#progress-text")).to_contain_text("8 of 40 rows")
    page.get_by_role("button", name="Cancel").first.click()
    expect(page.locator("#progress-text")).to_contain_text("Cancelled. 8 of 40 rows predicted, 32 not asked")
    assert {row["error_code"] for row in downloaded(page)} == {"", "cancelled"}
    held["is"] = False
    page.get_by_role("button", name="Continue with 32 rows").click()
    finished(page)
    assert all(row["ok"] == "true" for row in downloaded(page))


def test_ten_thousand_rows_stay_usable(open_page: Open, way: Way) -> None:
    way.answers = fake_answers
    page = csv_page(open_page, way)
    choose(page, "id,smiles\n" + "".join(f"p{i},*{'C' * (i % 97 + 1)}{'O' * (i % 5)}*\n" for i in range(10_000)))
    only(page, "egc", "nc")
    start(page)
    finished(page)
    expect(page.locator("#progress-text")).to_contain_text("10000 of 10000 rows predicted")
    table, rows = page.locator("#grid"), page.locator("#grid tbody tr[data-at]")
    assert rows.count() < 60
    table.evaluate("area => { area.scrollTop = area.scrollHeight; }")
    expect(page.get_by_text("p9999", exact=True)).to_be_visible()
    assert rows.count() < 60
    started = time.monotonic()
    page.get_by_role("button", name=re.compile(r"^Band gap, chain \(eV\)")).click()
    expect(page.locator("#grid th[aria-sort=ascending]")).to_have_count(1)
    page.get_by_role("button", name=re.compile(r"^Band gap, chain \(eV\)")).click()
    table.evaluate("area => { area.scrollTop = 0; }")
    expect(rows.first).to_contain_text("24.25")
    page.get_by_label("Id or SMILES contains").fill("p1234")
    expect(page.locator("#filter-count")).to_have_text("1 of 10000 rows are shown.")
    assert time.monotonic() - started < 15
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("From", exact=True).fill("24")
    expect(page.locator("#filter-count")).to_have_text("206 of 10000 rows are shown.")


def test_plots_answer_to_the_pointer_and_to_keys(open_page: Open, way: Way) -> None:
    page = csv_page(open_page, way)
    page.get_by_role("button", name="Use the example file").click()
    only(page, "egc", "nc")
    start(page)
    finished(page)
    plot = page.locator("#scatter .plot")
    plot.focus()
    page.keyboard.press("Home")
    tip = page.locator("#scatter .tip")
    expect(tip).to_contain_text("polythiophene")
    expect(tip.locator("img")).to_have_attribute("alt", "Structure of *c1ccc(*)s1")
    page.keyboard.press("Escape")
    expect(tip).to_have_count(0)
    over = page.locator("#scatter .u-over")
    box = over.bounding_box()
    assert box is not None
    hits = 0
    for step in range(40):
        page.mouse.move(box["x"] + box["width"] * (step + 0.5) / 40, box["y"] + box["height"] * 0.85)
        hits += tip.count()
    assert hits > 0
    histogram = page.locator("#histograms .u-over").first
    histogram.scroll_into_view_if_needed()
    area = histogram.bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + 2, area["y"] + 20)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] / 2, area["y"] + 20, steps=4)
    page.mouse.up()
    expect(page.locator("#filter-count")).to_contain_text("of 16 rows are shown.")
    assert float(page.get_by_label("To", exact=True).input_value()) > float(
        page.get_by_label("From", exact=True).input_value()
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"smiles\n\xff\xfe*CC*\n", "is not UTF-8"),
        (b"", "is empty"),
        (b'smiles\n"*CC*\n', "malformed"),
    ],
)
def test_files_that_cannot_be_used(open_page: Open, way: Way, content: bytes, problem: str) -> None:
    page = csv_page(open_page, way)
    choose(page, content)
    expect(page.locator("#file-error")).to_contain_text(problem)
    expect(page.locator("#plan")).to_be_hidden()


def test_columns_are_chosen(open_page: Open, way: Way) -> None:
    page = csv_page(open_page, way)
    choose(page, "\ufeffa;b,polymer,psmiles\r\n1,PE,*CC*\r\n\r\n2,PP,*CC(*)C\r\n")
    expect(page.get_by_label("SMILES column")).to_have_value("2")
    page.get_by_label("Id column").select_option("polymer")
    only(page)
    start(page)
    expect(page.locator("#plan-error")).to_contain_text("at least one property")
    only(page, "nc")
    start(page)
    finished(page)
    assert [(row["id"], row["smiles"]) for row in downloaded(page)] == [("PE", "*CC*"), ("PP", "*CC(*)C")]


def test_by_keyboard_alone(open_page: Open, way: Way) -> None:
    page = csv_page(open_page, way)
    walk(page, "use-example")
    page.keyboard.press("Enter")
    expect(page.locator("#plan-title")).to_be_focused()
    walk(page, "start")
    page.keyboard.press("Enter")
    finished(page)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "grid":
            break
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    expect(page.locator("#detail h3")).to_have_text("polystyrene")
    expect(page.locator("#detail img")).to_be_visible()
    page.keyboard.press("End")
    expect(page.locator("#detail h3")).to_have_text("trans-polyacetylene")
    selected = page.locator("#grid table").get_attribute("aria-activedescendant")
    expect(page.locator(f"#{selected}")).to_contain_text("trans-polyacetylene")


def walk(page: Page, wanted: str) -> None:
    """Press Tab until an element has the focus, which must be visible."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == wanted:
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none"
            return
    raise AssertionError(f"{wanted} is not reached by the keyboard")
