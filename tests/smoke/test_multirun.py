"""Sweeps: several jobs of one command, each a process with its own folder."""

from __future__ import annotations

import re
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from commands import TINY, Ended, call, read_json, weights
from locks import holder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def sweep(place: Path, *overrides: str, code: int = 0) -> Ended:
    return call("train", "-m", *TINY, "hydra.sweep.dir=sweep", *overrides, folder=place, code=code)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Two jobs at a time, of which the second fails."""
    place = tmp_path_factory.mktemp("swept")
    return place, sweep(place, "model.pyramid_levels=1,99", "hydra.launcher.n_jobs=2", code=1)


def test_job_has_a_folder_with_its_results(swept: tuple[Path, Ended]) -> None:
    place, _ = swept
    folder = place / "sweep/0"
    cfg = OmegaConf.load(folder / "config.yaml")
    assert (cfg.model.pyramid_levels, cfg.run_name) == (1, "model.pyramid_levels=1")
    assert cfg.output_dir == str(folder)
    files = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"best.ckpt", "last.ckpt", "metrics.csv", "predictions.jsonl", "train.log", "output.log"} <= files
    assert {path.name for path in place.iterdir()} == {"sweep", "data"}
    named = {str(job): f"model.pyramid_levels={levels}" for job, levels in enumerate((1, 99))}
    assert read_json(place / "sweep/jobs.json")["jobs"] == named


def test_failed_job_is_named_at_the_end(swept: tuple[Path, Ended]) -> None:
    place, ended = swept
    assert "cpnet: 1 of the sweep's jobs failed" in ended.err
    assert "#1 model.pyramid_levels=99: model.pyramid_levels must be 1 to 8; got 99" in ended.err
    assert str(place / "sweep" / "1") in ended.err
    assert not (place / "sweep/1/results.json").exists()


@pytest.mark.slow
def test_resumed_sweep_runs_unfinished_jobs_only(swept: tuple[Path, Ended]) -> None:
    place, _ = swept
    sweep(place, "model.pyramid_levels=1,99,2", "sweep.resume=true", code=1)
    before = (place / "sweep/0/results.json").stat().st_mtime_ns
    metrics = read_json(place / "sweep/2/results.json")["metrics"]
    (place / "sweep/2/results.json").unlink()  # as if it had been killed during the test
    ended = sweep(place, "model.pyramid_levels=1,3,2", "sweep.resume=true", "hydra.launcher.n_jobs=2")
    assert "#0 model.pyramid_levels=1: already done" in ended.out
    assert "2 of 3 jobs to run" in ended.out
    assert "last.ckpt, written in epoch 1 after step 3" in (place / "sweep/2/train.log").read_text(encoding="utf-8")
    assert read_json(place / "sweep/2/results.json")["metrics"] == metrics
    assert (place / "sweep/0/results.json").stat().st_mtime_ns == before
    assert OmegaConf.load(place / "sweep/1/config.yaml").model.pyramid_levels == 3
    (aside,) = (place / "sweep/earlier").iterdir()
    assert aside.name.startswith("1_")
    assert "resume=true" in OmegaConf.load(place / "sweep/2/.hydra/overrides.yaml")
    ended = sweep(place, "model.pyramid_levels=1,3,2", "sweep.resume=true")
    assert "0 of 3 jobs to run" in ended.out  # a resumed job is recognised


@pytest.mark.slow
def test_job_equals_a_single_run(tmp_path: Path) -> None:
    call("train", "-m", *TINY, "seed=1,2", "hydra.sweep.dir=sweep", "hydra/launcher=basic", folder=tmp_path)
    logger = "tensorboard" if find_spec("tensorboard") else "none"
    call("train", *TINY, "seed=2", "hydra.run.dir=alone", f"logger={logger}", folder=tmp_path)
    alone = (tmp_path / "alone/predictions.jsonl").read_bytes()
    assert alone == (tmp_path / "sweep/1/predictions.jsonl").read_bytes()
    assert alone != (tmp_path / "sweep/0/predictions.jsonl").read_bytes()
    first, second, other = (weights(tmp_path / name) for name in ("alone", "sweep/1", "sweep/0"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())  # a seed fixes every bit
    assert not all(torch.equal(value, other[name]) for name, value in first.items())
    if logger == "tensorboard":
        events = import_module("tensorboard.backend.event_processing.event_accumulator")
        curves = events.EventAccumulator(str(tmp_path / "alone/tensorboard"))
        curves.Reload()
        assert {"train/loss", "train/learning_rate", "val/mIoU", "test/mIoU"} <= set(curves.Tags()["scalars"])


@pytest.mark.slow
def test_newest_sweep_is_resumed(tmp_path: Path) -> None:
    chosen = []
    for resume in ("false", "false", "true"):
        arguments = ("model.pyramid_levels=98,99", f"sweep.resume={resume}", "hydra/launcher=basic")
        call("train", "-m", *TINY, *arguments, folder=tmp_path, code=1)
        chosen.append(sorted(path.name for path in (tmp_path / "outputs/multirun/synthetic").iterdir()))
        time.sleep(1.1)  # folders are named by the second
    assert [len(folders) for folders in chosen] == [1, 2, 2]


def test_jobs_of_another_sweep_are_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "sweep/0/.hydra").mkdir(parents=True)
    (tmp_path / "sweep/0/.hydra/overrides.yaml").write_text("[seed=2]")
    ended = sweep(tmp_path, "seed=1", "sweep.resume=true", code=1)
    assert "sweep has jobs of another sweep; set hydra.sweep.dir=FOLDER" in ended.err
    assert [path.name for path in (tmp_path / "sweep/0").iterdir()] == [".hydra"]


@pytest.mark.slow
def test_rerun_without_resume_keeps_the_earlier_jobs(tmp_path: Path) -> None:
    sweep(tmp_path, "seed=1")
    first = (tmp_path / "sweep/0/results.json").stat().st_mtime_ns
    sweep(tmp_path, "seed=1")
    assert (tmp_path / "sweep/0/results.json").stat().st_mtime_ns > first
    (aside,) = (tmp_path / "sweep/earlier").iterdir()
    assert (aside / "results.json").stat().st_mtime_ns == first


@pytest.mark.slow
def test_job_without_a_folder_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/0").symlink_to("nowhere")
    ended = sweep(tmp_path, "seed=1,2", code=1)
    assert f"  #0 seed=1: {tmp_path}/sweep/0: File exists\n" in ended.err
    assert read_json(tmp_path / "sweep/1/results.json")["seed"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "sweep.resume=true: there is no sweep in outputs/multirun/synthetic"),
        (("hydra.sweep.dir=sweep", "hydra.run.dir=there"), "hydra.run.dir is for a single run; set hydra.sweep.dir"),
        (("hydra.sweep.dir=sweep", "hydra/launcher=basic"), "sweep.resume=true needs hydra/launcher=processes"),
    ],
)
def test_impossible_sweep_is_refused(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    ended = call("train", "-m", *TINY, "seed=1,2", "sweep.resume=true", *arguments, folder=tmp_path, code=1)
    assert f"cpnet: {message}" in ended.err


@pytest.mark.parametrize(
    ("held", "arguments", "message", "files"),
    [
        ("sweep", (), r"sweep is writing to .*/sweep; wait until .*, or choose another folder: hydra\.sweep\.dir=", ()),
        # a job that outlives its sweep
        ("sweep/1", ("sweep.resume=true",), "run is writing to .*/sweep/1; wait until", ("1", "earlier", "jobs.json")),
    ],
)
def test_held_folder_is_refused(
    held: str, arguments: tuple[str, ...], message: str, files: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "sweep").mkdir()
    with holder(tmp_path / held):
        ended = sweep(tmp_path, "seed=1,2", *arguments, code=1)
    assert re.search(f"cpnet: another {message}", ended.err)
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {".lock", "multirun.yaml", *files}
    assert (tmp_path / held / ".lock").exists()
