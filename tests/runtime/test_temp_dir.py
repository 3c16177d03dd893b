"""The directory of a Ray."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from periogt_ray.errors import SettingsError
from periogt_ray.runtime import temp_dir
from periogt_ray.runtime.mounts import Mount
from periogt_ray.runtime.temp_dir import MAX_ROOT_LENGTH, private_dir, sessions_dir

LONGEST_SESSION = "session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store"
UNIX_PATH_LENGTH = 107  # unix(7), without the zero at the end


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A directory with a short name."""
    short = Path("/tmp") / f"t{os.getpid()}"
    short.symlink_to(tmp_path)
    yield short
    short.unlink()


def test_the_longest_root_leaves_room_for_rays_sockets() -> None:
    made = Path("/" + "x" * (MAX_ROOT_LENGTH - 1), "pgt-12345678")
    assert len(str(sessions_dir(made) / LONGEST_SESSION)) <= UNIX_PATH_LENGTH


def test_it_is_private_and_goes_with_what_is_in_it(root: Path) -> None:
    with private_dir({"RAY_TMPDIR": str(root)}) as made:
        assert made.parent == root
        assert made.stat().st_mode & 0o777 == 0o700
        (made / "x").mkdir()
    assert list(root.iterdir()) == []


def test_what_a_killed_run_left_goes_and_what_runs_stays(root: Path) -> None:
    env = {"RAY_TMPDIR": str(root)}
    (root / "pgt-killed").mkdir()
    (root / "pgt-killed" / "owner").write_text("1\n")
    with private_dir(env) as first, private_dir(env) as second:
        assert set(root.iterdir()) == {first, second}


def test_a_directory_on_the_network_is_passed_over(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_the_network(path: Path) -> Mount:
        return Mount(path, "ext4" if path == Path("/tmp") else "lustre")

    monkeypatch.setattr(temp_dir, "mount_of", on_the_network)
    with private_dir({"RAY_TMPDIR": str(root)}) as made:
        assert made.parent == Path("/tmp")
    monkeypatch.setattr(temp_dir, "mount_of", lambda path: Mount(path, "nfs4"))
    with (
        pytest.raises(SettingsError, match=rf"tried {root}, /tmp\. Set RAY_TMPDIR.* {MAX_ROOT_LENGTH} characters"),
        private_dir({"RAY_TMPDIR": str(root)}),
    ):
        raise AssertionError("made on the network")
