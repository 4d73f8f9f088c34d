"""Fewer threads while other processes use the cores of this machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from cpnet.training import threads
from cpnet.workers import cpus

log = logging.getLogger(__name__)

EVERY_SEC = 1.0  # between looks at the load
SLACK = 0.3  # of a core; others may use it beside a thread


class FewerThreads(Callback):
    """Keeps one thread per core that other processes leave free, at least one and at most those of the start.

    All threads of an operation wait for the last one. Where they are more than the free cores, a step may take 30 times
    as long as with one thread. Looks at the load between batches. The sums of another number of threads differ by
    rounding.

    Args:
        fixed: returns whether the number must stay; code of ``torch.compile`` is compiled again for another number
    """

    def __init__(self, fixed: Callable[[], bool] = lambda: False) -> None:
        self.fixed = fixed
        self.most = torch.get_num_threads()
        self.last = Load.now()
        self.is_logged = False

    def on_train_batch_end(self, *_: Any) -> None:
        """Look at the load, and change the number of threads if it asks for another one."""
        if self.most == 1 or self.fixed() or time.monotonic() - self.last.at < EVERY_SEC:
            return
        before, self.last = self.last, Load.now()
        free = self.last.free_cores(before, ranks=threads.number_in("LOCAL_WORLD_SIZE", 1))
        number = max(1, min(self.most, int(free + SLACK)))
        if number == torch.get_num_threads():
            return
        level = logging.DEBUG if self.is_logged else logging.INFO
        message = "threads: %d while other processes leave %.1f cores free; set %s for a fixed number"
        log.log(level, message, number, free, threads.NUMBER)
        self.is_logged = True
        torch.set_num_threads(number)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the number of the start for the next run in this process, such as a job of joblib."""
        torch.set_num_threads(self.most)

    on_validation_batch_end = on_test_batch_end = on_train_batch_end  # type: ignore[assignment]


@dataclass(frozen=True)
class Load:
    """Clocks in seconds: the time, the processor time of this process, and that of all processes on its cores."""

    at: float
    own: float
    busy: float
    cores: int

    @classmethod
    def now(cls) -> Load:
        """Read the clocks."""
        cores, times = cpus(), psutil.cpu_times(percpu=True)
        # Linux counts the time of guests as the user's, too.
        idle = ("idle", "iowait", "guest", "guest_nice")
        busy = (
            sum(each) - sum(getattr(each, name, 0.0) for name in idle) for i, each in enumerate(times) if i in cores
        )
        return cls(time.monotonic(), time.process_time(), sum(busy), len(cores))

    def free_cores(self, before: Load, *, ranks: int = 1) -> float:
        """Return the cores that were free for this process since ``before``, if it shares them with like ranks."""
        others = max(0.0, self.busy - before.busy - ranks * (self.own - before.own)) / (self.at - before.at)
        return (self.cores - others) / ranks
