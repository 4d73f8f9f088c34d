"""A resumed run is bit-identical to an uninterrupted one."""

from __future__ import annotations

import csv
import itertools
import os
import shutil
import signal
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from commands import TINY, Ended, call, spawn, start
from interrupts import signalled
from locks import holder
from soak import outcome

# 42 pairs: six batches per epoch, one for validation, two for the test
OTHER_PAIRS = "dataset.splits.train.annotations=fewer.txt"
RUN = (*(each for each in TINY if each != "trainer=debug"), "trainer=cpu", "trainer.compile=false")
RANDOM = (
    *("model.dropout=0.3", "sampling=pick", "trainer.precision=bf16-mixed"),
    "+callbacks.average._target_=cpnet.training.callbacks.average.WeightAverage",
    # a schedule that does not depend on the number of epochs, which one test changes
    *("scheduler=constant", "scheduler.warmup=0", "epochs=3", "callbacks.early_stopping=null"),
)
STOPPED_EARLY = (
    *("trainer.accumulate_grad_batches=2", "epochs=6"),
    *("callbacks.early_stopping.patience=1", "+callbacks.early_stopping.min_delta=100"),  # after two epochs
)


def train(place: Path, name: str, *arguments: str, code: int | None = 0) -> Ended:
    return call("train", *RUN, f"hydra.run.dir={name}", *arguments, folder=place, code=code)


