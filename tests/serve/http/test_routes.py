"""The routes, with the real featurizer and predictor in this process."""

import asyncio
import json
import logging
import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from periogt_ray import __version__
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import CheckpointMissingError, PerioGTError
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Outcome, Task
from periogt_ray.serve.calls import PredictCall, PredictReply
from periogt_ray.serve.service import Status
from support.golden import ARTIFACTS
from support.serve_fakes import KEY, STYRENE, HeldBackend, InProcessBackend


def error_of(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert set(body) == {"error", "request_id"}
    assert set(body["error"]) == {"code", "message", "details"}
    assert body["request_id"] == answer.headers["X-Request-ID"]
    error: dict[str, Any] = body["error"]
    return error


def test_predict_answers_as_documented(served: Any, golden_predictor: Predictor) -> None:
    spelling = "C(*)C(c1ccccc1)*"
    answer = served.predict(spelling, "tg")
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) >= {"smiles", "property", "prediction", "embedding", "model", "request_id"}
    assert (body["smiles"], body["property"], body["embedding"]) == (spelling, "tg", None)
    assert set(body["prediction"]) == {"value", "units"}
    assert body["prediction"]["units"] == "degC"
    assert body["warnings"] == []
    assert body["model"]["name"] == "PerioGT"
    assert body["model"]["checkpoint"] == "finetuned_ckpt/tg/best_model.pth"
    assert (ARTIFACTS / body["model"]["checkpoint"]).is_file()
    [call] = served.backend.calls
    [outcome] = golden_predictor.predict_many(call.tasks)
    assert body["prediction"]["value"] == outcome.value
    assert served.predict(STYRENE, "tg").json()["prediction"] == body["prediction"]


def test_embeddings(served: Any) -> None:
    body = served.client.post("/v1/embeddings", json={"smiles": STYRENE}).json()
    assert set(body) == {"smiles", "embedding", "dim", "warnings", "request_id"}
    assert body["dim"] == len(body["embedding"]) > 0
    with_value = served.predict(STYRENE, return_embedding=True).json()
    assert with_value["embedding"] == pytest.approx(body["embedding"], abs=1e-5)


def test_properties_and_health(served: Any) -> None:
    listed = served.client.get("/v1/properties").json()["properties"]
    assert [entry["id"] for entry in listed] == ["eps", "tg"]
    assert all({"id", "label", "units"} < set(entry) for entry in listed)
    assert served.client.get("/v1/health").json() == {
        "status": "ok",
        "model_loaded": True,
        "checkpoints_present": True,
        "gpu_available": False,
        "version": __version__,
        "device": None,
        "artifacts": ArtifactDirectory.open(ARTIFACTS).name,
        "n_open": 0,
        "max_open": 256,
    }


def test_a_batch_is_mixed_in_order_and_computed_once(served: Any) -> None:
    items = [
        {"smiles": "*CC*", "property": "eps"},
        {"smiles": "*CC", "property": "eps"},
        {"smiles": "C(*)C*", "property": "eps"},
        {"smiles": "*CC*", "property": "tg"},
        {"smiles": "*CC*", "property": "nonsense"},
        {"smiles": "*CC*", "property": "eps", "return_embedding": True},
        {"smiles": "*CC*", "property": "eps"},
    ]
    body = served.client.post("/v1/predict/batch", json={"items": items}).json()
    results = body["results"]
    assert [result.get("code", "ok") for result in results] == [
        "ok",
        "validation_error",
        "ok",
        "ok",
        "unsupported_property",
        "ok",
        "ok",
    ]
    assert [result["smiles"] for result in results if "smiles" in result] == ["*CC*", "C(*)C*", "*CC*", "*CC*", "*CC*"]
    assert results[4]["details"]["supported"] == ["eps", "tg"]
    assert set(results[1]) == {"code", "message", "details"}
    assert results[0]["prediction"] == results[2]["prediction"] == results[5]["prediction"] == results[6]["prediction"]
    assert results[5]["embedding"] is not None
    assert {result["request_id"] for result in results if "request_id" in result} == {body["request_id"]}
    assert served.backend.featurized == {"*CC*": 1}
    assert [len(call.tasks) for call in served.backend.calls] == [3]  # eps, tg, eps with embedding
    single = served.predict("*CC*", "tg").json()["prediction"]
    assert results[3]["prediction"] == single


