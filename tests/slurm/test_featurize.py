"""Features ahead, by an array of jobs; then a batch that finds them."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.slurm_site import ROOT, START_S, SlurmSite, wait_for

pytestmark = pytest.mark.slurm

EXAMPLE = ROOT / "periogt_ray" / "examples" / "polymers.csv"
GIVEN = ("--input", str(EXAMPLE), "--property", "egc")


def sizes(store: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in store.rglob("*.segment")}


@pytest.fixture(scope="module")
def filled(site: SlurmSite) -> tuple[Path, list[dict[str, Any]]]:
    """A store that an array of two jobs has filled, and their summaries."""
    store = site.home / "features"
    assert site.user("mkdir", "-m", "700", str(store)).returncode == 0
    job = site.submit("featurize.sbatch", *GIVEN, options=("--array=1-2",), PERIOGT_FEATURE_STORE=str(store))

    def logs() -> list[str]:
        return [log.read_text() for log in sorted(site.home.glob("periogt-featurize-*.log"))]

    wait_for(lambda: [log.count('"n_done"') for log in logs()] == [1, 1], START_S, lambda: f"tasks end: {logs()}")
    job.wait_until_ended()
    return store, [json.loads(log.splitlines()[-1]) for log in logs()]


def test_tasks_of_an_array_take_a_share_each(filled: tuple[Path, list[dict[str, Any]]]) -> None:
    store, summaries = filled
    assert sorted(one["share"] for one in summaries) == ["1/2", "2/2"]
    n_rows = len(EXAMPLE.read_text().splitlines()) - 1
    assert sum(one["n_done"] for one in summaries) == sum(one["n_computed"] for one in summaries) == n_rows
    assert len(sizes(store)) == 2


def test_a_batch_finds_what_they_computed(site: SlurmSite, filled: tuple[Path, list[dict[str, Any]]]) -> None:
    store, _ = filled
    before = sizes(store)
    output = site.home / "featurized.csv"
    batch = site.submit("batch.sbatch", *GIVEN, "--output", str(output), PERIOGT_FEATURE_STORE=str(store))
    assert batch.wait_until_ended(START_S) == "COMPLETED", batch.log[-3000:]
    assert sizes(store) == before
    site.assert_nothing_left(batch)
