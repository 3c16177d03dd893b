"""Pickles read without running anything in them."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from periogt_ray.artifacts.safe_pickle import load_split
from periogt_ray.artifacts.scaler import read_scaler
from periogt_ray.errors import ModelLoadError
from support.artifact_files import Payload


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_runs_a_command_is_refused(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "descriptor_scaler.pkl"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "canary"), protocol=protocol))
    with pytest.raises(ModelLoadError, match=r"(posix|os)\.system"):
        read_scaler(tmp_path)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "text",
    [
        b"cbuiltins\neval\n(V1\ntR.",
        b"cbuiltins\ngetattr\n.",
        b"cnumpy\nload\n.",
        b"csklearn.utils\nBunch\n.",
        b"\x80\x05",
    ],
)
def test_other_names_and_malformed_pickles_are_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "split.pkl"
    path.write_bytes(text)
    with pytest.raises(ModelLoadError, match=r"split\.pkl"):
        load_split(path)


def test_a_pickle_cannot_alter_the_unpickler(tmp_path: Path) -> None:
    path = tmp_path / "split.pkl"
    # BUILD on the global itself, which would set attributes of whatever find_class returned.
    path.write_bytes(b"c_codecs\nencode\nN}V__name__\nVchanged\ns\x86b.")
    with pytest.raises(ModelLoadError):
        load_split(path)
    good = [np.arange(3), np.arange(3, 5), np.arange(5, 9)]
    path.write_bytes(pickle.dumps(good, protocol=2))
    assert load_split(path) == [[0, 1, 2], [3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("as_array", [True, False])
def test_splits_of_every_protocol(tmp_path: Path, protocol: int, as_array: bool) -> None:
    parts = [[4, 1, 2], [0], [3, 5]]
    path = tmp_path / "split.pkl"
    path.write_bytes(pickle.dumps([np.array(part) if as_array else part for part in parts], protocol=protocol))
    assert load_split(path) == parts
