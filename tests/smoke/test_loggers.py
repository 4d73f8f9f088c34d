"""What each logger leaves in the run's folder, without any network."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import TINY, call


def test_without_a_logger_results_and_curves_are_still_there(tmp_path: Path) -> None:
    ended = call("train", *TINY, "logger=none", "hydra.run.dir=run", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert (tmp_path / "run/results.json").exists()
    assert (tmp_path / "run/metrics.csv").exists()
    assert not list(tmp_path.rglob("lightning_logs"))


def test_tensorboard_gets_the_curves(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    ended = call("train", *TINY, "logger=tensorboard", "hydra.run.dir=run", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert (tmp_path / "run/metrics.csv").exists()
    curves = events.EventAccumulator(str(tmp_path / "run/tensorboard"))
    curves.Reload()
    assert {"train/loss", "train/learning_rate", "val/mIoU", "test/mIoU"} <= set(curves.Tags()["scalars"])
