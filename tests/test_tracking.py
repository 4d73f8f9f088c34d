"""Runs of Weights & Biases as they lie on disk; nothing goes to the network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from cpnet import tracking

wandb = pytest.importorskip("wandb", reason="needs the extra [wandb]")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    assert wandb.run is None


def logger(folder: Path, *, mode: str = "offline") -> WandbLogger:
    return tracking.wandb_logger(mode=mode, folder=str(folder), project="p", name="n", tags=["a", "b"])


class Run:
    """Stands for a run, and keeps what it is told."""

    def __init__(self) -> None:
        self.ends: list[int] = []
        self.config: dict[str, Any] = {}

    def finish(self, *, exit_code: int) -> None:
        self.ends.append(exit_code)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    run = Run()
    monkeypatch.setattr(WandbLogger, "experiment", run)
    monkeypatch.setattr(WandbLogger, "log_hyperparams", lambda self, values: run.config.update(values))
    return run


@pytest.mark.parametrize("mode", ["", "disabled", "on"])
def test_an_unknown_mode_is_refused(mode: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"logger\.wandb\.mode must be one of offline, online; got '{mode}'"):
        logger(tmp_path, mode=mode)


def test_without_wandb_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorch_lightning.loggers.wandb._WANDB_AVAILABLE", False)
    with pytest.raises(ValueError, match=r"logger=wandb needs wandb: pip install 'cpnet-grounding\[wandb\]'"):
        logger(tmp_path)


def test_a_job_that_ends_well_ends_its_run(run: Run, tmp_path: Path) -> None:
    with tracking.job([CSVLogger(tmp_path), logger(tmp_path)], {"seed": 3}):
        assert run.config == {"seed": 3}
        assert run.ends == []
    assert run.ends == [0]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_job_that_fails_fails_its_run(error: type[BaseException], run: Run, tmp_path: Path) -> None:
    with pytest.raises(error), tracking.job([logger(tmp_path)], {}):
        raise error
    assert run.ends == [1]


def test_other_loggers_are_left_alone(tmp_path: Path) -> None:
    with tracking.job([CSVLogger(tmp_path)], {"seed": 3}):
        pass
    with tracking.job([], {}):
        pass


def test_another_process_than_the_first_ends_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorch_lightning.utilities.rank_zero_only.rank", 1)
    with tracking.job([logger(tmp_path)], {}):
        pass
    assert run.ends == []


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_the_mode_is_the_configurations(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, Any]] = []

    def init(**arguments: Any) -> Run:
        started.append(arguments)
        return Run()

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert isinstance(logger(tmp_path, mode=mode).experiment, Run)
    (arguments,) = started
    wanted = {"mode": mode, "dir": str(tmp_path), "project": "p", "name": "n", "tags": ["a", "b"]}
    assert {key: arguments[key] for key in wanted} == wanted
    assert os.environ["WANDB_MODE"] == "disabled"


@pytest.mark.usefixtures("environment")
def test_two_jobs_of_a_process_are_two_runs(tmp_path: Path) -> None:
    ids = []
    for seed in (0, 1):
        ours = logger(tmp_path)
        with tracking.job([ours], {"seed": seed}):
            run = ours.experiment
            assert (run.offline, run.config["seed"], run.name, run.tags) == (True, seed, "n", ("a", "b"))
            ours.log_metrics({"loss": 0.5}, step=seed)
            ids.append(run.id)
        assert wandb.run is None
    assert len(set(ids)) == 2
    folders = [path.name for path in (tmp_path / "wandb").glob("offline-run-*")]
    assert len(folders) == 2
    assert all(any(folder.endswith(name) for folder in folders) for name in ids)
    assert "WANDB_MODE" not in os.environ
