"""``periogt setup``: turn a directory into a complete artifact directory.

Every step looks at what is there and does what is missing, so a run that was killed at any moment
is finished by the next one, and a run on a finished directory changes nothing. The ready marker
is written last, when everything that predictions need has been loaded or identified.
"""

import contextlib
import errno
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import httpx

from periogt_ray.artifacts.architecture import Architecture
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.index import DEFAULT_NAME, index_document, read_index
from periogt_ray.artifacts.inventory import Inventory, is_outdated, is_sibling, take_inventory, weight_paths
from periogt_ray.artifacts.layout import (
    ENCODER_EXPECTED,
    HEADS_EXPECTED,
    INDEX_NAME,
    LABEL_STATS_NAME,
    SCALER_EXPECTED,
    SCALER_NAMES,
    SCALER_NPZ_NAME,
    WEIGHT_FOLDERS,
)
from periogt_ray.artifacts.manifest import is_ready, remove_manifest, write_manifest, write_ready
from periogt_ray.artifacts.safe_pickle import load_scaler_arrays
from periogt_ray.artifacts.scaler import Scaler, read_scaler, scaler_bytes
from periogt_ray.artifacts.statistics import read_label_stats
from periogt_ray.artifacts.verification import location_warnings, permission_warnings
from periogt_ray.artifacts.weight_files import read_shapes
from periogt_ray.errors import CheckpointMissingError, ChecksumMismatchError, ModelLoadError, SettingsError
from periogt_ray.runtime.files import FILE_MODE, make_directory, write_bytes_atomically, write_json_atomically
from periogt_ray.setup.convert import Conversion, convert_in_child
from periogt_ray.setup.downloads import DownloadPolicy, download, human_bytes, make_client, require_network, verify_file
from periogt_ray.setup.label_statistics import label_statistics
from periogt_ray.setup.lock import hold_lock
from periogt_ray.setup.published import PublishedFile, Role, load_published
from periogt_ray.setup.staging import ArchiveStage, Converter, remove_tree, require_space, trash_of

__all__ = ["STAGING_NAME", "SetupOptions", "SetupReport", "run_setup"]

logger = logging.getLogger("periogt_ray.setup")

STAGING_NAME = ".setup"
# Where a directory of brought-in files, or a clone of the authors' repository, may have them.
_SOURCE_FOLDERS = ("", "datasets", "PerioGT_common/datasets")
_EXPECTED = {
    "encoder": ENCODER_EXPECTED,
    "heads": HEADS_EXPECTED,
    "scaler": SCALER_EXPECTED,
    "labels": LABEL_STATS_NAME,
}


@dataclass(frozen=True)
class SetupOptions:
    """What to set up, and how.

    Attributes
    ----------
    directory : pathlib.Path
        The artifact directory; made if it does not exist.
    from_dir : pathlib.Path or None
        Take the published files from here and use no network.
    skip_download : bool
        Use what is in the directory and no network.
    keep_archives, keep_pth : bool
        Keep fetched archives in the directory; keep ``.pth`` files beside their conversions.
    mirror : str or None
        Address that replaces scheme and host of the published ones.
    files : tuple of PublishedFile or None
        Another manifest than the package's.
    lock_timeout_s : float
        Longest wait for another setup in the same directory.
    policy : DownloadPolicy
        Time-outs and retries.
    check : callable or None
        Loads everything once before the ready marker is written, see
        :func:`periogt_ray.setup.trial_load.load_everything`; returns reasons by property id for what is then listed
        and not served.
    convert : callable
        Converts ``.pth`` files.
    """

    directory: Path
    from_dir: Path | None = None
    skip_download: bool = False
    keep_archives: bool = False
    keep_pth: bool = False
    mirror: str | None = None
    files: tuple[PublishedFile, ...] | None = None
    lock_timeout_s: float = 6 * 3600.0
    policy: DownloadPolicy = field(default_factory=DownloadPolicy)
    check: Callable[[Path], Mapping[str, str]] | None = None
    convert: Converter = convert_in_child


@dataclass(frozen=True)
class SetupReport:
    """What a directory holds after setup.

    Attributes
    ----------
    directory : pathlib.Path
        The artifact directory.
    is_changed : bool
        False if there was nothing to do.
    supported : tuple of str
        Property ids that are served.
    unsupported : dict
        Id -> reason for the others.
    warnings : tuple of str
        Permissions and location that the user should know of.
    elapsed_s : float
        Wall time.
    """

    directory: Path
    is_changed: bool
    supported: tuple[str, ...]
    unsupported: dict[str, str]
    warnings: tuple[str, ...]
    elapsed_s: float


