"""The Python API over HTTP, against the application behind a real server."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import uvicorn

from periogt_ray import (
    NotReadyError,
    PerioGT,
    PerioGTClient,
    PerioGTError,
    SettingsError,
    UnauthorizedError,
    UnsupportedPropertyError,
    ValidationError,
    client,
)
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import OverloadedError
from periogt_ray.model.predictor import Predictor
from periogt_ray.serve.calls import PredictCall, PredictReply
from periogt_ray.serve.http.routes import create_api
from periogt_ray.serve.service import Service, Status
from support.golden import ARTIFACTS
from support.golden_copolymers import make_artifacts
from support.serve_fakes import KEY, InProcessBackend, RecordedFigures, settings_with

TEXTS = ["*CC*", "*CC(*)c1ccccc1", "[2H]C(*)C*", "*CC"]


class BusyBackend(InProcessBackend):
    """Refuses some passes, as where a predictor is lost."""

    n_refusals = 0

    async def predict(self, call: PredictCall) -> PredictReply:
        if self.n_refusals:
            self.n_refusals -= 1
            raise OverloadedError("Busy.")
        return await super().predict(call)


class Served:
    def __init__(self, url: str, service: Service, backend: BusyBackend) -> None:
        self.url, self.service, self.backend = url, service, backend


@pytest.fixture(scope="module")
def served(golden_predictor: Predictor) -> Iterator[Served]:
    settings = settings_with(KEY)
    backend = BusyBackend(golden_predictor)
    service = Service(settings, backend, RecordedFigures())
    service.artifacts = ArtifactDirectory.open(ARTIFACTS)
    service.become(Status.READY)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_api(service, settings), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", service, backend)
    server.should_exit = True
    thread.join()


@pytest.fixture
def remote(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[PerioGTClient]:
    monkeypatch.setattr(client, "_PAUSE_S", 0.01)
    with PerioGTClient(served.url, api_key=KEY) as remote:
        yield remote


@pytest.fixture(scope="module")
def local() -> PerioGT:
    return PerioGT(ARTIFACTS, device="cpu")


@pytest.mark.parametrize("wide", [False, True])
def test_frames_equal_those_of_a_model_here(remote: PerioGTClient, local: PerioGT, wide: bool) -> None:
    found, expected = (one.predict(TEXTS, ["tg", "eps"], wide=wide) for one in (remote, local))
    assert found.drop(columns="request_id").equals(expected.drop(columns="request_id"))


def test_explanations_equal_those_of_a_model_here(remote: PerioGTClient, local: PerioGT) -> None:
    assert remote.explain("C(*)C*", "eps") == local.explain("C(*)C*", "eps")
    assert remote.explain("*CC(*)C#N", "tg", passes=24) == local.explain("*CC(*)C#N", "tg", passes=24)
    with pytest.raises(ValidationError, match="needs at least 8"):
        remote.explain("*CC*", "eps", passes=7)


def test_embeddings_equal_those_of_a_model_here(remote: PerioGTClient, local: PerioGT) -> None:
    np.testing.assert_array_equal(remote.embed(TEXTS), local.embed(TEXTS))
    assert remote.embed([]).shape == (0, 0)
    with pytest.raises(ValidationError, match="1 connection point"):
        remote.embed(TEXTS, on_error="raise")


def test_properties_and_what_is_not_served(remote: PerioGTClient, local: PerioGT) -> None:
    assert remote.properties == local.properties
    with pytest.raises(UnsupportedPropertyError, match=r"'nope'.*supported: eps, tg"):
        remote.predict("*CC*", "nope")
    with pytest.raises(ValidationError, match="No property"):
        remote.predict("*CC*", "")


def test_long_inputs_go_in_requests_of_a_hundred(remote: PerioGTClient, served: Served) -> None:
    n_before = len(served.service.recorder.requests)  # type: ignore[attr-defined]
    texts = [TEXTS[i % 2] for i in range(130)]
    frame = remote.predict(texts, ["eps", "tg"])
    assert list(frame.smiles) == [text for text in texts for _ in range(2)]
    assert frame.prediction_value.nunique() == 4
    routes = [route for route, _ in served.service.recorder.requests[n_before:]]  # type: ignore[attr-defined]
    assert routes.count("/v1/predict/batch") == 3


def test_what_is_refused_is_sent_again(remote: PerioGTClient, served: Served) -> None:
    served.backend.n_refusals = 2
    assert remote.predict(TEXTS[:2], "eps").ok.all()
    served.service.status = Status.LOADING
    threading.Timer(0.3, lambda: setattr(served.service, "status", Status.READY)).start()
    assert remote.predict(TEXTS[:2], "eps").ok.all()


def test_patience_ends(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PAUSE_S", 0.01)
    with PerioGTClient(served.url, api_key=KEY, patience_s=0.05) as impatient:
        served.backend.n_refusals = 1000
        with pytest.raises(PerioGTError, match="Busy"):
            impatient.predict("*CC*", "eps")
        served.backend.n_refusals = 0


def test_errors_are_those_of_the_service(remote: PerioGTClient, served: Served) -> None:
    with pytest.raises(ValidationError, match="1 connection point"):
        remote.predict(TEXTS, "eps", on_error="raise")
    with PerioGTClient(served.url) as without, pytest.raises(UnauthorizedError, match="key"):
        without.predict("*CC*", "eps")


def test_nothing_that_listens_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with (
        PerioGTClient(f"http://127.0.0.1:{port}", patience_s=0) as nobody,
        pytest.raises(NotReadyError, match="tunnel"),
    ):
        nobody.predict("*CC*", "eps")


def test_what_no_request_may_hold_loses_no_other_row(remote: PerioGTClient, local: PerioGT) -> None:
    cells = ["*CC*", "", f"*{'C' * 2100}*", None, "*\ud800C*", "  "]
    found, expected = (one.predict(cells, "eps") for one in (remote, local))
    assert found.drop(columns="request_id").equals(expected.drop(columns="request_id"))
    assert list(found.ok) == [True, *[False] * 5]
    with pytest.raises(ValidationError, match="is empty"):
        remote.predict(["*CC*", ""], "eps", on_error="raise")


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """Start a program that is no service of ours, and return its address."""
    servers: list[HTTPServer] = []

    def start(status: int, body: bytes, **headers: str) -> str:
        class Other(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Other))
        threading.Thread(target=servers[-1].serve_forever).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"<html>not here</html>"),
        (200, b"<html>log in</html>"),
        (200, b"null"),
        (200, b"{}"),
        (200, b'{"properties": [{"id": "eps"}]}'),
        (200, b"\xff"),
        (500, b'{"error": "odd"}'),
    ],
)
def test_another_program_at_the_address_is_said(answering: Callable[..., str], status: int, body: bytes) -> None:
    with (
        PerioGTClient(answering(status, body)) as remote,
        pytest.raises(PerioGTError, match="is it the service's address"),
    ):
        remote.predict("*CC*", "eps")


@pytest.mark.parametrize("pause", ["", "soon", "nan", "-1", "0", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_an_odd_pause_is_our_own(answering: Callable[..., str], pause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PAUSE_S", 0.01)
    body = b'{"error": {"code": "overloaded", "message": "Busy.", "details": {}}}'
    url = answering(503, body, Retry_After=pause)
    with PerioGTClient(url, patience_s=0.05) as remote, pytest.raises(OverloadedError, match="Busy"):
        remote.predict("*CC*", "eps")


def test_a_newer_service_may_tell_more(answering: Callable[..., str]) -> None:
    card = {"id": "eps", "label": "x", "units": "", "checkpoint": "c", "test": None, "n_train": None}
    card |= {"label_mean": None, "label_std": None, "new": 1}
    with PerioGTClient(answering(200, json.dumps({"properties": [card], "more": 2}).encode())) as remote:
        assert remote.properties["eps"].label == "x"


@pytest.mark.parametrize("url", ["localhost:8000", "", "ftp://localhost"])
def test_an_address_without_a_scheme_is_refused_at_once(url: str) -> None:
    with pytest.raises(SettingsError, match="expected one such as http://localhost:8000"):
        PerioGTClient(url)


def test_other_inputs_are_sent_as_what_they_are(served: Served, remote: PerioGTClient, tmp_path: Path) -> None:
    root = make_artifacts(tmp_path / "artifacts")
    before = served.service.artifacts, served.backend._predictor
    served.service.artifacts = ArtifactDirectory.open(root)
    served.backend._predictor = Predictor(served.service.artifacts, torch.device("cpu"))
    local = PerioGT(root, device="cpu")
    copolymers = [
        {"smiles_a": "*CCO*", "smiles_b": text, "ratio_a": 0.25, "architecture": "block"} for text in ("*CC*", "*CC")
    ]
    conditions = [{"smiles": "*CC*", "conditions": {"homo": 0.5, "bandgap": 0, "molar_mass": 0}}]
    try:
        for inputs in (copolymers, conditions, ["*CC*"]):
            found, expected = (one.predict(inputs, "all") for one in (remote, local))
            assert found.drop(columns="request_id").equals(expected.drop(columns="request_id"))
    finally:
        served.service.artifacts, served.backend._predictor = before
