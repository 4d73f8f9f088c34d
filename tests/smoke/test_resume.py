"""A run that was broken off and went on is, bit by bit, the one that nobody disturbed."""

from __future__ import annotations

import csv
import itertools
import os
import shutil
import signal
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from commands import TINY, Ended, call, spawn, start
from cpnet.module import GroundingModule
from locks import holder
from soak import outcome

# 42 pairs: six batches an epoch; one of validation, two of the test
RUN = (*(each for each in TINY if each != "trainer=debug"), "trainer=cpu", "trainer.compile=false")
RANDOM = (
    *("model.dropout=0.3", "sampling=pick", "num_workers=2", "trainer.precision=bf16-mixed"),
    # A schedule that does not depend on the number of epochs, which one test raises
    *("scheduler=constant", "scheduler.warmup=0", "epochs=3", "callbacks.early_stopping=null"),
)
STOPPED_EARLY = (
    *("trainer.accumulate_grad_batches=2", "epochs=6"),
    *("callbacks.early_stopping.patience=1", "+callbacks.early_stopping.min_delta=100"),  # after two epochs
)


def train(place: Path, name: str, *arguments: str) -> Ended:
    return call("train", *RUN, f"hydra.run.dir={name}", *arguments, folder=place)


@contextmanager
def struck(method: str, at: int, number: int = signal.SIGTERM) -> Iterator[None]:
    """Send a signal at the ``at``-th call of a method of the module, from 0."""
    original, calls = getattr(GroundingModule, method), itertools.count()

    def step(module: GroundingModule, *arguments: Any) -> Any:
        if next(calls) == at:
            os.kill(os.getpid(), number)
        return original(module, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GroundingModule, method, step)
        yield


@contextmanager
def full_disk(name: str, *, after: int) -> Iterator[None]:
    """Have a checkpoint's file not written after some times, but for half of it."""
    save: Any = torch.save
    times = itertools.count()

    def half(content: Any, stream: Any) -> None:
        if Path(stream.name).name.startswith(name) and next(times) >= after:
            stream.write(b"half of a file")
            raise OSError(28, "No space left on device")
        save(content, stream)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "save", half)
        yield


@contextmanager
def no_room_from_an_epoch_until_the_test(first: int) -> Iterator[None]:
    """Have nothing of a run's folder written, from the end of an epoch's validation until the test."""
    original, end = Path.open, GroundingModule.on_validation_epoch_end
    full: list[bool] = []

    def opened(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if full and mode[0] in "wx":
            raise OSError(28, "No space left on device", str(path))
        return original(path, mode, *arguments, **options)

    def fill(module: GroundingModule) -> None:
        full[:] = [True] if module.current_epoch >= first else []
        end(module)

    def make_room(module: GroundingModule) -> None:
        full.clear()
        module._forget("test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", opened)
        patch.setattr(GroundingModule, "on_validation_epoch_end", fill)
        patch.setattr(GroundingModule, "on_test_epoch_start", make_room)
        yield


@contextmanager
def clock_running_backwards() -> Iterator[None]:
    began, ticks = time.time(), itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: began - 100 * next(ticks))
        yield


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, whose lines are all whole."""
    text = (folder / "metrics.csv").read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    assert all(line.endswith("\n") and line.count(",") == lines[0].count(",") for line in lines)
    return list(csv.DictReader(lines))


def flip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    whole = bytearray(path.read_bytes())
    whole[whole.index(largest.filename.encode()) + len(largest.filename) + largest.file_size // 2] ^= 1
    path.write_bytes(whole)


def log_of(folder: Path) -> str:
    return (folder / "train.log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that nobody disturbed: ``random`` and ``early``."""
    place = tmp_path_factory.mktemp("resume")
    for name, settings in (("random", RANDOM), ("early", STOPPED_EARLY)):
        ended = train(place, name, *settings)
        assert ended.code == 0, ended.err
    assert [row["epoch"] for row in rows(place / "random")] == ["0", "1", "2", "3"]  # the last is the test's
    assert len(rows(place / "early")) == 3
    return place


