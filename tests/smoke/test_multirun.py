"""Several jobs of one command, each a process with a folder of its own."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import cpnet
from commands import TINY, Ended, call
from locks import holder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def sweep(place: Path, *overrides: str) -> Ended:
    return call("train", "-m", *TINY, "hydra.sweep.dir=sweep", *overrides, folder=place)


def results(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def weights(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert isinstance(content, dict)
    return content


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Three jobs, two at a time, the second of which cannot work."""
    place = tmp_path_factory.mktemp("swept")
    return place, sweep(place, "model.pyramid_levels=1,99,2", "hydra.launcher.n_jobs=2")


def test_every_job_has_a_folder_with_its_results(swept: tuple[Path, Ended]) -> None:
    place, _ = swept
    for job, levels in ((0, 1), (2, 2)):
        folder = place / "sweep" / str(job)
        cfg = OmegaConf.load(folder / "config.yaml")
        assert (cfg.model.pyramid_levels, cfg.run_name) == (levels, f"model.pyramid_levels={levels}")
        assert cfg.output_dir == str(folder)
        files = {path.name for path in folder.rglob("*") if path.is_file()}
        assert {"best.ckpt", "last.ckpt", "metrics.csv", "predictions.jsonl", "train.log", "output.log"} <= files
    assert results(place / "sweep/0")["parameters"] < results(place / "sweep/2")["parameters"]
    assert {path.name for path in place.iterdir()} == {"sweep", "data"}
    named = {str(job): f"model.pyramid_levels={levels}" for job, levels in enumerate((1, 99, 2))}
    assert json.loads((place / "sweep/jobs.json").read_text(encoding="utf-8"))["jobs"] == named


def test_a_job_that_cannot_work_is_named_at_the_end_and_leaves_the_others(swept: tuple[Path, Ended]) -> None:
    place, ended = swept
    assert ended.code == 1
    assert "cpnet: 1 of the sweep's jobs failed" in ended.err
    assert "#1 model.pyramid_levels=99: model.pyramid_levels must be 1 to 8; got 99" in ended.err
    assert str(place / "sweep" / "1") in ended.err
    assert not (place / "sweep/1/results.json").exists()


def test_a_sweep_goes_on_with_what_is_not_done(swept: tuple[Path, Ended]) -> None:
    place, _ = swept
    before = (place / "sweep/0/results.json").stat().st_mtime_ns
    metrics = results(place / "sweep/2")["metrics"]
    (place / "sweep/2/results.json").unlink()  # as if it had been killed in the test
    ended = sweep(place, "model.pyramid_levels=1,3,2", "sweep.resume=true", "hydra.launcher.n_jobs=2")  # mended
    assert ended.code == 0, ended.err
    assert "#0 model.pyramid_levels=1: done already" in ended.out
    assert "2 of 3 jobs to run" in ended.out
    assert "last.ckpt, written in epoch 1 after step 3" in (place / "sweep/2/train.log").read_text(encoding="utf-8")
    assert results(place / "sweep/2")["metrics"] == metrics
    assert (place / "sweep/0/results.json").stat().st_mtime_ns == before
    assert OmegaConf.load(place / "sweep/1/config.yaml").model.pyramid_levels == 3
    (aside,) = (place / "sweep/earlier").iterdir()
    assert aside.name.startswith("1_")
    assert "resume=true" in OmegaConf.load(place / "sweep/2/.hydra/overrides.yaml")
    ended = sweep(place, "model.pyramid_levels=1,3,2", "sweep.resume=true")
    assert ended.code == 0, ended.err
    assert "0 of 3 jobs to run" in ended.out  # one that went on is known again


