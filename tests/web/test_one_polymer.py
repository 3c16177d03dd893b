"""One polymer, the key, prefixes and the state of the service, in a browser."""

import json
import os
import subprocess
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from support.served_process import ServedProcess
from support.way import KEY, Asked, Way, way_to

STYRENE = "*CC(*)c1ccccc1"
N_PROPERTIES = 7
Open = Callable[..., Page]


def ready(page: Page) -> Page:
    expect(page.locator("#state-text")).to_have_text("Ready")
    expect(page.locator("#examples button").first).to_be_attached()
    return page


def predict(page: Page, smiles: str) -> None:
    page.get_by_label("Repeat unit, as SMILES").fill(smiles)
    page.get_by_role("button", name="Predict").first.click()


def test_a_polymer_is_drawn_as_it_is_typed_and_predicted(open_page: Open, way: Way, service: ServedProcess) -> None:
    page = ready(open_page(way.url))
    page.get_by_label("Repeat unit, as SMILES").press_sequentially(STYRENE)
    drawing = page.locator("#drawing img")
    expect(drawing).to_have_attribute("alt", f"Structure of {STYRENE}")
    assert drawing.evaluate("image => image.decode().then(() => image.naturalWidth)") > 50
    page.keyboard.press("Enter")
    rows = page.locator("#one-values tr")
    expect(rows).to_have_count(N_PROPERTIES)
    served = service.client.get("/v1/model").json()["properties"]
    card = [one for one in served if one["input"] == "homopolymer"]
    for row, known in zip(rows.all(), card, strict=True):
        body = {"smiles": STYRENE, "property": known["id"]}
        value = service.client.post("/v1/predict", json=body).json()["prediction"]["value"]
        text = row.inner_text().replace("\N{MINUS SIGN}", "-")
        assert known["label"] in text
        assert f"{value:.3f}" in text
        assert known["units"] in text
        assert f"{known['test']['r2']:.3f}" in text
        assert f"± {known['test']['rmse']:.3f}" in text
    expect(page.locator("#one-meta")).to_contain_text("7 properties of *CC(*)c1ccccc1 in ")
    expect(page.locator("#one-meta")).to_contain_text("PerioGT compact")
    expect(page.locator("#one-limits")).to_contain_text("not measurements")


def test_an_example_is_a_click(open_page: Open, way: Way) -> None:
    page = ready(open_page(way.url))
    page.get_by_role("button", name="nylon 6").click()
    expect(page.get_by_label("Repeat unit, as SMILES")).to_have_value("*CCCCCC(=O)N*")
    expect(page.locator("#one-values tr")).to_have_count(N_PROPERTIES)


def test_what_is_copied_asks_the_same(open_page: Open, service: ServedProcess) -> None:
    page = ready(open_page(f"{service.url}/", key=KEY, permissions=["clipboard-read", "clipboard-write"]))
    predict(page, STYRENE)
    page.get_by_role("button", name="Copy as JSON").click()
    expect(page.locator("#one-done")).to_contain_text("clipboard")
    answer = json.loads(page.evaluate("navigator.clipboard.readText()"))
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.locator("#one-done")).to_contain_text("The command")
    command = page.evaluate("navigator.clipboard.readText()")
    assert KEY not in command
    again = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "PERIOGT_API_KEY": KEY}, capture_output=True, check=True
    )
    values = [result["prediction"]["value"] for result in json.loads(again.stdout)["results"]]
    assert values == [result["prediction"]["value"] for result in answer["results"]]
    assert len(values) == N_PROPERTIES


def test_the_embedding_is_downloaded(open_page: Open, way: Way, service: ServedProcess) -> None:
    page = ready(open_page(way.url))
    predict(page, STYRENE)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the embedding").click()
    given = json.loads(download.value.path().read_text())
    assert given["embedding"] == service.client.post("/v1/embeddings", json={"smiles": STYRENE}).json()["embedding"]
    assert given["dim"] == len(given["embedding"]) > 50


@pytest.mark.parametrize("smiles", ["*CC", "*CC(*", "polystyrene", "*CC*.[Na+]", "*C*" + "C" * 2000])
def test_errors_are_at_the_field_in_the_words_of_the_api(
    open_page: Open, way: Way, service: ServedProcess, smiles: str
) -> None:
    asked = {"items": [{"smiles": smiles, "property": "egc"}]}
    body = service.client.post("/v1/predict/batch", json=asked).json()
    message = (body.get("error") or body["results"][0])["message"]
    page = ready(open_page(way.url))
    predict(page, smiles)
    expect(page.locator("#smiles-error")).to_contain_text(message.split("body.items.0")[0])
    field = page.get_by_label("Repeat unit, as SMILES")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    expect(page.locator("#one-values tr")).to_have_count(0)
    predict(page, STYRENE)
    expect(page.locator("#one-values tr")).to_have_count(N_PROPERTIES)
    expect(page.locator("#smiles-error")).to_be_empty()


def test_a_smiles_that_is_markup_stays_text(open_page: Open, way: Way) -> None:
    page = ready(open_page(way.url))
    hostile = "<img/src=x/onerror=alert(1)>"
    predict(page, hostile)
    expect(page.locator("#smiles-error")).to_contain_text(hostile)
    assert page.locator("img[src='x']").count() == 0


