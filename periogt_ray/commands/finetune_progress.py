"""A finetuning with a bar on a terminal and lines in the log, until it is finished or told to stop."""

import logging
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from periogt_ray.artifacts.layout import read_json
from periogt_ray.runtime.signals import stop_event
from periogt_ray.settings import Settings
from periogt_ray.training.claim import check_output, read_checked
from periogt_ray.training.figures import figures_of
from periogt_ray.training.members import Job
from periogt_ray.training.options import FinetuneOptions
from periogt_ray.training.result import write_result
from periogt_ray.training.run import Listener, run_finetune
from periogt_ray.training.trainer import Epoch, Stopped

__all__ = ["run_columns", "run_with_progress"]

logger = logging.getLogger(__name__)

_EPOCHS_A_LINE = 10


def run_columns(columns: Sequence[FinetuneOptions], settings: Settings) -> list[dict[str, Any]] | None:
    """Run each column after all of them were checked; return their summaries, None if a signal ended it before that."""
    if len(columns) > 1:
        for options in columns:
            artifacts, dataset, _ = read_checked(options, settings)
            check_output(options, artifacts, dataset)
    found = []
    for options in columns:
        summary = run_with_progress(options, settings)
        if summary is None:
            return None
        found.append(summary)
    if columns[0].shared is not None:
        shutil.rmtree(columns[0].shared, ignore_errors=True)
    return found


def run_with_progress(options: FinetuneOptions, settings: Settings) -> dict[str, Any] | None:
    """Run, write the result, and return its summary; None if a signal ended it before that."""
    with ExitStack() as stack:
        stop = stack.enter_context(stop_event())
        shown = stack.enter_context(_Shown(options))
        if options.engine == "ray":
            from periogt_ray.runtime.local_ray import local_ray

            # Ray prints what befalls workers on standard output, which is for results.
            stack.enter_context(redirect_stdout(sys.stderr))
            stack.enter_context(local_ray(address=options.address))
        try:
            run = run_finetune(options, settings, shown.listener(stop.is_set))
            if run is None:
                logger.info("%s is finished already; nothing is done.", options.output)
            else:
                for warning in run.report.warnings:
                    logger.warning("%s", warning)
                figures = figures_of(run)
                write_result(run, figures)
        except Stopped:
            logger.warning("Interrupted. Give it again: the same command goes on where this run stopped.")
            return None
    return _summary(options)


def _summary(options: FinetuneOptions) -> dict[str, Any]:
    metrics = read_json(options.output / "metrics.json")
    run = read_json(options.output / "run.json")
    logger.info("%s: %s", options.output, metrics["verdict"])
    return {
        "property": options.property_id,
        "output": str(options.output),
        "verdict": metrics["verdict"],
        "n_rows": run["labels"]["n_rows"],
        "n_left_out": run["labels"]["n_left_out"],
        "test": metrics["test"],
        "out_of_fold": metrics["out_of_fold"],
        "cluster": metrics["cluster"],
        "coverage": metrics["coverage"],
        "seconds": run["seconds"],
    }


class _Shown:
    """The bar, and the lines."""

    def __init__(self, options: FinetuneOptions) -> None:
        self._units = options.units
        self._n_epochs = options.epochs
        self._names: list[str] = []
        self._baselines = ""
        self._begun = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
        )
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())
        self._task = self._bar.add_task("features", total=None, told="")

    def __enter__(self) -> "_Shown":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def listener(self, is_stopping: Any) -> Listener:
        """Return the functions that the run calls to report its progress."""
        return Listener(is_stopping, self._on_polymer, self._on_jobs, self._on_epoch, self._on_baselines)

    def _on_polymer(self, number: int, n_all: int) -> None:
        self._bar.update(self._task, completed=number, total=n_all, description="features")
        if number == n_all or number % 1000 == 0:
            logger.info("features: %d of %d polymers", number, n_all)

    def _on_baselines(self, mean: float, trees: float | None) -> None:
        self._baselines = f"mean {mean:.4g}" + ("" if trees is None else f", trees {trees:.4g}")
        logger.info("errors to beat, %s: %s", self._units or "no unit", self._baselines)

    def _on_jobs(self, jobs: list[Job]) -> None:
        self._names = [job.name for job in jobs]
        self._begun = time.monotonic()
        self._bar.update(self._task, completed=0, total=len(jobs) * self._n_epochs, description="networks")

    def _on_epoch(self, job: Job, epoch: Epoch) -> None:
        place = self._names.index(job.name)
        if epoch.number == 0:
            before = f"{job.name} before its first update: validation {epoch.validation_rmse:.4g} ({self._baselines})"
            logger.info("network %d of %d, %s", place + 1, len(self._names), before)
            return
        if place == 0 and epoch.number == 1:
            most = (time.monotonic() - self._begun) * self._n_epochs * len(self._names) / 60
            logger.info(
                "%d networks of at most %d epochs: at most %.0f minutes", len(self._names), self._n_epochs, most
            )
        told = f"{job.name} epoch {epoch.number}: validation {epoch.validation_rmse:.4g} ({self._baselines})"
        self._bar.update(self._task, completed=place * self._n_epochs + epoch.number, told=told)
        if epoch.number % _EPOCHS_A_LINE == 0:
            logger.info("network %d of %d, %s", place + 1, len(self._names), told)
