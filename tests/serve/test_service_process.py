"""The service as a user runs it: a Ray of its own, real replicas, real signals.

The tests share the service with those of the page, which come before them.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import EMBEDDED_DIR
from support.golden import ARTIFACTS
from support.ray_cluster import LINE_OF_CORE
from support.serve_fakes import STYRENE
from support.served_process import ROOT, ServedProcess, parent_of, start, wait_for
from support.way import KEY

pytestmark = pytest.mark.ray

RETRYABLE = {"not_ready", "overloaded", "timeout"}


@pytest.fixture(scope="module")
def embedded_predictor() -> Predictor:
    return Predictor(ArtifactDirectory.open(EMBEDDED_DIR), torch.device("cpu"))


def ask(
    service: ServedProcess, smiles: str, property_id: str = "eps", *, timeout: float = 120, **more: Any
) -> httpx.Response:
    asked = {"smiles": smiles, "property": property_id, **more}
    return service.client.post("/v1/predict", json=asked, timeout=timeout)


def test_values_are_those_of_the_predictor(service: ServedProcess, embedded_predictor: Predictor) -> None:
    for smiles in (STYRENE, "*CC*"):
        polymer = featurize(RepeatUnit.parse(smiles), embedded_predictor.scheme("egc"))
        [outcome] = embedded_predictor.predict_many([Task(polymer, "egc")])
        answer = ask(service, smiles, "egc")
        assert answer.status_code == 200
        assert answer.json()["prediction"]["value"] == outcome.value


def test_an_answer_has_the_same_digits_alone_and_in_company(service: ServedProcess) -> None:
    """Alone, in a batch of 100, and among many clients."""
    polymers = [f"*{'C' * n}O{'C' * m}*" for n in range(1, 7) for m in range(n, 7)]
    items = [{"smiles": smiles, "property": name} for smiles in polymers for name in ("egc", "eps", "nc")]
    items += [{**item, "return_embedding": True} for item in items[: 100 - len(items)]]

    def alone(item: dict[str, Any]) -> tuple[Any, Any]:
        return digits(service.client.post("/v1/predict", json=item).json())

    def digits(answer: dict[str, Any]) -> tuple[Any, Any]:
        return answer["prediction"]["value"], answer["embedding"]

    together = service.client.post("/v1/predict/batch", json={"items": items}).json()["results"]
    with ThreadPoolExecutor(32) as clients:
        under_load = list(clients.map(alone, items))
    assert [digits(answer) for answer in together] == under_load
    assert [alone(item) for item in items[::9]] == under_load[::9]


def test_the_smoke_test_passes_and_can_fail(service: ServedProcess) -> None:
    script = ROOT / "scripts" / "smoke_test.sh"
    result = subprocess.run([script, service.url, KEY], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "FAIL" not in result.stdout
    refused = subprocess.run(
        [script, f"{service.url}/v1", KEY], capture_output=True, text=True, timeout=300, check=False
    )
    assert refused.returncode == 1
    keyless = subprocess.run([script, service.url], capture_output=True, text=True, timeout=300, check=False)
    assert keyless.returncode == 1
    assert "refuses the key" in keyless.stderr
    silent = subprocess.run([script, "http://127.0.0.1:9"], capture_output=True, text=True, timeout=300, check=False)
    assert silent.returncode == 1
    assert "Nothing answers" in silent.stderr


def test_a_repeat_unit_is_drawn(service: ServedProcess) -> None:
    answer = service.client.get("/v1/depict", params={"smiles": STYRENE})
    assert answer.status_code == 200, answer.text
    assert answer.text.startswith("<svg")
    refused = service.client.get("/v1/depict", params={"smiles": f"*{'C' * 500}*"})
    assert refused.status_code == 422
    assert "at most 200 are drawn" in refused.json()["error"]["message"]


def test_predictions_are_answered_while_an_explanation_is_computed(service: ServedProcess) -> None:
    body = {"smiles": STYRENE, "property": "egc"}
    n_answered = 0
    with ThreadPoolExecutor(1) as client:
        explained = client.submit(service.client.post, "/v1/explain", json={**body, "passes": 400})
        while not explained.done():
            assert service.client.post("/v1/predict", json=body).status_code == 200
            n_answered += 1
    answer = explained.result()
    assert answer.status_code == 200, answer.text
    # Twelve groups of passes; a prediction waits for one of them at most.
    assert n_answered > 2
    assert answer.json()["prediction"] == service.client.post("/v1/predict", json=body).json()["prediction"]["value"]


def test_request_ids_are_answered_once(service: ServedProcess) -> None:
    answer = service.client.get("/v1/health", headers={"X-Request-ID": "mine"})
    assert answer.headers.get_list("X-Request-ID") == ["mine"]
    strange = service.client.get("/v1/nothing", headers=[(b"X-Request-ID", b"caf\xe9"), (b"X-Api-Key", KEY.encode())])
    assert strange.headers.get_list("X-Request-ID") == [strange.json()["request_id"]]


def test_hostile_bodies_over_the_network(service: ServedProcess) -> None:
    for content in (b"", b"{", b"\xff", b"[" * 10_000, b"x" * 3_000_000):
        answer = service.client.post("/v1/predict", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (413, 422)
        assert answer.json()["error"]["code"] == "validation_error"


def test_figures_are_beside_those_of_ray(service: ServedProcess) -> None:
    for _ in range(2):
        assert ask(service, STYRENE).status_code == 200
    [address] = re.findall(r"Figures for Prometheus: (\S+)", service.log.read_text())

    def exported() -> str:
        # The agent listens on every address of the node, not all of which may be routed here.
        return httpx.get(re.sub(r"//[^:]+:", "//127.0.0.1:", address), timeout=30).text

    wanted = [
        r'ray_periogt_requests_total\{[^}]*outcome="ok"[^}]*\} [1-9]',
        r'ray_periogt_stage_seconds_count\{[^}]*stage="forward"',
        r'ray_periogt_feature_cache_total\{[^}]*result="hit"[^}]*\} [1-9]',
        r"ray_periogt_batch_size_count",
        r"ray_serve_",
    ]
    wait_for(lambda: all(re.search(one, exported()) for one in wanted), 60, "figures")


def test_a_killed_predictor_comes_back_and_no_answer_is_wrong(service: ServedProcess) -> None:
    right = {smiles: ask(service, smiles).json()["prediction"]["value"] for smiles in ("*CC*", STYRENE, "*CCC*")}
    stop, answers, wrong = threading.Event(), Counter[str](), []

    def client(smiles: str) -> None:
        with httpx.Client(base_url=service.url, timeout=120, headers={"X-Api-Key": KEY}) as own:
            while not stop.is_set():
                answer = own.post("/v1/predict", json={"smiles": smiles, "property": "eps"})
                body = answer.json()
                if answer.status_code == 200:
                    answers["ok"] += 1
                    if body["prediction"]["value"] != pytest.approx(right[smiles], rel=1e-6):
                        wrong.append(body)
                else:
                    answers[body["error"]["code"]] += 1
                    if "Retry-After" not in answer.headers and answer.status_code != 504:
                        wrong.append(body)
                    stop.wait(0.1)

    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(client, smiles) for smiles in right for _ in range(2)]
        try:
            wait_for(lambda: answers["ok"] >= 20, 120, "answers before the kill")
            [pid] = service.replicas("Predictor")
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: service.replicas("Predictor") not in ([], [pid]), 120, "a new predictor")
            before = answers["ok"]
            wait_for(lambda: answers["ok"] >= before + 20, 120, "answers after the kill")
        finally:
            stop.set()
        for one in clients:
            one.result()
    assert not wrong
    assert set(answers) <= {"ok"} | RETRYABLE, answers


def test_work_of_clients_that_left_is_dropped(service: ServedProcess) -> None:
    items = [{"smiles": "*" + "C" * (100 + n) + "*", "property": "eps"} for n in range(90)]
    n_left = '"outcome": "client_left"'
    n_before = service.log.read_text().count(n_left)
    with pytest.raises(httpx.ReadTimeout):
        service.client.post("/v1/predict/batch", json={"items": items}, timeout=1)
    wait_for(lambda: service.log.read_text().count(n_left) > n_before, 30, "the log has it")
    assert service.client.get("/v1/health").json()["n_open"] == 0
    # Half a second each: had they gone on, this one would wait for most of a minute.
    assert ask(service, "*CCOCC*", timeout=20).status_code == 200


def test_no_key_traceback_or_colour_is_in_the_log(service: ServedProcess) -> None:
    text = service.log.read_text()
    assert KEY not in text
    assert "Traceback" not in text
    assert "\x1b[" not in text
    # Ray forwards what it has of a replica's line, so now and then one arrives in two pieces.
    lines = [line for line in text.splitlines() if '{"request_id"' in line and line.endswith("}")]
    records = [json.loads(line[line.index("{") :]) for line in lines]
    assert "/v1/predict" in {record["route"] for record in records}
    assert not [record for record in records if record["route"] == "/v1/health" and record["status"] == 200]


def test_sigterm_answers_what_is_open_and_leaves_nothing(service: ServedProcess) -> None:
    """The last test of those that share the service: it ends it."""
    items = [{"smiles": "*" + "C" * (n % 10 + 1) + "O" * (n // 10) + "C*", "property": "eps"} for n in range(60)]
    tree, temp_dir = service.tree(), service.temp_dir
    assert temp_dir is not None
    with ThreadPoolExecutor(1) as pool:
        before = service.log.read_text()
        pending = pool.submit(service.client.post, "/v1/predict/batch", json={"items": items})
        wait_for(lambda: is_busy(service), 60, "the request is open")
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: refuses(service), 60, "new requests are refused")
        answer = pending.result()
    assert answer.status_code == 200
    assert all("prediction" in result for result in answer.json()["results"])
    assert service.process.wait(120) == 0
    ending = service.log.read_text().removeprefix(before)
    assert "featurize_s" in ending
    # The package's log only, of this process and of the ingress; nothing of Ray, neither of its core nor of Python.
    of_ours = re.compile(r"\d\d:\d\d:\d\d |\(ServeReplica:periogt:Ingress ")
    assert [line for line in ending.splitlines() if not of_ours.match(line)] == []
    assert not LINE_OF_CORE.search(ending), ending
    left = [pid for pid in tree if parent_of(pid) is not None]
    assert not left
    assert not temp_dir.exists()


def is_busy(service: ServedProcess) -> bool:
    """Whether the featurizers compute: their processor time grows."""
    return sum(cpu_ticks(pid) for pid in service.replicas("Featurizer")) > IDLE_TICKS.setdefault(
        service.process.pid, sum(cpu_ticks(pid) for pid in service.replicas("Featurizer"))
    )


IDLE_TICKS: dict[int, int] = {}


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11])


def refuses(service: ServedProcess) -> bool:
    try:
        answer = httpx.post(
            f"{service.url}/v1/predict", json={"smiles": "*CC*", "property": "eps"}, headers={"X-Api-Key": KEY}
        )
    except httpx.TransportError:
        return True
    return answer.status_code == 503 and answer.json()["error"]["code"] == "not_ready"


def test_a_model_that_cannot_be_loaded_ends_the_service_with_its_code(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    shutil.copytree(ARTIFACTS, artifacts)
    [scaler] = artifacts.glob("descriptor_scaler.npz")
    scaler.write_bytes(scaler.read_bytes()[:1000])
    served = start(tmp_path / "log", artifacts=artifacts)
    assert served.process.wait(300) == 2
    assert "error [model_load_failed]" in served.log.read_text()
    assert "curl http" not in served.log.read_text()


def test_a_port_in_use_is_said_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        served = start(tmp_path / "log", PERIOGT_PORT=str(taken.getsockname()[1]))
        assert served.process.wait(120) == 2
    assert "cannot be bound" in served.log.read_text()


def test_missing_artifacts_are_said_before_ray_starts(tmp_path: Path) -> None:
    served = start(tmp_path / "log", artifacts=tmp_path)
    assert served.process.wait(120) == 2
    assert "error [checkpoint_missing]" in served.log.read_text()
