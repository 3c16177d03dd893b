"""Becoming the container: its mounts, as Apptainer makes them by default."""

import os
import re
import shutil
from pathlib import Path

from . import kernel, sif
from .options import Options, binds_of
from .reporting import fatal, log

_SESSION = Path("/mnt")  # covered in the process's own mount namespace only
_FILES_OF_THE_NODE = ("/etc/hosts", "/etc/resolv.conf", "/etc/localtime", "/etc/passwd", "/etc/group")
# The working directory is not shown if it is one that the image has its own of.
_PLACES_OF_THE_IMAGE = ("/bin", "/etc", "/lib", "/usr", "/sbin", "/dev", "/proc", "/sys", "/root", "/var")
_LIBRARY_PLACES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/local/nvidia/lib64")
_NV_LIBRARY = re.compile(r"lib(cuda|nvidia-.*|nvcuvid|nvoptix)\.so")


def enter(options: Options, *, writes_image: bool = False) -> None:
    """Make the image the root of this process."""
    uid, gid, directory = os.geteuid(), os.getegid(), Path.cwd()
    home = Path(os.environ.get("HOME", "/root"))
    if not options.image.exists():
        fatal(f"could not open image {options.image}: lstat {options.image}: no such file or directory")
    in_user_namespace = kernel.unshare_mounts()
    kernel.make_mounts_private()
    kernel.mount("tmpfs", _SESSION, "tmpfs", kernel.NO_SETUID, f"mode=755,size={options.tmpfs_mib}m")
    for name in ("lower", "upper", "work", "root"):
        (_SESSION / name).mkdir()
    root = _SESSION / "root"
    sif.mount_image(options.image, str(_SESSION / "lower"), is_root=uid == 0)
    if writes_image:
        kernel.bind(_SESSION / "lower", root)
    else:
        layers = f"lowerdir={_SESSION}/lower,upperdir={_SESSION}/upper,workdir={_SESSION}/work"
        kernel.mount("overlay", root, "overlay", kernel.NO_DEVICES, layers + (",userxattr" if uid else ""))
    mounts = _Mounts(root)
    mounts.add_defaults(options, home, directory, shows_directory=not writes_image)
    if options.nv:
        mounts.add_driver(options)
    for source, target, read_only in binds_of(options):
        mounts.add(source, target, read_only=read_only, must_exist=True)
    if not writes_image and not options.is_writable:
        mounts.make_read_only()
    kernel.change_root(root)
    if in_user_namespace and not options.is_fakeroot:
        kernel.take_back_ids(uid, gid)
    _change_directory(options.directory, directory, home)


def _change_directory(asked: str | None, *otherwise: Path) -> None:
    if asked is not None:
        if not Path(asked).is_dir():
            fatal(f"failed to change directory to {asked}")
        os.chdir(asked)
        return
    for directory in (*otherwise, Path("/")):
        try:
            os.chdir(directory)
        except OSError:
            continue
        return


class _Mounts:
    """Mounts below the future root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._covered: list[Path] = []

    def inside(self, path: str | Path) -> Path:
        return self._root / str(path).lstrip("/")

    def add(self, source: str | Path, target: str | Path, *, read_only: bool = False, must_exist: bool = False) -> None:
        """Bind one file or directory; its place is made where the image has none."""
        if Path(source).exists():
            self._make_place(Path(source), self.inside(target))
            kernel.bind(source, self.inside(target), read_only=read_only)
        elif must_exist:
            fatal(
                "container creation failed: mount hook function failure: "
                f"mount {source}->{target} error: while mounting {source}: mount source {source} doesn't exist"
            )

    def add_defaults(self, options: Options, home: Path, directory: Path, *, shows_directory: bool) -> None:
        if options.contains:
            self._add_small_dev()
        else:
            self.add("/dev", "/dev")
        self.add("/proc", "/proc")
        self.add("/sys", "/sys")
        for name in _FILES_OF_THE_NODE:
            if Path(name).is_file():
                self.add(Path(name).resolve(), name)
        if options.contains:
            for path, mode in (("/tmp", "1777"), ("/var/tmp", "1777"), (home, "700")):
                self._add_tmpfs(path, f"mode={mode},size=64m")
            return
        if "tmp" not in options.not_mounted:
            self.add("/tmp", "/tmp")
            self.add("/var/tmp", "/var/tmp")
        if "home" not in options.not_mounted:
            self.add(home, home)
        is_of_image = any(directory.is_relative_to(place) for place in _PLACES_OF_THE_IMAGE)
        if shows_directory and "cwd" not in options.not_mounted and not is_of_image:
            self.add(directory, directory)

    def add_driver(self, options: Options) -> None:
        """Bring in what --nv does: devices, libraries, nvidia-smi."""
        devices = list(Path("/dev").glob("nvidia*"))
        libraries = [
            path for place in _LIBRARY_PLACES for path in Path(place).glob("*") if _NV_LIBRARY.match(path.name)
        ]
        smi = shutil.which("nvidia-smi")
        if not (devices or libraries or smi):
            log("WARNING", "Could not find any nv files on this host!")
        for device in devices if options.contains else ():
            self.add(device, device)
        for library in libraries:
            self.add(library.resolve(), f"/.singularity.d/libs/{library.name}", read_only=True)
        if smi:
            self.add(Path(smi).resolve(), "/usr/bin/nvidia-smi", read_only=True)

    def make_read_only(self) -> None:
        kernel.remount_read_only(self._root, kernel.NO_DEVICES)
        for place in self._covered:
            kernel.remount_read_only(place, kernel.NO_DEVICES | kernel.NO_SETUID)

    def _add_tmpfs(self, path: str | Path, data: str) -> None:
        self.inside(path).mkdir(parents=True, exist_ok=True)
        kernel.mount("tmpfs", self.inside(path), "tmpfs", kernel.NO_SETUID | kernel.NO_DEVICES, data)

    def _add_small_dev(self) -> None:
        dev = self.inside("/dev")
        dev.mkdir(exist_ok=True)
        kernel.mount("tmpfs", dev, "tmpfs", kernel.NO_SETUID, "mode=755,size=1m")
        for name in ("null", "zero", "full", "random", "urandom", "tty"):
            self.add(f"/dev/{name}", f"/dev/{name}")
        (dev / "pts").mkdir()
        self._add_tmpfs("/dev/shm", "mode=1777")

    def _make_place(self, source: Path, place: Path) -> None:
        try:
            self._make(source, place)
        except PermissionError:
            self._cover(place.parent)
            self._make(source, place)

    @staticmethod
    def _make(source: Path, place: Path) -> None:
        if source.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif not os.path.lexists(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()

    def _cover(self, path: Path) -> None:
        """Cover a directory in which nothing may be made by a tmpfs with the same entries (an "underlay")."""
        while not path.is_dir():
            path = path.parent
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY)
        old = Path(f"/proc/self/fd/{descriptor}")
        mode = path.stat().st_mode & 0o7777
        kernel.mount("tmpfs", path, "tmpfs", kernel.NO_SETUID | kernel.NO_DEVICES, f"mode={mode:o},size=1m")
        for entry in old.iterdir():
            copy = path / entry.name
            if entry.is_symlink():
                copy.symlink_to(entry.readlink())
                continue
            copy.mkdir() if entry.is_dir() else copy.touch()
            kernel.bind(entry, copy)
        os.close(descriptor)
        self._covered.append(path)
