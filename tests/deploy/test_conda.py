"""deploy/conda: what conda is asked for, what pip installs, and what activation changes."""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONDA = ROOT / "deploy" / "conda"
LOCKED = {line.split("==")[0].lower() for line in (ROOT / "requirements.lock").read_text().splitlines()}

# Knows `env create` and `env update` alone; the environment is one of Python's own that sees the packages of the
# tests' environment, so that pip finds everything but the package itself installed.
FAKE = """#!/bin/sh
echo "$@" >>"$RECORD"
[ "$1 $3 $4 $6" = "env --quiet --prefix --file" ] || exit 64
[ -z "$CONDA_FAILS" ] || exit 1
case $2 in
create) [ ! -e "$5" ] || exit 65; "{python}" -m venv "$5"; mkdir "$5/conda-meta"
  echo "{packages}" >"$5/lib/python3.11/site-packages/seen.pth" ;;
update) [ -d "$5/conda-meta" ] || exit 66 ;;
*) exit 64 ;;
esac
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conda")
    (folder / "bin").mkdir()
    fake = FAKE.replace("{python}", sys.executable).replace("{packages}", sysconfig.get_paths()["purelib"])
    (folder / "bin" / "conda").write_text(fake)
    (folder / "bin" / "conda").chmod(0o755)
    return folder


def install(place: Path, *arguments: str, path: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": path or f"{place / 'bin'}:/usr/bin:/bin",
        "HOME": str(place),
        "RECORD": str(place / "record"),
        "PYTHONPATH": "/nonexistent",
        **variables,
    }
    command = [str(CONDA / "install.sh"), "--prefix", str(place / "environment"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_installs_in_two_steps_and_does_nothing_the_second_time(place: Path) -> None:
    import torch

    version = torch.__version__.partition("+")[0]
    wanted = ("--torch-version", version, "--torch-index", "https://pypi.org/simple")
    failed = install(place, *wanted, CONDA_FAILS="1")
    assert failed.returncode == 2
    assert "step 1 failed" in failed.stderr
    done = install(place, *wanted)
    assert done.returncode == 0, done.stderr
    prefix = place / "environment"
    calls = (place / "record").read_text().splitlines()
    assert calls == [f"env create --quiet --prefix {prefix} --file {CONDA / 'environment.yml'}"] * 2
    where = [prefix / "bin" / "python", "-I", "-c", "import periogt_ray; print(periogt_ray.__file__)"]
    found = subprocess.run(where, cwd=place, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(prefix)), "the package itself, not the checkout"
    assert (prefix / "share" / "periogt" / "requirements.lock").read_text() == (ROOT / "requirements.lock").read_text()
    again = install(place, *wanted)
    assert "up to date" in again.stderr
    assert (place / "record").read_text().splitlines() == calls


def test_refuses_with_what_to_do(place: Path, tmp_path: Path) -> None:
    done = install(place, path="/usr/bin:/bin")
    assert done.returncode == 2
    assert "module avail conda" in done.stderr
    (tmp_path / "mine").mkdir()
    done = install(place, "--prefix", str(tmp_path / "mine"))
    assert done.returncode == 2
    assert "not a Conda environment" in done.stderr
    assert install(place, "--bogus").returncode == 2


@pytest.mark.parametrize(
    ("before", "inside", "after"),
    [
        ({}, "pytorch 1", "unset unset"),
        ({"DGLBACKEND": "mxnet", "PYTHONNOUSERSITE": ""}, "pytorch 1", "mxnet "),
    ],
)
def test_hooks_set_and_put_back(before: dict[str, str], inside: str, after: str) -> None:
    show = 'echo "${DGLBACKEND-unset} ${PYTHONNOUSERSITE-unset}"'
    script = f". {CONDA}/activate.sh; {show}; . {CONDA}/deactivate.sh; {show}; set | grep -c '^_periogt' || true"
    for shell in ("bash", "dash"):
        done = subprocess.run([shell, "-c", script], env={"PATH": "/usr/bin:/bin", **before}, capture_output=True)
        assert done.stdout.decode().splitlines() == [inside, after, "0"]


def test_conda_brings_nothing_that_the_lock_file_pins() -> None:
    document = yaml.safe_load((CONDA / "environment.yml").read_text(encoding="utf-8"))
    assert all(isinstance(entry, str) for entry in document["dependencies"]), "pip's part is the script's"
    names = {re.split(r"[=<>]", entry)[0] for entry in document["dependencies"]}
    assert not names & LOCKED
    assert "python=3.11" in document["dependencies"]
    assert 'requires-python = ">=3.11,<3.14"' in (ROOT / "pyproject.toml").read_text()