def run_setup(options: SetupOptions) -> SetupReport:
    """Complete an artifact directory.

    Raises
    ------
    CheckpointMissingError
        Files are absent and cannot be fetched; all of them are named.
    ChecksumMismatchError
        A file is not the published one.
    ModelLoadError
        An archive, a checkpoint or a pickle is damaged, refused or of another network.
    SettingsError
        The directory cannot be used: not writable, full, or locked for too long.
    """
    started = time.monotonic()
    root = Path(options.directory).absolute()
    with _as_settings_error(root):
        make_directory(root)
        with hold_lock(root, timeout_s=options.lock_timeout_s):
            is_changed = not is_ready(root, keep_pth=options.keep_pth)
            if is_changed:
                _Setup(options, root).complete()
        opened = ArtifactDirectory.open(root)
        warnings = tuple(location_warnings(root) + permission_warnings(root))
    unsupported = {key: str(info.reason) for key, info in opened.properties.items() if not info.supported}
    elapsed_s = time.monotonic() - started
    for text in warnings:
        logger.warning("%s", text)
    state = "is ready" if is_changed else "was set up before; nothing to do"
    logger.info("%s %s: %s (%.1f s)", root, state, ", ".join(opened.supported) or "no property", elapsed_s)
    return SetupReport(root, is_changed, tuple(opened.supported), unsupported, warnings, elapsed_s)


@contextlib.contextmanager
def _as_settings_error(root: Path) -> Iterator[None]:
    """Say what to do when the file system refuses."""
    try:
        yield
    except OSError as error:
        place = error.filename or root
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SettingsError(
                f"{root}: the disk is full, or the quota used up ({place}). What was done is kept: make room and run "
                "`periogt setup` again, or choose another directory with PERIOGT_CHECKPOINT_DIR.",
                {"directory": str(root)},
            ) from error
        raise SettingsError(
            f"{root}: {error.strerror or error} ({place}). setup needs a directory that it can write to; choose one "
            "with PERIOGT_CHECKPOINT_DIR, then run `periogt setup` again.",
            {"directory": str(root)},
        ) from error


