"""How a batch shows where it is: a bar on a terminal, else a line now and then."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from periogt_ray.batch.results import Counts

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["Progress", "shown_progress"]

logger = logging.getLogger(__name__)

_LINE_INTERVAL_S = 30.0


@dataclass
class Progress:
    """Shows the counts of a run.

    Attributes
    ----------
    counts : Counts
        The rows that are done; the run changes them.
    bar : tuple or None
        The bar on the terminal and its task, where there is one.
    started_s : float
        When the run began to compute, on the monotonic clock.
    """

    counts: Counts
    bar: "tuple[Bar, TaskID] | None" = None
    started_s: float = field(default_factory=time.monotonic)
    _line_at_s: float = field(init=False)
    _n_at_line: int | None = None

    def __post_init__(self) -> None:
        self._line_at_s = self.started_s

    @property
    def rate(self) -> float:
        """Rows a second in this run."""
        elapsed_s = time.monotonic() - self.started_s
        return self.counts.n_computed / elapsed_s if elapsed_s > 0 else 0.0

    def begin(self) -> None:
        """Start the clock: from now on the run computes."""
        self.started_s = time.monotonic()

    def show(self) -> None:
        """Bring the bar up to date, or write a line if it is time for one."""
        if self.bar is not None:
            bar, task = self.bar
            phase = "computing" if self.counts.n_computed else "starting workers"
            rate = self.rate
            bar.update(
                task,
                completed=self.counts.n_done,
                description=phase,
                failed=self.counts.n_failed,
                rate=rate,
                left=self._left(rate),
            )
        elif time.monotonic() - self._line_at_s >= _LINE_INTERVAL_S:
            logger.info("%s", self.line())
            self._line_at_s, self._n_at_line = time.monotonic(), self.counts.n_done

    def line(self) -> str:
        """Return rows done, failed, rate since the last line and time left, for a log."""
        counts, rate = self.counts, self.rate
        if self._n_at_line is not None and counts.n_done > self._n_at_line:
            # The start is slow: estimate the time left from the rate of recent rows.
            rate = (counts.n_done - self._n_at_line) / (time.monotonic() - self._line_at_s)
        share = 100 * counts.n_done // max(counts.n_total, 1)
        return (
            f"{counts.n_done} of {counts.n_total} rows ({share} %), {counts.n_failed} failed, "
            f"{rate:.1f} rows/s, {self._left(rate)} left"
        )

    def _left(self, rate: float) -> str:
        return _duration((self.counts.n_total - self.counts.n_done) / rate) if rate else "unknown time"


@contextmanager
def shown_progress(counts: Counts) -> Iterator[Progress]:
    """Show counts on standard error while the block lasts."""
    progress = Progress(counts)
    if not sys.stderr.isatty():
        yield progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows, {task.fields[failed]} failed, {task.fields[rate]:.1f} rows/s, {task.fields[left]} left"),
    )
    # Ray sets up its colours when this is imported, and resets them at exit on the streams of then: not the bar's.
    import_module("ray.autoscaler._private.cli_logger")
    with Bar(*columns, console=Console(stderr=True)) as bar, _log_above_bar():
        progress.bar = bar, bar.add_task("starting Ray", total=counts.n_total, failed=0, rate=0.0, left="unknown time")
        yield progress
        progress.show()


@contextmanager
def _log_above_bar() -> Iterator[None]:
    """Let the log through the standard error that the bar has put in place."""
    handlers = [one for one in logging.getLogger().handlers if type(one) is logging.StreamHandler]
    before = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 2:
        return f"{hours:.1f} h"
    return f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"
