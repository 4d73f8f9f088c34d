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


def test_weights_and_biases_writes_offline_a_run_a_job(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    # Where nobody listens, so that a call to the service would fail.
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    own = {f"WANDB_{kind}_DIR": str(tmp_path / "own") for kind in ("CONFIG", "CACHE", "DATA")}
    jobs = ["seed=1,2", "hydra.sweep.dir=sweep", "logger=wandb"]
    ended = call("train", "-m", *TINY, *jobs, folder=tmp_path, environment=nowhere | own | {"WANDB_SILENT": "true"})
    assert ended.code == 0, ended.err
    for job in (0, 1):
        folder = tmp_path / "sweep" / str(job)
        runs = list((folder / "wandb").glob("offline-run-*"))
        assert len(runs) == 1
        assert list(runs[0].glob("*.wandb"))
        assert (folder / "results.json").exists()
        assert (folder / "metrics.csv").exists()
