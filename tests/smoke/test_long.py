"""A thousand epochs: a process looked at from outside takes no more memory and holds no more files than at first."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

import psutil
import pytest

import cpnet
from commands import TINY
from tracking.offline import OfflineRun, nobodys_home, read

pytest.importorskip("wandb", reason="needs the extra [wandb]")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not hasattr(psutil.Process, "num_fds"), reason="open files are counted on POSIX alone"),
]

EPOCHS, WARM = 1000, 100
SMALL = (
    *("model.encoder.num_heads=1", "model.pyramid_levels=1", "callbacks.early_stopping=null"),
    *(
        "trainer.limit_train_batches=1",
        "trainer.limit_val_batches=1",
        "logger=wandb",
        "hydra.run.dir=run",
        f"trainer.max_epochs={EPOCHS}",
        "trainer.compile=false",
    ),
)


@dataclass(frozen=True)
class Seen:
    """What a process had when an epoch had ended."""

    epoch: int
    resident: int  # bytes
    files: int


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("long")


@pytest.fixture(scope="module")
def seen(folder: Path) -> list[Seen]:
    """Train, and look at the process whenever it has written last.ckpt, which it does after every epoch."""
    last, written = folder / "run/checkpoints/last.ckpt", 0
    found: list[Seen] = []
    command = [sys.executable, "-m", "cpnet.train", *TINY, *SMALL]
    with nobodys_home(folder) as (environment, _), (folder / "output.txt").open("w", encoding="utf-8") as output:
        path = {"PYTHONPATH": str(Path(cpnet.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        running = psutil.Popen(
            command, cwd=folder, env=os.environ | environment | path, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while running.poll() is None:
                now = last.stat().st_mtime_ns if last.exists() else 0
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


@pytest.fixture(scope="module")
def run(seen: list[Seen], folder: Path) -> OfflineRun:
    return read(folder / "run")


def test_memory_is_flat(seen: list[Seen]) -> None:
    warm = seen[WARM:]
    slope, _ = linear_regression([each.epoch for each in warm], [each.resident for each in warm])
    assert slope < 0.1e6  # bytes an epoch


def test_files_are_closed(seen: list[Seen]) -> None:
    few = min(each.files for each in seen[:WARM])
    assert max(each.files for each in seen[WARM:]) <= few + 2  # a checkpoint that is being written


def test_each_epoch_has_its_row_of_metrics(seen: list[Seen], folder: Path) -> None:
    path = folder / "run/metrics.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for name in ("train/loss", "val/mIoU"):
        assert [int(row["epoch"]) for row in rows if row[name]] == [*range(EPOCHS)]
    (tested,) = (row for row in rows if row["test/mIoU"])
    assert tested == rows[-1]
    assert EPOCHS + 1 <= len(rows) <= 2 * EPOCHS + 1  # losses and validation in a row each, or together
    assert path.stat().st_size < 24 * len(rows) * len(rows[0])  # digits of a float and a comma, where none is empty


def test_each_epoch_has_its_curves_in_wandb(run: OfflineRun, folder: Path) -> None:
    for name in ("train/loss", "val/mIoU"):
        assert [row["epoch"] for row in run.history if name in row] == [*range(EPOCHS)]
    (log,) = (folder / "run/wandb").glob("offline-run-*/*.wandb")
    assert log.stat().st_size < 4_000 * EPOCHS


def test_the_folder_stays_small(seen: list[Seen], folder: Path) -> None:
    size = sum(path.stat().st_size for path in (folder / "run").rglob("*") if path.is_file())
    assert size < 8_000 * EPOCHS
