"""apptainer build, as root."""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from . import VERSION, definition, kernel, sif
from .launch import launch
from .options import Options
from .reporting import fatal, log

_ARCHIVES = (".tar", ".tar.gz", ".tar.zst", ".tgz")
_MARK = re.compile(r"(?m)^\s*# -+ layer\b.*\n")  # a comment for Apptainer
_SAVE_SHELL = '\n{ export -p; echo "umask $(umask)"; } >/.post.environment\n'
_LOAD_SHELL = ". /.post.environment\nrm /.post.environment\n"
_PLACES = ("proc", "sys", "dev", "tmp", "var/tmp", "home", "root", "run")


def build(arguments: list[str]) -> None:
    """Build an image from a definition, a directory or another image."""
    parser = argparse.ArgumentParser(prog="apptainer build")
    for names in (("--sandbox", "-s"), ("--force", "-F"), ("--fakeroot",), ("--nv",), ("--notest", "-T")):
        parser.add_argument(*names, action="store_true")
    parser.add_argument("--build-arg", action="append", default=[])
    parser.add_argument("--bind", "-B", action="append", default=[])
    parser.add_argument("--mksquashfs-args", default="")
    parser.add_argument("image", type=Path)
    parser.add_argument("source", type=Path)
    given = parser.parse_args(arguments)
    if os.geteuid() != 0:
        fatal("shim: build needs root")
    if given.image.exists() and not given.force:
        fatal(f"build target '{given.image}' already exists. Use --force if you want to overwrite")
    log("INFO", "Starting build...")
    parent = os.environ.get("APPTAINER_TMPDIR", "/var/tmp")
    with tempfile.TemporaryDirectory(prefix="build-temp-", dir=parent, ignore_cleanup_errors=True) as work:
        _Build(given, Path(work)).run()
    log("INFO", f"Build complete: {given.image}")