@contextmanager
def full_disk(name: str, *, after: int) -> Iterator[None]:
    """Make writes of a checkpoint fail halfway after some successful ones."""
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


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv after checking that every line is complete."""
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
    """Folder of two uninterrupted runs, ``random`` and ``early``."""
    place = tmp_path_factory.mktemp("resume")
    for name, settings in (("random", RANDOM), ("early", STOPPED_EARLY)):
        train(place, name, *settings)
    (annotations,) = place.glob("data/*/*_train.txt")
    _, *others = annotations.read_text(encoding="utf-8").splitlines(keepends=True)
    (place / "fewer.txt").write_text("".join(others), encoding="utf-8")
    assert [row["epoch"] for row in rows(place / "random")] == ["0", "1", "2", "3"]  # the last row is the test
    assert len(rows(place / "early")) == 3
    return place


def test_run_interrupted_in_every_stage_equals_uninterrupted_run(place: Path) -> None:
    cut = place / "cut"

    def resume(code: int = 0) -> None:
        train(place, "cut", *RANDOM, "resume=true", code=code)

    with signalled("training_step", 8):  # in the second epoch of a new run
        resume(143)
    assert len(rows(cut)) == 1
    with signalled("on_train_epoch_end", 0):
        resume(143)
    assert "resuming from" in log_of(cut)
    assert "written in epoch 2 after step 9" in log_of(cut)
    assert f"interrupted; resume with: python -m cpnet.train resume_from={cut}" in log_of(cut)
    assert [row["step"] for row in rows(cut)] == ["6", "12"]
    with signalled("validation_step", 0, signal.SIGINT):
        resume(130)
    assert [row["step"] for row in rows(cut)] == ["6", "12", "18"]
    flip(cut / "checkpoints/last.ckpt")
    with signalled("test_step", 1):
        resume(143)
    assert "last.ckpt is not a checkpoint or is damaged" in log_of(cut)
    assert [row["step"] for row in rows(cut)] == ["6", "12", "18"]
    assert not (cut / "results.json").exists()
    resume()
    assert outcome(cut) == outcome(place / "random")


@pytest.mark.slow
def test_accumulating_run_that_stops_early_equals_uninterrupted_run(place: Path) -> None:
    def resume(code: int = 0) -> None:
        train(place, "cut_early", *STOPPED_EARLY, "resume=true", code=code)

    with signalled("training_step", 8):  # the first of two batches of a step
        resume(143)
    content = torch.load(place / "cut_early/checkpoints/last.ckpt", weights_only=True)
    assert content["global_step"] == 3 + 2
    with signalled("test_step", 0):
        resume(143)
    resume()
    assert outcome(place / "cut_early") == outcome(place / "early")


@pytest.mark.slow
def test_run_stopped_by_a_threshold_stays_stopped(place: Path) -> None:
    threshold = (*STOPPED_EARLY, "+callbacks.early_stopping.stopping_threshold=0")  # after the first epoch
    with signalled("test_step", 0):
        train(place, "threshold", *threshold, code=143)
    train(place, "threshold", *threshold, "resume=true")
    assert [row["epoch"] for row in rows(place / "threshold")] == ["0", "1"]  # the last row is the test


def test_resuming_a_finished_run_changes_nothing(place: Path, recwarn: pytest.WarningsRecorder) -> None:
    before = outcome(place / "early")
    train(place, "early", *STOPPED_EARLY, "resume=true")
    assert outcome(place / "early") == before
    assert not [each for each in recwarn if "Checkpoint directory" in str(each.message)]


@pytest.mark.slow
def test_run_that_stopped_early_resumes_with_more_patience_only(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "early", tmp_path / "run")
    for change, epochs in (("callbacks.recovery.every_n_steps=3", 2), ("callbacks.early_stopping.patience=50", 6)):
        call("train", f"resume_from={tmp_path}/run", change, folder=place)
        assert len(rows(tmp_path / "run")) == epochs + 1
    assert "the run stopped early and stays so; callbacks.early_stopping=null, more" in log_of(tmp_path / "run")


@pytest.mark.slow
def test_finished_run_resumes_for_more_epochs_from_any_directory(place: Path, tmp_path: Path) -> None:
    train(place, "short", *RANDOM, "epochs=2")
    short = os.path.relpath(place / "short", tmp_path)
    others = ("epochs=3", f"data_dir={place}/data")
    with signalled("training_step", 2):
        call("train", "resume_from=short", "epochs=3", folder=place, code=143)
    outdated = {path.name for path in (place / "short").iterdir()} & {"results.json", "predictions.jsonl"}
    assert outdated == set()
    assert "\nepochs: 3\n" in (place / "short/config.yaml").read_text(encoding="utf-8")
    home = {"HOME": str(tmp_path)}
    call("train", f"resume_from='~/{short}'", *others, folder=tmp_path, environment=home)
    assert "resuming with changed values of epochs\n" in log_of(place / "short")
    assert "resuming with changed values of data_dir\n" in log_of(place / "short")
    assert outcome(place / "short") == outcome(place / "random")
    assert list(tmp_path.iterdir()) == []


def test_moved_folder_keeps_its_best_checkpoint(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "random", tmp_path / "moved")
    call("train", f"resume_from={tmp_path}/moved", folder=place)
    assert outcome(tmp_path / "moved") == outcome(place / "random")


def test_training_continues_while_disk_is_full(place: Path) -> None:
    with full_disk("next.ckpt", after=1):
        train(place, "full", *STOPPED_EARLY)
    assert "next.ckpt cannot be written" in log_of(place / "full")
    assert "No space left on device" in log_of(place / "full")
    assert "training continues without this checkpoint" in log_of(place / "full")
    assert {path.name for path in (place / "full/checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert torch.load(place / "full/checkpoints/last.ckpt", weights_only=True)["epoch"] == 0
    found, expected = outcome(place / "full"), outcome(place / "early")
    for key in ("best", "metrics.csv", "predictions", "metrics"):
        assert found[key] == expected[key]


@pytest.mark.slow
def test_run_whose_best_checkpoint_cannot_be_written_fails_and_can_be_resumed(place: Path) -> None:
    scores = [float(row["val/mIoU"]) for row in rows(place / "random")[:-1]]
    assert max(scores) > scores[0], "another seed: the first epoch must not be the best"
    with full_disk("best.ckpt", after=1):
        ended = train(place, "full_best", *RANDOM, code=1)
    assert "best.ckpt cannot be written (" in ended.err
    assert f"resume with resume_from={place}/full_best" in ended.err
    assert "Traceback" not in ended.err
    last = torch.load(place / "full_best/checkpoints/last.ckpt", weights_only=True)
    best = torch.load(place / "full_best/checkpoints/best.ckpt", weights_only=True)
    assert last["global_step"] == 6 * next(epoch for epoch, score in enumerate(scores) if score > scores[0])
    assert best["epoch"] == 0
    call("train", f"resume_from={place}/full_best", folder=place)
    assert outcome(place / "full_best") == outcome(place / "random")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resume_from=early", "callbacks.checkpoint=null"), "a resumed run cannot change callbacks.checkpoint"),
        (("resume_from=early", "hydra.run.dir='other = 1'"), "resumes in that folder, not in hydra.run.dir=other = 1"),
        (("resume_from=early", "epochs=1"), "the run is in epoch 2; set epochs=2 or more"),
        (("resume_from=early", "-m"), "resumes one run: remove --multirun"),
        (("resume_from=early", "init_from=x.ckpt"), "with the weights of that run; remove init_from=x.ckpt"),
        (("resume_from=early", OTHER_PAIRS), "the pairs of train and val are others than when the run began"),
        (("resume_from=nowhere",), "resume_from=nowhere: no checkpoint in nowhere/checkpoints"),
        ((*RUN, "hydra.run.dir=early"), "early; wait until it ends, or choose another folder"),
    ],
)
def test_refused_command_keeps_results(arguments: tuple[str, ...], message: str, place: Path) -> None:
    before, there = outcome(place / "early"), {*place.iterdir()}
    with holder(place / "early") if "another folder" in message else nullcontext():
        ended = call("train", *arguments, folder=place, code=1)
    assert message in ended.err
    assert outcome(place / "early") == before
    assert {*place.iterdir()} == there


def test_config_of_a_resumed_run_can_be_printed(place: Path) -> None:
    (place / "conf").mkdir()
    flags = ("--config-dir", "conf", "--cfg", "job")  # argparse takes no override after them
    ended = call("train", *flags, "resume_from=early", "model.dropout=0.125", folder=place)
    shown = OmegaConf.create(ended.out)
    assert (shown.model.dropout, shown.resume) == (0.125, True)
    assert shown.model.hidden_dim == OmegaConf.load(place / "early/config.yaml").model.hidden_dim


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("trainer.precision=32-true", "scheduler=one_cycle"),
        ("+trainer.val_check_interval=2",),
        ("trainer.check_val_every_n_epoch=2",),
    ],
    ids=["mixed precision", "full precision", "validations within an epoch", "fewer validations"],
)
@pytest.mark.parametrize("method", ["training_step", "validation_step", "test_step"])
def test_interruption_at_every_call_equals_uninterrupted_run(
    method: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    train(tmp_path, "whole", *RANDOM, *settings)
    for at in itertools.count():
        with signalled(method, at):
            code = train(tmp_path, f"cut{at}", *RANDOM, *settings, code=None).code
        if code == 0:  # there are no more calls
            break
        assert code == 143
        train(tmp_path, f"cut{at}", *RANDOM, *settings, "resume=true")
        assert outcome(tmp_path / f"cut{at}") == outcome(tmp_path / "whole"), at
    assert at >= 1


@pytest.mark.slow
def test_signal_to_the_process_group_interrupts_the_run_once(tmp_path: Path) -> None:
    settings = (*RUN, *RANDOM, "dataset.features.placement=memory", "epochs=30")
    spawn("-m", "cpnet.train", *settings, "hydra.run.dir=whole", folder=tmp_path)
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
    spawn("-m", "cpnet.train", "resume_from=cut", folder=tmp_path)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")