def test_a_smiles_of_no_length_or_too_long_is_an_error_in_its_place(served: Any) -> None:
    items = [{"smiles": smiles, "property": "eps"} for smiles in ("*CC*", "", f"*{'C' * 2100}*")]
    answer = served.client.post("/v1/predict/batch", json={"items": items})
    assert answer.status_code == 200
    fine, empty, long = answer.json()["results"]
    assert "prediction" in fine
    assert [empty["code"], long["code"]] == ["validation_error"] * 2
    assert "is empty" in empty["message"]
    assert "2102 characters" in long["message"]
    assert served.predict("").status_code == 422


def test_warnings_travel_with_the_answer_that_they_belong_to(served: Any) -> None:
    spellings = ("*CC*", "[2H]C(*)C*", "*[CH2:1]C*", "*CC(*)C(=O)[O-]")
    items = [{"smiles": smiles, "property": "eps"} for smiles in spellings]
    plain, isotope, number, _ = served.client.post("/v1/predict/batch", json={"items": items}).json()["results"]
    assert plain["prediction"] == isotope["prediction"] == number["prediction"]
    assert plain["warnings"] == []
    assert [len(answer["warnings"]) for answer in (isotope, number)] == [1, 1]
    assert "Isotopes" in isotope["warnings"][0]
    assert "Atom-map" in number["warnings"][0]
    assert served.predict("[2H]C(*)C*", "eps").json()["warnings"] == isotope["warnings"]
    embedding = served.client.post("/v1/embeddings", json={"smiles": "[2H]C(*)C*"}).json()
    assert embedding["warnings"] == isotope["warnings"]


def test_a_polymer_asked_again_or_for_another_property_is_not_featurized_again(served: Any) -> None:
    for smiles, property_id in ((STYRENE, "eps"), ("C(*)C(*)c1ccccc1", "eps"), (STYRENE, "tg")):
        assert served.predict(smiles, property_id).status_code == 200
    assert list(served.backend.featurized.values()) == [1]
    assert served.figures.lookups == [False, True, True]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.property"),
        ({"property": "eps"}, "body"),
        ({"smiles": "*CC*"}, "body.property"),
        ({"smiles": "", "property": "eps"}, "body.smiles"),
        ({"smiles": "C" * 2001, "property": "eps"}, "body.smiles"),
        ({"smiles": 3, "property": "eps"}, "body.smiles"),
        ({"smiles": "*CC*", "property": "eps", "return_embeding": True}, "body.return_embeding"),
        ({"smiles": "*CC*", "property": "eps", "return_embedding": "yes"}, "body.return_embedding"),
        ({"smiles": "*CC*", "property": None}, "body.property"),
        ([], "body"),
    ],
)
def test_malformed_bodies_are_named(served: Any, body: Any, field: str) -> None:
    answer = served.client.post("/v1/predict", json=body)
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (422, "validation_error")
    assert field in [problem["field"] for problem in error["details"]["problems"]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"smiles": NaN}',
        b'"\\ud800"',
        b'{"smiles": "\\ud800", "property": "eps"}',
        b"[" * 50_000,
    ],
)
def test_what_is_not_json_is_an_error_of_the_client(served: Any, content: bytes) -> None:
    answer = served.client.post("/v1/predict", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, error_of(answer)["code"]) == (422, "validation_error")


@pytest.mark.parametrize("n_items", [0, 101])
def test_batches_have_1_to_100_items(served: Any, n_items: int) -> None:
    answer = served.client.post("/v1/predict/batch", json={"items": [{"smiles": "*CC*", "property": "eps"}] * n_items})
    assert answer.status_code == 422


