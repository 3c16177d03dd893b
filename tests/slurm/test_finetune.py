"""A finetuning as a job, through preemption and the end of its time."""

import csv
import json
from pathlib import Path

import pytest

from periogt_ray.artifacts.packages import read_package
from support.slurm_site import ROOT, START_S, Job, SlurmSite, wait_for

pytestmark = pytest.mark.slurm

EXAMPLE = ROOT / "periogt_ray" / "examples" / "polymers_120.csv"
N_POLYMERS = 24


def measured(site: SlurmSite) -> str:
    """Write a table of values, made up, as the user; return its path."""
    with EXAMPLE.open(newline="") as file:
        smiles = sorted({row["smiles"] for row in csv.DictReader(file)}, key=lambda text: (len(text), text))
    path = f"{site.home}/to_learn.csv"
    rows = [f"{text},{len(text) + 0.1 * i}" for i, text in enumerate(smiles[:N_POLYMERS])]
    site.call("user", "bash", "-c", f"cat >{path}", stdin="\n".join(["smiles,value", *rows, ""]))
    return path


def submit(site: SlurmSite, output: Path) -> Job:
    given = ("--data", measured(site), "--property", "my_length", "--units", "atoms", "--output", str(output))
    how = ("--folds", "2", "--members", "2", "--epochs", "12", "--freeze")
    # Equal bytes are promised on one thread.
    return site.submit("finetune.sbatch", *given, *how, OMP_NUM_THREADS="1")


def content(output: Path) -> dict[str, bytes]:
    """Return the files that follow from the data, which times do not."""
    package = read_package(output)
    assert package.problems() == []
    return {name: (output / name).read_bytes() for name in package.files if name != "run.json"}


def wait_for_network(job: Job, output: Path, name: str) -> None:
    path = output / ".work" / "networks" / f"{name}.safetensors"

    def is_there() -> bool:
        assert not job.has_ended, job.log[-3000:]
        return path.exists()

    wait_for(is_there, START_S, lambda: f"{name} is trained:\n{job.log[-3000:]}")


def test_preemption_and_the_end_of_the_time_change_nothing(site: SlurmSite) -> None:
    """One job, put back twice, ends with the bytes of one that nothing disturbs."""
    whole, output = site.home / "whole" / "my_length", site.home / "disturbed" / "my_length"
    undisturbed = submit(site, whole)
    assert undisturbed.wait_until_ended(2 * START_S) == "COMPLETED", undisturbed.log[-3000:]
    job = submit(site, output)
    wait_for_network(job, output, "member-0")
    # As Slurm does before the wall time (--signal=B:TERM): the script puts the job back itself.
    job.cancel("--batch", "--signal=TERM")
    job.wait_until_logged("this job goes back into the queue", START_S)
    job.wait_until_left()
    wait_for_network(job, output, "member-1")
    # As preemption does: Slurm ends the job and puts it back.
    assert site.call("login", "scontrol", "requeue", str(job.number)).returncode == 0
    job.wait_until_left()
    assert not (output / "package.json").exists()
    assert job.wait_until_ended(2 * START_S) == "COMPLETED", job.log[-3000:]
    assert content(output) == content(whole)
    assert json.loads(job.log.splitlines()[-1])["property"] == "my_length"
    site.assert_nothing_left(job)
