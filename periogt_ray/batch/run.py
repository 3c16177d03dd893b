"""From a CSV of repeat units to a CSV of predictions.

::

    CSV -> scan: check, hash, divide into parts             csv_rows
        -> parts, computed in any order on Ray Data         batch_pipeline, batch_stages
        -> each kept on disk as it comes                    batch_parts
        -> output, in input order, renamed when whole

A part is the unit of everything: of work, of retries, of what a killed run keeps. Every polymer
belongs to the first part that claims its canonical SMILES, in this run or in the one it resumes;
other parts name it, and the answer is looked up when the output is written. The tables of claims and
of answers are on disk. At most as many parts are under way as there are workers, so neither memory
nor what a killed run computes again grows with the input.

Predictions do not depend on what shares a pass, so the output depends neither on the number of
workers nor on the size of parts nor on the order in which they end.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from periogt_ray import __version__
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.batch.csv_input import CsvScan, scan_csv
from periogt_ray.batch.featurize_stage import BatchSpec
from periogt_ray.batch.parts import OutcomeStore, PartResult, PartsDirectory, Tally, artifacts_digest, write_output
from periogt_ray.batch.pipeline import Pipeline
from periogt_ray.batch.progress import Progress, shown_progress
from periogt_ray.batch.report import write_report
from periogt_ray.batch.shares import Shares
from periogt_ray.errors import InternalError, ValidationError
from periogt_ray.polymer.features import FEATURE_VERSION
from periogt_ray.runtime.files import write_json_atomically
from periogt_ray.runtime.local_ray import local_ray
from periogt_ray.settings import Settings

__all__ = ["BatchReport", "BatchRequest", "run_batch"]

logger = logging.getLogger(__name__)

_ROWS_PER_PART = 64
_PARTS_OF_SHORT_INPUT = 16  # so that a short file is spread over the workers, too
# Of a long one: each part is a file, and an entry in Ray's tables; but it is held in memory whole.
_WANTED_PARTS = 20_000
_MOST_ROWS_PER_PART = 256
_MOST_NAME_BYTES = 200  # file systems end at 255; parts and temporary files have longer names


@dataclass(frozen=True)
class BatchRequest:
    """What is asked of a batch.

    Attributes
    ----------
    input : pathlib.Path
        CSV with a ``smiles`` column.
    output : pathlib.Path or None
        None: ``<input stem>_predictions.csv`` beside the input.
    properties : tuple of str
        Property ids, or ``all`` alone.
    is_resumed : bool
        Go on with the finished parts of an interrupted run.
    n_predictors : int or None
        Predictors; None: one a GPU, else one for two CPUs.
    rows_per_part : int or None
        Rows that are computed and kept together; None: 64, fewer for short inputs, more for
        long ones.
    address : str or None
        Of a running Ray; None starts one for this run.
    report : pathlib.Path or None
        HTML file to write beside the output.
    """

    input: Path
    output: Path | None
    properties: tuple[str, ...]
    is_resumed: bool = False
    n_predictors: int | None = None
    rows_per_part: int | None = None
    address: str | None = None
    report: Path | None = None

    @property
    def output_path(self) -> Path:
        """Where the output goes, absolute."""
        default = self.input.with_name(f"{self.input.stem}_predictions.csv")
        return (self.output or default).absolute()


@dataclass(frozen=True)
class BatchReport:
    """How a batch ended.

    Attributes
    ----------
    summary : Mapping or None
        The document beside the output; None if the run was interrupted.
    """

    summary: Mapping[str, Any] | None

    @property
    def exit_code(self) -> int:
        """0 if every row has a prediction, 1 if some are errors or the run was interrupted."""
        return 1 if self.summary is None or self.summary["n_failed"] else 0


def run_batch(request: BatchRequest, settings: Settings) -> BatchReport:
    """Predict every row of a CSV.

    Raises
    ------
    ValidationError, UnsupportedPropertyError, CheckpointMissingError
        If input, output, properties or artifacts cannot be used; before anything is loaded.
    ModelLoadError, CudaUnavailableError, GPUUnsupportedError, DriverIncompatibleError
        If a worker cannot load the model.
    InternalError
        If Ray cannot go on.
    """
    artifacts = ArtifactDirectory.open(settings.checkpoint_dir)
    property_ids = _property_ids(request.properties, artifacts)
    _check_output(request.input.absolute(), request.output_path)
    if request.report is not None:
        _check_report(request, request.report.absolute())
    parts = PartsDirectory(request.output_path)
    if request.output_path.exists() and not request.is_resumed:
        logger.warning("%s exists; it will be replaced once the new output is whole.", request.output_path)
    with parts.held(), _interruption(request) as interrupted, closing(OutcomeStore()) as store:
        manifest = _manifest_to_resume(request, parts)
        scan = _scan(request, manifest)
        if interrupted.is_set():
            return BatchReport(None)
        basis = _basis(scan, artifacts, property_ids, settings)
        if manifest is None:
            finished = _finished_before(request, basis)
            if finished is not None:
                parts.remove()
                return _reported(request, finished, artifacts)
        else:
            _check_basis(manifest, basis, parts)
        spec = BatchSpec(
            input=scan.path,
            smiles_column=scan.smiles_column,
            id_column=scan.id_column,
            properties=tuple((name, artifacts.property(name).prompt_scheme) for name in property_ids),
            settings=settings,
        )
        run = _Run(request, spec, scan, parts, store, basis)
        return _reported(request, run.execute(manifest, interrupted), artifacts)


@dataclass(frozen=True)
class _Run:
    """One run, once everything about it is known to be right."""

    request: BatchRequest
    spec: BatchSpec
    scan: CsvScan
    parts: PartsDirectory
    store: OutcomeStore
    basis: Mapping[str, Any]

    def execute(self, manifest: Mapping[str, Any] | None, interrupted: threading.Event) -> BatchReport:
        """Compute the parts that are missing and write the output."""
        started_s = time.monotonic()
        finished = [] if manifest is None else self.parts.finished()
        device = None if manifest is None else manifest["device"]
        n_computed = 0
        if manifest is None or len(finished) < len(self.scan.parts):
            with shown_progress(self.scan.n_rows) as progress:
                device = self._compute(manifest, finished, interrupted, progress)
                n_computed = progress.n_done - progress.n_before
            if interrupted.is_set():
                logger.warning("%d of %d rows are done and kept.", progress.n_done, progress.n_total)
                return BatchReport(None)
        else:
            for number in finished:
                self.store.add(self.parts.read(number)["answers"])
        names = [name for name, _ in self.spec.properties]
        results = map(self.parts.read, range(len(self.scan.parts)))
        tally = write_output(self.request.output_path, results, property_ids=names, store=self.store)
        elapsed_s = time.monotonic() - started_s
        summary = {
            **self._summary(tally),
            "device": device,
            "n_rows_computed": n_computed,
            "elapsed_s": round(elapsed_s, 3),
            "rows_per_s": round(n_computed / elapsed_s, 3),
        }
        write_json_atomically(_summary_path(self.request.output_path), summary)
        self.parts.remove()
        return BatchReport(summary)

    def _summary(self, tally: Tally) -> dict[str, Any]:
        output = self.request.output_path
        return {
            "input": str(self.scan.path),
            "output": str(output),
            "output_bytes": output.stat().st_size,
            "n_input_rows": self.scan.n_rows,
            "n_rows": tally.n_rows,
            "n_failed": tally.n_failed,
            "failures": dict(sorted(tally.failures.items())),
            "basis": dict(self.basis),
        }

    def _compute(
        self, manifest: Mapping[str, Any] | None, finished: list[int], interrupted: threading.Event, progress: Progress
    ) -> str:
        """Compute what is missing; return the device that it was computed on."""
        import ray

        n_gpus = 0 if self.spec.settings.device == "cpu" else None
        # Ray prints what befalls workers on standard output, which is for results.
        with redirect_stdout(sys.stderr), local_ray(address=self.request.address, n_gpus=n_gpus):
            cluster: Any = ray  # not annotated throughout
            shares = Shares.of(
                cluster.cluster_resources(),
                cluster.available_resources(),
                self.spec.settings.device,
                n_predictors=self.request.n_predictors,
            )
            self._begin(manifest, shares.device)
            logger.info(
                "%d rows in %d parts, of which %d are finished; %d featurizers, %d predictors on %s",
                *(self.scan.n_rows, len(self.scan.parts), len(finished)),
                *(shares.n_featurizers, shares.n_predictors, shares.device),
            )
            pipeline = Pipeline(self.spec, shares)
            for number in finished:
                result = self.parts.read(number)
                self.store.add(result["answers"])
                pipeline.claim(number, list(result["answers"]))
                progress.add(len(result["rows"]), _n_failed(result))
            progress.n_before = progress.n_done
            progress.started_s = time.monotonic()
            missing = sorted(set(range(len(self.scan.parts))) - set(finished))
            if missing and not interrupted.is_set():
                self._keep(pipeline, missing, interrupted, progress)
        return shares.device

    def _keep(self, pipeline: Pipeline, missing: list[int], interrupted: threading.Event, progress: Progress) -> None:
        """Keep parts as they come."""
        left = set(missing)
        parts = [self.scan.parts[number] for number in missing]
        for result in pipeline.results(parts, is_stopped=interrupted.is_set):
            if result is not None:
                self.parts.write(result)
                self.store.add(result["answers"])
                pipeline.finish(result["part"])
                left.discard(result["part"])
                progress.add(len(result["rows"]), _n_failed(result))
            progress.show()
        if left and not interrupted.is_set():
            raise InternalError(f"{len(left)} parts did not come back from Ray. Run again with --resume.")

    def _begin(self, manifest: Mapping[str, Any] | None, device: str) -> None:
        if manifest is None:
            rows_per_part = max((part.n_rows for part in self.scan.parts), default=1)
            self.parts.begin({**self.basis, "rows_per_part": rows_per_part, "device": device})
        elif manifest["device"] != device:
            raise ValidationError(
                f"The finished parts in {self.parts.path} were computed on {manifest['device']}, this run would use "
                f"{device}, and the last digits differ. Resume on the same kind of device (PERIOGT_DEVICE), or "
                "delete that directory to start over."
            )


def _n_failed(result: PartResult) -> int:
    """Rows of a part that are known to be errors; those whose polymer is another part's are not."""
    failed = {key for key, answers in result["answers"].items() if any("code" in answer for answer in answers)}
    return sum(row[2] is None or row[2] in failed for row in result["rows"])


