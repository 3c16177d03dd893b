"""One Ray over a heterogeneous job: a component with a GPU, of which there are only device files, and one without."""

import csv
import os
import sys
from pathlib import Path

import pytest

from support.slurm_site import ROOT, START_S, SlurmSite

pytestmark = pytest.mark.slurm

EXAMPLE = ROOT / "periogt_ray" / "examples" / "polymers_120.csv"
PLACES = ROOT / "tests" / "support" / "places"
# Command line of sbatch: a component on each side of the colon. The head is the node with the GPU, the later one here.
WITH_GPU = ("--nodelist=n2", "--gres=gpu:h200:1")
WITHOUT = (":", "--nodelist=n1", "--gres=none", "--partition=batch_cnms", "--nodes=1", "--ntasks-per-node=1")
SIZED = ("--cpus-per-task=3", "--mem=5G", "--time=30")


# In place of the package's Python: says what it read of the job.
SAYS = f"""#!/bin/sh
exec {sys.executable} -c '
import os
from periogt_ray.slurm.job import SlurmJob
print(SlurmJob.from_env(os.environ), os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)'
"""


def test_each_node_reads_what_its_component_has(site: SlurmSite) -> None:
    """Without Ray: what the script starts on the nodes, and what Slurm tells it there."""
    says = site.home / "says" / "bin" / "python"
    site.call("user", "mkdir", "-p", str(says.parent))
    site.call("user", "bash", "-c", f"cat >{says}; chmod 755 {says}", stdin=SAYS)
    given = ("--input", str(EXAMPLE), "--property", "egc", "--output", str(site.home / "none.csv"))
    options = (*WITH_GPU, *WITHOUT, "--cpus-per-task=3", "--mem=5G")
    job = site.submit("batch.sbatch", *given, options=options, PERIOGT_VENV=str(says.parents[1]))
    job.wait_until_ended()
    nodes = "nodes=('n2', 'n1')"
    of_job = f"job_id={job.number}, {nodes}, node_index="
    assert f"{of_job}0, n_cpus=2, n_gpus=1, memory_bytes={6 << 30}, n_restarts=0) 0" in job.log
    assert f"{of_job}1, n_cpus=3, n_gpus=0, memory_bytes={5 << 30}, n_restarts=0) None" in job.log


def submitted(site: SlurmSite, output: Path, **variables: str) -> tuple[str, str]:
    """Run a batch on both components; return state and log."""
    given = ("--input", str(EXAMPLE), "--property", "egc", "--output", str(output), "--part-size", "4")
    options = (*WITH_GPU, *WITHOUT, *SIZED)
    job = site.submit("batch.sbatch", *given, options=options, **variables)
    state = job.wait_until_ended(2 * START_S)
    site.assert_nothing_left(job)
    return state, job.log


@pytest.mark.full
def test_predictors_are_on_the_gpu_node_and_featurizers_on_both(site: SlurmSite) -> None:
    places = site.home / "places"
    assert site.user("mkdir", str(places)).returncode == 0
    output = site.home / "heterogeneous.csv"
    variables = {"PERIOGT_DEVICE": "cuda", "PLACES": str(places), "PYTHONPATH": str(PLACES)}
    state, log = submitted(site, output, **variables)
    assert state == "COMPLETED", log[-4000:]
    # The CPUs, memory and GPUs of each are its own.
    assert "Ray runs on n2, n1" in log
    n_cpus = len(os.sched_getaffinity(0))
    assert f"n2: {min(2, n_cpus)} CPUs, 1 GPUs" in log
    assert f"n1: {min(3, n_cpus)} CPUs, 0 GPUs" in log
    assert {path.name for path in places.iterdir()} == {"featurizer-n1", "featurizer-n2", "predictor-0-n2"}
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120
    assert {row["ok"] for row in rows} == {"true"}