def test_a_run_that_is_broken_off_again_and_again_is_the_run_that_was_not(place: Path) -> None:
    cut = place / "cut"

    def go_on() -> int:
        return train(place, "cut", *RANDOM, "resume=true").code

    with struck("training_step", 8):  # in the second epoch; nothing is there to go on from when it begins
        assert go_on() == 143
    assert len(rows(cut)) == 1
    with struck("validation_step", 0, signal.SIGINT):
        assert go_on() == 130
    assert len(rows(cut)) == 1
    assert "the run goes on from" in log_of(cut)
    assert "written in epoch 2 after step 9" in log_of(cut)
    assert f"interrupted; python -m cpnet.train resume_from={cut} goes on" in log_of(cut)
    with struck("on_train_epoch_end", 0), clock_running_backwards():
        assert go_on() == 143
    assert [row["step"] for row in rows(cut)] == ["6", "12"]
    flip(cut / "checkpoints/last.ckpt")
    with struck("test_step", 1):
        assert go_on() == 143
    assert "last.ckpt is no checkpoint, or a damaged one" in log_of(cut)
    assert [row["step"] for row in rows(cut)] == ["6", "12", "18"]
    assert not (cut / "results.json").exists()
    assert go_on() == 0
    assert outcome(cut) == outcome(place / "random")


def test_gradients_that_wait_and_a_run_that_was_stopped_early(place: Path) -> None:
    def go_on() -> int:
        return train(place, "cut_early", *STOPPED_EARLY, "resume=true").code

    with struck("training_step", 8):  # the first of two batches of a step
        assert go_on() == 143
    content = torch.load(place / "cut_early/checkpoints/last.ckpt", weights_only=True)
    assert content["global_step"] == 3 + 2
    with struck("test_step", 0):
        assert go_on() == 143
    assert go_on() == 0
    assert outcome(place / "cut_early") == outcome(place / "early")


def test_a_run_that_was_stopped_early_by_what_is_no_patience(place: Path) -> None:
    threshold = (*STOPPED_EARLY, "+callbacks.early_stopping.stopping_threshold=0")  # after the first epoch
    with struck("test_step", 0):
        assert train(place, "threshold", *threshold).code == 143
    assert train(place, "threshold", *threshold, "resume=true").code == 0
    assert [row["epoch"] for row in rows(place / "threshold")] == ["0", "1"]  # the last is the test's


def test_a_finished_run_stays_as_it_is(place: Path, recwarn: pytest.WarningsRecorder) -> None:
    before = outcome(place / "early")
    ended = train(place, "early", *STOPPED_EARLY, "resume=true")
    assert ended.code == 0, ended.err
    assert outcome(place / "early") == before
    assert not [each for each in recwarn if "Checkpoint directory" in str(each.message)]


def test_a_run_goes_on_from_anywhere_for_longer(place: Path, tmp_path: Path) -> None:
    assert train(place, "short", *RANDOM, "epochs=2").code == 0
    short = os.path.relpath(place / "short", tmp_path)
    others = ("epochs=3", f"data_dir={place}/data")
    with struck("training_step", 2):
        assert call("train", "resume_from=short", "epochs=3", folder=place).code == 143
    stated = [path.name for path in (place / "short").iterdir() if path.name in ("results.json", "predictions.jsonl")]
    assert stated == []  # they were those of two epochs
    assert "\nepochs: 3\n" in (place / "short/config.yaml").read_text(encoding="utf-8")
    home = {"HOME": str(tmp_path)}
    ended = call("train", f"resume_from='~/{short}'", *others, folder=tmp_path, environment=home)
    assert ended.code == 0, ended.err
    assert "the run goes on with other values of epochs\n" in log_of(place / "short")
    assert "the run goes on with other values of data_dir\n" in log_of(place / "short")
    assert outcome(place / "short") == outcome(place / "random")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_moved_keeps_what_was_best(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "random", tmp_path / "moved")
    ended = call("train", f"resume_from={tmp_path}/moved", folder=place)
    assert ended.code == 0, ended.err
    assert outcome(tmp_path / "moved") == outcome(place / "random")


def test_what_there_is_nothing_of_cannot_be_gone_on_from(tmp_path: Path) -> None:
    ended = call("train", "resume_from=nowhere", folder=tmp_path)
    assert ended.code == 1
    assert "resume_from=nowhere: there is no checkpoint in nowhere/checkpoints to go on from" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_go_on_keeps_its_results(place: Path) -> None:
    before = outcome(place / "early")
    ended = train(place, "early", *STOPPED_EARLY, "resume=true", "callbacks.checkpoint=null")
    assert ended.code == 1
    assert "callbacks.checkpoint must be a ModelCheckpoint" in ended.err
    assert outcome(place / "early") == before


