"""From a table of repeat units to a table of predictions.

::

    table -> scan: check, hash, divide into parts           tables.reading
        -> parts, computed in any order on Ray Data         pipeline, featurize_stage, predict_stage
        -> each kept on disk as it comes                    parts
        -> output, in input order, renamed when whole       output_file

A part is the unit of everything: of work, of retries, of what a killed run keeps. Every polymer
belongs to the first part that claims its canonical SMILES, in this run or in the one it resumes;
other parts name it, and the answer is looked up when the output is written. The tables of claims and
of answers are on disk. At most as many parts are under way as there are workers, so neither memory
nor what a killed run computes again grows with the input.

Predictions do not depend on what shares a pass, so the output depends neither on the number of
workers nor on the size of parts nor on the order in which they end.

A row's error goes into the output; a part's is tried again; the run's ends it, and finished parts are
kept. ``failures`` says which error is whose, and how it travels. Besides, a run ends with an error that
the driver finds: options that cannot be used (``options``), an input that is no table (``tables.reading``),
finished parts of another run (``resume``), storage that fails (``parts``).
"""

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from typing import Any

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.batch.answer_store import AnswerStore
from periogt_ray.batch.local_engine import LocalPipeline, chosen_engine
from periogt_ray.batch.options import BatchOptions
from periogt_ray.batch.output_file import write_output
from periogt_ray.batch.parts import PartsDirectory
from periogt_ray.batch.pipeline import Pipeline
from periogt_ray.batch.progress import Progress, shown_progress
from periogt_ray.batch.report import write_report
from periogt_ray.batch.results import Counts
from periogt_ray.batch.resume import Basis, BatchRecord, basis_of, check_device, check_unchanged, finished_before
from periogt_ray.batch.shares import Shares
from periogt_ray.batch.spec import BatchSpec
from periogt_ray.batch.summary import BatchSummary
from periogt_ray.model.device import has_driver
from periogt_ray.polymer.drawing import drawing_problem
from periogt_ray.polymer.input_kinds import INPUT_COLUMNS, InputKind
from periogt_ray.runtime.local_ray import local_ray
from periogt_ray.runtime.signals import signals_handled
from periogt_ray.settings import Settings
from periogt_ray.tables.pair_table import scan_pairs
from periogt_ray.tables.predictions import OutputLayout
from periogt_ray.tables.reading import TableScan, scan_table

__all__ = ["run_batch"]

logger = logging.getLogger(__name__)


def run_batch(options: BatchOptions, settings: Settings) -> BatchSummary | None:
    """Predict every row of a table.

    Returns
    -------
    BatchSummary or None
        None if the run was interrupted.

    Raises
    ------
    ValidationError, UnsupportedPropertyError, CheckpointMissingError
        If input, output, properties or artifacts cannot be used; before anything is loaded.
    ModelLoadError, CudaUnavailableError, GPUUnsupportedError, DriverIncompatibleError
        If a worker cannot load the model.
    InternalError
        If Ray cannot go on.
    """
    artifacts = ArtifactDirectory.of_settings(settings)
    property_ids = options.property_ids(artifacts)
    options.check_paths()
    if options.report_path is not None and (problem := drawing_problem()) is not None:
        logger.warning("%s The report will show no structures.", problem)
    parts = PartsDirectory(options.output_path)
    if options.output_path.exists() and not options.is_resumed:
        logger.warning("%s exists; it will be replaced once the new output is whole.", options.output_path)
    with parts.held(), _interruption(options) as interrupted, closing(AnswerStore()) as store:
        record = BatchRecord.read(parts, is_resumed=options.is_resumed)
        size = options.part_size if record is None else record.part_size
        kind = options.kind(artifacts)
        # Whether there is a GPU in the Ray that will compute is not known yet.
        for_gpu = settings.device == "cuda" or (settings.device is None and has_driver())
        if options.pairs is not None:
            scan = scan_pairs(options.pairs, copies=parts.path, size=size, for_gpu=for_gpu)
        else:
            table = replace(options.table, kind=kind)
            scan = scan_table(options.input, table, copies=parts.path, size=size, for_gpu=for_gpu)
        if interrupted.is_set():
            return None
        kept = scan.table.columns.kept_names
        layout = OutputLayout(property_ids, options.is_wide, kept, INPUT_COLUMNS[kind])
        basis = basis_of(scan, artifacts, layout, settings=settings, level=options.level)
        summary = None
        if record is not None:
            check_unchanged(record, basis, parts=parts)
        else:
            summary = finished_before(options, basis)
        if summary is None:
            summary = _Run(
                options=options,
                spec=_spec(scan, artifacts, property_ids, settings=settings, level=options.level, kind=kind),
                scan=scan,
                layout=layout,
                basis=basis,
                record=record,
                parts=parts,
                store=store,
                counts=Counts(scan.n_rows),
                interrupted=interrupted,
            ).execute()
        else:
            parts.remove()
        if summary is not None and options.report_path is not None:
            write_report(options.report_path, options.output_path, summary=summary.document, artifacts=artifacts)
            logger.info("The report is %s.", options.report)
        return summary


def _spec(
    scan: TableScan,
    artifacts: ArtifactDirectory,
    property_ids: Iterable[str],
    *,
    settings: Settings,
    level: float,
    kind: InputKind,
) -> BatchSpec:
    return BatchSpec(
        table=scan.table,
        properties=tuple((name, artifacts.property(name).prompt_scheme) for name in property_ids),
        settings=settings,
        level=level,
        kind=kind,
    )


