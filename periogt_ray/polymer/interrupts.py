"""Interrupts that RDKit takes for itself.

While RDKit looks for a substructure, it handles SIGINT (Ctrl-C) itself (``ControlCHandler`` in its Code/RDGeneral; seen
with 2026.09.1): the search ends with what it has found until then, Python learns nothing of the signal, and what is
found looks like a whole result. Only a line in RDKit's log tells of it. So the log is listened to here: what was
computed meanwhile is not used, and the signal takes effect as if RDKit had not taken it. One that comes in the instant
in which RDKit exchanges the handlers (about one of 700) is lost without a trace; it harms no result.
"""

import functools
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from rdkit import rdBase

__all__ = ["undisturbed"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_TELLS = "search was interrupted"
_WARNINGS = "rdApp.warning"
_log = logging.getLogger("rdkit")


class _Heard(threading.local):
    """What RDKit's log has told in this thread.

    Attributes
    ----------
    n_interrupted : int
        Searches that a signal has ended.
    is_listening : bool
        Whether a function is at work that wants to know; RDKit's other lines are dropped meanwhile.
    """

    n_interrupted = 0
    is_listening = False


_heard = _Heard()


def undisturbed(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let a function that searches with RDKit return only what it has computed without an interrupt.

    Where a signal ended a search, the signal is raised again when the function has ended, in place of what it returned
    or raised. If its handler raises nothing (it may only note the signal, or ignore it), the function runs once more.
    RDKit's log is silent meanwhile; ``rdBase.BlockLogs`` must not be used within, because nothing would be heard.

    Examples
    --------
    >>> from rdkit import Chem
    >>> benzene, pair = Chem.MolFromSmiles("c1ccccc1"), Chem.MolFromSmarts("c:c")
    >>> undisturbed(benzene.GetSubstructMatches)(pair)[0]
    (0, 1)
    """

    @functools.wraps(function)
    def whole(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        if _heard.is_listening:
            return function(*args, **kwargs)
        while True:
            before = _heard.n_interrupted
            try:
                with _listening():
                    found = function(*args, **kwargs)
            except Exception as error:  # what was cut short may fail in any way
                if (raised := _origin(error)) is not error:
                    raise raised from None
                if _heard.n_interrupted == before:
                    raise
            else:
                if _heard.n_interrupted == before:
                    return found
            signal.raise_signal(signal.SIGINT)

    return whole


def _origin(error: BaseException) -> BaseException:
    """Return what a signal's handler raised while a compiled kernel ran; it comes out of that as a SystemError."""
    while isinstance(error, SystemError) and error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def _listening() -> Iterator[None]:
    """Hear RDKit's warnings, whatever the caller has switched off."""
    _listen()
    is_silent = f"{_WARNINGS}:disabled" in rdBase.LogStatus()
    level, is_disabled = _log.level, _log.disabled
    is_deaf = not _log.isEnabledFor(logging.WARNING)
    if is_silent:
        rdBase.EnableLog(_WARNINGS)
    if is_deaf:
        _log.disabled = False
        _log.setLevel(logging.WARNING)
    _heard.is_listening = True
    try:
        yield
    finally:
        _heard.is_listening = False
        if is_deaf:
            _log.setLevel(level)
            _log.disabled = is_disabled
        if is_silent:
            rdBase.DisableLog(_WARNINGS)


def _hear(record: logging.LogRecord) -> bool:
    """Count what tells of an interrupt; return whether a line is for the reader of the log."""
    if not _heard.is_listening:
        return True
    _heard.n_interrupted += _TELLS in record.getMessage()
    return False


@functools.cache
def _listen() -> None:
    """Lead RDKit's log to Python's, where it looks the same, without its levels below a warning."""
    before = rdBase.LogStatus().split()
    rdBase.LogToPythonLogger()
    for status in before:
        name, _, state = status.partition(":")
        if state == "disabled":
            rdBase.DisableLog(name)
    _log.addFilter(_hear)