class _Setup:
    """One run of setup in a locked directory."""

    def __init__(self, options: SetupOptions, root: Path) -> None:
        self.options = options
        self.root = root
        self.staging = root / STAGING_NAME
        self.downloads = self.staging / "downloads"
        self.files = options.files if options.files is not None else load_published()
        self.stages = [ArchiveStage(file, self.staging) for file in self._of_role("encoder", "heads")]

    def _of_role(self, *roles: Role) -> list[PublishedFile]:
        """Return the published files of some roles."""
        return [file for file in self.files if file.role in roles]

    def complete(self) -> None:
        """Do what is missing."""
        remove_manifest(self.root)
        self._remove_leftovers()
        needed = self._needed()
        sources = self._obtain(needed)
        self.staging.mkdir(exist_ok=True)
        self._make_scaler(sources)
        self._make_label_stats(sources)
        for stage in self.stages:
            if stage.file in sources:
                stage.extract(sources[stage.file], keep_pth=self.options.keep_pth)
            if stage.is_begun:
                stage.convert(self.options.convert, keep_pth=self.options.keep_pth)
                stage.place(self.root)
        self._convert_in_place()
        self._finish()

    def _remove_leftovers(self) -> None:
        """Remove what an atomic write, or a removal, had begun when its process was killed."""
        remove_tree(trash_of(self.staging))
        for folder in (self.root, *(self.root / name for name in WEIGHT_FOLDERS)):
            for path in folder.glob(".*.part") if folder == self.root else folder.rglob(".*.part"):
                path.unlink(missing_ok=True)

    # What is needed, and where it comes from

    def _needed(self) -> list[PublishedFile]:
        """Return the published files that are not there yet in the form that they end up in."""
        begun = {stage.file.role for stage in self.stages if stage.is_begun}
        stale = {stage.file.role for stage in self.stages if stage.is_stale}
        inventory = take_inventory(self.root)
        has = {
            "encoder": (inventory.encoder is not None and "encoder" not in stale) or "encoder" in begun,
            "heads": (bool(inventory.properties) and "heads" not in stale) or "heads" in begun,
            "scaler": any((self.root / name).is_file() for name in SCALER_NAMES),
            "labels": (self.root / LABEL_STATS_NAME).is_file(),
        }
        has["split"] = has["labels"]
        unpublished = [role for role, is_there in has.items() if not is_there and not self._of_role(cast(Role, role))]
        if unpublished:
            raise self._absent(unpublished)
        return [file for file in self.files if not has[file.role]]

    def _obtain(self, needed: Sequence[PublishedFile]) -> dict[PublishedFile, Path]:
        """Find the needed files here, in the source directory, or on the network.

        Returns
        -------
        dict
            File -> verified path.
        """
        if self.options.from_dir is not None and not self.options.from_dir.is_dir():
            raise SettingsError(f"--from-dir {self.options.from_dir} is not a directory.")
        found = {file: self._locate(file) for file in needed}
        absent = [file for file, path in found.items() if path is None]
        if absent and (self.options.skip_download or self.options.from_dir is not None):
            if self.options.from_dir is None:
                raise self._absent([file.role for file in absent])
            raise self._absent_sources(self.options.from_dir, absent)
        located = {file: path for file, path in found.items() if path is not None}
        for file, path in located.items():
            if path.parent != self.downloads:
                logger.info("%s: using %s", file.name, path)
                verify_file(file, path)
        return located | (self._download(absent) if absent else {})

    def _locate(self, file: PublishedFile) -> Path | None:
        """Return where a file lies already."""
        names = dict.fromkeys(
            (file.name, file.flat_name, *([f"pretrain/{file.name}"] if file.role == "scaler" else []))
        )
        staged = self._staged(file)
        if staged is not None:
            return staged
        places = [self.root / name for name in names]
        if self.options.from_dir is not None:
            places += [self.options.from_dir / folder / name for folder in _SOURCE_FOLDERS for name in names]
        return next((path for path in places if path.is_file()), None)

    def _staged(self, file: PublishedFile) -> Path | None:
        """Return what an earlier run fetched, if it is still what the manifest asks for."""
        path = self.downloads / file.flat_name
        if not path.is_file():
            return None
        try:
            verify_file(file, path)
        except ChecksumMismatchError:
            path.unlink()
            return None
        return path

    def _absent(self, roles: Sequence[str]) -> CheckpointMissingError:
        """Name every artifact that is absent, with the place it was expected at."""
        archives = {
            file.role: f", or the archive {self.root / file.name}" for file in self._of_role("encoder", "heads")
        }
        distinct = dict.fromkeys("labels" if role == "split" else role for role in roles)
        missing = [f"{self.root / _EXPECTED[role]}{archives.get(cast(Role, role), '')}" for role in distinct]
        return _missing(missing, "Put them there, or run `periogt setup` with network access or with --from-dir DIR.")

    def _absent_sources(self, folder: Path, files: Sequence[PublishedFile]) -> CheckpointMissingError:
        """Name every published file that the source directory lacks."""
        missing = [str(folder / file.name) for file in files]
        return _missing(missing, "`periogt setup --list` prints the published address of each.")

    def _download(self, files: Sequence[PublishedFile]) -> dict[PublishedFile, Path]:
        """Fetch files, after checking that there is room for them and what becomes of them."""
        self.downloads.mkdir(parents=True, exist_ok=True)
        here = sum(path.stat().st_size for path in self.downloads.glob("*.part"))
        archives = sum(file.planned_bytes for file in files if file.role in ("encoder", "heads"))
        needed = sum(file.planned_bytes for file in files) + archives - here
        logger.info("%d files to fetch, %s", len(files), human_bytes(sum(file.planned_bytes for file in files)))
        require_space(self.root, max(needed, 0), purpose="fetching and unpacking the published files")
        require_network(files[0], policy=self.options.policy, mirror=self.options.mirror)
        with self._client() as client:
            return {
                file: download(
                    file, self.downloads, client=client, policy=self.options.policy, mirror=self.options.mirror
                )
                for file in files
            }

    def _client(self) -> httpx.Client:
        """Return an HTTP client."""
        try:
            return make_client(self.options.policy)
        except (ValueError, httpx.InvalidURL, OSError) as error:
            raise SettingsError(
                f"the proxy or certificate settings of this environment cannot be used ({error}); check HTTPS_PROXY, "
                "HTTP_PROXY, ALL_PROXY and SSL_CERT_FILE."
            ) from error

    # From files to artifacts

    def _make_scaler(self, sources: dict[PublishedFile, Path]) -> None:
        """Keep the descriptor scaler as plain arrays."""
        if (self.root / SCALER_NPZ_NAME).is_file():
            return
        fetched = [path for file, path in sources.items() if file.role == "scaler"]
        scaler = Scaler(*load_scaler_arrays(fetched[0])) if fetched else read_scaler(self.root)
        write_bytes_atomically(self.root / SCALER_NPZ_NAME, scaler_bytes(scaler))
        read_scaler(self.root)
        logger.info("%s: mean and scale of %d descriptors", SCALER_NPZ_NAME, len(scaler.mean))

    def _make_label_stats(self, sources: dict[PublishedFile, Path]) -> None:
        """Compute label statistics from the training rows of each property."""
        path = self.root / LABEL_STATS_NAME
        if path.is_file():
            read_label_stats(path)
            return
        splits = {file.property_id: source for file, source in sources.items() if file.role == "split"}
        stats = {}
        for file, source in sources.items():
            if file.role == "labels" and file.property_id is not None:
                mean, std = label_statistics(source, splits[file.property_id])
                stats[file.property_id] = {"mean": mean, "std": std}
        write_json_atomically(path, stats)
        logger.info("%s: %s", LABEL_STATS_NAME, ", ".join(sorted(stats)))

    def _convert_in_place(self) -> None:
        """Convert ``.pth`` files that were put into the directory by hand."""
        inventory = take_inventory(self.root)
        chosen = [file.path for file in (inventory.encoder, *inventory.properties.values()) if file is not None]
        conversions = [
            Conversion(self.root / path, (self.root / path).with_suffix(".safetensors"))
            for path in [*(path for path in chosen if not path.endswith(".safetensors")), *self._outdated()]
        ]
        if conversions:
            largest = max(conversion.source.stat().st_size for conversion in conversions)
            total = sum(conversion.source.stat().st_size for conversion in conversions)
            require_space(self.root, total if self.options.keep_pth else largest, purpose="converting the weights")
            logger.info("converting %d files to safetensors", len(conversions))
            self.options.convert(conversions, done=self._retire)
        if not self.options.keep_pth:
            weights = set(weight_paths(self.root))
            for path in sorted(path for path in weights if is_sibling(path, weights)):
                (self.root / path).unlink()

    def _outdated(self) -> list[str]:
        """Return ``.pth`` files that are newer than, or other than, the safetensors file beside them."""
        weights = set(weight_paths(self.root))
        outdated = []
        for path in sorted(path for path in weights if is_sibling(path, weights)):
            source = self.root / path
            is_other = read_shapes(source) != read_shapes(source.with_suffix(".safetensors"))
            if is_other or is_outdated(self.root, path):
                outdated.append(path)
        return outdated

    def _retire(self, conversion: Conversion) -> None:
        """Let the conversion of a hand-placed file take its place."""
        logger.info("converted %s", conversion.destination.relative_to(self.root))
        if not self.options.keep_pth:
            conversion.source.unlink()

    # The record

    def _index(self, rejected: Mapping[str, str]) -> Inventory:
        """Write index.json; prompt schemes that an index of ours already stated stay."""
        found = take_inventory(self.root)
        refused = {
            key: replace(found.properties[key], architecture=Architecture("unknown", {}, reason))
            for key, reason in rejected.items()
        }
        inventory = replace(found, properties={**found.properties, **refused})
        earlier = read_index(self.root)
        name, schemes = (earlier.name, earlier.schemes) if earlier is not None else (DEFAULT_NAME, {})
        infos = inventory.infos(read_label_stats(self.root / LABEL_STATS_NAME), schemes=schemes)
        write_json_atomically(self.root / INDEX_NAME, index_document(inventory, infos, name=name))
        return inventory

    def _load_once(self) -> Mapping[str, str]:
        """Load everything; returns reasons by property id for what does not load."""
        if self.options.check is None:
            return {}
        logger.info("loading every network once")
        supported = ArtifactDirectory.open(self.root).supported
        rejected = self.options.check(self.root)
        if rejected and set(rejected) >= set(supported):
            reasons = "; ".join(rejected.values())
            raise ModelLoadError(f"{self.root}: no property's network loads: {reasons}", {"rejected": dict(rejected)})
        return rejected

    def _finish(self) -> None:
        """Index, check, record, tidy up, and say ready."""
        inventory = self._index({})
        rejected = self._load_once()
        if rejected:
            inventory = self._index(rejected)
        opened = ArtifactDirectory.open(self.root)
        opened.scaler()
        for info in opened.properties.values():
            if not info.supported:
                logger.warning("%s is listed but not served: %s", info.id, info.reason)
        weights = [opened.encoder, *(info.checkpoint for info in opened.properties.values())]
        unused = [path for path in inventory.unused if not is_sibling(path, weights)]
        for path in unused:
            logger.warning("%s is not used: another file holds the same property", path)
        logger.info("recording SHA-256 of %d files", len(weights) + 3)
        write_manifest(self.root, [*weights, INDEX_NAME, LABEL_STATS_NAME, SCALER_NPZ_NAME], unused=unused)
        if self.options.keep_archives:
            for file in self._of_role("encoder", "heads"):
                if (self.downloads / file.flat_name).is_file():
                    (self.downloads / file.flat_name).chmod(FILE_MODE)
                    (self.downloads / file.flat_name).replace(self.root / file.flat_name)
        remove_tree(self.staging)
        write_ready(self.root)


def _missing(missing: list[str], advice: str) -> CheckpointMissingError:
    """Make the error for absent files, one a line."""
    lines = "".join(f"\n  {name}" for name in missing)
    return CheckpointMissingError(f"{len(missing)} missing, expected at:{lines}\n{advice}", {"missing": missing})


if __name__ == "__main__":
    from periogt_ray.setup.command import main

    main()
