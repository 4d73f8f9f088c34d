"""Output of a training run in a terminal and in a pipe."""

from __future__ import annotations

import csv
import fcntl
import os
import pty
import re
import struct
import termios
from pathlib import Path
from types import SimpleNamespace

import pytest

from commands import TINY, call, start

BARS = ("trainer.enable_progress_bar=true", "hydra.run.dir=run")


def test_pipe_shows_lines_of_epochs_and_batches_with_values_of_metrics_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 100_000, 100))  # seconds, of which a line takes 60
    monkeypatch.setattr(
        "cpnet.training.callbacks.epoch_lines.time", SimpleNamespace(monotonic=lambda: float(next(clock)))
    )
    ended = call("train", *TINY, *BARS, "trainer.max_epochs=2", "trainer.limit_train_batches=4", folder=tmp_path)
    with (tmp_path / "run/metrics.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    lines = re.findall(r"^epoch (\d) of 2: [\d.]+ s, train/loss ([\d.]+), val/mIoU ([\d.]+)$", ended.out, re.MULTILINE)
    assert [number for number, _, _ in lines] == ["1", "2"]
    for (_, loss, miou), row in zip(lines, rows, strict=False):
        assert float(loss) == pytest.approx(float(row["train/loss"]), rel=1e-3)
        assert float(miou) == pytest.approx(float(row["val/mIoU"]), rel=1e-3)
    assert "\r" not in ended.out + ended.err
    assert re.findall(r"^epoch 1 of 2, batch (\d) of 4$", ended.out, re.MULTILINE) == ["2", "4"]


@pytest.mark.slow
def test_terminal_shows_a_progress_bar(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    with start("-m", "cpnet.train", *TINY, *BARS, "trainer.max_epochs=1", folder=tmp_path, output=theirs):
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 1 << 16):
                shown += chunk
        except OSError:  # Linux: the other end was closed
            pass
    os.close(ours)
    assert b"Epoch 0" in shown
    assert b"epoch 1 of 1" not in shown
