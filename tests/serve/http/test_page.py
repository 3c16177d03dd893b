"""The page's files, drawings and the model's card over HTTP."""

from collections.abc import Callable
from typing import Any

import pytest

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.predictor import Predictor
from periogt_ray.serve.http.page import WEB
from periogt_ray.serve.service import Status
from periogt_ray.settings import EMBEDDED_DIR, EXAMPLES
from support.serve_fakes import KEY, STYRENE, InProcessBackend


def depict(served: Any, smiles: str, **more: str) -> Any:
    return served.client.get("/v1/depict", params={"smiles": smiles, **more})


def test_a_repeat_unit_is_drawn(served: Any) -> None:
    answer = depict(served, STYRENE)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.text.startswith("<svg")
    assert depict(served, "C(*)C(c1ccccc1)*").text == answer.text
    assert depict(served, STYRENE, theme="dark").text != answer.text


def test_a_drawing_is_made_once(served_by: Callable, golden_predictor: Predictor) -> None:
    backend = InProcessBackend(golden_predictor)
    served = served_by(backend)
    texts = {depict(served, smiles).text for smiles in (STYRENE, STYRENE, "C(*)C(c1ccccc1)*")}
    assert len(texts) == len(backend.drawn) == 1


def test_drawings_are_bounded_as_all_work_is(served_by: Callable, golden_predictor: Predictor) -> None:
    served = served_by(InProcessBackend(golden_predictor))
    served.service.n_open = served.service.max_open
    answer = depict(served, STYRENE)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "overloaded"
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"smiles": "*CC"}, "Expected exactly 2"),
        ({"smiles": "polystyrene"}, "RDKit cannot parse"),
        ({"smiles": " "}, "is empty"),
        ({"smiles": f"*{'C' * 500}*"}, "502 atoms; at most 200 are drawn"),
        ({"smiles": "*" * 2001}, "at most 2000 characters"),
        ({"smiles": STYRENE, "theme": "red"}, "theme"),
        ({}, "smiles"),
    ],
)
def test_what_cannot_be_drawn_is_an_error_as_everywhere(served: Any, query: dict[str, str], message: str) -> None:
    answer = served.client.get("/v1/depict", params=query)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "validation_error"
    assert message in answer.json()["error"]["message"]


@pytest.mark.usefixtures("cannot_draw")
def test_a_machine_that_cannot_draw_says_so_and_still_validates(served: Any) -> None:
    answer = depict(served, "*CCOC*")
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "internal_error")
    assert "Drawings are off" in answer.json()["error"]["message"]
    assert "Retry-After" not in answer.headers
    assert depict(served, "*CC").status_code == 422
    assert served.predict("*CC*", "tg").status_code == 200


def test_drawings_need_the_key_and_no_model(served_by: Callable, golden_predictor: Predictor) -> None:
    served = served_by(InProcessBackend(golden_predictor), KEY)
    served.service.become(Status.LOADING)
    assert depict(served, STYRENE).status_code == 401
    query = {"smiles": STYRENE}
    assert served.client.get("/v1/depict", params=query, headers={"X-Api-Key": KEY}).status_code == 200


def test_the_model_tells_its_card(served: Any) -> None:
    golden = served.client.get("/v1/model").json()
    assert [card["id"] for card in golden["properties"]] == ["eps", "tg"]
    assert golden["limits"] == []
    assert all(card["test"] is None and card["label_std"] > 0 for card in golden["properties"])
    served.service.artifacts = ArtifactDirectory.open(EMBEDDED_DIR)
    card = served.client.get("/v1/model").json()
    egc = next(one for one in card["properties"] if one["id"] == "egc")
    assert egc["test"] == {"r2": 0.9094, "rmse": 0.4614, "n": 676}
    assert (egc["units"], egc["n_train"]) == ("eV", 2426)
    assert len(card["limits"]) == 6
    assert {one["id"] for one in card["properties"] if one["input"] == "copolymer"} == {"ea", "ip"}
    assert card["limits"][-1].endswith("5.19 eV.")
    assert "were not, or hardly, seen" in card["limits"][1]
    assert [one["smiles"] for one in card["examples"]][2] == STYRENE
    served.service.artifacts = None
    assert served.client.get("/v1/model").json()["error"]["code"] == "not_ready"


def test_the_page_and_its_files_need_no_key(served_by: Callable, golden_predictor: Predictor) -> None:
    served = served_by(InProcessBackend(golden_predictor), KEY)
    assert "<title>PerioGT" in served.client.get("/").text
    for path in WEB.rglob("*"):
        if path.is_file():
            answer = served.client.get(f"/web/{path.relative_to(WEB)}")
            assert answer.content == path.read_bytes()
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert served.client.get("/web/polymers.csv").content == EXAMPLES.read_bytes()
    assert served.client.get("/favicon.ico").headers["Content-Type"] == "image/svg+xml"


@pytest.mark.parametrize(
    "path", ["/web/", "/web/nothing.js", "/web/%2e%2e/app.py", "/web/..%2fapp.py", "/web//etc/passwd", "/web/vendor"]
)
def test_there_is_nothing_beside_the_page(served: Any, path: str) -> None:
    assert served.client.get(path).status_code == 404


def test_the_policy_is_strict(served: Any) -> None:
    for path in ("/", "/docs", "/v1/docs", "/web/app.js"):
        policy = served.client.get(path).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy


def test_a_file_is_sent_again_only_if_it_changed(served: Any) -> None:
    first = served.client.get("/web/app.js")
    assert first.headers["Cache-Control"] == "no-cache"
    again = served.client.get("/web/app.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_addresses_of_the_reference_lead_to_the_page_files(served: Any) -> None:
    assert 'src="./web/docs.js"' in served.client.get("/docs").text
    text = served.client.get("/v1/docs").text
    assert 'src="../web/docs.js"' in text
    assert '="./' not in text


@pytest.mark.parametrize("prefix", ["/node/gpu-01.cluster/8000", "/rnode/n1/40123"])
def test_everything_is_under_the_prefix_of_open_ondemand_too(
    served_by: Callable, golden_predictor: Predictor, prefix: str
) -> None:
    served = served_by(InProcessBackend(golden_predictor), KEY)
    get = served.client.get
    assert get(f"{prefix}/").text == get("/").text
    assert get(f"{prefix}/web/app.js").status_code == 200
    redirect = get(prefix, follow_redirects=False)
    assert redirect.headers["Location"] == f"{prefix.rpartition('/')[2]}/"
    for path in ("/v1/health", "/docs", "/openapi.json", "/web/../v1/health", "/nothing"):
        assert get(prefix + path).status_code == 401
    assert get(f"{prefix}/v1/health", headers={"X-Api-Key": KEY}).json()["status"] == "ok"


@pytest.mark.parametrize("path", ["/node/a/b/", "/node//1/", "/node/a/123456/", "/x/node/a/1/"])
def test_other_paths_are_not_taken_for_that_prefix(served_by: Callable, golden_predictor: Predictor, path: str) -> None:
    served = served_by(InProcessBackend(golden_predictor), KEY)
    assert served.client.get(path, follow_redirects=False).status_code == 401
