"""``periogt featurize``: fills the feature store with the polymers of a table, on CPUs, without Ray.

::

    table -> scan, the parts of this share         tables.reading, tables.shares
        -> featurized in processes                 featurize_workers
        -> appended to a segment by this process   polymer.feature_store

What is in the store is not computed again, so a run that was killed goes on when it is started again, and several may
run at a time.
"""

import logging
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.batch.featurize_workers import FeaturizeSpec, FeaturizeWorkers, FilledPart
from periogt_ray.batch.progress import Progress
from periogt_ray.batch.results import Counts
from periogt_ray.errors import SettingsError
from periogt_ray.polymer.feature_store import FeatureStore
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.runtime.signals import stop_event
from periogt_ray.settings import Settings
from periogt_ray.tables.columns import TableOptions
from periogt_ray.tables.parts import Part
from periogt_ray.tables.reading import TableScan, scan_table
from periogt_ray.tables.shares import TableShare

__all__ = ["FeaturizeOptions", "FeaturizeSummary", "run_featurize"]

logger = logging.getLogger(__name__)

_ENTRY_BYTES = 16 << 10  # of a polymer with three prompt graphs; measured on the examples: 13 KB


@dataclass(frozen=True)
class FeaturizeOptions:
    """The options of ``periogt featurize``.

    Attributes
    ----------
    input : pathlib.Path
        CSV, also compressed by gzip, or Parquet.
    properties : tuple of str
        Properties that the features are for; their prompt schemes say which are computed.
    share : TableShare
        Which part of the table.
    n_workers : int
        Processes.
    table : TableOptions
        How the input is read.
    """

    input: Path
    properties: tuple[str, ...] = ("all",)
    share: TableShare = field(default_factory=lambda: TableShare(1, 1))
    n_workers: int = 1
    table: TableOptions = field(default_factory=TableOptions)


@dataclass(frozen=True)
class FeaturizeSummary:
    """How a run ended.

    Attributes
    ----------
    input, store, share : str
        What was read, and where the features are.
    schemes : list of str
        Prompt schemes.
    n_rows, n_done, n_failed : int
        Rows of the share; those that were looked at; those of them that have no features.
    failures : dict
        Rows without features, by code.
    n_computed : int
        Features that this run computed, a polymer and scheme each.
    elapsed_s, computed_per_s : float
        Duration in seconds; computed features a second.
    store_entries, store_files, store_bytes : int
        What is in the store.
    """

    input: str
    store: str
    share: str
    schemes: list[str]
    n_rows: int
    n_done: int
    n_failed: int
    failures: dict[str, int]
    n_computed: int
    elapsed_s: float
    computed_per_s: float
    store_entries: int
    store_files: int
    store_bytes: int

    @property
    def exit_code(self) -> int:
        """0 if every row has features, 1 if some have none or the run was interrupted."""
        return 0 if self.n_done == self.n_rows and not self.n_failed else 1

    @property
    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def run_featurize(options: FeaturizeOptions, settings: Settings) -> FeaturizeSummary:
    """Fill the feature store with the polymers of a table.

    Raises
    ------
    SettingsError
        If there is no store, or it cannot be written.
    ValidationError, UnsupportedPropertyError, CheckpointMissingError
        If input, properties or artifacts cannot be used; before anything is computed.
    InternalError
        If the workers cannot go on.
    """
    if settings.feature_store is None:
        raise SettingsError(
            "PERIOGT_FEATURE_STORE is not set; expected a directory of your own, where features are kept: "
            "mkdir -m 700 DIR; export PERIOGT_FEATURE_STORE=DIR."
        )
    artifacts = ArtifactDirectory.of_settings(settings)
    kind = _kind(artifacts, options.properties)
    chosen = map(artifacts.property, artifacts.property_ids(options.properties, kind=kind))
    schemes = tuple(dict.fromkeys(one.prompt_scheme for one in chosen))
    with tempfile.TemporaryDirectory() as copies:
        # Conditions are no part of the features, so their columns need not be there.
        rows_of = kind if kind is InputKind.COPOLYMER else InputKind.HOMOPOLYMER
        scan = scan_table(options.input, replace(options.table, kind=rows_of), copies=Path(copies))
        store = FeatureStore(settings.feature_store, settings.feature_store_bytes)
        try:
            return _Run(options, settings, scan, schemes, store).execute()
        finally:
            store.close()


