"""The groups of tests that share a worker."""

from pathlib import Path

import pytest

from support.tiers import GROUPS, LONG, group_of

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", [*GROUPS, *LONG])
def test_what_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_tests_of_a_group_share_a_worker() -> None:
    slurm = [group_of(f"tests/slurm/test_{module}.py::test_one[a::b]") for module in ("batch", "service", "job")]
    assert slurm == ["site", "site", "tests/slurm/test_job.py"]
    assert group_of("tests/test_cli.py::test_one") == "tests/test_cli.py" != group_of("tests/test_errors.py::test_one")
