"""What is said of requests that do not have the form of their route."""

from typing import Any

import pytest

JSON = "application/json"


def refused(served: Any, content: bytes, content_type: str | None = JSON, path: str = "/v1/predict") -> str:
    headers = {"Content-Type": content_type} if content_type is not None else {}
    answer = served.client.post(path, content=content, headers=headers)
    body = answer.json()
    assert (answer.status_code, body["error"]["code"]) == (422, "validation_error")
    assert set(body) == {"error", "request_id"}
    assert body["error"]["details"]["problems"]
    message: str = body["error"]["message"]
    return message


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/embeddings", "/v1/predict/batch"])
def test_a_single_backslash_is_to_be_doubled(served: Any, path: str) -> None:
    message = refused(served, rb'{"smiles": "*C\C=C\C*", "property": "eps"}', path=path)
    assert r"Invalid \escape at character 14" in message
    assert r"write \\ for one backslash" in message
    doubled = rb'{"smiles": "*C\\C=C\\C*", "property": "eps"}'
    answer = served.client.post("/v1/predict", content=doubled, headers={"Content-Type": JSON})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{'smiles': '*CC*'}", "Expecting property name enclosed in double quotes at character 1"),
        (b'{"smiles": "*CC*"', "Expecting ',' delimiter at character 17"),
    ],
)
def test_what_else_is_not_json_is_located(served: Any, content: bytes, words: str) -> None:
    message = refused(served, content)
    assert words in message
    assert "backslash" not in message


BODY = b'{"smiles": "*CC*", "property": "eps"}'


def test_a_missing_content_type_is_named(served: Any) -> None:
    message = refused(served, BODY, None)
    assert message == (
        "The request has no Content-Type; expected application/json. "
        "With curl, add -H 'Content-Type: application/json'."
    )


@pytest.mark.parametrize("given", ["application/x-www-form-urlencoded", "text/plain; charset=utf-8"])
def test_another_content_type_is_named(served: Any, given: str) -> None:
    assert f"The Content-Type is {given!r}; expected application/json" in refused(served, BODY, given)


@pytest.mark.parametrize("given", [JSON, "application/json; charset=utf-8", "application/problem+json"])
def test_every_json_type_is_read(served: Any, given: str) -> None:
    answer = served.client.post("/v1/predict", content=BODY, headers={"Content-Type": given})
    assert answer.status_code == 200
    assert "Content-Type" not in refused(served, b"[]", given)


def test_a_request_without_a_body_asks_for_one(served: Any) -> None:
    assert "body: Field required" in refused(served, b"", None)


def test_a_plus_in_an_address_is_explained(served: Any) -> None:
    smiles = "*C[N+](C)(C)*"
    answer = served.client.get(f"/v1/depict?smiles={smiles}")
    assert answer.status_code == 422
    assert "write %2B for +" in answer.json()["error"]["message"]
    assert served.client.get(f"/v1/depict?smiles={smiles.replace('+', '%2B')}").status_code == 200
    other = served.client.get("/v1/depict?smiles=*CC").json()["error"]["message"]
    assert "%2B" not in other
