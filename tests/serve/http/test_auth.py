"""The API key, and the warning where there is none."""

import logging
from collections.abc import Callable

import pytest

from periogt_ray.errors import UnauthorizedError
from periogt_ray.model.predictor import Predictor
from periogt_ray.serve.http.auth import check_key, exposure_warning, is_exempt
from support.serve_fakes import KEY, InProcessBackend

PATHS = [
    ("GET", "/v1/health"),
    ("GET", "/v1/properties"),
    ("POST", "/v1/predict"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/predict/batch"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/v1/docs"),
    ("GET", "/v1/nothing"),
    ("DELETE", "/v1/predict"),
    ("GET", "//v1/health"),
    ("GET", "/web/../v1/health"),
    ("GET", "/v1/health/"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("headers", [{}, {"X-Api-Key": ""}, {"X-Api-Key": KEY[:-1]}, {"X-Api-Key": KEY + "x"}])
def test_nothing_is_answered_without_the_key(
    served_by: Callable, golden_predictor: Predictor, method: str, path: str, headers: dict[str, str]
) -> None:
    served = served_by(InProcessBackend(golden_predictor), KEY)
    answer = served.client.request(method, path, headers=headers, content=b"{")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    assert KEY not in answer.text


def test_the_key_lets_in(served_by: Callable, golden_predictor: Predictor) -> None:
    served = served_by(InProcessBackend(golden_predictor), KEY)
    assert served.client.get("/v1/health", headers={"x-api-key": KEY}).status_code == 200


def test_two_keys_are_none(served_by: Callable, golden_predictor: Predictor) -> None:
    served = served_by(InProcessBackend(golden_predictor), KEY)
    answer = served.client.get("/v1/health", headers=[("X-Api-Key", KEY), ("X-Api-Key", "other")])
    assert answer.status_code == 401
    assert "or several" in answer.json()["error"]["message"]


def test_the_key_is_in_no_log(
    served_by: Callable, golden_predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    served = served_by(InProcessBackend(golden_predictor), KEY)
    served.client.get("/v1/health", headers={"X-Api-Key": KEY})
    served.client.get("/v1/health", headers={"X-Api-Key": KEY[:-1]})
    assert "unauthorized" in caplog.text
    assert KEY[:-1] not in caplog.text


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, expected: bytes) -> bool:
        compared.append((given, expected))
        return given == expected

    monkeypatch.setattr("secrets.compare_digest", compare)
    check_key("käy", "käy".encode())
    with pytest.raises(UnauthorizedError):
        check_key("key", b"\xff")
    assert len(compared) == 2


@pytest.mark.parametrize(
    ("path", "exempt"),
    [("/", True), ("/web/page.js", True), ("/web/../v1/health", False), ("/v1/health", False), ("/webx", False)],
)
def test_only_the_page_is_exempt(path: str, exempt: bool) -> None:
    assert is_exempt(path) is exempt


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "node17"])
def test_a_warning_names_the_address(host: str) -> None:
    warning = exposure_warning(host, 8000, None)
    assert warning is not None
    assert f"{host}:8000" in warning
    assert "PERIOGT_API_KEY" in warning


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_loopback_address_is_open_to_users_of_the_machine(host: str) -> None:
    warning = exposure_warning(host, 8000, None)
    assert warning is not None
    assert f"Every user of this machine can use this service at {host}:8000" in warning
    assert "PERIOGT_API_KEY" in warning


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_no_warning_with_a_key(host: str) -> None:
    assert exposure_warning(host, 8000, KEY) is None
