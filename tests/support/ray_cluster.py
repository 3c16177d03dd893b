"""A Ray that tests run the command line on."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.golden import ARTIFACTS
from support.served_process import tree_below

HERE = Path(__file__).parent
PACKAGE_ROOT = HERE.parent.parent
# As of "[2026-11-26 15:33:22,343 E 24261 24837] core_worker.cc:2465: Actor with ...".
LINE_OF_CORE = re.compile(r"\[\d{4}-\d\d-\d\d [\d:,]+ [A-Z] \d+ \d+\] .*")


class Cluster:
    """A Ray that tests run the command line on; its workers die over some polymers (see deadly/)."""

    def __init__(self, holder: int, facts: dict[str, Any]) -> None:
        self.holder = holder  # process id of what started Ray
        self.address: str = facts["address"]
        self.dashboard = f"http://{facts['dashboard']}"
        self.temp_dir = Path(facts["temp_dir"])
        self.environment: dict[str, str] = facts["environment"]

    @property
    def env(self) -> dict[str, str]:
        return {**clean_environment(), **self.environment, "RAY_ADDRESS": self.address}

    def processes(self, words: str) -> set[int]:
        """Processes of this Ray with a command line; Ray names a worker after what it runs."""
        return {pid for pid, command in tree_below(self.holder).items() if words in command}

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "periogt_ray", *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**self.env, **env})

    def run(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*args, **env)
        stdout, stderr = process.communicate(timeout=240)
        return subprocess.CompletedProcess(args, process.returncode, stdout, stderr)


def clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PERIOGT_", "RAY_"))}
    paths = [str(HERE / "deadly"), str(PACKAGE_ROOT), kept.get("PYTHONPATH", "")]
    return {
        **kept,
        "PERIOGT_CHECKPOINT_DIR": str(ARTIFACTS),
        "PERIOGT_DEVICE": "cpu",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }
