"""Files of each logger in the run's folder, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import TINY, call


def test_results_and_metrics_are_written_without_a_logger(tmp_path: Path) -> None:
    ended = call("train", *TINY, "logger=none", "hydra.run.dir=run", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert (tmp_path / "run/results.json").exists()
    assert (tmp_path / "run/metrics.csv").exists()
    assert not list(tmp_path.rglob("lightning_logs"))


def test_tensorboard_has_the_curves(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    ended = call("train", *TINY, "logger=tensorboard", "hydra.run.dir=run", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert (tmp_path / "run/metrics.csv").exists()
    curves = events.EventAccumulator(str(tmp_path / "run/tensorboard"))
    curves.Reload()
    assert {"train/loss", "train/learning_rate", "val/mIoU", "test/mIoU"} <= set(curves.Tags()["scalars"])
