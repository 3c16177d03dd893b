"""How signals stop a process, and which steps they must not interrupt.

A handler runs between two steps of the main thread. So it notes the signal, and the code that waits looks at
the note. Only the main thread may set handlers; in other threads these functions do not change signals.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

__all__ = ["STOP_SIGNALS", "in_main_thread", "signals_handled", "signals_held", "stop_event"]

# What ``kill`` and Slurm send, and Ctrl-C.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def in_main_thread() -> bool:
    """Whether this is the thread that may set handlers."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def signals_handled(
    note: Callable[[signal.Signals], None], numbers: Sequence[signal.Signals] = STOP_SIGNALS
) -> Iterator[None]:
    """Call a function at each signal while the block runs; afterwards restore the earlier handlers.

    Parameters
    ----------
    note : callable
        Takes the signal. What it raises is raised wherever the main thread is.
    numbers : sequence of signal.Signals
        Which signals.
    """
    if not in_main_thread():
        yield
        return
    # None: a handler that is not Python's, which could not be put back.
    ours = [number for number in numbers if signal.getsignal(number) is not None]
    before = {number: signal.signal(number, lambda given, _frame: note(signal.Signals(given))) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """Turn the signals that end a process into an event while the block runs."""
    stop = threading.Event()
    with signals_handled(lambda _: stop.set()):
        yield stop


@contextmanager
def signals_held() -> Iterator[None]:
    """Let signals that would interrupt wait until the block has ended, and then take effect."""
    held = (*STOP_SIGNALS, signal.SIGHUP)
    received: list[signal.Signals] = []
    try:
        # Blocking concerns this thread only. Where another thread takes a signal, Python runs the handler here.
        with signals_handled(received.append, held):
            before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
    finally:
        for number in dict.fromkeys(received):
            signal.raise_signal(number)
