"""Number of threads by made-up loads, and beside real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pytorch_lightning.demos.boring_classes import BoringModel

from corpora import trainer
from cpnet.training.callbacks import fewer_threads
from cpnet.training.callbacks.fewer_threads import FewerThreads, Load
from cpnet.workers import cpus

BEFORE = Load(at=100.0, own=50.0, busy=300.0, cores=8)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    number = torch.get_num_threads()
    yield
    torch.set_num_threads(number)


@pytest.mark.parametrize(
    ("own", "busy", "ranks", "free"),
    [
        (16, 16, 1, 8),  # in 2 seconds: 8 cores for this process, none for others
        (16, 15.98, 1, 8),  # the clocks have ticks
        (4, 10, 1, 5),  # 2 and 3
        (2, 16, 1, 1),
        (0, 0, 1, 8),
        (8, 16, 2, 4),  # 4 for each of two ranks
        (6, 16, 2, 3),  # 2 for others
    ],
)
def test_free_cores_are_those_that_others_do_not_use(own: float, busy: float, ranks: int, free: float) -> None:
    now = Load(at=102.0, own=50 + own, busy=300 + busy, cores=8)
    assert now.free_cores(BEFORE, ranks=ranks) == pytest.approx(free, abs=0.02)


@pytest.mark.parametrize(("free", "number"), [(8.0, 4), (3.9, 4), (3.6, 3), (1.5, 1), (0.2, 1)])
def test_a_thread_per_free_core(free: float, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(4)
    callback = FewerThreads()
    monkeypatch.setattr(fewer_threads, "EVERY_SEC", 0.0)
    monkeypatch.setattr(Load, "free_cores", lambda self, before, ranks: free)
    seen = []

    class Counting(BoringModel):
        def on_train_batch_end(self, *_: Any) -> None:
            seen.append(torch.get_num_threads())

    trainer(callbacks=[callback], max_steps=1).fit(Counting())
    assert seen == [number]
    assert torch.get_num_threads() == 4  # for the next run in the process


def test_compiled_code_keeps_its_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(4)
    callback = FewerThreads(fixed=lambda: True)
    monkeypatch.setattr(fewer_threads, "EVERY_SEC", 0.0)
    monkeypatch.setattr(Load, "free_cores", lambda self, before, ranks: 1.0)
    callback.on_train_batch_end()
    assert torch.get_num_threads() == 4


@pytest.mark.skipif(sys.platform != "linux" or len(cpus()) < 2, reason="needs two CPUs of Linux")
def test_busy_processes_are_seen() -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in cpus()]
    try:
        time.sleep(0.2)  # for their start
        before = Load.now()
        time.sleep(0.5)
        free = Load.now().free_cores(before)
    finally:
        for each in busy:
            each.kill()
            each.wait()
    assert free < 0.5
