"""The values of a cluster, edited once in slurm/site.env: what the scripts and sbatch make of them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.slurm_site import ROOT

SHOWS = """#!/usr/bin/env bash
printf 'argument %s\\n' "$@"
env | grep ^APPTAINERENV_ | sort
"""
SBATCH = """#!/usr/bin/env bash
echo "sbatch: partition ${SBATCH_PARTITION-none}, account ${SBATCH_ACCOUNT-none}" >&2
"""
EXAMPLE = ROOT / "slurm" / "site.env.example"
SCRIPTS = sorted((ROOT / "slurm").glob("*.sbatch"))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Scripts of a clone, with programs in place of Apptainer and sbatch beside it."""
    shutil.copytree(ROOT / "slurm", tmp_path / "clone" / "slurm", ignore=shutil.ignore_patterns("site.env"))
    (tmp_path / "bin").mkdir()
    for name, text in (("apptainer", SHOWS), ("sbatch", SBATCH)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    for name in ("base", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "periogt.sif").touch()
    return tmp_path / "clone"


def write_site(clone: Path, text: str) -> Path:
    path = clone / "slurm" / "site.env"
    path.write_text(text)
    return path


def run(clone: Path, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": f"{clone.parent}/bin:{os.defpath}", "HOME": str(clone.parent), **variables}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def sourced(clone: Path, commands: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    strict = f"source {clone}/slurm/env.sh; {commands}"
    return run(clone, "bash", "-euo", "pipefail", "-c", strict, **variables)


def test_commands_see_what_the_site_says(clone: Path) -> None:
    data = clone.parent / "data"
    data.mkdir()
    site = write_site(
        clone,
        f"export PERIOGT_BASE_DIR={clone.parent}/base PERIOGT_BIND={data} PERIOGT_DEVICE=cpu\n"
        "export https_proxy=http://proxy:3128\n",
    )
    result = sourced(clone, "periogt_run true")
    assert result.returncode == 0, result.stderr
    assert f"argument {clone.parent}/base/periogt.sif" in result.stdout
    assert f"{data},{clone.parent}/base" in result.stdout
    for given in ("PERIOGT_DEVICE=cpu", "https_proxy=http://proxy:3128", f"PERIOGT_SITE_ENV={site}"):
        assert f"APPTAINERENV_{given}\n" in result.stdout


def test_the_environment_goes_before_the_site(clone: Path) -> None:
    base = f"export PERIOGT_BASE_DIR={clone.parent}/base PERIOGT_PORT=9000\n"
    write_site(clone, f"{base}export PERIOGT_DEVICE=cuda SBATCH_PARTITION=gpu\n")
    given = {"PERIOGT_BASE_DIR": f"{clone.parent}/other", "PERIOGT_DEVICE": "cpu or\ncuda", "SBATCH_PARTITION": ""}
    shown = 'echo "$PERIOGT_BASE_DIR|$PERIOGT_DEVICE|$SBATCH_PARTITION|$PERIOGT_PORT"'
    assert sourced(clone, shown, **given).stdout == f"{clone.parent}/other|cpu or\ncuda||9000\n"


def test_without_a_site_nothing_changes(clone: Path) -> None:
    result = sourced(clone, "env | grep -E '^(PERIOGT|SBATCH)_' || echo nothing")
    assert result.stdout == "nothing\n", result.stderr
    write_site(clone, "export PERIOGT_DEVICE=cpu\n")
    result = sourced(clone, "echo ${PERIOGT_DEVICE-unset}", PERIOGT_SITE_ENV="")
    assert result.stdout == "unset\n", "an empty name: no file"


def test_another_file_may_be_named(clone: Path) -> None:
    write_site(clone, "export PERIOGT_DEVICE=cpu\n")
    other = clone.parent / "of another cluster.env"
    other.write_text("export PERIOGT_DEVICE=cuda\n")
    result = sourced(clone, 'echo "$PERIOGT_DEVICE $PERIOGT_SITE_ENV"', PERIOGT_SITE_ENV=str(other))
    assert result.stdout == f"cuda {other}\n"


def test_a_shell_on_another_node_reads_the_same(clone: Path) -> None:
    write_site(clone, "export PERIOGT_DEVICE=cpu SITE_VALUE=1\n")
    inner = f"bash -c 'source {clone}/slurm/env.sh; echo $PERIOGT_DEVICE $SITE_VALUE'"
    assert sourced(clone, f"unset SITE_VALUE; {inner}").stdout == "cpu 1\n"


def test_a_failing_command_and_an_unset_variable_do_not_end_a_script(clone: Path) -> None:
    """Modules are not written for strict shells; the script itself stays strict."""
    write_site(clone, "module load nothing\nfalse\nexport PERIOGT_DEVICE=cpu$NOT_SET\n")
    result = sourced(clone, "echo $PERIOGT_DEVICE; [[ $- == *e* && $- == *u* ]]; false; echo not reached")
    assert (result.returncode, result.stdout) == (1, "cpu\n")
    assert "module: command not found" in result.stderr, "what it says is shown"


@pytest.mark.parametrize(
    ("text", "variables", "said"),
    [
        ("if true; then\n", {}, "site.env, see above; correct the file"),
        ("", {"PERIOGT_SITE_ENV": "/srv/none"}, "PERIOGT_SITE_ENV (/srv/none) is not a file"),
        ("", {"PERIOGT_SITE_ENV": "/srv"}, "PERIOGT_SITE_ENV (/srv) is not a file"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(clone: Path, text: str, variables: dict[str, str], said: str) -> None:
    write_site(clone, text)
    result = sourced(clone, "echo not reached", **variables)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr


def test_check_names_the_file_and_asks_slurm_with_its_values(clone: Path) -> None:
    text = f"export PERIOGT_BASE_DIR={clone.parent}/base SBATCH_PARTITION=gpu SBATCH_ACCOUNT=mat269\n"
    site = write_site(clone, text)
    script = str(clone / "slurm" / "predict.sbatch")
    result = run(clone, "bash", script, "--check")
    assert result.returncode == 0, result.stderr
    assert f"site: {site}\n" in result.stdout
    assert "partition gpu, account mat269" in result.stdout
    # sbatch itself would not see them.
    assert f"before sbatch: source {site} " in result.stdout
    assert "needs SBATCH_ACCOUNT SBATCH_PARTITION" in result.stdout
    both = run(clone, "bash", "-c", f"source {site}; bash {script} --check")
    assert "partition gpu, account mat269" in both.stdout
    assert "before sbatch" not in both.stdout


def test_check_says_that_there_is_no_file(clone: Path) -> None:
    script = str(clone / "slurm" / "predict.sbatch")
    result = run(clone, "bash", script, "--check", PERIOGT_BASE_DIR=f"{clone.parent}/base")
    assert result.returncode == 0, result.stderr
    assert "site: no slurm/site.env" in result.stdout
    assert "partition none, account none" in result.stdout


def test_the_example_says_nothing_until_it_is_edited(clone: Path) -> None:
    shutil.copy(EXAMPLE, clone / "slurm" / "site.env")
    result = sourced(clone, "env | grep -E '^(PERIOGT|SBATCH)_'")
    assert result.stdout == f"PERIOGT_SITE_ENV={clone}/slurm/site.env\n", result.stderr


def test_every_line_of_the_example_works_without_its_mark(clone: Path) -> None:
    lines = re.findall(r"^# ((?:export|module) .*)$", EXAMPLE.read_text(), flags=re.MULTILINE)
    assert len(lines) >= 12
    write_site(clone, "module() { echo module $*; }\n" + "\n".join(lines))
    result = sourced(clone, "env", USER="ada")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("module load apptainer\n")
    assert "PERIOGT_RESULTS_DIR=/gpfs/wolf2/olcf/mat269/scratch/ada/periogt/results" in result.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_scripts_hold_no_values_of_a_cluster(script: Path) -> None:
    text = script.read_text()
    assert "#SBATCH --time=" in text
    assert "slurm/site.env" in text
    assert not re.search(r"--partition|--account|/projects/|/gpfs/|^##SBATCH|^# export", text, flags=re.MULTILINE)


def test_a_value_counts_also_without_export(clone: Path) -> None:
    write_site(clone, "PERIOGT_DEVICE=cpu\nSBATCH_ACCOUNT=chem\nELSE=1\n")
    result = sourced(clone, "env | grep -E '^(PERIOGT_DEVICE|SBATCH_ACCOUNT|ELSE)='")
    assert sorted(result.stdout.splitlines()) == ["PERIOGT_DEVICE=cpu", "SBATCH_ACCOUNT=chem"], result.stderr


def test_windows_line_ends_and_a_link_to_nothing_are_refused(clone: Path) -> None:
    site = write_site(clone, "export PERIOGT_DEVICE=cpu\r\n")
    result = sourced(clone, "true")
    assert result.returncode == 2
    assert "has Windows line ends" in result.stderr
    site.unlink()
    site.symlink_to("/nonexistent/site.env")
    result = sourced(clone, "true")
    assert result.returncode == 2
    assert "is not a file that can be read" in result.stderr
