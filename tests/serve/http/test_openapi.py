"""The OpenAPI document, and random requests made from it: hundreds, or thousands with --full."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from periogt_ray.model.predictor import Predictor
from support.serve_fakes import KEY, InProcessBackend

N_CASES, N_CASES_FULL = 300, 5000
N_GET_CASES = 20  # of each operation that has no body
# What generated strings rarely are.
SMILES = st.sampled_from(["*CC*", "*CC(*)c1ccccc1", "*C(=O)O*", "*CC", "C", "*=C*", "*[Na]*", "", "*" * 9, "*C.C*"])
PROPERTIES = st.sampled_from(["eps", "tg", "EPS", "", "../eps"])


def test_the_document_is_complete(served: Any) -> None:
    document = served.client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/health",
        "/v1/properties",
        "/v1/properties/{property_id}/card",
        "/v1/model",
        "/v1/depict",
        "/v1/predict",
        "/v1/embeddings",
        "/v1/explain",
        "/v1/predict/batch",
    }
    for path in ("/v1/predict", "/v1/embeddings", "/v1/explain", "/v1/predict/batch"):
        operation = document["paths"][path]["post"]
        assert operation["requestBody"]["content"]["application/json"]["examples"]
        assert {"200", "401", "413", "422", "500", "503", "504"} <= set(operation["responses"])
    assert "securitySchemes" not in document["components"]


def test_every_field_has_its_meaning(served: Any) -> None:
    document = served.client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    # An object says it where it is defined.
    fields = {
        f"{name}.{field}": schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        for name, body in schemas.items()
        for field, schema in body.get("properties", {}).items()
    }
    parameters = [one for methods in document["paths"].values() for one in methods.get("get", {}).get("parameters", [])]
    assert [name for name, schema in fields.items() if not schema.get("description")] == []
    assert [one["name"] for one in parameters if not one.get("description")] == []
    assert len(fields) > 40


def test_the_examples_are_answered(all_kinds: Any) -> None:
    document = all_kinds.client.get("/openapi.json").json()
    n_examples = 0
    for path, methods in document["paths"].items():
        for example in methods.get("post", {}).get("requestBody", {}).get("content", {}).values():
            for one in example["examples"].values():
                assert all_kinds.client.post(path, json=one["value"]).status_code == 200
                n_examples += 1
    assert n_examples >= 4


def test_generated_requests_are_answered_as_documented(
    served_by: Callable, golden_predictor: Predictor, pytestconfig: pytest.Config, is_full: bool
) -> None:
    """No 5xx, nothing undocumented, and nothing without the key."""
    served = served_by(InProcessBackend(golden_predictor), KEY)
    schema = schemathesis.openapi.from_asgi("/openapi.json", served.app, headers={"X-Api-Key": KEY})
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 9
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    statuses: Counter[int] = Counter()
    n_cases = N_CASES_FULL if is_full else N_CASES
    n_posts = sum(operation.method.upper() == "POST" for operation in operations)
    n_post_cases = -(-n_cases // (2 * n_posts))
    for operation in operations:
        n_wanted = n_post_cases if operation.method.upper() == "POST" else N_GET_CASES
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.NEGATIVE and operation.method.upper() != "POST":
                continue
            cases = operation.as_strategy(generation_mode=mode)

            @seed(pytestconfig.option.seed)
            @settings(
                max_examples=n_wanted,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=cases, smiles=SMILES, property_id=PROPERTIES, use=st.booleans())
            def ask(case: Any, smiles: str, property_id: str, use: bool) -> None:
                if use:
                    put(case.body, smiles, property_id)
                headers = {"X-Api-Key": KEY}
                answer = case.call(headers=headers, timeout=300)  # an explanation takes long on a loaded machine
                case.validate_response(answer, checks=checks, headers=headers)
                statuses[answer.status_code] += 1
                without = case.call(headers={"X-Api-Key": KEY[::-1]})
                assert without.status_code == 401
                statuses[without.status_code] += 1

            ask()
    assert sum(statuses.values()) >= 2 * n_cases, "each with the key and without it"
    assert set(statuses) <= {200, 401, 413, 422}
    assert min(statuses[200], statuses[401], statuses[422]) >= n_cases // 20, statuses


def put(body: Any, smiles: str, property_id: str) -> None:
    """Put what may be answered into a generated body, where it has a place for it."""
    if not isinstance(body, dict):
        return
    if isinstance(body.get("smiles"), str):
        body["smiles"] = smiles
    if isinstance(body.get("property"), str):
        body["property"] = property_id
    if isinstance(body.get("items"), list):
        for item in body["items"]:
            put(item, smiles, property_id)


@pytest.mark.parametrize("path", ["/docs", "/v1/docs"])
def test_the_documentation_is_shown(served: Any, path: str) -> None:
    answer = served.client.get(path)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "/openapi.json" in answer.text
