"""Paths with a slash at the end, and monitors that ask with HEAD."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from periogt_ray.model.predictor import Predictor
from support.serve_fakes import KEY, InProcessBackend

BODY = {"smiles": "*CC*", "property": "eps"}


def test_a_slash_at_the_end_changes_nothing(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "periogt_ray.serve.http.access_log")
    answers = [served.client.post(path, json=BODY, follow_redirects=False) for path in ("/v1/predict", "/v1/predict/")]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["prediction"] == answers[1].json()["prediction"]
    assert served.figures.requests == [("/v1/predict", "ok")] * 2
    assert caplog.text.count('"route": "/v1/predict", "status": 200') == 2
    assert served.client.get("/v1/health/", follow_redirects=False).json()["status"] == "ok"
    assert served.client.get("/v1/depict/?smiles=*CC*").text.startswith("<svg")
    assert served.client.post("/v1/predict/batch/", json={"items": [BODY]}).status_code == 200


def test_a_slash_at_the_end_does_not_go_past_the_key(served_by: Callable, golden_predictor: Predictor) -> None:
    served = served_by(InProcessBackend(golden_predictor), KEY)
    assert served.client.post("/v1/predict/", json=BODY).status_code == 401
    assert served.client.post("/v1/predict/", json=BODY, headers={"X-Api-Key": KEY}).status_code == 200
    assert served.client.post("/node/n1/8000/v1/predict/", json=BODY).status_code == 401
    headers = {"X-Api-Key": KEY}
    assert served.client.post("/node/n1/8000/v1/predict/", json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/v1/predict//", "/v1//", "/v1/nothing/", "/v1/docs/", "//v1/health/"])
def test_other_paths_lead_nowhere(served: Any, path: str) -> None:
    assert served.client.get(path, follow_redirects=False).status_code == 404


@pytest.mark.parametrize("path", ["/v1/health", "/v1/health/", "/"])
def test_monitors_ask_with_head(served: Any, path: str) -> None:
    answer = served.client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"] == served.client.get(path).headers["Content-Type"]


def test_head_needs_the_key_where_get_does(served_by: Callable, golden_predictor: Predictor) -> None:
    served = served_by(InProcessBackend(golden_predictor), KEY)
    assert served.client.head("/v1/health").status_code == 401
    assert served.client.head("/v1/health", headers={"X-Api-Key": KEY}).status_code == 200
    assert served.client.head("/").status_code == 200
