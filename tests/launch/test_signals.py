"""Oracle: exit codes and signals of the operating system."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import pytest

from commands import spawn
from cpnet.launch.signals import Interrupted, Signals

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize("number", BOTH)
def test_signal_raises_at_once_without_defer(number: int) -> None:
    with pytest.raises(Interrupted) as caught, Signals():
        os.kill(os.getpid(), number)
    assert (caught.value.number, caught.value.code) == (number, 128 + number)


@pytest.mark.parametrize("number", BOTH)
def test_deferred_signal_is_recorded(number: int, caplog: pytest.LogCaptureFixture) -> None:
    with Signals() as signals:
        signals.defer()
        assert signals.received is None
        os.kill(os.getpid(), number)
        assert signals.received == number
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{signal.Signals(number).name}: finishing this step and writing a checkpoint" in record.getMessage()


def test_error_caused_by_the_interruption_is_replaced() -> None:
    def loop() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise RuntimeError("call iter() first")

    with pytest.raises(Interrupted) as caught, Signals() as signals, signals.outlasting():
        loop()
    assert caught.value.number == signal.SIGTERM


def test_unrelated_error_is_kept() -> None:
    def step() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("broken disk")

    with Signals() as signals:
        signals.defer()
        with pytest.raises(RuntimeError, match="broken disk"), signals.outlasting():
            step()


def test_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in (*BOTH, signal.SIGUSR1)]
    with Signals(signal.SIGUSR1):
        assert all(signal.getsignal(number) not in before for number in (*BOTH, signal.SIGUSR1))
    with pytest.raises(Interrupted), Signals(signal.SIGUSR1):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert [signal.getsignal(number) for number in (*BOTH, signal.SIGUSR1)] == before


def test_defer_sets_replaced_handlers_again() -> None:
    with Signals() as signals:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signals.defer()
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM


TWO_SIGNALS = """
import os, signal, sys, time
from cpnet.launch.signals import Signals
first, second, restored = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
with Signals() as signals:
    signals.defer()
    handler = signal.getsignal(second)
    os.kill(os.getpid(), first)
    print("recorded", flush=True)
    if restored:  # Lightning restores the handlers that it replaced
        signal.signal(second, handler)
    os.kill(os.getpid(), second)
    time.sleep(100)
"""


@pytest.mark.parametrize("restored", [False, True])
@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGINT)])
def test_second_signal_ends_the_process_at_once(first: int, second: int, restored: bool, tmp_path: Path) -> None:
    arguments = (str(int(first)), str(int(second)), str(restored))
    assert spawn("-c", TWO_SIGNALS, *arguments, folder=tmp_path, code=-second).out == "recorded\n"
