"""The service as a job: from sbatch to an answer through the tunnel, what strangers get, and its end.

One job on two nodes serves all tests but the last; the one before it ends that job.
"""

import csv
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from support.slurm_site import ROOT, START_S, Job, SlurmSite, wait_for

pytestmark = pytest.mark.slurm

EXAMPLE = ROOT / "periogt_ray" / "examples" / "polymers.csv"
ADDRESS = "10.77.0.11"  # of n1
NODE_ONE = ("--nodelist=n1",)
READY = "\nend     scancel"
GCS = "/gcs_server --"


@pytest.fixture(scope="module")
def served(site: SlurmSite) -> Iterator[Job]:
    """A service on n1 and n2."""
    job = site.submit("ray_serve.sbatch", options=("--nodes=2",))
    job.wait_until_logged(READY)
    yield job
    if not job.has_ended:
        job.cancel()
        job.wait_until_ended()


def note(job: Job) -> dict[str, str]:
    """Return the values of the connection file, without its remarks."""
    lines = (job.directory / "connection.txt").read_text().splitlines()
    return {label: value.split("     #")[0].strip() for label, value in (line.split(None, 1) for line in lines)}


def test_two_nodes_are_one_ray(served: Job) -> None:
    site = served.site
    assert "Ray runs on n1, n2" in served.log
    assert all(any("raylet" in line for line in site.processes(node)) for node in ("n1", "n2"))
    ask = ("curl", "--silent", "-H", f"X-Api-Key: {served.key}", "-H", "Content-Type: application/json", "--data")
    body = '{"smiles": "*CC*", "property": "egc"}'
    answer = site.user(*ask, body, f"http://n1:{served.addresses['http_port']}/v1/predict")
    assert json.loads(answer.stdout)["prediction"]["units"] == "eV"


def test_files_are_for_alice_alone(served: Job) -> None:
    assert served.directory.stat().st_mode & 0o777 == 0o700
    names = {"api-key", "cluster.json", "connection.txt", "environment", "ray-job.env", "ray-token"}
    assert {path.name: path.stat().st_mode & 0o077 for path in served.directory.iterdir()} == dict.fromkeys(names, 0)
    # Ray opens its own directory to everybody; the one around it is closed.
    private = [path for path in served.site.files("n1") if "/pgt-" in path]
    assert [served.site.node("n1", "stat", "--format=%a", path).strip() for path in private] == ["700"]
    assert served.key not in served.log


def test_the_tunnel_leads_from_a_laptop_to_the_service(served: Job) -> None:
    """With the commands of the note, as they are there."""
    site, said = served.site, note(served)
    assert said["job"] == f"{served.number} on n1"
    port = served.addresses["http_port"]
    direct = site.call("laptop", "curl", "--silent", "--max-time", "5", f"http://{ADDRESS}:{port}/v1/health")
    assert direct.returncode == 7, "the laptop has a way to the node without the tunnel"
    options = f"-F {site.state}/sshd/ssh_config -f -M -S {site.state}/control"
    tunnel = said["tunnel"].replace("ssh ", f"ssh {options} ", 1)
    assert site.call("laptop", "bash", "-c", tunnel).returncode == 0
    try:
        ask = f"curl --silent --output /dev/null --write-out %{{http_code}} {said['url']}/v1/health"
        assert site.call("laptop", "bash", "-c", ask).stdout == "401"
        smoke = [f"{ROOT}/scripts/smoke_test.sh", said["url"]]
        result = site.call("laptop", "env", f"PERIOGT_API_KEY={served.key}", *smoke, timeout=600)
        assert result.returncode == 0, result.stdout + result.stderr
    finally:
        site.call("laptop", "ssh", "-S", f"{site.state}/control", "-O", "exit", "login")


def probe(served: Job, *, as_alice: bool = False) -> dict[str, Any]:
    secrets = f"{served.key} {(served.directory / 'ray-token').read_text()}"
    command = [sys.executable, str(ROOT / "tests" / "support" / "strangers.py"), ADDRESS]
    if as_alice:
        token = f"RAY_AUTH_TOKEN_PATH={served.directory}/ray-token"
        output = served.site.call("node", "n1", "env", token, *command, timeout=600, stdin=secrets).stdout
    else:
        output = served.site.other("n1", *command, timeout=600, stdin=secrets)
    found: dict[str, Any] = json.loads(output)
    return found


def test_a_stranger_on_the_node_gets_nowhere(served: Job) -> None:
    found = probe(served)
    port, dashboard = served.addresses["http_port"], str(served.addresses["dashboard"]).removeprefix("http://")
    pages = {where: set(answers) for where, answers in found["http"].items() if answers}
    # The shell of Ray's page, without data, on the node itself; nothing of what it would show.
    assert pages.pop(dashboard, {"/"}) == {"/"}
    # The service's own page may be asked for without the key; what is below /v1 may not.
    assert all(answers <= {"/"} for where, answers in pages.items() if where.endswith(f":{port}")), pages
    assert not {where for where in pages if not where.endswith(f":{port}")}, pages
    statuses = {status for answers in found["grpc"].values() for status in answers.values()}
    assert statuses == {"UNAUTHENTICATED"}
    assert found["leaks"] == []
    wait_for(lambda: served.state == "RUNNING", 5, lambda: "the service bears being asked")


