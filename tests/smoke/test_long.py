"""Memory and open files of a process stay constant over a thousand epochs, and W&B sends nothing."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from statistics import linear_regression

import psutil
import pytest

from commands import TINY, start
from tracking.offline import guarded_environment

pytest.importorskip("wandb", reason="needs the extra [wandb]")

EPOCHS, WARM = 1000, 100
SMALL = (
    *("model.encoder.num_heads=1", "model.pyramid_levels=1", "callbacks.early_stopping=null"),
    *("trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "trainer.compile=false"),
    *("logger=wandb", "hydra.run.dir=run", f"trainer.max_epochs={EPOCHS}"),
)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not hasattr(psutil.Process, "num_fds"), reason="open files are counted on POSIX alone")
def test_resources_are_constant_and_nothing_is_sent(tmp_path: Path) -> None:
    """The process is sampled whenever last.ckpt is written, after every epoch."""
    last, written = tmp_path / "run/checkpoints/last.ckpt", 0
    resident, files = list[int](), list[int]()  # bytes, number
    with guarded_environment(tmp_path) as (environment, requests):
        running = start("-m", "cpnet.train", *TINY, *SMALL, folder=tmp_path, environment=environment)
        process = psutil.Process(running.pid)
        try:
            while running.poll() is None:
                now = written
                with suppress(FileNotFoundError):  # before the first, and while it is replaced
                    now = last.stat().st_mtime_ns
                if now != written:
                    written = now
                    resident.append(process.memory_info().rss)
                    files.append(process.num_fds())
                time.sleep(0.005)
        finally:
            running.kill()
            errors = running.communicate()[1]
        assert running.returncode == 0, errors
        assert requests == []  # W&B sends its reports when its process ends
    assert EPOCHS * 0.95 <= len(files) <= EPOCHS
    slope, _ = linear_regression(range(WARM, len(files)), resident[WARM:])
    assert slope < 0.1e6  # bytes an epoch
    assert max(files[WARM:]) <= min(files[:WARM]) + 2  # a checkpoint being written
