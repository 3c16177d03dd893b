"""Interrupts that RDKit takes for itself."""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import numpy as np
import pytest
from rdkit import Chem, rdBase

from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.interrupts import undisturbed
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit

UNIT = RepeatUnit.parse("*CC(*)c1ccc(C(=O)OCC(F)(F)F)cc1")
MOL = Chem.MolFromSmiles("C" * 60)
PATTERN = Chem.MolFromSmarts("~".join("*" * 13))


def n_found() -> int:
    """Search for some milliseconds."""
    return len(MOL.GetSubstructMatches(PATTERN, uniquify=False, maxMatches=10_000))


@contextmanager
def handled_by(handler: "Callable[[int, object], None] | signal.Handlers") -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupted_after(*seconds: float) -> Iterator[Callable[[], bool]]:
    """Send this process SIGINT after each of these times; yields what tells whether that goes on.

    A search holds Python's lock, so another process has to send them.
    """
    steps = " ".join(f"sleep {pause:.4f}; kill -INT {os.getpid()};" for pause in seconds)
    with subprocess.Popen(["/bin/sh", "-c", steps]) as sender:
        yield lambda: sender.poll() is None


def same(one: FeaturizedPolymer, other: FeaturizedPolymer) -> bool:
    return one.n_units == other.n_units and all(
        np.array_equal(found, expected, equal_nan=True)
        for size in one.oligomers
        for found, expected in zip(one.oligomers[size], other.oligomers[size], strict=True)
    )


def test_rdkit_takes_interrupts() -> None:
    """What this module is for; where this fails, RDKit has changed, and the module may not be needed any longer."""
    expected = n_found()
    found = {expected}
    with handled_by(signal.SIG_IGN), interrupted_after(*[0.004] * 200) as goes_on:
        while goes_on() and min(found) == expected:
            found.add(n_found())
    assert min(found) < expected


def test_interrupts_arrive_and_no_result_is_cut_short(chance: Random) -> None:
    expected = featurize(UNIT, PromptScheme.MONOMER)
    started = time.perf_counter()
    featurize(UNIT, PromptScheme.MONOMER)
    whole_s = time.perf_counter() - started
    n_interrupted = 0
    with handled_by(signal.default_int_handler):
        for _ in range(40):
            try:
                with interrupted_after(chance.random() * whole_s) as goes_on:
                    while goes_on():
                        assert same(featurize(UNIT, PromptScheme.MONOMER), expected)
            except KeyboardInterrupt:
                n_interrupted += 1
    # One of about 700 comes while RDKit exchanges the handlers, and leaves no trace.
    assert n_interrupted >= 37


def test_a_handler_that_only_notes_the_signal_costs_no_result() -> None:
    received: list[int] = []
    search = undisturbed(n_found)
    expected = search()
    with handled_by(lambda number, _: received.append(number)), interrupted_after(*[0.01] * 20) as goes_on:
        while goes_on():
            assert search() == expected
    assert len(received) > 10  # two that wait for this process are one


def test_ignored_signals_cost_no_result() -> None:
    """As in the worker processes of a batch, which the driver ends."""
    expected = n_found()
    search = undisturbed(n_found)
    with handled_by(signal.SIG_IGN), interrupted_after(*[0.01] * 20) as goes_on:
        while goes_on():
            assert search() == expected


@pytest.mark.parametrize("silence", ["rdkit's log", "level", "disabled", "blocked"])
def test_it_hears_what_the_caller_does_not_want_to_see(silence: str, capfd: pytest.CaptureFixture[str]) -> None:
    received: list[int] = []
    log = logging.getLogger("rdkit")
    level = log.level
    search, expected = undisturbed(n_found), n_found()
    if silence == "rdkit's log":
        rdBase.DisableLog("rdApp.*")
    elif silence == "level":
        log.setLevel(logging.CRITICAL)
    elif silence == "disabled":
        log.disabled = True
    block = rdBase.BlockLogs() if silence == "blocked" else None
    before = rdBase.LogStatus(), log.level, log.disabled
    try:
        with handled_by(lambda number, _: received.append(number)), interrupted_after(*[0.01] * 10) as goes_on:
            while goes_on():
                assert search() == expected
        assert (rdBase.LogStatus(), log.level, log.disabled) == before
    finally:
        del block
        rdBase.EnableLog("rdApp.warning")
        rdBase.EnableLog("rdApp.error")
        log.setLevel(level)
        log.disabled = False
    assert len(received) > 5
    assert "interrupted" not in capfd.readouterr().err


def test_an_error_of_what_was_cut_short_is_not_raised() -> None:
    expected = n_found()
    n_too_few = 0

    @undisturbed
    def checked() -> None:
        nonlocal n_too_few
        if n_found() < expected:
            n_too_few += 1
            raise ValueError("too few")

    received: list[int] = []
    with handled_by(lambda number, _: received.append(number)), interrupted_after(*[0.01] * 10) as goes_on:
        while goes_on():
            checked()
    assert n_too_few > 0
    assert len(received) > 5


def test_other_errors_and_messages_go_on() -> None:
    @undisturbed
    def failing() -> None:
        raise ValueError("of its own")

    with pytest.raises(ValueError, match="of its own"):
        failing()
    told: list[str] = []
    log = logging.getLogger("rdkit")
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        undisturbed(rdBase.LogWarningMsg)("within")
        rdBase.LogWarningMsg("outside")
    finally:
        log.removeHandler(handler)
    assert len(told) == 1
    assert "outside" in told[0]
