"""Which file system a path is on."""

from pathlib import Path

import pytest

from periogt_ray.runtime import mounts
from periogt_ray.runtime.mounts import Mount, mount_of, read_mounts

ROOT, HOME, COVER = Mount(Path("/"), "ext4"), Mount(Path("/home"), "nfs4"), Mount(Path("/home"), "tmpfs")


@pytest.mark.parametrize(
    ("path", "mounted", "found"),
    [
        ("/tmp/x", [ROOT, HOME], ROOT),
        ("/home/ada/x", [ROOT, HOME], HOME),
        ("/home", [HOME, ROOT], HOME),
        ("/homes", [ROOT, HOME], ROOT),
        ("/home/ada", [ROOT, HOME, COVER], COVER),
        ("/home/ada", [], Mount(Path("/"), "unknown")),
    ],
)
def test_the_deepest_mount_and_of_equal_ones_the_last(path: str, mounted: list[Mount], found: Mount) -> None:
    assert mount_of(Path(path), mounted) == found


def test_names_with_blanks_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mounts"
    table.write_text("/dev/sda1 / ext4 rw 0 0\nserver:/x /mnt/my\\040data\\134a lustre rw 0 0\n")
    monkeypatch.setattr(mounts, "_MOUNTS", table)
    assert read_mounts() == [ROOT, Mount(Path("/mnt/my data\\a"), "lustre")]
    assert mount_of(Path("/mnt/my data\\a/b")).is_network


def test_this_machine() -> None:
    assert mount_of(Path("/proc/self")) == Mount(Path("/proc"), "proc")
    assert not mount_of(Path("/proc")).is_network