def test_a_job_is_the_run_that_it_would_be_alone(tmp_path: Path) -> None:
    call("train", "-m", *TINY, "seed=1,2", "hydra.sweep.dir=sweep", "hydra/launcher=basic", folder=tmp_path)
    call("train", *TINY, "seed=2", "hydra.run.dir=alone", folder=tmp_path)
    alone = (tmp_path / "alone/predictions.jsonl").read_bytes()
    assert alone == (tmp_path / "sweep/1/predictions.jsonl").read_bytes()
    assert alone != (tmp_path / "sweep/0/predictions.jsonl").read_bytes()
    first, second, other = (weights(tmp_path / name) for name in ("alone", "sweep/1", "sweep/0"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())  # a seed fixes every bit
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


@pytest.mark.slow
def test_jobs_of_several_processes_work_in_a_sweep(tmp_path: Path) -> None:
    processes = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.limit_train_batches=2")
    ended = sweep(tmp_path, *processes, "epochs=1", "seed=1,2", "hydra.launcher.n_jobs=1")
    assert ended.code == 0, ended.err
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {".lock", "0", "1", "jobs.json", "multirun.yaml"}
    assert results(tmp_path / "sweep/0")["seed"] == 1
    assert results(tmp_path / "sweep/1")["pairs"] == results(tmp_path / "sweep/0")["pairs"] > 0


def test_the_newest_sweep_of_the_same_kind_is_the_one_that_goes_on(tmp_path: Path) -> None:
    chosen = []
    for resume in ("false", "false", "true"):
        ended = call(
            *("train", "-m", *TINY, "model.pyramid_levels=98,99", f"sweep.resume={resume}", "hydra/launcher=basic"),
            folder=tmp_path,
        )
        assert ended.code == 1
        chosen.append(sorted(path.name for path in (tmp_path / "outputs/multirun/synthetic").iterdir()))
        time.sleep(1.1)  # folders are named by the second
    assert [len(folders) for folders in chosen] == [1, 2, 2]


def test_there_must_be_a_sweep_to_go_on_with(tmp_path: Path) -> None:
    ended = call("train", "-m", *TINY, "seed=1,2", "sweep.resume=true", folder=tmp_path)
    assert ended.code == 1
    assert "sweep.resume=true: there is no sweep in outputs/multirun/synthetic" in ended.err


def test_without_resume_what_is_done_is_run_again_and_kept(tmp_path: Path) -> None:
    assert sweep(tmp_path, "seed=1").code == 0
    first = (tmp_path / "sweep/0/results.json").stat().st_mtime_ns
    ended = sweep(tmp_path, "seed=1")
    assert ended.code == 0, ended.err
    assert (tmp_path / "sweep/0/results.json").stat().st_mtime_ns > first
    (aside,) = (tmp_path / "sweep/earlier").iterdir()
    assert (aside / "results.json").stat().st_mtime_ns == first


def test_a_sweep_keeps_off_a_folder_that_another_writes_into(tmp_path: Path) -> None:
    with holder(tmp_path / "sweep"):
        ended = sweep(tmp_path, "seed=1,2")
    assert ended.code == 1
    said = r"cpnet: another sweep writes into .*/sweep; wait for its end, or choose another folder: hydra\.sweep\.dir="
    assert re.search(said, ended.err)
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {".lock", "multirun.yaml"}


def test_a_job_whose_folder_cannot_be_made_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/0").symlink_to("nowhere")
    ended = sweep(tmp_path, "seed=1,2")
    assert ended.code == 1
    assert f"  #0 seed=1: {tmp_path}/sweep/0: File exists\n" in ended.err
    assert results(tmp_path / "sweep/1")["seed"] == 2


def test_a_single_runs_folder_is_none_of_a_sweep(tmp_path: Path) -> None:
    ended = sweep(tmp_path, "seed=1,2", "hydra.run.dir=elsewhere")
    assert ended.code == 1
    assert "cpnet: hydra.run.dir is the folder of a single run; that of a sweep is hydra.sweep.dir=FOLDER" in ended.err


def test_a_sweep_leaves_a_job_in_its_place_whose_own_sweep_was_killed(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    with holder(tmp_path / "sweep/1"):
        ended = sweep(tmp_path, "seed=1,2", "sweep.resume=true")
    assert ended.code == 1
    assert re.search(r"cpnet: another run writes into .*/sweep/1; wait for its end", ended.err)
    assert (tmp_path / "sweep/1/.lock").exists()


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the package, with whatever changes it has, seen as a clean checkout."""
    package = Path(cpnet.__file__).parent
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(package))
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (["init"], ["add", "commit.py"], [*author, "commit", "--message=all"]):
        subprocess.run(["git", *command], cwd=package, check=True, capture_output=True)


@pytest.mark.usefixtures("committed")
def test_a_job_that_another_sweep_has_run_is_not_run_again(tmp_path: Path) -> None:
    assert sweep(tmp_path, "model.pyramid_levels=1", "experiment_name=first").code == 0
    again = ("hydra.sweep.dir=again", "sweep.reuse=sweep", "experiment_name=first")
    ended = sweep(tmp_path, "model.pyramid_levels=1,2", *again)
    assert ended.code == 0, ended.err
    assert "#0 model.pyramid_levels=1: the run of sweep/0" in ended.out
    assert "1 of 2 jobs to run" in ended.out
    assert results(tmp_path / "again/0")["metrics"] == results(tmp_path / "sweep/0")["metrics"]
    assert "run_of" not in results(tmp_path / "again/1")
    # A job's place may be another one's now: what lies there is put aside before anything is taken.
    swapped = ("hydra.sweep.dir=again", "sweep.reuse=again", "sweep.resume=true", "experiment_name=first")
    ended = sweep(tmp_path, "model.pyramid_levels=2,1", *swapped)
    assert ended.code == 0, ended.err
    assert "#0 model.pyramid_levels=2: the run of again/earlier/1_" in ended.out
    configs = [OmegaConf.load(tmp_path / f"again/{job}/config.yaml") for job in (0, 1)]
    assert [cfg.model.pyramid_levels for cfg in configs] == [2, 1]


@pytest.mark.parametrize("setting", ["sweep.resume=true", "sweep.reuse=sweep"])
def test_what_is_of_our_launcher_is_refused_by_others(setting: str, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/multirun.yaml").touch()
    ended = sweep(tmp_path, "seed=1,2", "hydra/launcher=basic", setting)
    assert ended.code == 1
    assert "cpnet: sweep.resume and sweep.reuse are of hydra/launcher=processes" in ended.err