@dataclass(frozen=True)
class _Run:
    """One run, once everything about it is known to be right.

    ``record`` is that of the run to go on with, ``counts`` are changed as parts come.
    """

    options: BatchOptions
    spec: BatchSpec
    scan: TableScan
    layout: OutputLayout
    basis: Basis
    record: BatchRecord | None
    parts: PartsDirectory
    store: AnswerStore
    counts: Counts
    interrupted: threading.Event

    def execute(self) -> BatchSummary | None:
        """Compute the parts that are missing and write the output; None if the run is interrupted."""
        started_s = time.monotonic()
        finished = [] if self.record is None else self.parts.finished()
        if self.record is not None and len(finished) == len(self.scan.parts):
            device = self.record.device
            for number in finished:
                self.store.add(self.parts.read(number).answers)
        else:
            with shown_progress(self.counts) as progress:
                device = self._compute(finished, progress)
            if self.interrupted.is_set():
                logger.warning("%d of %d rows are done and kept.", self.counts.n_done, self.counts.n_total)
                return None
        summary = self._write(device, started_s)
        self.parts.remove()
        return summary

    def _compute(self, finished: list[int], progress: Progress) -> str:
        """Compute the parts that are missing; return the kind of device."""
        engine = chosen_engine(self.options.engine, self.options.address, self.scan.n_new)
        with self._on_ray() if engine == "ray" else self._on_this_machine() as (pipeline, device, workers):
            self._begin(device)
            logger.info(
                "%d rows in %d parts, of which %d are finished; %s on %s",
                *(self.scan.n_rows, len(self.scan.parts), len(finished), workers, device),
            )
            for number in finished:
                part = self.parts.read(number)
                self.store.add(part.answers)
                pipeline.claim(number, list(part.answers))
                self.counts.add(len(part.rows), part.n_failed, is_computed=False)
            progress.begin()
            missing = sorted(set(range(len(self.scan.parts))) - set(finished))
            if missing and not self.interrupted.is_set():
                self._keep(pipeline, missing, progress)
        return device

    @contextmanager
    def _on_ray(self) -> Iterator[tuple[Pipeline, str, str]]:
        """Connect to a Ray or start one; yield a pipeline on it, its device, and its workers in words."""
        n_gpus = 0 if self.spec.settings.device == "cpu" else None
        # Ray prints what befalls workers on standard output, which is for results.
        with redirect_stdout(sys.stderr), local_ray(address=self.options.address, n_gpus=n_gpus):
            # Not before: when it is imported, Ray looks whether a late call of its threads may start another Ray.
            import ray

            cluster: Any = ray  # not annotated throughout
            shares = Shares.of(
                cluster.cluster_resources(),
                cluster.available_resources(),
                self.spec.settings.device,
                n_predictors=self.options.n_predictors,
            )
            workers = f"{shares.n_featurizers} featurizers, {shares.n_predictors} predictors on Ray"
            yield Pipeline(self.spec, shares), shares.device, workers

    @contextmanager
    def _on_this_machine(self) -> Iterator[tuple[LocalPipeline, str, str]]:
        """Yield a pipeline in processes of this machine; see :meth:`_on_ray`."""
        device = LocalPipeline.device_for(self.spec.settings)
        n_workers = self.options.n_predictors or self.options.n_cpus
        pipeline = LocalPipeline(self.spec, device=device, n_workers=n_workers)
        yield pipeline, device, f"up to {n_workers} processes of this machine, without Ray,"

    def _begin(self, device: str) -> None:
        if self.record is not None:
            check_device(self.record, device, parts=self.parts)
            return
        BatchRecord(self.basis, self.scan.size, device).keep(self.parts)

    def _keep(self, pipeline: Pipeline | LocalPipeline, missing: list[int], progress: Progress) -> None:
        """Keep parts as they come."""
        parts = [self.scan.parts[number] for number in missing]
        for part in pipeline.results(parts, is_stopped=self.interrupted.is_set):
            if part is not None:
                self.parts.write(part)
                self.store.add(part.answers)
                pipeline.finish(part.number)
                self.counts.add(len(part.rows), part.n_failed)
            progress.show()

    def _write(self, device: str, started_s: float) -> BatchSummary:
        """Write the output and its summary."""
        output = self.options.output_path
        finished = map(self.parts.read, range(len(self.scan.parts)))
        tally = write_output(output, finished, layout=self.layout, store=self.store)
        elapsed_s = time.monotonic() - started_s
        summary = BatchSummary(
            input=str(self.scan.table.source),
            output=str(output),
            output_bytes=output.stat().st_size,
            n_input_rows=self.scan.n_rows,
            n_rows=tally.n_rows,
            n_failed=tally.n_failed,
            failures=dict(sorted(tally.failures.items())),
            n_warned=tally.n_warned,
            basis=self.basis,
            device=device,
            n_rows_computed=self.counts.n_computed,
            elapsed_s=round(elapsed_s, 3),
            rows_per_s=round(self.counts.n_computed / elapsed_s, 3),
        )
        summary.write(self.options.summary_path)
        return summary


@contextmanager
def _interruption(options: BatchOptions) -> Iterator[threading.Event]:
    """Turn the first signal into an event and a message at once; a second one ends the run as it stands."""
    interrupted = threading.Event()

    def note(received: signal.Signals) -> None:
        if interrupted.is_set():
            raise SystemExit(1)
        interrupted.set()
        logger.warning(
            "%s: stopping. Finished parts are kept in %s.parts: run the same command with --resume to continue.",
            received.name,
            options.output_path,
        )

    with signals_handled(note):
        yield interrupted
