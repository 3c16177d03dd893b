"""Signals that this process sends to itself; Python runs their handlers before the next line of the main thread."""

import os
import signal
import threading

import pytest

from periogt_ray.runtime.signals import STOP_SIGNALS, signals_handled, signals_held, stop_event


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_sets_the_event_and_the_handler_of_before_is_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_event() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.wait(5)
    assert signal.getsignal(number) is before


def test_every_signal_is_noted_and_others_are_left_alone() -> None:
    noted: list[signal.Signals] = []
    interrupt = signal.getsignal(signal.SIGINT)
    with signals_handled(noted.append, (signal.SIGTERM,)):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) is interrupt
    assert noted == [signal.SIGTERM, signal.SIGTERM]


def test_what_a_handler_raises_ends_the_block() -> None:
    def end(received: signal.Signals) -> None:
        raise SystemExit(128 + received)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, signals_handled(end):
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found: list[object] = []

    def run() -> None:
        with stop_event():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]


def test_a_signal_waits_for_the_end_of_the_block() -> None:
    with stop_event() as stop:
        with signals_held():
            os.kill(os.getpid(), signal.SIGTERM)
            assert not stop.is_set()
        assert stop.is_set()


def test_a_signal_waits_also_where_another_thread_receives_it() -> None:
    """A thread that does not block the signal takes it, and Python then runs the handler in the main thread."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        with stop_event() as stop:
            with signals_held():
                os.kill(os.getpid(), signal.SIGTERM)
                # Run by the main thread as soon as the other one has received the signal.
                assert not stop.wait(0.2)
            assert stop.is_set()
    finally:
        end.set()
        thread.join()
