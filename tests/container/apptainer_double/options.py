"""Command lines of exec, run, shell and test."""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Options:
    """What a container is started with."""

    image: Path
    words: list[str] = field(default_factory=list)
    binds: list[str] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)
    variable_files: list[str] = field(default_factory=list)
    not_mounted: frozenset[str] = frozenset()
    directory: str | None = None
    tmpfs_mib: int = 64
    cleans_environment: bool = False
    contains: bool = False
    is_fakeroot: bool = False
    is_writable: bool = False
    nv: bool = False


def parse(command: str, arguments: list[str]) -> Options:
    """Read the options before the image; what follows it is the command."""
    parser = argparse.ArgumentParser(prog=f"apptainer {command}", allow_abbrev=False)
    for names in (("--cleanenv", "-e"), ("--contain", "-c"), ("--containall", "-C"), ("--writable", "-w")):
        parser.add_argument(*names, action="store_true")
    for name in ("nv", "rocm", "writable-tmpfs", "fakeroot", "no-home", "no-init", "no-privs", "userns"):
        parser.add_argument(f"--{name}", action="store_true")
    for names in (("--bind", "-B"), ("--env",), ("--env-file",), ("--no-mount",), ("--home", "-H"), ("--app",)):
        parser.add_argument(*names, action="append", default=[])
    parser.add_argument("--pwd", "--cwd")
    parser.add_argument("--tmpfs-size", type=int, default=64)
    parser.add_argument("image", type=Path)
    parser.add_argument("words", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    not_mounted = {name for names in given.no_mount for name in names.split(",")}
    return Options(
        image=given.image.absolute(),
        words=given.words,
        binds=given.bind,
        variables=given.env,
        variable_files=given.env_file,
        not_mounted=frozenset(not_mounted | ({"home"} if given.no_home else set())),
        directory=given.pwd,
        tmpfs_mib=given.tmpfs_size,
        cleans_environment=given.cleanenv or given.containall,
        contains=given.contain or given.containall,
        is_fakeroot=given.fakeroot,
        is_writable=given.writable_tmpfs or (given.writable and given.image.is_dir()),
        nv=given.nv,
    )


def binds_of(options: Options) -> Iterator[tuple[Path, Path, bool]]:
    """Yield source, target and whether it is read-only of each bind, APPTAINER_BIND included."""
    from_environment = os.environ.get("APPTAINER_BIND") or os.environ.get("SINGULARITY_BIND") or ""
    for bind in (one for some in [*options.binds, from_environment] for one in some.split(",") if one):
        source, target, flags, *_ = [*bind.split(":"), "", ""]
        path = Path(source).absolute()
        yield path, Path(target).absolute() if target else path, "ro" in flags
