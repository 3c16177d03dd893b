"""How a batch shows where it is: a bar on a terminal, else a line now and then."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["Progress", "shown_progress"]

logger = logging.getLogger(__name__)

_LINE_INTERVAL_S = 30.0


@dataclass
class Progress:
    """Rows of the input that are done; shown as they come.

    Attributes
    ----------
    n_total : int
        Rows of the input.
    n_done, n_failed : int
        Rows with an answer; those of them that are errors.
    n_before : int
        Rows that an earlier run had done.
    """

    n_total: int
    n_done: int = 0
    n_failed: int = 0
    n_before: int = 0
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
        return (self.n_done - self.n_before) / elapsed_s if elapsed_s > 0 else 0.0

    def add(self, n_rows: int, n_failed: int) -> None:
        """Count rows."""
        self.n_done += n_rows
        self.n_failed += n_failed

    def show(self) -> None:
        """Bring the bar up to date, or write a line if it is time for one."""
        if self.bar is not None:
            bar, task = self.bar
            phase = "computing" if self.n_done > self.n_before else "starting workers"
            rate = self.rate
            bar.update(
                task,
                completed=self.n_done,
                description=phase,
                failed=self.n_failed,
                rate=rate,
                left=self._left(rate),
            )
        elif time.monotonic() - self._line_at_s >= _LINE_INTERVAL_S:
            logger.info("%s", self.line())
            self._line_at_s, self._n_at_line = time.monotonic(), self.n_done

    def line(self) -> str:
        """Return rows done, failed, rate since the last line and time left, for a log."""
        rate = self.rate
        if self._n_at_line is not None and self.n_done > self._n_at_line:
            # The start is slow; what is left will go as the rows of late did.
            rate = (self.n_done - self._n_at_line) / (time.monotonic() - self._line_at_s)
        left = self._left(rate)
        share = 100 * self.n_done // max(self.n_total, 1)
        return (
            f"{self.n_done} of {self.n_total} rows ({share} %), {self.n_failed} failed, {rate:.1f} rows/s, {left} left"
        )

    def _left(self, rate: float) -> str:
        return _duration((self.n_total - self.n_done) / rate) if rate else "unknown time"


@contextmanager
def shown_progress(n_total: int) -> Iterator[Progress]:
    """Show progress on standard error while the block lasts."""
    progress = Progress(n_total)
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
        progress.bar = bar, bar.add_task("starting Ray", total=n_total, failed=0, rate=0.0, left="unknown time")
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
