"""The options of a setup run, and the state that its steps share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from periogt_ray.artifacts.statistics import LabelStats
from periogt_ray.setup.convert import convert_in_child
from periogt_ray.setup.downloads import DownloadPolicy
from periogt_ray.setup.published import PublishedFile, Role, load_published, load_statistics
from periogt_ray.setup.staging import ArchiveStage, Converter

__all__ = ["SetupOptions", "SetupState"]

_STAGING_NAME = ".setup"


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
        Another catalogue than the package's.
    statistics : Mapping or None
        Label statistics that belong to that catalogue; None: those of the package's, if ``files`` is None.
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
    statistics: Mapping[str, LabelStats] | None = None
    lock_timeout_s: float = 6 * 3600.0
    policy: DownloadPolicy = field(default_factory=DownloadPolicy)
    check: Callable[[Path], Mapping[str, str]] | None = None
    convert: Converter = convert_in_child


@dataclass
class SetupState:
    """One run of setup in a locked directory.

    Attributes
    ----------
    options : SetupOptions
        What was asked for.
    root : pathlib.Path
        The artifact directory, absolute.
    sources : dict of PublishedFile to pathlib.Path
        The published files that were needed, verified; set by the step ``fetch``.
    weights, unused : list of str
        Weight files by relative path: those that are used, and others; set by the step ``verify``.
    """

    options: SetupOptions
    root: Path
    sources: dict[PublishedFile, Path] = field(default_factory=dict)
    weights: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    @property
    def staging(self) -> Path:
        """Where everything is made, on the file system that it ends up on."""
        return self.root / _STAGING_NAME

    @property
    def downloads(self) -> Path:
        """Where fetched files are."""
        return self.staging / "downloads"

    @cached_property
    def files(self) -> tuple[PublishedFile, ...]:
        """The catalogue."""
        return self.options.files if self.options.files is not None else load_published()

    @cached_property
    def statistics(self) -> Mapping[str, LabelStats]:
        """Label statistics that the catalogue has."""
        if self.options.statistics is not None:
            return self.options.statistics
        return load_statistics() if self.options.files is None else {}

    @cached_property
    def stages(self) -> list[ArchiveStage]:
        """The way of each archive."""
        return [ArchiveStage(file, self.staging) for file in self.of_role("encoder", "heads")]

    def of_role(self, *roles: Role) -> list[PublishedFile]:
        """Return the published files of some roles."""
        return [file for file in self.files if file.role in roles]
