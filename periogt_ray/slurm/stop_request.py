"""Whether a node should end, and how much time there is for it."""

import time

from periogt_ray.slurm.job_directory import JobDirectory

__all__ = ["StopRequest"]

_MARGIN_S = 2.0  # for ending processes and removing files
_POLL_S = 0.25


class StopRequest:
    """A wish to end, by the file ``stop``, with time to finish, or by a signal, with the time that Slurm leaves.

    Parameters
    ----------
    files : JobDirectory
        Of the job; the batch script makes the file there.
    kill_wait_s : float
        Seconds from a signal to SIGKILL (KillWait of Slurm).
    drain_s : float
        Seconds from the file to the end.
    """

    def __init__(self, files: JobDirectory, *, kill_wait_s: float, drain_s: float) -> None:
        self._files = files
        self._kill_wait_s = kill_wait_s
        self._drain_s = drain_s
        self._deadline: float | None = None
        self._is_hurried = False

    def hurry(self) -> None:
        """Note a signal; further ones change nothing."""
        if not self._is_hurried:
            self._is_hurried = True
            deadline = time.monotonic() + max(0.5, self._kill_wait_s - _MARGIN_S)
            self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)

    @property
    def is_asked(self) -> bool:
        """Whether to end."""
        if self._deadline is None and self._files.is_stop_asked:
            self._deadline = time.monotonic() + self._drain_s
        return self._deadline is not None

    @property
    def remaining_s(self) -> float:
        """Seconds until everything has to be over, once the node should end."""
        return max(0.0, (self._deadline or time.monotonic()) - time.monotonic())

    def pause(self) -> None:
        """Wait a moment."""
        time.sleep(_POLL_S)
