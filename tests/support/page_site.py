"""The page without a service: its files as the service sends them, and answers that a test makes up."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import uvicorn
from fastapi import FastAPI

from periogt_ray.artifacts.card import read_card
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.serve.http.page import add_page
from periogt_ray.settings import EMBEDDED_DIR
from support.way import Asked

Answer = tuple[int, dict[str, str], bytes]
JSON = {"Content-Type": "application/json"}
DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20"><circle cx="20" cy="10" r="8"/></svg>'
HEALTH = {
    "status": "ok", "model_loaded": True, "checkpoints_present": True, "gpu_available": False, "version": "9.9",
    "device": "cpu", "artifacts": "made-up answers", "n_open": 0, "max_open": 256,
}  # fmt: skip


@contextmanager
def page_site() -> Iterator[str]:
    """Serve the page's files, with their policy; return the address."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    add_page(app)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


_READING = threading.Lock()


@cache
def _card_of_units() -> bytes:
    model = read_card(ArtifactDirectory.open(EMBEDDED_DIR))
    of_units = [one for one in model.properties if one.input == "homopolymer"]
    return model.model_copy(update={"properties": of_units}).model_dump_json().encode()


def made_up(warnings_of: Callable[[str, str], list[str] | None]) -> Callable[[Asked], Answer | None]:
    """Answer as a service does whose values are numbers of characters.

    ``warnings_of`` gets SMILES and property; None leaves the field out, as services before it did.
    """
    with _READING:  # requests are answered in threads, of which the first ones would all read
        card = _card_of_units()

    def answer(asked: Asked) -> Answer | None:
        if asked.path == "/v1/health":
            return 200, JSON, json.dumps(HEALTH).encode()
        if asked.path == "/v1/model":
            return 200, JSON, card
        if asked.path.startswith("/v1/depict"):
            return 200, {"Content-Type": "image/svg+xml"}, DRAWING
        if asked.path == "/v1/predict/batch":
            results = [_result(**item, warnings_of=warnings_of) for item in json.loads(asked.body)["items"]]
            return 200, JSON, json.dumps({"results": results, "request_id": "r"}).encode()
        return None

    return answer


def _result(smiles: str, property: str, warnings_of: Callable[[str, str], list[str] | None]) -> dict[str, object]:  # noqa: A002
    if smiles.count("*") != 2:
        return {"code": "validation_error", "message": f"{smiles} has not 2 connection points.", "details": {}}
    warnings = warnings_of(smiles, property)
    return {
        "smiles": smiles, "property": property, "request_id": "r", "embedding": None,
        "prediction": {"value": len(smiles) / 4, "units": "eV"},
        "model": {"name": "PerioGT", "checkpoint": "c", "artifacts": "made-up answers"},
        **({} if warnings is None else {"warnings": warnings}),
    }  # fmt: skip


def calibrated(asked: Asked) -> Answer | None:
    """Answer as a calibrated service: intervals of a half width of 0.5, and lead far outside of the domain."""
    found = made_up(lambda _smiles, _property: [])(asked)
    if found is None or asked.path not in ("/v1/model", "/v1/predict/batch"):
        return found
    document = json.loads(found[2])
    for card in document.get("properties", []):
        card["interval_scale"] = "neighbours"
    for result in document.get("results", []):
        if "code" in result:
            continue
        value, is_far = result["prediction"]["value"], "Pb" in result["smiles"]
        result["interval"] = {"level": 0.9, "lower": value - 0.5, "upper": value + 0.5}
        status, reasons = ("far_outside", ["Pb occurs in no training polymer"]) if is_far else ("inside", [])
        result["domain"] = {"status": status, "similarity": 0.5, "percentile": 10.0, "reasons": reasons}
    return 200, JSON, json.dumps(document).encode()
