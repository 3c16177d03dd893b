"""From an archive to weights in their place, by steps that a killed run leaves whole or undone.

All of it happens in a staging directory inside the artifact directory, hence on the same file
system. For an archive ``x.zip``::

    x.extracting/   being unpacked; thrown away if found
    x.plan.json     hashes of the archive, and which of its files becomes which artifact
    x.extracted/    unpacked
    x.prepared/     converted files; each appears when it is whole, and its source goes
    x.complete/     all converted; its files move to their places in the artifact directory

What is found tells how far an earlier run came.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from periogt_ray.artifacts.inventory import file_property_id, take_inventory
from periogt_ray.artifacts.layout import ENCODER_PATH, head_path
from periogt_ray.errors import ModelLoadError, PerioGTError, SettingsError
from periogt_ray.runtime.files import FILE_MODE, make_directory, write_json_atomically
from periogt_ray.setup.archives import extract_weights, unpacked_bytes
from periogt_ray.setup.convert import Conversion
from periogt_ray.setup.downloads import human_bytes
from periogt_ray.setup.published import PublishedFile

__all__ = ["ArchiveStage", "Converter", "remove_tree", "require_space", "trash_of"]

logger = logging.getLogger("periogt_ray.setup")

# For index, statistics and whatever else the file system needs.
_SPARE_BYTES = 2**20


class Converter(Protocol):
    """What converts files: :func:`periogt_ray.setup.convert.convert_in_child`."""

    def __call__(self, conversions: Iterable[Conversion], *, done: Callable[[Conversion], None]) -> None:
        """Convert files, calling ``done`` after each."""


class _Step(NamedTuple):
    """One file of an archive: path in it, and path in the artifact directory."""

    source: str
    target: str


def trash_of(path: Path) -> Path:
    """Return the name under which a directory is being removed."""
    return path.with_name(f"{path.name}.trash")


def remove_tree(path: Path) -> None:
    """Remove a directory of our own, if it is there: at once by its name, then file by file."""
    trash = trash_of(path)
    if trash.is_dir():
        shutil.rmtree(trash)
    if path.is_dir():
        path.rename(trash)
        shutil.rmtree(trash)


def require_space(directory: Path, n_bytes: int, *, purpose: str) -> None:
    """Check that a file system has room.

    Raises
    ------
    SettingsError
        It has not; the message says how much is needed and there.
    """
    needed = n_bytes + _SPARE_BYTES
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise SettingsError(
            f"{directory}: {purpose} needs {human_bytes(needed)}, and {human_bytes(free)} are free. "
            "Free some space, or choose another directory with PERIOGT_CHECKPOINT_DIR.",
            {"directory": str(directory), "needed_bytes": needed, "free_bytes": free},
        )


class ArchiveStage:
    """The way of one archive.

    Parameters
    ----------
    file : PublishedFile
        The archive, with the role ``encoder`` or ``heads``.
    staging : pathlib.Path
        The staging directory.
    """

    def __init__(self, file: PublishedFile, staging: Path) -> None:
        self.file = file
        stem = file.flat_name.removesuffix(".zip")
        self._extracting = staging / f"{stem}.extracting"
        self._extracted = staging / f"{stem}.extracted"
        self._prepared = staging / f"{stem}.prepared"
        self._complete = staging / f"{stem}.complete"
        self._plan_path = staging / f"{stem}.plan.json"

    @property
    def is_begun(self) -> bool:
        """Whether the rest of the way needs no archive."""
        return self._is_unpacked and self._read_plan() is not None

    @property
    def is_stale(self) -> bool:
        """Whether an earlier run was on the way with another archive, some of which may be in place."""
        return self._is_unpacked and self._read_plan() is None

    @property
    def _is_unpacked(self) -> bool:
        """Whether an archive was unpacked."""
        return self._complete.is_dir() or self._extracted.is_dir()

    def _identity(self) -> dict[str, object]:
        """Return what tells this archive from others of its name."""
        return {"md5": self.file.md5, "sha256": self.file.sha256, "size": self.file.size}

    def _read_plan(self) -> list[_Step] | None:
        """Return what the unpacked files become; None if they are of another archive."""
        try:
            document = json.loads(self._plan_path.read_text(encoding="utf-8"))
            if document["archive"] != self._identity():
                return None
            return [_Step(source, target) for source, target in document["steps"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def extract(self, archive: Path, *, keep_pth: bool) -> None:
        """Unpack the archive and decide, by content, what each file becomes.

        Raises
        ------
        ModelLoadError
            The archive is refused or does not hold what it should.
        SettingsError
            The disk has no room for it.
        """
        n_bytes = unpacked_bytes(archive)
        # Each unpacked file goes once it is converted, so the two exist side by side for one file only.
        needed = 2 * n_bytes if keep_pth else n_bytes + n_bytes // 2
        require_space(self._extracting.parent, needed, purpose=f"unpacking {self.file.name}")
        for leftover in (self._extracting, self._extracted, self._prepared, self._complete):
            remove_tree(leftover)
        logger.info("%s: unpacking %s", self.file.name, human_bytes(n_bytes))
        try:
            names = extract_weights(archive, self._extracting)
            steps = self._plan()
        except PerioGTError as error:
            remove_tree(self._extracting)
            message = error.message.replace(f"{self._extracting}/", "")
            raise ModelLoadError(f"{archive}: {message}", {**error.details, "archive": str(archive)}) from error
        for name in sorted(set(names) - {step.source for step in steps}):
            logger.warning("%s: %s is not used", self.file.name, name)
        plan = {"archive": self._identity(), "steps": [list(step) for step in steps]}
        write_json_atomically(self._plan_path, plan)
        self._extracting.rename(self._extracted)

    def _plan(self) -> list[_Step]:
        """Decide what the unpacked files become, by the networks in them."""
        inventory = take_inventory(self._extracting)
        if self.file.role == "encoder":
            if inventory.encoder is None:
                found = sorted(inventory.families) or ["no weights"]
                raise ModelLoadError(f"expected the pretrained encoder, found {', '.join(found)}")
            return [_Step(inventory.encoder.path, ENCODER_PATH)]
        heads = inventory.properties
        strays = [file.path for file in heads.values() if file.architecture.family == "encoder"]
        # A copy of base.pth among the heads would be harmless; an encoder under a property's name is not.
        if inventory.encoder is not None and file_property_id(inventory.encoder.path) not in (None, "base"):
            strays.append(inventory.encoder.path)
        if strays:
            raise ModelLoadError(f"expected property heads, found the pretrained encoder as {strays[0]}")
        if not heads:
            raise ModelLoadError("expected property heads, found none")
        for property_id, file in heads.items():
            logger.info("%s: %s is %s (%s)", self.file.name, file.path, property_id, file.architecture.family)
        return [_Step(file.path, head_path(property_id)) for property_id, file in sorted(heads.items())]

    def convert(self, converter: Converter, *, keep_pth: bool) -> None:
        """Convert what is not converted yet, each file atomically.

        Raises
        ------
        ModelLoadError
            A file is corrupt or refused.
        """
        remove_tree(self._extracting)
        if self._complete.is_dir():
            remove_tree(self._extracted)
            return
        conversions = []
        for step in self._read_plan() or []:
            source, target = self._extracted / step.source, self._prepared / step.target
            target.parent.mkdir(parents=True, exist_ok=True)
            conversion = Conversion(source, target)
            if target.is_file():
                self._retire(conversion, keep_pth=keep_pth)
            elif source.suffix == ".safetensors":
                source.replace(target)
            else:
                conversions.append(conversion)
        if conversions:
            logger.info("%s: converting %d files to safetensors", self.file.name, len(conversions))
            try:
                converter(conversions, done=lambda conversion: self._retire(conversion, keep_pth=keep_pth))
            except ModelLoadError as error:
                # The next run starts from the archive again, which may be another one by then.
                remove_tree(self._extracted)
                remove_tree(self._prepared)
                message = error.message.replace(f"{self._extracted}/", "")
                raise ModelLoadError(f"{self.file.name}: {message}", error.details) from error
        self._prepared.rename(self._complete)
        remove_tree(self._extracted)

    def _retire(self, conversion: Conversion, *, keep_pth: bool) -> None:
        """Drop the source of a converted file, or keep it beside its conversion."""
        if keep_pth and conversion.source.is_file():
            conversion.source.replace(conversion.destination.with_suffix(conversion.source.suffix))
        conversion.source.unlink(missing_ok=True)
        logger.info("%s: converted %s", self.file.name, conversion.destination.relative_to(self._prepared))

    def place(self, root: Path) -> None:
        """Move the converted files to their places in the artifact directory."""
        remove_tree(self._extracted)
        # A source before its conversion: were it the other way round, a killed run would leave a .pth to convert anew.
        for path in sorted(self._complete.rglob("*"), key=lambda path: (path.suffix == ".safetensors", str(path))):
            # A hidden file is what an interrupted write left; it goes with the directory.
            if path.is_file() and not path.name.startswith("."):
                target = root / path.relative_to(self._complete)
                make_directory(target.parent)
                path.chmod(FILE_MODE)
                path.replace(target)
        remove_tree(self._complete)
