"""When batch.sbatch puts its job back into the queue; with programs in place of Slurm's."""

import os
import subprocess
from pathlib import Path

import pytest

from support.slurm_site import ROOT

# Warns as Slurm does before the wall time: the batch script alone. Then a run keeps what is finished, and ends.
SRUN = """#!/bin/bash
mkdir -p "$OUTPUT.parts"
if [[ $WARNS ]]; then
  kill -TERM "$PPID"
  until [[ -e $PERIOGT_RESULTS_DIR/periogt-job-7/stop ]]; do sleep 0.01; done
fi
if [[ $FINISHES ]]; then echo part >>"$OUTPUT.parts/parts-0.records"; fi
exit 75
"""
SCONTROL = """#!/bin/bash
case $1 in
  requeue) echo "$2" >"$RECORD"; kill -KILL "$PPID" ;;
  show) echo "KillWait = 30 sec JobState=$STATE" ;;
esac
"""


def run(tmp_path: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    for name, text in (("bin/srun", SRUN), ("bin/scontrol", SCONTROL), ("venv/bin/python", "#!/bin/sh\n")):
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    (tmp_path / "in.csv").touch()
    for name in ("periogt", "results"):
        (tmp_path / name).mkdir()
    environment = {
        "PATH": f"{tmp_path}/bin:{os.defpath}",
        "HOME": str(tmp_path),
        "PERIOGT_RUNTIME": "venv",
        "PERIOGT_VENV": str(tmp_path / "venv"),
        "PERIOGT_RESULTS_DIR": str(tmp_path / "results"),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NUM_NODES": "1",
        "OUTPUT": str(tmp_path / "out.csv"),
        "RECORD": str(tmp_path / "requeued"),
        "STATE": "RUNNING",
        "WARNS": "",
        "FINISHES": "",
        **variables,
    }
    words = ("--input", str(tmp_path / "in.csv"), "--property", "egc", "--output", str(tmp_path / "out.csv"))
    command = ["bash", str(ROOT / "slurm" / "batch.sbatch"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)


def test_a_job_that_was_warned_and_got_on_is_put_back(tmp_path: Path) -> None:
    done = run(tmp_path, WARNS="1", FINISHES="1")
    assert (tmp_path / "requeued").read_text() == "7\n", done.stderr
    assert "this job goes back into the queue" in done.stdout


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WARNS": "1"}, "No part was finished in this job's whole time"),
        ({"WARNS": "1", "FINISHES": "1", "STATE": "COMPLETING"}, ""),  # cancelled meanwhile
        ({"FINISHES": "1"}, ""),
    ],
    ids=["got nowhere", "cancelled", "not warned"],
)
def test_other_jobs_are_not(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    done = run(tmp_path, **variables)
    assert not (tmp_path / "requeued").exists()
    assert done.returncode == 75
    assert said in done.stderr
    assert not (tmp_path / "results" / "periogt-job-7").exists()
