"""The route of explanations, with the real predictor in this process."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from periogt_ray.errors import RequestTimeoutError
from periogt_ray.model.explanation import MEANING
from periogt_ray.model.predictor import Predictor
from periogt_ray.serve.calls import ExplainCall, ExplainReply
from periogt_ray.serve.service import EXPLAINING_EACH
from support.serve_fakes import KEY, InProcessBackend


def explained(served: Any, smiles: str = "*CC(*)C", **more: Any) -> httpx.Response:
    answer: httpx.Response = served.client.post("/v1/explain", json={"smiles": smiles, "property": "eps", **more})
    return answer


def test_an_explanation_sums_to_the_prediction(served: Any) -> None:
    body = explained(served, "C(*)C(*)C").json()
    parts = sum(bond["value"] for bond in body["bonds"]) + body["whole_molecule"]["value"]
    assert body["baseline"] + parts == pytest.approx(body["prediction"], abs=1e-6)
    assert body["prediction"] == served.predict("*CC(*)C").json()["prediction"]["value"]
    assert (body["smiles"], body["repeat_unit"], body["method"]) == ("C(*)C(*)C", "*CC(*)C", "exact")
    assert body["meaning"] == MEANING
    assert body["drawing"] is None
    assert served.backend.featurized == {"*CC(*)C": 1}


def test_a_drawing_comes_where_it_is_asked_for(served: Any) -> None:
    assert explained(served, "*CC*", drawing=True).json()["drawing"].startswith("<svg")


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"smiles": "*CC"}, "validation_error", "1 connection point"),
        ({"property": "nope"}, "unsupported_property", "supported: eps, tg"),
        ({"passes": 3}, "validation_error", "needs at least"),
        ({"passes": 20_001}, "validation_error", "passes"),
        ({"smiles": f"*{'C' * 101}*"}, "validation_error", "at most 100 are explained"),
        ({"copolymer": {}}, "validation_error", "copolymer"),
    ],
)
def test_what_cannot_be_explained_is_refused(served: Any, body: dict[str, Any], code: str, words: str) -> None:
    answer = explained(served, **{"smiles": "*CC(*)C", **body})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == code
    assert words in error["message"]
    assert served.service.n_open == 0


def test_properties_of_other_inputs_are_refused(all_kinds: Any) -> None:
    answer = explained(all_kinds, property="ea")
    assert answer.status_code == 422
    assert "ea takes the input copolymer" in answer.json()["error"]["message"]


def test_the_key_is_needed(served_by: Callable, golden_predictor: Predictor) -> None:
    served = served_by(InProcessBackend(golden_predictor), KEY)
    assert explained(served).status_code == 401


class HeldExplanations(InProcessBackend):
    """Explains only once it is let go, and not at all after the deadline."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor)
        self.let_go = asyncio.Event()

    async def explain(self, call: ExplainCall) -> ExplainReply:
        assert call.deadline > time.time()
        self.explained.append(call)
        await self.let_go.wait()
        raise RequestTimeoutError("too late")


def test_few_explanations_are_taken_on_and_predictions_go_on(served_by: Callable, golden_predictor: Predictor) -> None:
    backend = HeldExplanations(golden_predictor)
    served = served_by(backend, n_predictors=1)
    body = {"smiles": "*CC(*)C", "property": "eps"}

    async def run() -> tuple[list[httpx.Response], httpx.Response]:
        transport = httpx.ASGITransport(served.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            held = [asyncio.create_task(client.post("/v1/explain", json=body)) for _ in range(EXPLAINING_EACH)]
            while len(backend.explained) < EXPLAINING_EACH:
                await asyncio.sleep(0)
            refused = await client.post("/v1/explain", json=body)
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "overloaded"
            assert refused.headers["Retry-After"]
            predicted = await client.post("/v1/predict", json=body)
            backend.let_go.set()
            return await asyncio.gather(*held), predicted

    answers, predicted = asyncio.run(run())
    assert predicted.status_code == 200
    assert [answer.status_code for answer in answers] == [504] * EXPLAINING_EACH
    assert served.service.n_open == 0
    assert explained(served).status_code == 504, "there is room again"


def test_the_deadline_drops_an_explanation(served_by: Callable, golden_predictor: Predictor) -> None:
    served = served_by(HeldExplanations(golden_predictor), timeout_s=0.2)
    answer = explained(served)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
