"""How a service on nodes ends: nothing is lost that need not be, and nothing is left."""

import json
import threading

import pytest

from support.slurm_site import START_S, SlurmSite, wait_for

pytestmark = pytest.mark.slurm

NODE_ONE = ("--nodelist=n1",)
READY = "\nend     scancel"
GCS = "/gcs_server --"


def test_the_warning_before_the_wall_time_drains(site: SlurmSite) -> None:
    """What is open when Slurm warns is answered; then nothing is left."""
    job = site.submit("ray_serve.sbatch", options=NODE_ONE)
    job.wait_until_logged(READY)
    items = [{"smiles": f"*C{'C' * n}C(*)c1ccccc1", "property": "egc"} for n in range(30)]
    address = f"http://n1:{job.addresses['http_port']}/v1/predict/batch"
    header = ("-H", f"X-Api-Key: {job.key}", "-H", "Content-Type: application/json")
    answers: list[str] = []
    ask = ("curl", "--silent", "--max-time", "300", *header, "--data-binary", "@-", address)
    body = json.dumps({"items": items})
    client = threading.Thread(target=lambda: answers.append(site.call("user", *ask, stdin=body).stdout))
    client.start()
    wait_for(lambda: f"{job.addresses['http_port']}" in site.node("n1", "ss", "-tn"), 60, lambda: "the request is sent")
    # As Slurm does at the time that --signal=B:TERM@120 names: to the batch script alone.
    job.cancel("--batch", "--signal=TERM")
    client.join(300)
    values = [result["prediction"]["value"] for result in json.loads(answers[0])["results"]]
    assert len(values) == len(items)
    assert job.wait_until_ended() == "COMPLETED", job.log[-3000:]
    assert "open requests are answered" in job.log
    site.assert_nothing_left(job)


def test_two_nodes_and_scancel(site: SlurmSite) -> None:
    job = site.submit("ray_serve.sbatch", options=("--nodes=2",))
    job.wait_until_logged(READY)
    assert "Ray runs on n1, n2" in job.log
    assert all(any("raylet" in line for line in site.processes(node)) for node in ("n1", "n2"))
    ask = ("curl", "--silent", "-H", f"X-Api-Key: {job.key}", "-H", "Content-Type: application/json", "--data")
    body = '{"smiles": "*CC*", "property": "egc"}'
    answer = site.user(*ask, body, f"http://n1:{job.addresses['http_port']}/v1/predict")
    assert json.loads(answer.stdout)["prediction"]["units"] == "eV"
    job.cancel()
    assert job.wait_until_ended() == "CANCELLED"
    site.assert_nothing_left(job)


def test_a_head_whose_ray_dies_says_so(site: SlurmSite) -> None:
    job = site.submit("ray_serve.sbatch", options=NODE_ONE)
    job.wait_until_logged("Ray runs on")
    [pid] = [line.split()[0] for line in site.node("n1", "ps", "-e", "-o", "pid=,args=").splitlines() if GCS in line]
    site.node("n1", "kill", "-KILL", pid)
    assert job.wait_until_ended(START_S) == "FAILED"
    assert "error [internal_error]: Ray ended on n1" in job.log
    site.assert_nothing_left(job)
