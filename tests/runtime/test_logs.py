"""What a command line prints as it works."""

import subprocess
import sys

import pytest

PROGRAM = """
import logging
from periogt_ray.runtime.logs import set_up_logging
set_up_logging({arguments})
logging.getLogger("httpx").info("a request")
logging.getLogger("other").debug("tells all")
logging.getLogger("periogt_ray.x").debug("details")
logging.getLogger("periogt_ray.x").info("begins")
logging.getLogger("periogt_ray.x").warning("careful")
"""


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("", ["begins", "careful"]),
        ("logging.WARNING", ["careful"]),
        ("logging.DEBUG", ["details", "begins", "careful"]),
    ],
)
def test_messages_go_to_standard_error(arguments: str, shown: list[str]) -> None:
    """In a process of its own: pytest has handlers, which basicConfig leaves as they are."""
    command = [sys.executable, "-c", PROGRAM.format(arguments=arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == ""
    assert [line.split()[-1] for line in result.stderr.splitlines()] == shown
