"""When finetune.sbatch puts its job back into the queue; with programs in place of Slurm's and of the command."""

import os
import subprocess
from pathlib import Path

import pytest

from support.slurm_site import ROOT

# A run that is warned as Slurm does before the wall time, keeps what it has, and ends. $BEGINS are files that every run
# writes when it begins, $FINISHES those that it gets done.
FINETUNE = """#!/bin/bash
for path in $BEGINS $FINISHES; do mkdir -p "$(dirname "$path")"; done
for path in $BEGINS; do echo begun >"$path"; done
trap 'for path in $FINISHES; do echo done >"$path"; done; exit 1' TERM
if [[ $WARNS ]]; then
  kill -TERM "$PPID"
  while :; do sleep 0.01; done
fi
for path in $FINISHES; do echo done >"$path"; done
exit 1
"""
SCONTROL = """#!/bin/bash
case $1 in
  requeue) echo "$2" >"$RECORD"; kill -KILL "$PPID" ;;
  show) echo "JobState=$STATE" ;;
esac
"""


def run(tmp_path: Path, property_id: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    for name, text in (
        ("bin/scontrol", SCONTROL),
        ("venv/bin/python", "#!/bin/sh\n"),
        ("venv/bin/periogt", FINETUNE),
    ):
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    (tmp_path / "data.csv").touch()
    for name in ("periogt", "results", "models"):
        (tmp_path / name).mkdir()
    environment = {
        "PATH": f"{tmp_path}/venv/bin:{tmp_path}/bin:{os.defpath}",
        "HOME": str(tmp_path),
        "PERIOGT_RUNTIME": "venv",
        "PERIOGT_VENV": str(tmp_path / "venv"),
        "PERIOGT_RESULTS_DIR": str(tmp_path / "results"),
        "PERIOGT_MODELS": str(tmp_path / "models"),
        "SLURM_JOB_ID": "7",
        "RECORD": str(tmp_path / "requeued"),
        "STATE": "RUNNING",
        "WARNS": "1",
        "BEGINS": "",
        "FINISHES": "",
        **variables,
    }
    words = ("--data", str(tmp_path / "data.csv"), "--property", property_id, "--units", "K")
    command = ["bash", str(ROOT / "slurm" / "finetune.sbatch"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)


def begun(tmp_path: Path, *ids: str) -> str:
    return " ".join(str(tmp_path / "models" / one / ".work" / name) for one in ids for name in ("lock", "run.json"))


def test_a_job_that_was_warned_and_got_on_is_put_back(tmp_path: Path) -> None:
    snapshot = str(tmp_path / "models" / "my_tg" / ".work" / "networks" / "member-0.snapshot")
    done = run(tmp_path, "my_tg", BEGINS=begun(tmp_path, "my_tg"), FINISHES=snapshot)
    assert (tmp_path / "requeued").read_text() == "7\n", done.stderr
    assert "this job goes back into the queue" in done.stdout


def test_of_several_columns_all_have_to_be_finished(tmp_path: Path) -> None:
    first = str(tmp_path / "models" / "my_tg" / "package.json")
    done = run(tmp_path, "my_tg,my_rho", BEGINS=begun(tmp_path, "my_tg"), FINISHES=first)
    assert (tmp_path / "requeued").exists(), done.stderr


@pytest.mark.parametrize(
    ("names", "variables", "said"),
    [
        ((), {}, "Nothing was finished in this job's whole time"),  # what every run writes is no progress
        (("my_tg/.work/networks/a",), {"STATE": "COMPLETING"}, ""),  # cancelled meanwhile
        (("my_tg/.work/networks/a",), {"WARNS": ""}, ""),
        (("my_tg/package.json", "my_rho/package.json"), {}, ""),
    ],
    ids=["got nowhere", "cancelled", "not warned", "finished"],
)
def test_other_jobs_are_not(tmp_path: Path, names: tuple[str, ...], variables: dict[str, str], said: str) -> None:
    finishes = " ".join(str(tmp_path / "models" / name) for name in names)
    begins = begun(tmp_path, "my_tg", "my_rho")
    done = run(tmp_path, "my_tg,my_rho", BEGINS=begins, FINISHES=finishes, **variables)
    assert not (tmp_path / "requeued").exists()
    assert done.returncode == 1
    assert said in done.stderr
