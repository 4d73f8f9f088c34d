"""Oracle: exit codes and signals as the operating system gives them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cpnet
from cpnet.interruption import Interrupted, Signals

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_the_exit_code_is_the_one_that_shells_know(number: int, code: int) -> None:
    interruption = Interrupted(number)
    assert isinstance(interruption, SystemExit)
    assert (interruption.code, interruption.number) == (code, number)


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_ends_at_once_what_did_not_defer(number: int) -> None:
    with pytest.raises(Interrupted) as caught, Signals():
        os.kill(os.getpid(), number)
    assert caught.value.number == number


@pytest.mark.parametrize("number", BOTH)
def test_a_deferred_signal_is_noted(number: int, caplog: pytest.LogCaptureFixture) -> None:
    with Signals() as signals:
        signals.defer()
        assert signals.received is None
        os.kill(os.getpid(), number)
        assert signals.received == number
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        f"{signal.Signals(number).name}: this step will be finished, then a checkpoint written" in record.getMessage()
    )


def test_a_failure_at_tidying_up_does_not_hide_the_signal() -> None:
    def loop() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise RuntimeError("call iter() first")

    with pytest.raises(Interrupted) as caught, Signals() as signals, signals.outlasting():
        loop()
    assert caught.value.number == signal.SIGTERM


def test_a_failure_of_another_kind_is_itself() -> None:
    def step() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("a stone in the works")

    with Signals() as signals:
        signals.defer()
        with pytest.raises(RuntimeError, match="a stone in the works"), signals.outlasting():
            step()


def test_the_handlers_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (*BOTH, signal.SIGUSR1)]
    with Signals(signal.SIGUSR1):
        assert all(signal.getsignal(number) not in before for number in (*BOTH, signal.SIGUSR1))
    with pytest.raises(Interrupted), Signals(signal.SIGUSR1):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert [signal.getsignal(number) for number in (*BOTH, signal.SIGUSR1)] == before


def test_others_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with Signals():
        assert signal.getsignal(signal.SIGUSR1) is before


def test_handlers_that_others_have_set_are_taken_back() -> None:
    with Signals() as signals:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signals.defer()
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM


def test_what_nobody_has_entered_takes_no_signal() -> None:
    before = [signal.getsignal(number) for number in BOTH]
    Signals().defer()
    assert [signal.getsignal(number) for number in BOTH] == before


IN_A_PROCESS_OF_ITS_OWN = """
import os, signal, sys, time
from cpnet.interruption import Signals
first, second, lightnings = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
with Signals() as signals:
    signals.defer()
    handler = signal.getsignal(second)
    os.kill(os.getpid(), first)
    print("noted", flush=True)
    if lightnings:  # Lightning gives back the handlers that it found
        signal.signal(second, handler)
    os.kill(os.getpid(), second)
    time.sleep(100)
"""


@pytest.mark.parametrize("given_back", [False, True])
@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGINT)])
def test_the_second_signal_stops_the_process_at_once(first: int, second: int, given_back: bool) -> None:
    command = [sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN, *(str(int(each)) for each in (first, second))]
    environment = os.environ | {"PYTHONPATH": str(Path(cpnet.__file__).parents[1])}
    done = subprocess.run(
        [*command, str(given_back)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "noted\n"
    assert done.returncode == -second


def test_a_process_that_was_forked_leaves_signals_to_its_parent() -> None:
    with Signals() as signals:
        signals.defer()
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(7 if signals.received is None else 8)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        assert signals.received is None