def test_the_largest_batch_fits(served: Any) -> None:
    item = {"smiles": "*CC*".ljust(2000), "property": "eps"}
    answer = served.client.post("/v1/predict/batch", json={"items": [item] * 100})
    assert answer.status_code == 200
    assert len(answer.json()["results"]) == 100


def test_bodies_are_limited_however_they_are_sent(served_by: Callable, golden_predictor: Predictor) -> None:
    served = served_by(InProcessBackend(golden_predictor), max_body_bytes=1000)
    body = json.dumps({"smiles": "*CC*", "property": "eps"}).encode()
    pieces = [body, b" " * 600, b" " * 600]
    for content in (b"".join(pieces), iter(pieces)):
        answer = served.client.post("/v1/predict", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, error_of(answer)["code"]) == (413, "validation_error")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/v1/nothing", 404, "not_found"), ("GET", "/v1/predict", 405, "method_not_allowed")],
)
def test_unknown_routes(served: Any, method: str, path: str, status: int, code: str) -> None:
    answer = served.client.request(method, path)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)


@pytest.mark.parametrize("given", ["abc", "x" * 128, "with space ~"])
def test_a_request_id_is_taken(served: Any, given: str) -> None:
    answer = served.client.post("/v1/predict", json={}, headers={"X-Request-ID": given})
    assert answer.headers.get_list("X-Request-ID") == [given]
    assert answer.json()["request_id"] == given


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"caf\xe9", b"tab\there"])
def test_a_bad_request_id_is_replaced(served: Any, given: bytes) -> None:
    answer = served.client.get("/v1/health", headers=[(b"X-Request-ID", given)])
    assert len(answer.headers["X-Request-ID"]) == 36


def test_not_ready_until_loaded(served: Any) -> None:
    served.service.become(Status.LOADING)
    answer = served.predict()
    assert (answer.status_code, error_of(answer)["code"]) == (503, "not_ready")
    assert int(answer.headers["Retry-After"]) > 0
    assert served.client.get("/v1/health").json()["status"] == "initializing"
    assert served.client.get("/v1/properties").status_code == 200
    served.service.artifacts = None
    assert served.client.get("/v1/properties").status_code == 503
    assert served.client.get("/v1/health").json()["checkpoints_present"] is False


def test_a_draining_service_refuses(served: Any) -> None:
    served.service.become(Status.DRAINING)
    assert error_of(served.predict())["code"] == "not_ready"


