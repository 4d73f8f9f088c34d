"""Run a function in several ranks of one process group."""

from __future__ import annotations

import multiprocessing
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def in_ranks(world: int, work: Callable[[], Any]) -> list[Any]:
    """Call a function in forks of this process in which ``Trainer(strategy="ddp")`` trains, and return the results.

    Results consist of tensors and plain containers. A rank that fails or hangs is an error.
    """
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()

        def run(rank: int) -> None:
            os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            torch.save(work(), Path(folder) / str(rank))

        started = [multiprocessing.get_context("fork").Process(target=run, args=(rank,)) for rank in range(world)]
        for process in started:
            process.start()
        for process in started:
            process.join(60)
        codes = [process.exitcode for process in started]
        for process in started:
            process.kill()
        assert codes == [0] * world
        return [torch.load(Path(folder) / str(rank), weights_only=True) for rank in range(world)]