def _property_ids(asked: Iterable[str], artifacts: ArtifactDirectory) -> list[str]:
    """Return the ids, each once; ``all`` is every one that is served."""
    names = list(dict.fromkeys(name.strip() for name in asked if name.strip()))
    if names == ["all"]:
        names = list(artifacts.supported)
    if not names:
        raise ValidationError("No property was given; expected --property eps,tg or --property all.")
    return [artifacts.property(name).id for name in names]


def _reported(request: BatchRequest, ended: BatchReport, artifacts: ArtifactDirectory) -> BatchReport:
    """Write the report that was asked for, once the output is whole."""
    if request.report is not None and ended.summary is not None:
        write_report(request.report.absolute(), request.output_path, summary=ended.summary, artifacts=artifacts)
        logger.info("The report is %s.", request.report)
    return ended


def _check_report(request: BatchRequest, report: Path) -> None:
    _check_output(request.input.absolute(), report, option="--report")
    if report == request.output_path:
        raise ValidationError(f"--report and --output are both {report}; choose another --report.")


def _check_output(input_path: Path, output: Path, *, option: str = "--output") -> None:
    problem = None
    if len(os.fsencode(output.name)) > _MOST_NAME_BYTES:
        problem = f"its name has more than {_MOST_NAME_BYTES} bytes, which leaves no room for the names beside it"
    elif output.is_dir():
        problem = "it is a directory; give a file name"
    elif not output.parent.is_dir():
        problem = f"{output.parent} does not exist; create it, or in a container check --bind"
    elif not os.access(output.parent, os.W_OK | os.X_OK):
        problem = f"{output.parent} is not writable; choose another {option}"
    elif output.exists() and input_path.exists() and output.samefile(input_path):
        problem = "it is the input"
    if problem is not None:
        raise ValidationError(f"The output {output} cannot be written: {problem}.")


