"""calibration.npz: read as it was written, refused where it is something else."""

import dataclasses
import io
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from periogt_ray.artifacts.calibration import Calibration, calibration_path
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.doctor.calibration import check_calibration
from periogt_ray.errors import ModelLoadError
from periogt_ray.model.calibrating import calibrate_property
from periogt_ray.settings import EMBEDDED_DIR
from support.artifact_files import Payload
from support.known_polymers import known_polymers


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate_property("eps", known_polymers(), report={"source": "made up"})


def test_a_file_is_read_as_it_was_written(calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / calibration_path("eps")
    calibration.save(path)
    found = Calibration.load(path)
    assert found.facts == calibration.facts
    for entry in dataclasses.fields(calibration):
        if entry.name != "facts":
            np.testing.assert_array_equal(getattr(found, entry.name), getattr(calibration, entry.name))
    first = path.read_bytes()
    found.save(path)
    assert path.read_bytes() == first


def test_no_smiles_is_stored(calibration: Calibration, tmp_path: Path) -> None:
    calibration.save(tmp_path / "calibration.npz")
    with zipfile.ZipFile(tmp_path / "calibration.npz") as archive:
        assert not any(b"c1ccccc1" in archive.read(name) for name in archive.namelist())


def test_a_pickle_in_it_is_refused_and_not_run(calibration: Calibration, tmp_path: Path) -> None:
    path, canary = tmp_path / "calibration.npz", tmp_path / "canary"
    calibration.save(path)
    content = io.BytesIO()
    np.lib.format.write_array(content, np.array([Payload(canary)], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**kept, "scales.npy": content.getvalue()}.items():
            archive.writestr(name, data)
    with pytest.raises(ModelLoadError, match=r"calibration\.npz"):
        Calibration.load(path)
    assert not canary.exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"rubbish" * 100])
def test_what_is_no_calibration_is_refused_with_advice(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "calibration.npz"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match="periogt calibrate"):
        Calibration.load(path)


def test_arrays_that_do_not_belong_together_are_refused(calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "calibration.npz"
    dataclasses.replace(calibration, residuals=calibration.residuals[:-1]).save(path)
    with pytest.raises(ModelLoadError, match="residuals is float32"):
        Calibration.load(path)


def test_the_calibration_of_another_property_is_refused(tmp_path: Path) -> None:
    root = Path(shutil.copytree(EMBEDDED_DIR, tmp_path / "artifacts"))
    shutil.copyfile(root / calibration_path("nc"), root / calibration_path("egc"))
    with pytest.raises(ModelLoadError, match="calibration of nc, not of egc"):
        ArtifactDirectory.open(root).calibration("egc")
    assert next(check_calibration(ArtifactDirectory.open(root))).status.name == "FAIL"


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    found = Calibration.load(EMBEDDED_DIR / calibration_path("nc"))
    dataclasses.replace(found, center=np.full_like(found.center, np.nan)).save(tmp_path / "calibration.npz")
    with pytest.raises(ModelLoadError, match="center holds NaN"):
        Calibration.load(tmp_path / "calibration.npz")


def test_threads_read_one_after_another(
    calibration: Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.11's parser, by which numpy reads the headers of arrays, can fail in several threads at once."""
    path = tmp_path / "calibration.npz"
    calibration.save(path)
    n_reading, most = 0, 0
    read = np.lib.format.read_array

    def counted(*given: Any, **options: Any) -> np.ndarray:
        nonlocal n_reading, most
        n_reading += 1
        most = max(most, n_reading)
        try:
            return np.asarray(read(*given, **options))
        finally:
            n_reading -= 1

    monkeypatch.setattr(np.lib._npyio_impl.format, "read_array", counted)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(Calibration.load, [path] * 24))
    assert len(found) == 24
    assert most == 1
