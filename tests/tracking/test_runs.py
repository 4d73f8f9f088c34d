"""Offline runs of Weights & Biases, read back from disk by its own reader; no network."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger, Logger

from cpnet import tracking
from cpnet.errors import ConfigError
from cpnet.launch.signals import Interrupted
from cpnet.runs.predictions import PredictionRow, write_predictions
from cpnet.tracking.runs import summary
from reporting.made import config, results
from tracking.offline import OfflineRun, read

wandb = pytest.importorskip("wandb", reason="needs the extra [wandb]")

ARGUMENTS: dict[str, Any] = {
    "mode": "offline",
    "project": "p",
    "name": "n",
    "entity": None,
    "group": None,
    "tags": ["a", "b"],
    "predictions": 100,
    "checkpoint": False,
}
RESULTS = results(config(), metrics={"R1@0.5": 50.0, "mIoU": 40.5}, reversed=2.5, paper={}, git_commit=None)
SUMMARY = {  # an excerpt
    "model": "cpnet",
    "test/R1@0.5": 50.0,
    "test/mIoU": 40.5,
    "test/reversed": 2.5,
    "validation/score": 30.0,
    "trivial/whole video/span": [0, 1],
    "trivial/whole video/metrics/mIoU": 20.0,
    "protocol/selection": "holdout",
    "protocol/strict": False,
    "protocol/sampling/clips": 32,
    "seconds/fit": 1.0,
}


@pytest.fixture(autouse=True)
def no_wandb_variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    assert wandb.run is None


def logger(folder: Path, **changed: Any) -> tracking.RunLogger:
    return tracking.RunLogger(folder=str(folder), **(ARGUMENTS | changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mode": "disabled"}, r"^logger\.wandb\.mode must be one of offline, online; got 'disabled'"),
        ({"predictions": -1}, r"^logger\.wandb\.predictions must be a number of rows, 0 or more; got -1"),
        ({"predictions": True}, r"^logger\.wandb\.predictions must be .* got True"),
        ({"checkpoint": "best"}, r"^logger\.wandb\.checkpoint must be true or false; got 'best'"),
    ],
)
def test_error_names_the_invalid_key(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        logger(tmp_path, **changed)


def test_error_names_the_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorch_lightning.loggers.wandb._WANDB_AVAILABLE", False)
    with pytest.raises(ValueError, match=r"logger=wandb needs wandb: pip install 'cpnet-grounding\[wandb\]'"):
        logger(tmp_path)


def test_online_run_needs_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_MODE", "disabled")  # the configuration overrides it
    with (
        pytest.raises(ConfigError, match=r"(?s)No API key.*wandb login.*logger\.wandb\.mode=offline"),
        tracking.job([logger(tmp_path, mode="online")], {}),
    ):
        pytest.fail("the job starts without an account")


@pytest.mark.parametrize(
    ("error", "exit_code", "preempted"), [(RuntimeError(), 1, False), (Interrupted(signal.SIGTERM), 143, True)]
)
def test_run_ends_with_the_exit_code_of_its_job(
    error: BaseException, exit_code: int, preempted: bool, tmp_path: Path
) -> None:
    with pytest.raises(type(error)), tracking.job([CSVLogger(tmp_path), logger(tmp_path)], {"seed": 3}):
        raise error
    run = read(tmp_path)
    assert (run.exit_code, run.preempted) == (exit_code, preempted)


def test_resumed_run_keeps_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_id(folder: str) -> str | None:
        return logger(tmp_path / folder).version

    first, other = run_id("first"), run_id("other")
    assert first == run_id("first") == (tmp_path / "first/wandb/run-id").read_text()
    assert other != first
    (tmp_path / "first/wandb/run-id").unlink()  # as at the start of a new run in the same folder
    assert run_id("first") not in (first, other)
    monkeypatch.setattr("pytorch_lightning.utilities.rank_zero_only.rank", 1)
    assert run_id("other") == other
    run_id("new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("make", "rank"), [(logger, 1), (CSVLogger, 0)])
def test_other_processes_and_loggers_log_nothing(
    make: Callable[[Path], Logger], rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytorch_lightning.utilities.rank_zero_only.rank", rank)
    loggers = [make(tmp_path)]
    with tracking.job(loggers, {"seed": 3}):
        tracking.log_results(loggers, RESULTS, predictions=tmp_path / "none", checkpoint=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_summary_names_metrics_by_split_and_omits_missing_values() -> None:
    logged = summary(RESULTS)
    assert {key: logged[key] for key in SUMMARY} == SUMMARY | {"trivial/whole video/span": (0, 1)}
    assert not {"metrics/mIoU", "reversed", "experiment", "git_commit", "paper"} & set(logged)


def logged(folder: Path, *, known: bool = True, **changed: Any) -> OfflineRun:
    """A run whose 300 pairs have the IoUs 0 to 299 thousandths, in mixed order; or no true windows."""
    rows = [
        PredictionRow(
            qid=str(n),
            video=f"v{n}",
            query=f"query {n}",
            duration=10.0,
            predicted=((n / 100, 10.0), (0.0, 1.0)),
            true=((0.0, 0.001), (0.0, 3.0)) if known else (),
            iou=n / 1000 if known else None,
        )
        for n in sorted(range(300), key=lambda n: n * 7 % 300)
    ]
    predictions, checkpoint = folder / "predictions.jsonl", folder / "best.ckpt"
    write_predictions(predictions, rows)
    checkpoint.write_bytes(b"weights")
    loggers = [CSVLogger(folder), logger(folder, **changed)]
    with tracking.job(loggers, {"seed": 3}):
        ood = replace(RESULTS, protocol=replace(RESULTS.protocol, split="test_ood"), metrics={"mIoU": 3.5})
        tracking.log_results(loggers, RESULTS, ood, predictions=predictions, checkpoint=checkpoint)
    return read(folder)


def test_offline_run_has_results_predictions_and_checkpoint(tmp_path: Path) -> None:
    changed: dict[str, Any] = {"entity": "team", "group": "table1", "tags": ["a", "x" * 70, "a"], "checkpoint": True}
    run = logged(tmp_path, predictions=4, **changed)
    start = {"display_name": "n", "entity": "team", "project": "p", "run_group": "table1", "tags": ["a", "x" * 64]}
    assert {key: run.start.get(key) for key in start} == start
    assert {key: run.summary[key] for key in SUMMARY} == SUMMARY
    assert run.summary["test_ood/mIoU"] == 3.5
    assert (run.config["seed"], run.exit_code, run.preempted) == (3, 0, False)
    table = run.tables["predictions"]
    assert table["columns"] == [
        *("query", "video", "duration", "true start", "true end", "predicted start", "predicted end", "IoU"),
        "timeline",
    ]
    assert [line[:-1] for line in table["data"]] == [
        [f"query {n}", f"v{n}", 10, 0, 3, n / 100, 10, n / 1000] for n in (0, 100, 199, 299)
    ]
    # True lengths are 30 % of the video, predicted ones 100 to 70.1 %: up to 80 % from the 200th pair on.
    counts = [line[1:] for line in run.tables["length_confusion_table"]["data"]]
    assert counts == [[0] * 5, [0, 0, 0, 99, 201], *[[0] * 5] * 3]
    assert set(run.pictures) == {"length_confusion"}
    (artifact,) = (each for name, each in run.artifacts.items() if name.startswith("checkpoint-"))
    (held,) = artifact["manifest"]["contents"]
    assert (held["local_path"], artifact["type"]) == (str(tmp_path / "best.ckpt"), "model")
    assert "best" in artifact["aliases"]
    # Files that wait for upload are in the run's folder.
    (table,) = (each for name, each in run.artifacts.items() if name.endswith("-predictions"))
    contents = table["manifest"]["contents"]
    assert sum(each["path"].endswith(".png") for each in contents) == 4  # a timeline of each row
    waiting = [Path(each["local_path"]) for each in contents]
    assert all((tmp_path / "wandb") in path.parents and path.is_file() for path in waiting)
    assert "WANDB_DATA_DIR" not in os.environ


def test_predictions_without_true_windows_are_not_logged(tmp_path: Path) -> None:
    run = logged(tmp_path, known=False)
    assert (run.tables, set(run.pictures)) == ({}, set())
    assert run.exit_code == 0


def test_zero_predictions_log_no_table(tmp_path: Path) -> None:
    run = logged(tmp_path, predictions=0)
    assert set(run.tables) == {"length_confusion_table"}
    assert not [name for name in run.artifacts if "predictions" in name or "checkpoint" in name]