class _Build:
    def __init__(self, given: argparse.Namespace, work: Path) -> None:
        self._given = given
        self._work = work
        self._root = work / "rootfs"
        self._definition = definition.Definition()
        layer = os.environ.get("APPTAINER_SHIM_LAYER")
        self._layer = Path(layer) if layer else None

    def run(self) -> None:
        try:
            self._make()
        finally:
            if self._root.is_mount():
                kernel.unmount(self._root)

    def _make(self) -> None:
        source, sections = self._given.source, {}
        if source.is_dir() or source.suffix in (".sif", ".sqfs"):
            self._copy(source)
        else:
            arguments = dict(argument.split("=", 1) for argument in self._given.build_arg)
            self._definition = definition.parse(source.read_text(), arguments)
            sections = self._definition.sections
            if self._layer is None:
                self._bootstrap(self._definition.header)
            else:
                sections["post"] = self._take_layer(self._layer, sections)
        self._make_places()
        self._write_metadata(sections)
        if "setup" in sections:
            environment = {**os.environ, "APPTAINER_ROOTFS": str(self._root)}
            subprocess.run(["/bin/sh", "-ec", sections["setup"]], check=True, env=environment)
        self._copy_files(sections.get("files", ""))
        if "post" in sections:
            self._run_post(sections["post"])
        if "test" in sections and not self._given.notest:
            log("INFO", "Running testscript")
            if self._inside("exec /bin/sh -e /.singularity.d/test", "test"):
                fatal("while running test script")
        self._pack()

    def _make_places(self) -> None:
        for name in _PLACES:
            (self._root / name).mkdir(parents=True, exist_ok=True)

    def _run_post(self, text: str) -> None:
        log("INFO", "Running post scriptlet")
        script = self._root / ".post.sh"
        script.write_text(text)
        status = self._inside("exec /bin/sh -ex /.post.sh", "build")
        script.unlink()
        if status:
            fatal(f"while performing build: while running engine: exit status {status}")

    def _take_layer(self, layer: Path, sections: dict[str, str]) -> str:
        """Begin with what the first part of %post makes, which is kept for further builds; return the second part.

        Parts end at a comment that begins with "# ---- layer". The first part of %post sees the first part of %files
        alone, so that it cannot depend on the rest unnoticed. Who names the layer knows when it is out of date.
        """
        (first_files, _), (first, second) = (_MARK.split(sections.get(name, ""), 1) for name in ("files", "post"))
        if not layer.exists():
            self._bootstrap(self._definition.header)
            self._make_places()
            self._copy_files(first_files)
            self._run_post(first + _SAVE_SHELL)
            self._root.rename(layer)
        log("INFO", f"Going on from {layer}")
        for name in ("changes", "overlay-work", self._root.name):
            (self._work / name).mkdir()
        kernel.unshare_mounts()
        kernel.make_mounts_private()
        layers = f"lowerdir={layer},upperdir={self._work / 'changes'},workdir={self._work / 'overlay-work'}"
        kernel.mount("overlay", self._root, "overlay", 0, layers)
        return _LOAD_SHELL + second

    def _bootstrap(self, header: dict[str, str]) -> None:
        kind, source = header.get("bootstrap"), header.get("from", "")
        if kind == "localimage":
            self._copy(Path(source))
        elif kind == "debootstrap":
            include = header.get("include", "").replace(" ", ",")
            command = ["mmdebstrap", "--variant=minbase", f"--include={include}", header["osversion"], self._root]
            subprocess.run(command, check=True)
        elif kind == "docker":  # no registry here: a stand-in by name
            name = re.sub(r"[/:@]", "_", source)
            stand_in = Path(os.environ.get("APPTAINER_SHIM_BASES", "/var/lib/apptainer-shim")) / name
            found = [path for path in (stand_in, *stand_in.parent.glob(f"{name}.*")) if path.exists()]
            if not found:
                fatal(f"while making image from oci registry: no stand-in {stand_in} for docker://{source}")
            self._copy(found[0])
        else:
            fatal(f"unsupported bootstrap {kind}")

    def _copy(self, source: Path) -> None:
        if source.is_dir():
            subprocess.run(["cp", "-a", "--reflink=auto", source, self._root], check=True)
        elif source.name.endswith(_ARCHIVES):
            self._root.mkdir()
            subprocess.run(["tar", "-C", self._root, "--numeric-owner", "-xf", source], check=True)
        else:
            offset, _ = sif.squashfs_in(source)
            command = ["unsquashfs", "-q", "-n", "-o", str(offset), "-d", self._root, source]
            subprocess.run(command, check=True)

    def _write_metadata(self, sections: dict[str, str]) -> None:
        folder = self._root / ".singularity.d"
        for name in ("env", "libs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        if "environment" in sections:
            (folder / "env" / "90-environment.sh").write_text("#!/bin/sh\n" + sections["environment"])
        for name, default in (("runscript", 'exec "$@"\n'), ("test", None)):
            script = sections.get(name, None if (folder / name).exists() else default)
            if script is not None:
                (folder / name).write_text(f"#!/bin/sh\n{script}")
                (folder / name).chmod(0o755)
        labels = {
            "org.label-schema.build-date": time.ctime(),
            "org.label-schema.usage.apptainer.version": VERSION,
        }
        lines = (line.split(None, 1) for line in sections.get("labels", "").splitlines())
        labels |= {words[0]: words[1].strip() for words in lines if len(words) == 2}
        (folder / "labels.json").write_text(json.dumps(labels))
        (folder / "Singularity").write_text(self._definition.text)

    def _copy_files(self, section: str) -> None:
        for line in section.splitlines():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            source, target = words[0], words[1] if len(words) > 1 else str(Path(words[0]).absolute())
            log("INFO", f"Copying {source} to {target}")
            place = f"{self._root}{target}"
            Path(place if target.endswith("/") else place.rpartition("/")[0]).mkdir(parents=True, exist_ok=True)
            # By a shell, because the source may hold wildcards.
            if subprocess.run(f"cp -aL {source} {shlex.quote(place)}", shell=True, check=False).returncode:
                fatal(f"while copying {source}")

    def _inside(self, body: str, command: str) -> int:
        """Run a script in the directory that becomes the image, writable."""
        pid = os.fork()
        if pid == 0:
            os.environ["HOME"] = "/root"
            os.chdir("/")
            options = Options(self._root, binds=self._given.bind, not_mounted=frozenset({"home", "cwd", "tmp"}))
            launch(options, command, [], body=body, writes_image=True)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _pack(self) -> None:
        image = self._given.image
        if image.is_dir():
            shutil.rmtree(image)
        if self._given.sandbox:
            shutil.move(self._root, image)
            return
        log("INFO", "Creating SIF file...")
        options = shlex.split(self._given.mksquashfs_args)
        sif.write_sif(image, self._root, self._work, definition=self._definition.text, options=options)
