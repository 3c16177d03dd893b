"""The descriptor scaler, as arrays and as a pickle."""

from pathlib import Path

import numpy as np
import pytest

from periogt_ray.artifacts.safe_pickle import PickledObject, load_plain_pickle, load_scaler_arrays
from periogt_ray.artifacts.scaler import read_scaler
from periogt_ray.errors import ModelLoadError
from support.artifact_files import GOLDEN


def test_scaler_from_pickle_equals_the_arrays(directory: Path) -> None:
    (directory / "descriptor_scaler.npz").rename(directory / "kept.npz")
    from_pickle = read_scaler(directory)
    with np.load(directory / "kept.npz") as arrays:
        np.testing.assert_array_equal(from_pickle.mean, arrays["mean"])
        np.testing.assert_array_equal(from_pickle.scale, arrays["scale"])
    assert from_pickle.mean.dtype == np.float64


def test_scaler_of_an_old_sklearn_and_numpy(tmp_path: Path) -> None:
    content = (GOLDEN / "descriptor_scaler.pkl").read_bytes()
    plain = load_plain_pickle(GOLDEN / "descriptor_scaler.pkl")
    assert isinstance(plain, PickledObject)
    assert b"numpy.core.multiarray" in content
    path = tmp_path / "scaler.pkl"
    # Names of the same length, so that the pickle's length bytes stay right.
    old, new = b"\x8c\x1bsklearn.preprocessing._data", b"\x8c\x1asklearn.preprocessing.data"
    assert old in content
    unframed = content[:2] + content[11:]
    path.write_bytes(unframed.replace(old, new))
    np.testing.assert_array_equal(load_scaler_arrays(path)[0], plain.state["mean_"])


@pytest.mark.parametrize(
    "arrays",
    [
        {"mean": np.zeros(1613)},
        {"mean": np.zeros(1612), "scale": np.ones(1612)},
        {"mean": np.zeros(1613), "scale": np.zeros(1613)},
        {"mean": np.full(1613, np.nan), "scale": np.ones(1613)},
        {"mean": np.array([Ellipsis] * 1613, dtype=object), "scale": np.ones(1613)},
    ],
)
def test_a_scaler_that_cannot_be(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "descriptor_scaler.npz", **arrays)
    with pytest.raises(ModelLoadError, match=r"descriptor_scaler\.npz"):
        read_scaler(tmp_path)


def test_a_damaged_scaler_file(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04rubbish", b"rubbish"):
        (tmp_path / "descriptor_scaler.npz").write_bytes(content)
        with pytest.raises(ModelLoadError, match=r"descriptor_scaler\.npz"):
            read_scaler(tmp_path)
