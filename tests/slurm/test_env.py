"""How env.sh runs a command in a container, with a program in place of Apptainer that shows what it is given."""

import os
import subprocess
from pathlib import Path

import pytest

from support.slurm_site import ROOT

SHOWS = """#!/usr/bin/env bash
printf 'argument %s\\n' "$@"
env | grep ^APPTAINERENV_ | sort
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "apptainer").write_text(SHOWS)
    (tmp_path / "bin" / "apptainer").chmod(0o755)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "periogt.sif").touch()
    return tmp_path / "base"


def run(base: Path, commands: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    env = {
        "PATH": f"{base.parent}/bin:{os.defpath}",
        "HOME": str(base.parent),
        "PERIOGT_BASE_DIR": str(base),
        "PERIOGT_SITE_ENV": "",  # that of whoever runs the tests is no part of them
        **variables,
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"source {ROOT}/slurm/env.sh; {commands}"],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )


def arguments(result: "subprocess.CompletedProcess[str]") -> list[str]:
    assert result.returncode == 0, result.stderr
    return [line.removeprefix("argument ") for line in result.stdout.splitlines() if line.startswith("argument ")]


def test_a_command_in_the_container(base: Path) -> None:
    extra = base.parent / "in put"
    extra.mkdir()
    given = {
        "PERIOGT_API_KEY": "secret",
        "SLURM_JOB_NODELIST": "n[1-2],m7",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "OTHER": "not for the container",
    }
    result = run(
        base, f"periogt_prepare; periogt_bind '{extra}'; periogt_run periogt predict --smiles '*C C*'", **given
    )
    image = str(base / "periogt.sif")
    binds = ",".join(map(str, (base, base / "results", extra)))
    assert arguments(result) == [
        *("exec", "--cleanenv", "--nv", "--bind", binds, image),
        *("periogt", "predict", "--smiles", "*C C*"),
    ]
    # By the environment, which no other user sees, and whole: as arguments values end at a comma.
    passed = dict(line.split("=", 1) for line in result.stdout.splitlines() if line.startswith("APPTAINERENV_"))
    assert passed["APPTAINERENV_SLURM_JOB_NODELIST"] == "n[1-2],m7"
    assert passed["APPTAINERENV_CUDA_VISIBLE_DEVICES"] == "0,1"
    assert passed["APPTAINERENV_DGLBACKEND"] == "pytorch"
    assert passed["APPTAINERENV_PYTHONNOUSERSITE"] == "1"
    assert passed["APPTAINERENV_PERIOGT_API_KEY"] == "secret"
    assert "APPTAINERENV_OTHER" not in passed
    assert "secret" not in " ".join(arguments(result))


def test_no_gpu_no_nv(base: Path) -> None:
    assert "--nv" not in arguments(run(base, "periogt_run true", SLURM_JOB_ID="1", CUDA_VISIBLE_DEVICES=""))
    assert "--nv" in arguments(run(base, "periogt_run true", SLURM_JOB_ID="1", SLURM_GPUS_ON_NODE="1"))


def test_a_shell_on_another_node_binds_the_same(base: Path) -> None:
    extra = base.parent / "data"
    extra.mkdir()
    inner = f"bash -c 'source {ROOT}/slurm/env.sh; periogt_exec true'"
    words = arguments(run(base, f"periogt_prepare; periogt_bind {extra}; {inner}"))
    assert str(extra) in words[words.index("--bind") + 1].split(",")


@pytest.mark.parametrize(
    ("commands", "variables", "said"),
    [
        ("periogt_run true", {"PERIOGT_CONTAINER": "/srv/no.sif"}, "PERIOGT_CONTAINER (/srv/no.sif) does not exist"),
        ("periogt_run true", {"PERIOGT_CHECKPOINT_DIR": "/srv/none"}, "PERIOGT_CHECKPOINT_DIR is set to /srv/none"),
        ("periogt_run true", {"PERIOGT_RUNTIME": "docker"}, "expected apptainer or venv"),
        ("periogt_bind /srv/none", {}, "/srv/none is not a directory"),
        ("mkdir a,b; periogt_bind $PWD/a,b", {}, "comma or a colon"),
        ("periogt_run true", {"PERIOGT_RUNTIME": "venv", "PERIOGT_VENV": "/srv"}, "/srv has no bin/python"),
    ],
)
def test_what_is_missing_is_said(
    base: Path, monkeypatch: pytest.MonkeyPatch, commands: str, variables: dict[str, str], said: str
) -> None:
    monkeypatch.chdir(base)
    result = run(base, commands, **variables)
    assert result.returncode == 2
    assert said in result.stderr


def test_a_script_that_is_not_submitted_says_how() -> None:
    env = {"PATH": os.defpath, "HOME": "/nonexistent"}
    command = ["bash", str(ROOT / "slurm" / "batch.sbatch"), "--input", "x.csv"]
    result = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert result.returncode == 2
    assert "sbatch [options] slurm/batch.sbatch" in result.stderr


def test_setup_does_not_make_a_misspelt_base_directory(tmp_path: Path) -> None:
    base = tmp_path / "misspelt"
    env = {"PATH": os.defpath, "HOME": str(tmp_path), "PERIOGT_BASE_DIR": str(base), "SLURM_JOB_ID": "1"}
    command = ["bash", str(ROOT / "slurm" / "setup.sbatch"), "--list"]
    result = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert result.returncode == 2
    assert f"PERIOGT_BASE_DIR is set to {base}" in result.stderr
    assert not base.exists()


def test_setup_is_checked_before_there_is_anything(base: Path) -> None:
    """Its own directory is what it is going to make."""
    sbatch = base.parent / "bin" / "sbatch"
    sbatch.write_text("#!/bin/sh\necho sbatch: Job 1 would run >&2\n")
    sbatch.chmod(0o755)
    command = ["bash", str(ROOT / "slurm" / "setup.sbatch"), "--check"]
    env = {"PATH": f"{base.parent}/bin:{os.defpath}", "HOME": str(base.parent), "PERIOGT_BASE_DIR": str(base)}
    env["PERIOGT_CHECKPOINT_DIR"] = str(base / "checkpoints")
    result = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert result.returncode == 0, result.stderr
    assert "everything needed is there" in result.stdout
    assert not (base / "checkpoints").exists()


@pytest.mark.parametrize("script", sorted((ROOT / "slurm").glob("*.sbatch")), ids=lambda path: path.stem)
def test_help_shows_how_a_script_is_submitted(script: Path) -> None:
    """Beside the login node's prompt, before anything is set up."""
    shown = subprocess.run(["bash", str(script), "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert f"sbatch slurm/{script.name}" in shown.stdout or f"[sbatch options] slurm/{script.name}" in shown.stdout
    assert "#" not in shown.stdout
