"""Memory and open files of a process stay constant over a thousand epochs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

import psutil
import pytest

import cpnet
from commands import TINY
from tracking.offline import guarded_environment

pytest.importorskip("wandb", reason="needs the extra [wandb]")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not hasattr(psutil.Process, "num_fds"), reason="open files are counted on POSIX alone"),
]

EPOCHS, WARM = 1000, 100
SMALL = (
    *("model.encoder.num_heads=1", "model.pyramid_levels=1", "callbacks.early_stopping=null"),
    *("trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "trainer.compile=false"),
    *("logger=wandb", "hydra.run.dir=run", f"trainer.max_epochs={EPOCHS}"),
)


@dataclass(frozen=True)
class Seen:
    """Resources of the process at the end of an epoch."""

    epoch: int
    resident: int  # bytes
    files: int


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("long")


@pytest.fixture(scope="module")
def seen(folder: Path) -> list[Seen]:
    """Train, and sample the process whenever last.ckpt is written, after every epoch."""
    last, written = folder / "run/checkpoints/last.ckpt", 0
    found: list[Seen] = []
    command = [sys.executable, "-m", "cpnet.train", *TINY, *SMALL]
    with guarded_environment(folder) as (environment, _), (folder / "output.txt").open("w", encoding="utf-8") as output:
        path = {"PYTHONPATH": str(Path(cpnet.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        running = psutil.Popen(
            command, cwd=folder, env=os.environ | environment | path, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while running.poll() is None:
                now = written
                with suppress(FileNotFoundError):  # before the first, and while it is replaced
                    now = last.stat().st_mtime_ns
                if now != written:
                    written = now
                    found.append(Seen(len(found), running.memory_info().rss, running.num_fds()))
                time.sleep(0.005)
        finally:
            if running.poll() is None:
                running.kill()
    assert running.returncode == 0, (folder / "output.txt").read_text(encoding="utf-8")[-3000:]
    assert EPOCHS * 0.95 <= len(found) <= EPOCHS
    return found


def test_memory_is_constant(seen: list[Seen]) -> None:
    warm = seen[WARM:]
    slope, _ = linear_regression([each.epoch for each in warm], [each.resident for each in warm])
    assert slope < 0.1e6  # bytes an epoch


def test_number_of_open_files_is_constant(seen: list[Seen]) -> None:
    few = min(each.files for each in seen[:WARM])
    assert max(each.files for each in seen[WARM:]) <= few + 2  # a checkpoint being written
