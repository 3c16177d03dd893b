"""The end of this process; the processes below it are ended for real in tests/slurm and tests/batch."""

import subprocess
import sys
from pathlib import Path

import pytest

CYCLE = """
import atexit, gc, sys
from periogt_ray.runtime.processes import end_quickly

class Told:
    def __del__(self):
        print("collected")

gc.disable()
told = Told()
told.itself = told
del told
"""


@pytest.mark.parametrize(("call", "expected"), [("", ["at exit", "collected"]), ("end_quickly()", ["at exit"])])
def test_a_process_that_ends_quickly_collects_nothing_and_does_the_rest(call: str, expected: list[str]) -> None:
    code = f"{CYCLE}\n{call}\natexit.register(print, 'at exit')\nsys.exit(3)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (3, expected, "")
