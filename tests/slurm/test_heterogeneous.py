"""One Ray over a heterogeneous job: a component with a GPU, of which there are only device files, and one without."""

import sys

import pytest

from support.slurm_site import ROOT, SlurmSite

pytestmark = pytest.mark.slurm

EXAMPLE = ROOT / "periogt_ray" / "examples" / "polymers_120.csv"
# Command line of sbatch: a component on each side of the colon. The head is the node with the GPU, the later one here.
WITH_GPU = ("--nodelist=n2", "--gres=gpu:h200:1")
WITHOUT = (":", "--nodelist=n1", "--gres=none", "--partition=batch_cnms", "--nodes=1", "--ntasks-per-node=1")


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
