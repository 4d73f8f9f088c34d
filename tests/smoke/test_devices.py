"""Two processes that share the work report what one process reports."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from commands import TINY, call, spawn, start


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Use one thread as the spawned processes do: more would sum in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch was built without torch.distributed")
def test_two_processes_measure_every_pair_once(tmp_path: Path) -> None:
    settings = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=1", "hydra.run.dir=two", "logger=wandb"]
    shown = ["trainer.enable_progress_bar=true"]
    ended = spawn("-m", "cpnet.train", *TINY, *settings, *shown, "dataset.generate.videos=21", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.out.count("outputs: ") == 1
    assert ended.out.count("epoch 1 of 1: ") == 1
    assert (tmp_path / "two/process_1.log").read_text(encoding="utf-8") == ""
    assert len(list(tmp_path.rglob("run-*.wandb"))) == 1
    alone = ["checkpoint=two/checkpoints/best.ckpt", "trainer=cpu", "hydra.run.dir=one"]
    assert call("evaluate", *alone, folder=tmp_path).code == 0
    two, one = (json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8")) for name in ("two", "one"))
    assert two["pairs"] == one["pairs"] == 12
    assert two["metrics"] == one["metrics"]
    assert two["reversed"] == one["reversed"]
    assert (tmp_path / "two/predictions.jsonl").read_bytes() == (tmp_path / "one/predictions.jsonl").read_bytes()


SLEEPING = """
import os, time
from pathlib import Path

if os.environ.get("RANK") == "1":
    from cpnet.training.module import GroundingModule

    def step(module, *arguments):
        Path("sleeps").touch()
        time.sleep(300)

    GroundingModule.test_step = step
"""


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch was built without torch.distributed")
def test_a_signal_ends_two_processes_while_one_waits_for_the_other(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLEEPING, encoding="utf-8")
    settings = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=1", "hydra.run.dir=two"]
    process = start("-m", "cpnet.train", *TINY, *settings, folder=tmp_path, path=tmp_path)
    while process.poll() is None and not (tmp_path / "sleeps").exists():
        time.sleep(0.1)
    time.sleep(2)  # the other process waits for this one's predictions by then
    os.kill(process.pid, signal.SIGTERM)
    try:
        errors = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 143, errors
    assert (tmp_path / "two/checkpoints/last.ckpt").exists()
    assert not (tmp_path / "two/results.json").exists()
