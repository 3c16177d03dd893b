"""Files that are whole or not there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from periogt_ray.runtime.files import PRIVATE_MODE, atomic_file, write_bytes_atomically


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(params=[0o022, 0o077, 0o000])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_permissions_do_not_depend_on_the_umask_unless_that_is_asked_for(tmp_path: Path, umask: int) -> None:
    write_bytes_atomically(tmp_path / "shared", b"x")
    write_bytes_atomically(tmp_path / "private", b"x", mode=PRIVATE_MODE)
    with atomic_file(tmp_path / "own", mode=None) as file:
        file.write(b"x")
    found = {path.name: mode_of(path) for path in tmp_path.iterdir()}
    assert found == {"shared": 0o644, "private": 0o600, "own": 0o666 & ~umask}


def test_what_is_written_is_private_from_the_start(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "key", mode=PRIVATE_MODE) as file:
        [part] = tmp_path.iterdir()
        assert mode_of(part) == 0o600
        file.write(b"secret")
    assert (tmp_path / "key").read_bytes() == b"secret"


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a b.json"
    write_bytes_atomically(path, b"old")

    def write() -> None:
        with atomic_file(path) as file:
            file.write(b"new")
            assert len(list(tmp_path.glob(".a b.json.????????.part"))) == 1
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a b.json"]
    assert path.read_bytes() == b"old"


def test_text_is_written_as_it_is_given(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "x.csv", is_text=True) as file:
        file.write("é\r\nx\n")
    assert (tmp_path / "x.csv").read_bytes() == b"\xc3\xa9\r\nx\n"


def test_the_disk_is_waited_for_unless_it_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    write_bytes_atomically(tmp_path / "x", b"x", sync=False)
    assert synced == []
    write_bytes_atomically(tmp_path / "x", b"x")
    assert len(synced) == 2, "the file, and the directory with its name"
