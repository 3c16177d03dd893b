"""The scripts before anything is queued: what they check, what Slurm says, and how they say it."""

import csv
import subprocess

import pytest

from support.slurm_site import ROOT, SlurmSite

pytestmark = pytest.mark.slurm

SCRIPTS = sorted(path.name for path in (ROOT / "slurm").glob("*.sbatch"))
EXAMPLE = ROOT / "periogt_ray" / "examples" / "polymers.csv"
FITS = ("--mem=4G",)
WITH_INPUT = ("batch.sbatch", "featurize.sbatch")


def check(site: SlurmSite, script: str, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return site.user("bash", f"{ROOT}/slurm/{script}", "--check", *words, **variables)


def measured(site: SlurmSite) -> str:
    """Write a table of measured values, made up, as the user; return its path."""
    with (EXAMPLE.parent / "polymers_120.csv").open(newline="") as file:
        rows = [f"{row['smiles']},{len(row['smiles']) + 0.1 * i}" for i, row in enumerate(csv.DictReader(file))]
    path = f"{site.home}/measured.csv"
    site.call("user", "bash", "-c", f"cat >{path}", stdin="\n".join(["smiles,value", *rows[:40], ""]))
    return path


@pytest.mark.parametrize("script", SCRIPTS)
def test_slurm_takes_every_script(site: SlurmSite, script: str) -> None:
    arguments = ("--", "--input", str(EXAMPLE), "--property", "egc") if script in WITH_INPUT else ()
    if script == "finetune.sbatch":
        arguments = ("--", "--data", measured(site), "--property", "my_length", "--units", "atoms")
    # 32 CPUs are more than a node here has.
    sized = ("--cpus-per-task=2",) if script == "featurize.sbatch" else ()
    result = check(site, script, *FITS, *sized, *arguments, PERIOGT_FEATURE_STORE=str(site.home))
    assert result.returncode == 0, result.stderr
    assert "everything needed is there" in result.stdout


def test_slurm_takes_partition_and_gpus_from_the_site(site: SlurmSite) -> None:
    file = site.home / "site.env"
    text = "export SBATCH_PARTITION={} SBATCH_GRES=gpu:{}:1 SBATCH_MEM_PER_NODE=4G"
    for partition, gpu, said in (
        ("nowhere", "h200", "invalid partition"),
        ("gpu", "a100", "node configuration is not available"),
        ("batch_cnms", "h200", ""),
    ):
        site.call("user", "bash", "-c", f"echo '{text.format(partition, gpu)}' >{file}")
        result = check(site, "predict.sbatch", PERIOGT_SITE_ENV=str(file))
        assert (result.returncode, said in result.stderr) == (2 if said else 0, True), result.stderr
    # Options go before it, and setup needs no GPU.
    options = "sbatch --parsable -p gpu --gres=none --mem=100 --hold"
    submitted = site.user("bash", "-c", f"source {file}; {options} {ROOT}/slurm/setup.sbatch")
    number = submitted.stdout.strip()
    shown = site.user("scontrol", "show", "job", number).stdout
    site.user("scancel", number)
    assert "Partition=gpu" in shown
    assert "gpu:h200" not in shown


@pytest.mark.parametrize(
    ("script", "words", "variables", "said"),
    [
        ("ray_serve.sbatch", ("--partition=nowhere",), {}, "partition"),
        ("ray_serve.sbatch", ("--gres=gpu:a100:1",), {}, "node configuration is not available"),
        ("ray_serve.sbatch", ("--time=3-0",), {}, "time limit"),
        ("ray_serve.sbatch", (), {"PERIOGT_CHECKPOINT_DIR": "/srv/nothing"}, "PERIOGT_CHECKPOINT_DIR is set to"),
        ("ray_serve.sbatch", (), {"PERIOGT_CHECKPOINT_DIR": "/srv"}, "checkpoint_missing"),
        ("ray_serve.sbatch", (), {"PERIOGT_RESULTS_DIR": "/srv/nothing"}, "PERIOGT_RESULTS_DIR is set to"),
        ("ray_serve.sbatch", (), {"PERIOGT_RUNTIME": "docker"}, "PERIOGT_RUNTIME is 'docker'"),
        ("ray_serve.sbatch", (), {"PERIOGT_VENV": "/srv"}, "no bin/python"),
        ("ray_serve.sbatch", (), {"PERIOGT_PORT": "99999"}, "PERIOGT_PORT is '99999'"),
        ("batch.sbatch", ("--", "--property", "egc"), {}, "no input was given"),
        ("batch.sbatch", ("--", "--input", "nothing.csv", "--property", "egc"), {}, "nothing.csv is not a file"),
        ("batch.sbatch", ("--", "--input", str(EXAMPLE)), {}, "no property was given"),
        ("batch.sbatch", ("--", "--input", str(EXAMPLE), "--property", "tg"), {}, "unsupported_property"),
        ("batch.sbatch", ("--", "--input", str(ROOT / "README.md"), "--property", "egc"), {}, "smiles"),
        ("featurize.sbatch", ("--", "--input", str(EXAMPLE)), {}, "PERIOGT_FEATURE_STORE is not set"),
        ("featurize.sbatch", ("--",), {}, "no input was given"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_queued(
    site: SlurmSite, script: str, words: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    result = check(site, script, *FITS, *words, **variables)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_container_that_is_not_there(site: SlurmSite) -> None:
    # Found first on the PATH; never run, because the image is looked for before.
    site.call("user", "mkdir", "-p", f"{site.home}/bin")
    site.call("user", "bash", "-c", f"printf '#!/bin/sh\\nexit 99\\n' >{site.home}/bin/apptainer")
    site.call("user", "chmod", "755", f"{site.home}/bin/apptainer")
    path = f"{site.home}/bin:/usr/bin:/bin"
    result = check(site, "ray_serve.sbatch", PERIOGT_RUNTIME="apptainer", PERIOGT_CONTAINER="/srv/no.sif", PATH=path)
    assert result.returncode == 2
    assert "PERIOGT_CONTAINER (/srv/no.sif) does not exist" in result.stderr
    assert "apptainer/build.sh" in result.stderr


def test_one_prediction_as_a_job(site: SlurmSite) -> None:
    job = site.submit("predict.sbatch", "--smiles", "*CC(*)c1ccccc1", "--property", "egc", options=FITS)
    assert job.wait_until_ended(600) == "COMPLETED"
    answer = (site.home / f"periogt-predict-{job.number}.out").read_text()
    assert '"property": "egc"' in answer


def test_doctor_as_a_job_knows_the_node(site: SlurmSite) -> None:
    job = site.submit("doctor.sbatch", options=FITS)
    job.wait_until_ended(600)
    assert "self-test" in job.log
    assert "FAIL  " not in job.log


def test_a_service_that_cannot_start_says_why_and_leaves_nothing(site: SlurmSite) -> None:
    """A checkpoint that is there and broken passes the check, and fails in the replica."""
    broken = site.home / "broken"
    site.call("user", "cp", "-r", str(ROOT / "periogt_ray" / "embedded"), str(broken))
    # Same size, other bytes: only loading finds out.
    weights = f"{broken}/pretrained_ckpt/base.safetensors"
    site.call(
        "user", "bash", "-c", f"head -c $(stat -c %s {weights}) /dev/zero >{weights}.new; mv {weights}.new {weights}"
    )
    job = site.submit("ray_serve.sbatch", PERIOGT_CHECKPOINT_DIR=str(broken))
    assert job.wait_until_ended(900) == "FAILED"
    assert "ExitCode=2:0" in site.user("scontrol", "show", "job", str(job.number)).stdout
    assert "model_load_failed" in job.log
    site.assert_nothing_left(job)