def _manifest_to_resume(request: BatchRequest, parts: PartsDirectory) -> dict[str, Any] | None:
    """Return the manifest of the run to go on with, if there is one to go on with."""
    manifest = parts.manifest()
    if request.is_resumed or manifest is None:
        return manifest
    n_finished = len(parts.finished())
    if n_finished:
        raise ValidationError(
            f"{parts.path} holds {n_finished} finished parts of an interrupted run. Add --resume to go on with it, "
            "or delete that directory to start over."
        )
    return None


def _scan(request: BatchRequest, manifest: Mapping[str, Any] | None) -> CsvScan:
    """Scan the input; into parts as before, as asked, or so that a short input is spread."""
    if manifest is not None:
        return scan_csv(request.input, rows_per_part=int(manifest["rows_per_part"]))
    if request.rows_per_part is not None:
        return scan_csv(request.input, rows_per_part=request.rows_per_part)
    scan = scan_csv(request.input, rows_per_part=_ROWS_PER_PART)
    fitting = _rows_per_part(scan.n_rows)
    return scan if fitting == _ROWS_PER_PART else scan_csv(request.input, rows_per_part=fitting)


def _rows_per_part(n_rows: int) -> int:
    spread = max(1, -(-n_rows // _PARTS_OF_SHORT_INPUT))
    return max(min(_ROWS_PER_PART, spread), min(_MOST_ROWS_PER_PART, -(-n_rows // _WANTED_PARTS)))


def _basis(scan: CsvScan, artifacts: ArtifactDirectory, property_ids: list[str], settings: Settings) -> dict[str, Any]:
    """Return everything that the output follows from."""
    return {
        "input_sha256": scan.sha256,
        "properties": property_ids,
        "artifacts": artifacts_digest(artifacts, property_ids),
        "feature_version": FEATURE_VERSION,
        "descriptor_engine": settings.descriptor_engine,
        "version": __version__,
    }


def _check_basis(manifest: Mapping[str, Any], basis: Mapping[str, Any], parts: PartsDirectory) -> None:
    named = {"input_sha256": "the input", "properties": "--property", "artifacts": "the artifacts"}
    changed = [name for name in basis if manifest.get(name) != basis[name]]
    if "properties" in changed and "artifacts" in changed:
        changed.remove("artifacts")  # the digest is of those files that the properties need
    if changed:
        told = ", ".join(named.get(name, name) for name in changed)
        raise ValidationError(
            f"{parts.path} cannot be resumed: changed since it was begun: {told}. "
            "Restore that, or delete the directory to start over."
        )


def _finished_before(request: BatchRequest, basis: Mapping[str, Any]) -> BatchReport | None:
    """Return the report of an equal run that has ended, where it is to be resumed."""
    if not request.is_resumed:
        return None
    try:
        summary = json.loads(_summary_path(request.output_path).read_text(encoding="utf-8"))
        is_whole = request.output_path.stat().st_size == summary["output_bytes"] and summary["basis"] == basis
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not is_whole:
        return None
    logger.info("%s is complete; nothing is left to do.", request.output_path)
    return BatchReport(summary)


def _summary_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.summary.json")


@contextmanager
def _interruption(request: BatchRequest) -> Iterator[threading.Event]:
    """Turn the first signal into an event and a message at once; a second one ends the run as it stands."""
    interrupted = threading.Event()

    def note(signum: int, _frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise SystemExit(1)
        interrupted.set()
        logger.warning(
            "%s: stopping. Finished parts are kept in %s.parts: run the same command with --resume to go on.",
            signal.Signals(signum).name,
            request.output_path,
        )

    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