def test_the_key_is_asked_for_and_kept_in_the_tab_alone(open_page: Open, service: ServedProcess) -> None:
    page = open_page(f"{service.url}/")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("no X-Api-Key header")
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#state-text")).to_contain_text("does not hold this service's API key")
    page.get_by_role("button", name="Enter the key").click()
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Use this key").click()
    ready(page)
    predict(page, STYRENE)
    expect(page.locator("#one-values tr")).to_have_count(N_PROPERTIES)
    kept = page.evaluate("[JSON.stringify(localStorage), document.cookie, location.href, document.body.outerHTML]")
    assert all(KEY not in place for place in kept)
    assert page.evaluate("sessionStorage.getItem('periogt-key')") == KEY
    page.reload()
    ready(page)


def test_a_key_that_is_not_given_is_asked_for_when_it_is_needed(open_page: Open, service: ServedProcess) -> None:
    page = open_page(f"{service.url}/")
    page.get_by_role("button", name="Cancel").click()
    page.goto(f"{service.url}/#api")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#reference")).to_contain_text("/v1/predict/batch")


def test_behind_a_prefix_that_is_stripped(open_page: Open, service: ServedProcess) -> None:
    with way_to(service.url, key=KEY, prefix="/user/me/proxy/8000") as way:
        page = ready(open_page(way.url))
        predict(page, STYRENE)
        expect(page.locator("#one-values tr")).to_have_count(N_PROPERTIES)
        expect(page.locator("#drawing img")).to_be_visible()
        page.goto(f"{way.url}#csv")
        page.get_by_role("button", name="Use the example file").click()
        expect(page.locator("#plan-title")).to_contain_text("16 rows")
        page.goto(f"{way.url}v1/docs")
        expect(page.locator("#reference")).to_contain_text("/v1/predict/batch")


def test_under_open_ondemand(open_page: Open, service: ServedProcess) -> None:
    # Without the slash at the end, as people type it.
    page = ready(open_page(f"{service.url}/node/gpu-01.cluster.example/8000", key=KEY))
    assert page.url.endswith("/node/gpu-01.cluster.example/8000/")
    predict(page, STYRENE)
    expect(page.locator("#one-values tr")).to_have_count(N_PROPERTIES)


def test_the_state_is_shown_as_what_it_is(open_page: Open, way: Way) -> None:
    health = {
        "status": "initializing", "model_loaded": False, "checkpoints_present": True, "gpu_available": False,
        "version": "9.9", "device": None, "artifacts": "some model", "n_open": 0, "max_open": 256,
    }  # fmt: skip

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
        return (200, {}, json.dumps(health).encode()) if asked.path == "/v1/health" else None

    way.answers = answer
    page = open_page(way.url)
    state, text, facts = (page.locator(name) for name in ("#state", "#state-text", "#state-facts"))
    expect(state).to_have_attribute("data-state", "starting")
    expect(text).to_contain_text("model is loading")
    health.update(status="ok", model_loaded=True, device="cuda", n_open=250)
    expect(state).to_have_attribute("data-state", "busy")
    expect(text).to_contain_text("queue is full")
    health.update(n_open=3)
    expect(text).to_have_text("Ready")
    for fact in ("some model", "9 properties", "GPU", "queue 3 of 256", "version 9.9"):
        expect(facts).to_contain_text(fact)
    way.close()
    expect(state).to_have_attribute("data-state", "unreachable")
    expect(text).to_contain_text("is the tunnel to it open")
    predict(page, STYRENE)
    expect(page.locator("#smiles-error")).to_contain_text("cannot be reached")
    way.open()
    ready(page)
    predict(page, STYRENE)
    expect(page.locator("#one-values tr")).to_have_count(N_PROPERTIES)


def test_the_model_and_the_reference_are_shown(open_page: Open, way: Way) -> None:
    page = ready(open_page(f"{way.url}#model"))
    expect(page.locator("#model-card tbody tr")).to_have_count(N_PROPERTIES + 2)  # those of copolymers, too
    expect(page.locator("#model-card")).to_contain_text("finetuned_ckpt/egc/")
    page.get_by_role("link", name="API").click()
    expect(page.locator(".op")).to_have_count(9)
    page.goto(f"{way.url}docs")
    expect(page.locator(".op")).to_have_count(9)


def test_a_service_that_cannot_draw_still_predicts(open_page: Open, way: Way) -> None:
    message = "Drawings are off: a library that RDKit draws with does not load on this machine."
    body = {"error": {"code": "internal_error", "message": message, "details": {}}, "request_id": "r"}
    page = open_page(way.url)
    page.route("**/v1/depict*", lambda route: route.fulfill(status=501, json=body))
    predict(ready(page), STYRENE)
    expect(page.locator("#drawing-caption")).to_have_text(message)
    expect(page.locator("#one-values tr")).to_have_count(N_PROPERTIES)
    expect(page.locator("#smiles-error")).to_be_empty()
    expect(page.get_by_label("Repeat unit, as SMILES")).to_have_attribute("aria-invalid", "false")
