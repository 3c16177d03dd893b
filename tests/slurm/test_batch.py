"""A CSV as a job: on two nodes, through preemption and the end of its time, and without cgroups."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from periogt_ray.batch.parts import PartsDirectory
from support.slurm_site import ROOT, START_S, Job, SlurmSite, running_site, wait_for

pytestmark = pytest.mark.slurm

EXAMPLE = ROOT / "periogt_ray" / "examples" / "polymers_120.csv"
N_ROWS = 120


def submit(site: SlurmSite, output: Path, *options: str) -> Job:
    arguments = ("--input", str(EXAMPLE), "--property", "egc,nc", "--output", str(output), "--part-size", "4")
    return site.submit("batch.sbatch", *arguments, options=options)


def rows(output: Path) -> list[dict[str, Any]]:
    """Return the rows without the ids that differ between runs."""
    with output.open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "request_id"} for row in csv.DictReader(file)]


def n_finished(output: Path) -> int:
    return len(PartsDirectory(output).finished())


def wait_until_works(job: Job, output: Path, more_than: int) -> None:
    """Wait until a run has finished parts of its own."""

    def works() -> bool:
        assert not job.has_ended, job.log[-3000:]
        return n_finished(output) > more_than

    wait_for(works, START_S, lambda: f"parts are finished:\n{job.log[-3000:]}")


@pytest.fixture(scope="module")
def whole(site: SlurmSite) -> list[dict[str, Any]]:
    """What a run on two nodes writes that nothing disturbs."""
    output = site.home / "whole.csv"
    job = submit(site, output, "--nodes=2")
    assert job.wait_until_ended(2 * START_S) == "COMPLETED", job.log[-3000:]
    assert "Ray runs on n1, n2" in job.log
    site.assert_nothing_left(job)
    return rows(output)


def test_every_row_and_property_in_order(whole: list[dict[str, Any]]) -> None:
    with EXAMPLE.open(newline="") as file:
        expected = [(row["id"], name) for row in csv.DictReader(file) for name in ("egc", "nc")]
    assert [(row["id"], row["property"]) for row in whole] == expected
    assert len(whole) == 2 * N_ROWS
    assert {row["ok"] for row in whole} == {"true"}


def test_preemption_and_the_end_of_the_time_change_nothing(site: SlurmSite, whole: list[dict[str, Any]]) -> None:
    """One job, put back twice, writes what an undisturbed one does."""
    output = site.home / "disturbed.csv"
    job = submit(site, output, "--nodes=1")
    wait_until_works(job, output, 0)
    # As preemption does: Slurm ends the job and puts it back.
    assert site.call("login", "scontrol", "requeue", str(job.number)).returncode == 0
    job.wait_until_left()
    kept = n_finished(output)
    assert kept > 0
    assert not output.exists()
    wait_until_works(job, output, kept)
    # As Slurm does before the wall time (--signal=B:TERM): the script puts the job back itself.
    job.cancel("--batch", "--signal=TERM")
    job.wait_until_logged("this job goes back into the queue", 120)
    job.wait_until_left()
    assert n_finished(output) > kept
    assert job.wait_until_ended(2 * START_S) == "COMPLETED", job.log[-3000:]
    assert rows(output) == whole
    assert not Path(f"{output}.parts").exists()
    site.assert_nothing_left(job)


def test_a_finished_job_submitted_again_does_nothing(site: SlurmSite, whole: list[dict[str, Any]]) -> None:
    output = site.home / "whole.csv"
    before = output.stat().st_mtime_ns
    job = submit(site, output, "--nodes=1")
    assert job.wait_until_ended(START_S) == "COMPLETED", job.log[-3000:]
    assert "nothing is left to do" in job.log
    assert output.stat().st_mtime_ns == before
    assert rows(output) == whole


@pytest.fixture
def site_without_cgroups() -> Iterator[SlurmSite]:
    with running_site(Path("/srv/periogt-slurm-tests-2"), CLUSTER_CGROUP="0", CLUSTER_NODES="2") as found:
        yield found


def test_scancel_where_slurm_tracks_processes_by_their_parents(site_without_cgroups: SlurmSite) -> None:
    """Such a site leaves what has lost its parent; the job itself ends all of it."""
    site = site_without_cgroups
    output = site.home / "cancelled.csv"
    job = submit(site, output, "--nodes=2")
    job.wait_until_logged("featurizers")
    job.cancel()
    assert job.wait_until_ended() == "CANCELLED"
    site.assert_nothing_left(job)
    assert not output.exists()
