"""Image files: the squashfs in a SIF, its metadata, and how both are written."""

import json
import subprocess
from pathlib import Path

from . import fuse, kernel
from .reporting import fatal

_MAGIC = b"SIF_MAGIC"


def squashfs_in(image: Path) -> tuple[int, int]:
    """Return offset and size of the file system in a SIF, or of a bare squashfs."""
    with image.open("rb") as file:
        head = file.read(128)
    if head.startswith(b"hsqs"):
        return 0, image.stat().st_size
    if _MAGIC not in head:
        fatal(f"could not open image {image}: image format not recognized")
    listed = subprocess.run(["siftool", "list", image], capture_output=True, text=True, check=True).stdout
    rows = [[column.strip() for column in line.split("|")] for line in listed.splitlines()]
    places = [row[3] for row in rows if len(row) >= 5 and "FS (Squashfs/*System" in row[4]]
    if not places:
        fatal(f"{image}: no primary partition")
    first, last = map(int, places[0].split("-"))
    return first, last - first


def mount_image(image: Path, target: str, *, is_root: bool) -> None:
    """Mount an image or show a directory; root by a loop device, others by FUSE."""
    if image.is_dir():
        kernel.bind(image, target)
        return
    offset, size = squashfs_in(image)
    if not is_root:
        fuse.mount(image, offset, Path(target))
        return
    command = ["losetup", "-r", "-f", "--show", "-o", str(offset), "--sizelimit", str(size), image]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        fatal(f"losetup: {done.stderr}")
    device = done.stdout.strip()
    kernel.mount(device, target, "squashfs", kernel.READ_ONLY | kernel.NO_SETUID | kernel.NO_DEVICES)
    subprocess.run(["losetup", "-d", device], check=False)  # freed with the mount


def read_metadata(image: Path, name: str) -> str:
    """Return a file below /.singularity.d."""
    if image.is_dir():
        return (image / ".singularity.d" / name).read_text()
    offset, _ = squashfs_in(image)
    command = ["unsquashfs", "-o", str(offset), "-cat", image, f".singularity.d/{name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def write_sif(image: Path, root: Path, work: Path, *, definition: str, options: list[str]) -> None:
    """Pack a directory into a SIF, with its definition and labels as further parts."""
    packed = work / "squashfs"
    arguments = options or ["-comp", "gzip", "-Xcompression-level", "1"]
    command = ["mksquashfs", root, packed, "-noappend", "-quiet", "-no-progress", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (work / "definition").write_text(definition)
    labels = json.loads((root / ".singularity.d" / "labels.json").read_text())
    (work / "labels").write_text(json.dumps(labels))
    image.unlink(missing_ok=True)
    subprocess.run(["siftool", "new", image], check=True)
    # Data types and partition kinds are SIF's own numbers: definition, labels, partition of squashfs for amd64.
    for part in (
        [work / "definition", "--datatype", "1"],
        [work / "labels", "--datatype", "6"],
        [packed, "--datatype", "4", "--parttype", "2", "--partfs", "1", "--partarch", "2"],
    ):
        subprocess.run(["siftool", "add", image, *part], check=True)
    image.chmod(0o755)
