"""Runs of Weights & Biases as they lie on disk; nothing goes to the network."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger, WandbLogger

import cpnet
from cpnet import tracking
from cpnet.config import ConfigError
from cpnet.interruption import Interrupted
from cpnet.tracking.runs import flatten
from tracking.offline import OfflineRun, nobodys_home, read

wandb = pytest.importorskip("wandb", reason="needs the extra [wandb]")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    assert wandb.run is None


def logger(folder: Path, **changed: Any) -> WandbLogger:
    arguments = {"mode": "offline", "folder": str(folder), "project": "p", "name": "n", "tags": ["a", "b"]}
    return tracking.wandb_logger(**(arguments | changed))


class Run:
    """Stands for a run, and keeps what it is told."""

    def __init__(self) -> None:
        self.ends: list[int] = []
        self.preempting = 0
        self.config: dict[str, Any] = {}

    def finish(self, *, exit_code: int) -> None:
        self.ends.append(exit_code)

    def mark_preempting(self) -> None:
        assert not self.ends
        self.preempting += 1


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
    assert (run.ends, run.preempting) == ([1], 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_job_that_a_signal_ends_is_one_that_will_go_on(number: int, code: int, run: Run, tmp_path: Path) -> None:
    with pytest.raises(Interrupted), tracking.job([CSVLogger(tmp_path), logger(tmp_path)], {}):
        raise Interrupted(number)
    assert (run.ends, run.preempting) == ([code], 1)


def test_a_folder_has_one_run_however_often_it_goes_on(tmp_path: Path) -> None:
    def run_id(folder: str) -> str:
        return str(logger(tmp_path / folder)._wandb_init["id"])

    first, other = run_id("first"), run_id("other")
    assert first == run_id("first") == (tmp_path / "first/wandb/run-id").read_text()
    assert other != first
    (tmp_path / "first/wandb/run-id").unlink()  # as a run that begins anew does
    assert run_id("first") not in (first, other)


def test_another_process_than_the_first_takes_the_id_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = logger(tmp_path)._wandb_init["id"]
    monkeypatch.setattr("pytorch_lightning.utilities.rank_zero_only.rank", 1)
    assert logger(tmp_path)._wandb_init["id"] == first
    logger(tmp_path / "new")
    assert not (tmp_path / "new/wandb/run-id").exists()


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


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"predictions": -1}, r"^logger\.wandb\.predictions must be a number of rows, 0 or more; got -1"),
        ({"predictions": "all"}, r"^logger\.wandb\.predictions must be .* got 'all'"),
        ({"predictions": True}, r"^logger\.wandb\.predictions must be .* got True"),
        ({"checkpoint": "best"}, r"^logger\.wandb\.checkpoint must be true or false; got 'best'"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_key(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        logger(tmp_path, **changed)


@pytest.mark.usefixtures("environment")
def test_the_service_needs_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with (
        pytest.raises(ConfigError, match=r"(?s)No API key.*wandb login.*logger\.wandb\.mode=offline"),
        tracking.job([logger(tmp_path, mode="online")], {}),
    ):
        pytest.fail("it must not begin")


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
    wanted: dict[str, Any] = {"mode": mode, "dir": str(tmp_path), "project": "p", "name": "n", "tags": ["a", "b"]}
    wanted |= {"entity": None, "group": None, "resume": "allow", "id": (tmp_path / "wandb/run-id").read_text()}
    assert {key: arguments[key] for key in wanted} == wanted
    assert os.environ["WANDB_MODE"] == "disabled"


@pytest.mark.usefixtures("environment")
def test_two_jobs_of_a_process_are_two_runs(tmp_path: Path) -> None:
    ids = []
    for seed in (0, 1):
        ours = logger(tmp_path / str(seed))
        with tracking.job([ours], {"seed": seed}):
            run = ours.experiment
            assert (run.offline, run.config["seed"], run.name, run.tags) == (True, seed, "n", ("a", "b"))
            ours.log_metrics({"loss": 0.5}, step=seed)
            ids.append(run.id)
        assert wandb.run is None
    assert len(set(ids)) == 2
    folders = [path.name for path in sorted(tmp_path.glob("*/wandb/offline-run-*"))]
    assert all(folder.endswith(name) for folder, name in zip(folders, ids, strict=True))
    assert "WANDB_MODE" not in os.environ


RESULTS: dict[str, Any] = {
    "experiment": None,
    "model": "cpnet",
    "metrics": {"R1@0.5": 50.0, "mIoU": 40.5},
    "reversed": 2.5,
    "trivial": {"whole video": {"span": [0.0, 1.0], "metrics": {"mIoU": 20.0}}},
    "protocol": {"split": "test", "strict": False},
    "seconds": {"fit": 12.5},
    "git_commit": None,
}
FLAT = {
    "model": "cpnet",
    "test/R1@0.5": 50.0,
    "test/mIoU": 40.5,
    "test/reversed": 2.5,
    "trivial/whole video/span": [0.0, 1.0],
    "trivial/whole video/metrics/mIoU": 20.0,
    "protocol/split": "test",
    "protocol/strict": False,
    "seconds/fit": 12.5,
}


def test_results_are_flat_by_the_names_of_the_metrics() -> None:
    assert flatten(RESULTS) == FLAT


def logged(folder: Path, **changed: Any) -> OfflineRun:
    """A run whose 300 pairs have the IoUs 0 to 299 thousandths, in no order."""
    rows = [
        {
            "qid": str(n),
            "video": f"v{n}",
            "query": f"query {n}",
            "duration": 10.0,
            "iou": n / 1000,
            "true": [0.0, 3.0],
            "predicted": [[n / 100, 10.0]],
        }
        for n in sorted(range(300), key=lambda n: n * 7 % 300)
    ]
    predictions, checkpoint = folder / "predictions.jsonl", folder / "best.ckpt"
    predictions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    checkpoint.write_bytes(b"weights")
    ours = logger(folder, **changed)
    loggers = [CSVLogger(folder), ours]
    with tracking.job(loggers, {"seed": 3}):
        tracking.log_results(loggers, RESULTS, predictions=predictions, checkpoint=checkpoint)
    return read(folder)


@pytest.mark.usefixtures("environment")
def test_an_offline_run_holds_what_it_was_told(tmp_path: Path) -> None:
    long = "x" * 70
    told = {"entity": "team", "group": "table1", "tags": ["a", long, "a"], "checkpoint": True, "predictions": 4}
    run = logged(tmp_path, **told)
    wanted = {"display_name": "n", "entity": "team", "project": "p", "run_group": "table1", "tags": ["a", "x" * 64]}
    assert {key: run.start.get(key) for key in wanted} == wanted
    assert {key: run.summary[key] for key in FLAT} == FLAT
    assert (run.config["seed"], run.exit_code) == (3, 0)
    assert [line[0] for line in run.tables["predictions"]["data"]] == [f"query {n}" for n in (0, 100, 199, 299)]
    # True lengths are 30 % of the video, predicted ones 100 to 70.1 %: up to 80 % from the 200th pair on.
    counts = [line[1:] for line in run.tables["length_confusion_table"]["data"]]
    assert counts == [[0] * 5, [0, 0, 0, 99, 201], *[[0] * 5] * 3]
    assert set(run.pictures) == {"length_confusion"}
    (artifact,) = (each for name, each in run.artifacts.items() if name.startswith("checkpoint-"))
    (held,) = artifact["manifest"]["contents"]
    assert (held["local_path"], artifact["type"]) == (str(tmp_path / "best.ckpt"), "model")
    assert "best" in artifact["aliases"]
    # What waits for the service lies beside the run.
    (table,) = (each for name, each in run.artifacts.items() if name.endswith("-predictions"))
    waiting = [Path(each["local_path"]) for each in table["manifest"]["contents"]]
    assert all((tmp_path / "wandb") in path.parents and path.is_file() for path in waiting)
    assert "WANDB_DATA_DIR" not in os.environ


@pytest.mark.usefixtures("environment")
def test_no_predictions_are_held_where_none_are_wanted(tmp_path: Path) -> None:
    run = logged(tmp_path, predictions=0)
    assert set(run.tables) == {"length_confusion_table"}
    assert not [name for name in run.artifacts if "predictions" in name or "checkpoint" in name]


def test_results_go_to_no_other_logger(tmp_path: Path) -> None:
    tracking.log_results([CSVLogger(tmp_path)], RESULTS, predictions=tmp_path / "none", checkpoint=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_another_process_than_the_first_tells_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytorch_lightning.utilities.rank_zero_only.rank", 1)
    tracking.log_results([logger(tmp_path)], RESULTS, predictions=tmp_path / "none", checkpoint=tmp_path / "none")
    assert run.config == {}


IN_A_PROCESS_OF_ITS_OWN = """
import sys
from cpnet import tracking
logger = tracking.wandb_logger(mode="offline", folder=sys.argv[1], project="p", name="n")
with tracking.job([logger], {"seed": 3}):
    logger.log_metrics({"loss": 0.5}, step=0)
"""


def test_nothing_leaves_a_process_that_is_offline(tmp_path: Path) -> None:
    # W&B reports its own use when its process ends.
    with nobodys_home(tmp_path) as (environment, heard):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        ours = {"PYTHONPATH": str(Path(cpnet.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN, str(tmp_path)]
        subprocess.run(command, env=inherited | environment | ours, check=True, stdin=subprocess.DEVNULL, timeout=100)
        assert heard == []
    assert read(tmp_path).config["seed"] == 3
