"""The output of a finetuning: whose it is, and what is refused before anything is written."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.packages import PACKAGE_NAME
from periogt_ray.errors import ValidationError
from periogt_ray.runtime.files import write_json_atomically
from periogt_ray.settings import Settings
from periogt_ray.training.claim import WORK_NAME, check_output, claim_output, read_checked
from periogt_ray.training.dataset import Dataset
from periogt_ray.training.options import FinetuneOptions
from periogt_ray.training.output_lock import lock_output
from support.golden import ARTIFACTS
from support.packages import write_small_package


@pytest.fixture
def settings() -> Settings:
    return Settings.of_process(checkpoint_dir=ARTIFACTS, device="cpu")


@pytest.fixture
def options(tmp_path: Path) -> FinetuneOptions:
    rows = [f"*{'C' * n}O*,{n * n}" for n in range(2, 26)]
    (tmp_path / "data.csv").write_text("\n".join(["smiles,value", *rows]))
    return FinetuneOptions(tmp_path / "data.csv", "my_eps", "eV", tmp_path / "models" / "my_eps")


@pytest.fixture
def read(options: FinetuneOptions, settings: Settings) -> tuple[ArtifactDirectory, Dataset]:
    artifacts, dataset, _ = read_checked(options, settings)
    return artifacts, dataset


@pytest.mark.parametrize("property_id", ["tg", "ea", "mar1"])
def test_a_published_id_is_refused_also_where_it_is_not_served(
    options: FinetuneOptions, settings: Settings, property_id: str
) -> None:
    with pytest.raises(ValidationError, match=rf"my_{property_id}\b"):
        read_checked(replace(options, property_id=property_id), settings)


def test_a_file_in_the_place_of_the_output_stays(options: FinetuneOptions, read: Any) -> None:
    options.output.parent.mkdir()
    options.output.write_text("mine")
    with pytest.raises(ValidationError, match="is a file"):
        check_output(options, *read)
    assert options.output.read_text() == "mine"


@pytest.mark.parametrize("place", ["/proc/my_eps", "/dev/null/my_eps"])
def test_an_output_that_cannot_be_written_is_told(options: FinetuneOptions, read: Any, place: str) -> None:
    with pytest.raises(ValidationError, match=r"cannot be written: .*--output"):
        claim_output(replace(options, output=Path(place)), *read)


def test_a_second_run_at_the_same_time_is_refused_and_takes_over_when_the_first_ends(
    options: FinetuneOptions, read: Any
) -> None:
    lock = claim_output(options, *read)
    assert lock is not None
    with pytest.raises(ValidationError, match=r"Another run is working in .*pid \d+"):
        claim_output(options, *read)
    lock.release()
    again = claim_output(options, *read)
    assert again is not None
    again.release()


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = "import os, sys; from pathlib import Path; from periogt_ray.training.output_lock import lock_output\n"
    code += "held = lock_output(Path(sys.argv[1])); print('held', flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-9, "held\n")
    lock_output(tmp_path).release()


def test_a_finished_package_that_was_changed_since_is_told(options: FinetuneOptions, read: Any) -> None:
    lock = claim_output(options, *read)
    assert lock is not None
    lock.release()
    package = write_small_package(options.output.parent)
    left = options.output / WORK_NAME / "networks"
    left.mkdir()
    assert claim_output(options, *read) is None
    assert not left.exists(), "a run that was killed after its package is tidied up"
    (package.root / "rows.csv").unlink()
    with pytest.raises(ValidationError, match=r"changed since: rows\.csv"):
        claim_output(options, *read)
    assert (options.output / PACKAGE_NAME).is_file()


def test_a_damaged_record_of_the_run_is_told(options: FinetuneOptions, read: Any) -> None:
    (options.output / WORK_NAME).mkdir(parents=True)
    write_json_atomically(options.output / WORK_NAME / "run.json", [])
    with pytest.raises(ValidationError, match="another kind"):
        check_output(options, *read)