async def held(served: Any, requests: list[dict[str, Any]], act: Callable[[httpx.AsyncClient], Any]) -> list[Any]:
    """Send requests, run ``act`` once all are held, let them go, return their answers."""
    transport = httpx.ASGITransport(served.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        tasks = [asyncio.create_task(client.post(**request)) for request in requests]
        for _ in range(1000):
            if served.service.n_open:
                break
            await asyncio.sleep(0.001)
        await act(client)
        served.backend.let_go.set()
        return await asyncio.gather(*tasks)


def test_overload_is_refused_and_what_is_open_is_answered(served_by: Callable, golden_predictor: Predictor) -> None:
    served = served_by(HeldBackend(golden_predictor), max_queue=100)
    items = [{"smiles": "*" + "C" * n + "*", "property": "eps"} for n in range(1, 11)] * 10

    async def act(client: httpx.AsyncClient) -> None:
        assert served.service.n_open == 10, "equal items count once"
        served.service.n_open += 90
        answer = await client.post("/v1/predict", json=items[0])
        assert (answer.status_code, error_of(answer)["code"]) == (503, "overloaded")
        assert int(answer.headers["Retry-After"]) > 0
        assert (await client.get("/v1/health")).status_code == 200
        served.service.n_open -= 90

    [answer] = asyncio.run(held(served, [{"url": "/v1/predict/batch", "json": {"items": items}}], act))
    assert answer.status_code == 200
    assert served.service.n_open == 0


def test_after_the_deadline_the_work_is_dropped(served_by: Callable, golden_predictor: Predictor) -> None:
    served = served_by(HeldBackend(golden_predictor), timeout_s=0.2)
    answer = served.predict(STYRENE)
    assert (answer.status_code, error_of(answer)["code"]) == (504, "timeout")
    assert served.backend.n_cancelled == 1
    assert served.service.n_open == 0
    assert served.figures.requests == [("/v1/predict", "timeout")]


@pytest.mark.parametrize("leaves", [True, False])
def test_work_is_dropped_when_the_client_leaves(
    served_by: Callable, golden_predictor: Predictor, *, leaves: bool
) -> None:
    served = served_by(HeldBackend(golden_predictor))
    sent: list[str] = []

    async def check() -> None:
        left = asyncio.Event()
        body = iter([{"type": "http.request", "body": b'{"smiles": "*CC*", "property": "eps"}', "more_body": False}])

        async def receive() -> Any:
            message = next(body, None)
            if message is not None:
                return message
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        headers = [(b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/predict",
            "raw_path": b"/v1/predict",
            "headers": headers,
        }
        scope |= {"query_string": b"", "http_version": "1.1", "scheme": "http", "root_path": ""}
        request = asyncio.create_task(served.app(scope, receive, send))
        async with asyncio.timeout(10):
            while not served.service.n_open:
                await asyncio.sleep(0.001)
            if leaves:
                left.set()
            else:
                served.backend.let_go.set()
            await request

    asyncio.run(check())
    assert served.service.n_open == 0
    assert served.backend.n_cancelled == int(leaves)
    assert sent == ([] if leaves else ["http.response.start", "http.response.body"])
    assert served.figures.requests == [("/v1/predict", "client_left" if leaves else "ok")]


def test_very_many_unknown_fields_are_one_error(served: Any) -> None:
    """An error for each would take a second of the event loop."""
    fields = dict.fromkeys(map(str, range(100_000)), 1)
    answer = served.client.post("/v1/predict", json={"smiles": "*CC*", "property": "eps", **fields})
    assert answer.status_code == 422
    [problem] = answer.json()["error"]["details"]["problems"]
    assert problem["problem"] == (
        "the object has 100002 fields; expected smiles, copolymer, conditions, property, return_embedding, level"
    )


def test_many_polymers_of_one_request_do_not_hold_up_another(served_by: Callable, golden_predictor: Predictor) -> None:
    """No more of a request is handed on than featurizers take."""
    served = served_by(HeldBackend(golden_predictor), n_featurizers=3)
    begun: list[str] = []
    featurize = served.backend.featurize

    async def recorded(unit: Any, *args: Any, **more: Any) -> Any:
        begun.append(unit.smiles)
        return await featurize(unit, *args, **more)

    served.backend.featurize = recorded
    items = [{"smiles": "*" + "C" * n + "*", "property": "eps"} for n in range(1, 31)]

    async def act(_: httpx.AsyncClient) -> None:
        await asyncio.sleep(0)
        assert len(begun) == 6

    [answer] = asyncio.run(held(served, [{"url": "/v1/predict/batch", "json": {"items": items}}], act))
    assert all("prediction" in result for result in answer.json()["results"])
    assert len(begun) == 30


def test_long_smiles_are_parsed_elsewhere(served: Any) -> None:
    long = "*" + "C" * 100 + "(C)" * 0 + "[CH2]" * 60 + "*"
    served.predict(long)
    served.predict("*CC*")
    assert served.backend.parsed == [long]


class Broken(InProcessBackend):
    """Fails in a way of one's choice."""

    def __init__(self, predictor: Predictor, failure: Exception | Outcome) -> None:
        super().__init__(predictor)
        self._failure = failure

    async def predict(self, call: PredictCall) -> PredictReply:
        if isinstance(self._failure, Exception):
            raise self._failure
        return PredictReply((self._failure,) * len(call.tasks), 1, 0.0, 0.0)


def test_a_bug_is_in_the_log_and_not_in_the_answer(
    served_by: Callable, golden_predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    served = served_by(Broken(golden_predictor, RuntimeError("/srv/secret went wrong")))
    answer = served.predict()
    assert (answer.status_code, error_of(answer)["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "/srv/secret went wrong" in caplog.text


def test_no_answer_holds_an_absolute_path(served_by: Callable, golden_predictor: Predictor) -> None:
    missing = f"{ARTIFACTS}/finetuned_ckpt/eps/best_model.pth"
    error: PerioGTError = CheckpointMissingError(f"missing artifact: expected {missing}.", {"missing": [missing]})
    served = served_by(Broken(golden_predictor, error))
    batch = served.client.post("/v1/predict/batch", json={"items": [{"smiles": "*CC*", "property": "eps"}]})
    single = served.predict()
    assert single.status_code == 503
    assert error_of(single)["details"] == {"missing": ["finetuned_ckpt/eps/best_model.pth"]}
    for answer in (single, batch):
        assert "finetuned_ckpt/eps/best_model.pth" in answer.text
        assert str(ARTIFACTS) not in answer.text


def test_a_value_that_is_not_finite_is_never_answered(golden_predictor: Predictor, served_by: Callable) -> None:
    [outcome] = [Outcome(value=math.nan, checkpoint="x")]
    served = served_by(Broken(golden_predictor, outcome))
    answer = served.predict()
    assert (answer.status_code, error_of(answer)["code"]) == (500, "internal_error")


def test_the_access_log_is_json(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "periogt_ray.serve.http.access_log")
    served.client.post(
        "/v1/predict", json={"smiles": STYRENE, "property": "eps"}, headers={"X-Request-ID": "one\u007e"}
    )
    [record] = [json.loads(message) for message in caplog.messages if message.startswith("{")]
    assert record["request_id"] == "one~"
    assert (record["route"], record["status"], record["outcome"]) == ("/v1/predict", 200, "ok")
    assert (record["property"], record["n_polymers"], record["n_cache_hits"]) == ("eps", 1, 0)
    assert record["n_triplets"] > 10
    assert {"queue_s", "featurize_s", "forward_s", "total_s", "batch_size"} <= set(record)
    assert served.figures.requests == [("/v1/predict", "ok")]
    assert sorted(served.figures.stages) == ["featurize", "forward", "queue"]


def test_jobs_are_packed_into_calls_no_larger_than_a_batch(served_by: Callable, golden_predictor: Predictor) -> None:
    served = served_by(InProcessBackend(golden_predictor), max_batch=4)
    items = [{"smiles": "*" + "C" * n + "*", "property": "eps"} for n in range(1, 11)]
    results = served.client.post("/v1/predict/batch", json={"items": items}).json()["results"]
    assert [len(call.tasks) for call in served.backend.calls] == [4, 4, 2]
    assert len({result["prediction"]["value"] for result in results}) == 10
    assert all(isinstance(task, Task) for call in served.backend.calls for task in call.tasks)


def test_the_card_of_a_property_needs_the_key_as_everything_does(served_by: Callable, golden_predictor: Any) -> None:
    served = served_by(InProcessBackend(golden_predictor), KEY)
    path = "/v1/properties/eps/card"
    assert served.client.get(path).status_code == 401
    answer = served.client.get(path, headers={"X-Api-Key": KEY})
    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["is_package"], answer.json()["text"]) == ("eps", False, None)
    unknown = served.client.get("/v1/properties/..%2Feps/card", headers={"X-Api-Key": KEY})
    assert unknown.status_code in (404, 422)
    assert served.client.get("/v1/properties/absent/card", headers={"X-Api-Key": KEY}).status_code == 422