def test_what_strangers_are_refused_would_be_there(served: Job) -> None:
    """The same calls with the token are answered, and root sees the secrets: the test above can fail."""
    found = probe(served, as_alice=True)
    answered = {
        call.split("/")[1] for answers in found["grpc"].values() for call, status in answers.items() if status == "OK"
    }
    assert {
        "ray.rpc.NodeInfoGcsService",
        "ray.rpc.NodeManagerService",
        "ray.rpc.ObjectManagerService",
        "ray.rpc.CoreWorkerService",
        "ray.rpc.ReporterService",
    } <= answered
    assert any("environ" in path for path in found["leaks"])


def test_a_stranger_with_ray_gets_nowhere(served: Job) -> None:
    """The ordinary clients, without a token and with another."""
    site = served.site
    ray = f"{sys.prefix}/bin/python -m ray.scripts.scripts"
    wrong = f"umask 077; echo {'0' * 64} >~/wrong; export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=~/wrong;"
    submit = f"{ray} job submit --address {served.addresses['dashboard']} --no-wait -- true"
    for prepare in ("", wrong):
        result = site.call("other", "n1", "bash", "-c", f"{prepare} {submit}", timeout=600)
        assert result.returncode != 0
        assert "submitted successfully" not in result.stdout + result.stderr
    for name in ("api-key", "ray-token", "cluster.json"):
        assert site.other("n1", "cat", f"{served.directory}/{name}") == ""


@pytest.fixture
def rays_of_others(served: Job) -> Iterator[None]:
    """What the node shows of the Rays of other users: a command line with their addresses."""
    addresses = " ".join(f"--gcs-address=192.0.2.{n}:6379" for n in range(1, 20))
    program = f"exec -a raylet {sys.executable} -c 'import signal; signal.pause()' {addresses}"
    pid = served.site.other("n1", "bash", "-c", f"{program} </dev/null >/dev/null 2>&1 & echo $!").strip()
    assert "raylet" in served.site.node("n1", "ps", "-o", "args=", "-p", pid)
    yield
    served.site.other("n1", "kill", pid)


@pytest.mark.usefixtures("rays_of_others")
def test_ray_job_submit_of_a_csv(served: Job) -> None:
    """With the command of the note, on a node that others use, too."""
    site = served.site
    output = site.home / "submitted.csv"
    command = note(served)["batch"].replace("/absolute/in.csv", str(EXAMPLE)).replace("/absolute/out.csv", str(output))
    result = site.call("user", "bash", "-c", command, timeout=1200)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(EXAMPLE.read_text().splitlines()) - 1
    assert {row["ok"] for row in rows} == {"true"}


def test_two_jobs_of_one_user_share_a_node(served: Job) -> None:
    """A batch begins, works and ends beside the service, which does not notice."""
    site = served.site
    before = set(site.processes("n1"))
    output = site.home / "beside.csv"
    arguments = ("--input", str(EXAMPLE), "--property", "egc", "--output", str(output))
    batch = site.submit("batch.sbatch", *arguments, options=NODE_ONE)
    batch.wait_until_logged("Ray runs on")
    ports = {str(value) for value in batch.addresses.values()} & {str(value) for value in served.addresses.values()}
    assert ports == {"n1"}, "addresses that both clusters use"
    assert batch.wait_until_ended(START_S) == "COMPLETED", batch.log[-3000:]
    assert output.exists()
    assert {line for line in before if "gcs_server" in line or "raylet" in line} <= set(site.processes("n1"))
    health = [
        "curl",
        "--silent",
        "-H",
        f"X-Api-Key: {served.key}",
        f"http://n1:{served.addresses['http_port']}/v1/health",
    ]
    assert '"status":"ok"' in site.user(*health).stdout
    assert not batch.directory.exists()


def test_the_warning_before_the_wall_time_drains(served: Job) -> None:
    """What is open when Slurm warns is answered; then nothing is left."""
    site, job = served.site, served
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


def test_a_head_whose_ray_dies_says_so(site: SlurmSite) -> None:
    job = site.submit("ray_serve.sbatch", options=NODE_ONE)
    job.wait_until_logged("Ray runs on")
    [pid] = [line.split()[0] for line in site.node("n1", "ps", "-eww", "-o", "pid=,args=").splitlines() if GCS in line]
    site.node("n1", "kill", "-KILL", pid)
    assert job.wait_until_ended(START_S) == "FAILED"
    assert "error [internal_error]: Ray ended on n1" in job.log
    site.assert_nothing_left(job)