def _kind(artifacts: ArtifactDirectory, names: Sequence[str]) -> InputKind:
    """Return what the first property is predicted of; ``all`` stands for properties of repeat units."""
    chosen = [name.strip() for name in names if name.strip()]
    return InputKind.HOMOPOLYMER if "all" in chosen or not chosen else artifacts.property(chosen[0]).input_kind


class _Run:
    """One run, once everything about it is known to be right."""

    def __init__(
        self,
        options: FeaturizeOptions,
        settings: Settings,
        scan: TableScan,
        schemes: tuple[PromptScheme, ...],
        store: FeatureStore,
    ) -> None:
        self._options = options
        self._settings = settings
        self._scan = scan
        self._schemes = schemes
        self._store = store
        self._parts: list[Part] = options.share.of(scan.parts)
        self._counts = Counts(sum(part.n_rows for part in self._parts))
        self._failures: Counter[str] = Counter()
        self._n_computed = 0

    def execute(self) -> FeaturizeSummary:
        started_s = time.monotonic()
        n_workers = min(self._options.n_workers, max(1, len(self._parts)))
        self._say_what_comes(n_workers)
        spec = FeaturizeSpec(self._scan.table, self._store.directory, self._schemes, self._settings)
        progress = Progress(self._counts)
        with stop_event() as stop, FeaturizeWorkers(spec, n_workers) as workers:
            for found in workers.results(self._parts, is_stopped=stop.is_set):
                if isinstance(found, FilledPart):
                    self._failures.update(found.failures)
                    self._counts.add(found.n_rows, found.failures.total())
                elif found is not None:
                    self._keep(found.smiles, found.scheme, found.content)
                progress.show()
        if self._counts.n_done < self._counts.n_total:
            logger.warning(
                "Interrupted; %d of %d rows are done. Their features are kept: run the same command again to continue.",
                *(self._counts.n_done, self._counts.n_total),
            )
        engine = self._settings.descriptor_engine
        self._store.close()
        try:
            self._store.tidy(engine=engine)
        except OSError as error:
            logger.warning(
                "%s cannot be tidied: %s. Its features can be read; to have fewer files, make it writable or free some "
                "space, then run the same command again.",
                *(self._settings.feature_store, error.strerror),
            )
        return self._summary(time.monotonic() - started_s)

    def _keep(self, smiles: str, scheme: PromptScheme, content: bytes) -> None:
        engine = self._settings.descriptor_engine
        if not self._store.keep(smiles, scheme, content, engine=engine):
            raise SettingsError(
                f"PERIOGT_FEATURE_STORE is {self._settings.feature_store}, which cannot be written; the reason is "
                "above. Free some space or make the directory writable, then run the same command again."
            )
        self._n_computed += 1

    def _say_what_comes(self, n_workers: int) -> None:
        logger.info(
            "%d rows in share %s of %s, for %s; %d processes; store %s",
            *(self._counts.n_total, self._options.share, self._scan.table.source),
            *(", ".join(scheme.name for scheme in self._schemes), n_workers, self._settings.feature_store),
        )
        wanted = self._scan.n_rows * len(self._schemes) * _ENTRY_BYTES
        if wanted > self._settings.feature_store_bytes:
            logger.warning(
                "%d polymers take about %.0f GB, and PERIOGT_FEATURE_STORE_GB is %.3g: the least recently used "
                "features will be removed. Set it higher.",
                *(self._scan.n_rows, wanted / 2**30, self._settings.feature_store_bytes / 2**30),
            )

    def _summary(self, elapsed_s: float) -> FeaturizeSummary:
        facts = self._store.facts(engine=self._settings.descriptor_engine)
        counts = self._counts
        return FeaturizeSummary(
            input=str(self._scan.table.source),
            store=str(self._settings.feature_store),
            share=str(self._options.share),
            schemes=[scheme.name for scheme in self._schemes],
            n_rows=counts.n_total,
            n_done=counts.n_done,
            n_failed=counts.n_failed,
            failures=dict(sorted(self._failures.items())),
            n_computed=self._n_computed,
            elapsed_s=round(elapsed_s, 3),
            computed_per_s=round(self._n_computed / elapsed_s, 3),
            store_entries=facts.n_entries,
            store_files=facts.n_files,
            store_bytes=facts.n_bytes,
        )
