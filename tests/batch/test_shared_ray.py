"""The service on a Ray that runs already, with a batch beside it."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from support.ray_cluster import Cluster
from support.served_process import free_port

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 240.0  # a loaded machine is many times slower than an idle one
ASKED = {"smiles": "*CC*", "property": "tg"}


def answered(url: str) -> dict[str, Any]:
    """Ask until the service answers, as it says one should."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            answer = httpx.post(f"{url}/v1/predict", json=ASKED, timeout=60, trust_env=False)
            # Until there is an application, Serve's own proxy knows no route.
            if answer.status_code not in (404, 503):
                assert answer.status_code == 200, answer.text
                found: dict[str, Any] = answer.json()
                return found
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "the service did not start"
        time.sleep(0.5)


def serve_command(cluster: Cluster, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ray.serve.scripts", *args, "--address", cluster.dashboard]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=cluster.env)


def featurizer_states(cluster: Cluster) -> list[str]:
    """State of each replica, as Serve tells it."""
    token = Path(cluster.environment["RAY_AUTH_TOKEN_PATH"]).read_text(encoding="utf-8").strip()
    answer = httpx.get(
        f"{cluster.dashboard}/api/serve/applications/",
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    replicas = answer.json()["applications"]["periogt"]["deployments"]["Featurizer"]["replicas"]
    return [replica["state"] for replica in replicas]


@contextmanager
def stopped(pids: Collection[int]) -> Iterator[None]:
    """Keep processes from working: what they are asked waits, and costs no time of the processors."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def new_polymers_asked(url: str, *, n_clients: int) -> Iterator[list[httpx.Response]]:
    """Ask for polymers not seen before until the block ends; the list of answers grows meanwhile."""
    numbers = itertools.count()
    answers: list[httpx.Response] = []
    is_over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
            while not is_over.is_set():
                more, rest = divmod(next(numbers), 16)
                smiles = f"*{'C' * (rest + 1)}O{'C' * (more + 1)}N*"
                answers.append(client.post("/v1/predict", json={"smiles": smiles, "property": "tg"}))

    clients = [threading.Thread(target=ask) for _ in range(n_clients)]
    for client in clients:
        client.start()
    try:
        yield answers
    finally:
        is_over.set()
        for client in clients:
            client.join()


def test_a_service_joins_it_and_a_batch_finds_room_beside(cluster: Cluster, tmp_path: Path) -> None:
    """Both on the two CPUs of one Ray; the end of the service leaves that Ray alone."""
    port = free_port()
    log = tmp_path / "log"
    with log.open("w") as output:
        service = subprocess.Popen(
            [sys.executable, "-m", "periogt_ray", "serve"],
            stdout=output,
            stderr=output,
            env={**cluster.env, "PERIOGT_HOST": "127.0.0.1", "PERIOGT_PORT": str(port)},
        )
    try:
        served = answered(f"http://127.0.0.1:{port}")
        assert service.poll() is None, log.read_text()
        given = tmp_path / "in.csv"
        given.write_text("smiles\n*CC*\n*OCC*\n")
        result = cluster.run("batch", "--input", str(given), "--property", "tg")
        assert result.returncode == 0, result.stderr
        first = (tmp_path / "in_predictions.csv").read_text().splitlines()[1].split(",")
        assert float(first[3]) == served["prediction"]["value"]
    finally:
        service.send_signal(signal.SIGTERM)
        code = service.wait(TIMEOUT_S)
    assert code == 0, log.read_text()
    assert httpx.get(f"{cluster.dashboard}/api/gcs_healthz", timeout=30, trust_env=False).status_code == 200


def test_the_shipped_configuration_is_deployed(cluster: Cluster, tmp_path: Path) -> None:
    """`serve deploy deploy/serve.yaml`, but for the port; under load it has more featurizers than at first."""
    port = free_port()
    configuration = yaml.safe_load((ROOT / "deploy" / "serve.yaml").read_text(encoding="utf-8"))
    configuration["http_options"]["port"] = port
    path = tmp_path / "serve.yaml"
    path.write_text(json.dumps(configuration))
    deployed = serve_command(cluster, "deploy", str(path))
    try:
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        found = answered(f"http://127.0.0.1:{port}")
        assert found["property"] == "tg"
        at_first = len(featurizer_states(cluster))
        assert at_first >= 1
        deadline = time.monotonic() + TIMEOUT_S
        workers = cluster.processes("ServeReplica:periogt:Featurizer")
        with new_polymers_asked(f"http://127.0.0.1:{port}", n_clients=24) as answers, stopped(workers):
            while len(featurizer_states(cluster)) <= at_first:
                assert time.monotonic() < deadline, f"still {at_first} featurizers, though 24 clients wait"
                time.sleep(0.5)
        while featurizer_states(cluster).count("RUNNING") <= at_first:
            assert time.monotonic() < deadline, featurizer_states(cluster)
            time.sleep(0.5)
        assert len(answers) >= 24
        assert not {answer.text for answer in answers if answer.status_code != 200}
    finally:
        ended = serve_command(cluster, "shutdown", "-y")
    assert ended.returncode == 0, ended.stdout + ended.stderr
