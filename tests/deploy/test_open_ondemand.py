"""The Open OnDemand app: what its job starts and with what, by the job script that its source describes."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

APP = Path(__file__).parents[2] / "deploy" / "ood"

# The parts of a job of the `basic` template, in their order: helpers, before.sh, script.sh, after.sh, connection file.
JOB = """
find_port() { echo 23456; }
port_used() { [ -e listening ]; }
create_passwd() { printf 'k%.0s' $(seq "$1"); }
clean_up() { exit "${1:-0}"; }
host=d1021
export host port
source before.sh
./script.sh &
SCRIPT_PID=$!
source after.sh
(umask 077; printf 'host: %s\\nport: %s\\npassword: %s\\n' "$host" "$port" "$password" >connection.yml)
wait ${SCRIPT_PID} || clean_up 1
clean_up
"""
SERVICE = """#!/bin/bash
trap 'echo drained >>record; exit 0' TERM
echo "$PERIOGT_BASE_DIR $PERIOGT_RUNTIME ${PERIOGT_VENV-} $PERIOGT_HOST $PERIOGT_PORT $PERIOGT_API_KEY" >record
[[ -z ${password+set} ]] || echo "the key is twice in the environment" >>record
"""


def rendered(name: str, **context: str) -> str:
    """Fill in a template that has nothing but quoted values of the form."""
    text = (APP / "template" / name).read_text(encoding="utf-8")
    text = re.sub(r"<%= context\.(\w+)\.shellescape %>", lambda found: shlex.quote(context[found[1]]), text)
    assert "<%" not in text
    return text


@pytest.fixture
def session(tmp_path: Path) -> Path:
    repository = tmp_path / "a checkout"
    (repository / "slurm").mkdir(parents=True)
    (repository / "slurm" / "ray_serve.sbatch").write_text(SERVICE)
    context = {"base_dir": "/projects/lab/periogt", "runtime": "venv", "repository": str(repository)}
    for name in ("before.sh", "script.sh", "after.sh"):
        (tmp_path / name).write_text(rendered(f"{name}.erb", **context))
    (tmp_path / "script.sh").chmod(0o755)
    (tmp_path / "job.sh").write_text(JOB)
    return tmp_path


def service(session: Path, *lines: str) -> None:
    with (session / "a checkout" / "slurm" / "ray_serve.sbatch").open("a") as file:
        file.write("\n".join(lines) + "\n")


def test_the_job_starts_the_service_with_port_and_key(session: Path) -> None:
    service(session, "touch listening", "sleep 1")
    done = subprocess.run(["bash", "job.sh"], cwd=session, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    key = "k" * 32
    expected = f"/projects/lab/periogt venv /projects/lab/periogt/conda 0.0.0.0 23456 {key}\n"
    assert (session / "record").read_text() == expected
    connection = session / "connection.yml"
    assert yaml.safe_load(connection.read_text()) == {"host": "d1021", "port": 23456, "password": key}
    assert connection.stat().st_mode & 0o077 == 0


def test_a_service_that_does_not_start_ends_the_job_at_once(session: Path) -> None:
    service(session, "exit 2")
    done = subprocess.run(["bash", "job.sh"], cwd=session, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "output.log" in done.stderr
    assert not (session / "connection.yml").exists()


def test_the_signal_before_the_end_lets_the_service_finish(session: Path) -> None:
    service(session, "touch listening", "while :; do sleep 0.1; done")
    with subprocess.Popen(["bash", "job.sh"], cwd=session) as job:
        while not (session / "connection.yml").exists():
            assert job.poll() is None
        job.terminate()
        job.wait(timeout=60)
    assert (session / "record").read_text().splitlines()[-1] == "drained"


def test_form_asks_for_all_that_the_templates_use() -> None:
    form = yaml.safe_load((APP / "form.yml").read_text(encoding="utf-8"))
    assert set(form["form"]) == set(form["attributes"])
    assert form["attributes"]["repository"]["required"]
    used = set(re.findall(r"context\.(\w+)", "".join(path.read_text() for path in (APP / "template").iterdir())))
    submit = (APP / "submit.yml.erb").read_text(encoding="utf-8")
    used |= {name for name in form["form"] if re.search(rf"\b{name}\b", submit)}
    assert used == set(form["form"])
    assert yaml.safe_load((APP / "manifest.yml").read_text(encoding="utf-8"))["role"] == "batch_connect"


def test_the_link_is_relative_to_the_node() -> None:
    view = (APP / "view.html.erb").read_text(encoding="utf-8")
    assert re.findall(r'href="([^"]*)"', view) == ["/rnode/<%= host %>/<%= port %>/"]
