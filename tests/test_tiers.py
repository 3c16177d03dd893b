"""The groups of tests that share a worker."""

from pathlib import Path

import pytest

from support.tiers import GROUPS, LATE, LONG, group_of

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", [*GROUPS, *LATE, *LONG])
def test_what_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_tests_of_a_group_share_a_worker() -> None:
    assert group_of("tests/slurm/test_a.py::test_one[a::b]") == group_of("tests/slurm/test_b.py::test_two") == "ray"
    assert group_of("tests/test_cli.py::test_one") == "tests/test_cli.py" != group_of("tests/test_errors.py::test_one")