def test_two_damaged_checkpoints_are_refused(place: Path, tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    for name in ("last", "previous"):
        path = tmp_path / f"run/checkpoints/{name}.ckpt"
        path.write_bytes((place / "random/checkpoints/last.ckpt").read_bytes())
        flip(path)
    ended = call("train", *RUN, *RANDOM, f"data_dir={place}/data", "hydra.run.dir=run", "resume=true", folder=tmp_path)
    assert ended.code == 1
    assert "cpnet: no checkpoint to go on from; without resume the run begins anew" in ended.err
    assert all(f"{name}.ckpt is no checkpoint, or a damaged one" in ended.err for name in ("last", "previous"))


def test_a_disk_that_is_full_costs_checkpoints_and_no_run(place: Path) -> None:
    with full_disk("next.ckpt", after=1), no_room_from_an_epoch_until_the_test(1):
        ended = train(place, "full", *STOPPED_EARLY)
    assert ended.code == 0, ended.err
    assert log_of(place / "full").count("metrics.csv cannot be written (No space left on device)") == 1
    assert "next.ckpt cannot be written" in log_of(place / "full")
    assert "No space left on device" in log_of(place / "full")
    assert "the run goes on without" in log_of(place / "full")
    assert {path.name for path in (place / "full/checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert torch.load(place / "full/checkpoints/last.ckpt", weights_only=True)["epoch"] == 0
    found, expected = outcome(place / "full"), outcome(place / "early")
    for key in ("best", "metrics.csv", "predictions", "metrics"):
        assert found[key] == expected[key]


def test_a_best_checkpoint_that_cannot_be_written_ends_the_run_which_can_go_on(place: Path) -> None:
    scores = [float(row["val/mIoU"]) for row in rows(place / "random")[:-1]]
    assert max(scores) > scores[0], "another seed: the first epoch must not be the best"
    with full_disk("best.ckpt", after=1):
        ended = train(place, "full_best", *RANDOM)
    assert ended.code == 1
    assert "best.ckpt cannot be written (" in ended.err
    assert f"go on with resume_from={place}/full_best" in ended.err
    assert "Traceback" not in ended.err
    last = torch.load(place / "full_best/checkpoints/last.ckpt", weights_only=True)
    best = torch.load(place / "full_best/checkpoints/best.ckpt", weights_only=True)
    assert last["global_step"] == 6 * next(epoch for epoch, score in enumerate(scores) if score > scores[0])
    assert best["epoch"] == 0
    ended = call("train", f"resume_from={place}/full_best", folder=place)
    assert ended.code == 0, ended.err
    assert outcome(place / "full_best") == outcome(place / "random")


def test_a_best_checkpoint_that_is_later_than_the_last_one_keeps_its_own_score(place: Path) -> None:
    with full_disk("next.ckpt", after=1):  # as a kill leaves them between the two
        assert train(place, "later", *RANDOM).code == 0
    scores = [float(row["val/mIoU"]) for row in rows(place / "random")[:-1]]
    best = scores.index(max(scores))
    assert best > 0, "another seed: the first epoch must not be the best"
    ended = call("train", f"resume_from={place}/later", "epochs=1", folder=place)  # the epochs do not come again
    assert ended.code == 0, ended.err
    found = outcome(place / "later")
    assert found["best"] == outcome(place / "random")["best"]
    assert found["validation"] == {"monitor": "val/mIoU", "score": scores[best], "epoch": best}
    ended = call("train", f"resume_from={place}/later", "epochs=3", folder=place)
    assert ended.code == 0, ended.err
    assert outcome(place / "later") == outcome(place / "random")


def test_two_runs_in_a_folder_do_not_disturb_each_other(place: Path) -> None:
    before = outcome(place / "early")
    with holder(place / "early"):
        ended = train(place, "early", *STOPPED_EARLY)
    assert ended.code == 1
    assert f"cpnet: another run writes into {place}/early; wait for its end, or choose another folder" in ended.err
    assert outcome(place / "early") == before


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("file/run", "Not a directory"),
        ("file", "file: File exists"),
        ("nowhere", "nowhere: File exists"),
        ("itself/run", "Too many levels of symbolic links"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_folder_that_cannot_be_made_is_said(folder: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "itself").symlink_to("itself")
    ended = train(tmp_path, folder, *RANDOM)
    assert ended.code == 1
    assert f"{said}; hydra.run.dir=FOLDER names another folder" in ended.err
    assert "Traceback" not in ended.err


def test_a_disk_that_is_full_before_the_run_begins_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")  # as writing into an open file does, without its name

    monkeypatch.setattr("hydra.core.utils._save_config", full)
    ended = train(tmp_path, "run", *RANDOM)
    assert ended.code == 1
    assert f"cpnet: {tmp_path}/run: No space left on device; hydra.run.dir=FOLDER names another folder\n" in ended.err
    assert "Traceback" not in ended.err


def test_what_a_run_would_go_on_with_can_be_looked_at(place: Path) -> None:
    ended = call("train", "resume_from=early", "model.dropout=0.125", "--cfg", "job", folder=place)
    assert ended.code == 0, ended.err
    shown = OmegaConf.create(ended.out)
    assert (shown.model.dropout, shown.resume) == (0.125, True)
    assert shown.model.hidden_dim == OmegaConf.load(place / "early/config.yaml").model.hidden_dim


def test_a_run_goes_on_in_its_own_folder_or_not_at_all(place: Path) -> None:
    before = outcome(place / "early")
    ended = call("train", "resume_from=early", "hydra.run.dir='other = 1'", folder=place)
    assert ended.code == 1
    assert "cpnet: resume_from=early goes on in that folder, not in hydra.run.dir=other = 1; leave out" in ended.err
    assert not (place / "other = 1").exists()
    assert outcome(place / "early") == before


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("num_workers=0", "trainer.precision=32-true", "scheduler=one_cycle"),
        ("num_workers=0", "+trainer.val_check_interval=2"),
        ("num_workers=0", "trainer.check_val_every_n_epoch=2"),
    ],
    ids=["workers", "plain", "validations within an epoch", "fewer validations"],
)
@pytest.mark.parametrize("method", ["training_step", "validation_step", "test_step"])
def test_every_moment_will_do(method: str, settings: tuple[str, ...], tmp_path: Path) -> None:
    assert train(tmp_path, "whole", *RANDOM, *settings).code == 0
    for at in itertools.count():
        with struck(method, at):
            code = train(tmp_path, f"cut{at}", *RANDOM, *settings).code
        if code == 0:  # there are not so many calls
            break
        assert code == 143
        assert train(tmp_path, f"cut{at}", *RANDOM, *settings, "resume=true").code == 0
        assert outcome(tmp_path / f"cut{at}") == outcome(tmp_path / "whole"), at
    assert at >= 1


@pytest.mark.slow
def test_a_signal_to_all_of_a_runs_processes_is_one_to_the_run(tmp_path: Path) -> None:
    settings = (*RUN, *RANDOM, "num_workers=1", "dataset.features.residence=memory", "epochs=30")
    assert spawn("-m", "cpnet.train", *settings, "hydra.run.dir=whole", folder=tmp_path).code == 0
    process = start("-m", "cpnet.train", *settings, "hydra.run.dir=cut", folder=tmp_path)
    last = tmp_path / "cut/checkpoints/last.ckpt"
    while process.poll() is None and not last.exists():
        time.sleep(0.05)
    before = time.time()
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 143, said
    assert "Error" not in said
    assert last.stat().st_mtime >= before
    assert not (tmp_path / "cut/results.json").exists()
    assert spawn("-m", "cpnet.train", "resume_from=cut", folder=tmp_path).code == 0
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_a_second_signal_stops_a_run_at_once(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(STUCK, encoding="utf-8")
    ended = spawn(str(script), *RUN, *RANDOM, "hydra.run.dir=run", folder=tmp_path)
    assert ended.code == -signal.SIGTERM, ended.err
    assert "SIGTERM: this step will be finished, then a checkpoint written; a second signal stops at once" in log_of(
        tmp_path / "run"
    )
    assert not (tmp_path / "run/checkpoints/last.ckpt").exists()


STUCK = """
import os, signal, time
from cpnet import cli
from cpnet.module import GroundingModule
from cpnet.train import main

def step(self, *arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(200)

GroundingModule.training_step = step
cli.run(main, config_name="train")
"""
