"""Choice of the checkpoint to resume from, the lock of a run's folder, and its files."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from commands import call
from cpnet.errors import ConfigError, DataError
from cpnet.launch.from_checkpoint import store_run_config
from cpnet.launch.links import check_links
from cpnet.runs.folder import checkpoint_to_resume, clear, locked_run, newest, newest_best, save_config
from cpnet.training.callbacks.recovery import rotate
from locks import holder


def content(step: int, **changes: Any) -> dict[str, Any]:
    ours = {"format": 1, "config": {"seed": step, "model": {"dim": 4}}, "vocabulary": {}}
    state = {"weight": torch.full((20,), float(step))}
    return {"cpnet": ours, "state_dict": state, "epoch": 1, "global_step": step, "loops": {}} | changes


def write(folder: Path, **steps: int) -> None:
    """Write checkpoints, given the step of each name."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    for name, step in steps.items():
        torch.save(content(step), folder / f"checkpoints/{name}.ckpt")


def newest_step(folder: Path) -> int | None:
    found = newest(folder)
    return found.step if found else None


@pytest.mark.parametrize(
    ("files", "step"),
    [
        ({}, None),
        ({"previous": 1}, 1),
        ({"previous": 1, "last": 2, "best": 9}, 2),
        ({"previous": 1, "last": 2, "next": 3}, 3),  # killed before the rename
    ],
)
def test_newest_checkpoint_is_chosen_by_name(files: dict[str, int], step: int | None, tmp_path: Path) -> None:
    write(tmp_path, **files)
    (tmp_path / "checkpoints/next.ckpt.123.tmp").write_bytes(b"half")
    for age, path in enumerate((tmp_path / "checkpoints").glob("*.ckpt")):  # clocks may jump
        os.utime(path, (time.time() - 1e6 * age, time.time() - 1e6 * age))
    assert newest_step(tmp_path) == step


def test_damaged_checkpoint_is_skipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, previous=1, last=2)
    (tmp_path / "checkpoints/last.ckpt").write_bytes(b"damaged")
    assert newest_step(tmp_path) == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "last.ckpt is not a checkpoint or is damaged" in record.getMessage()
    assert "trying the previous checkpoint" in record.getMessage()


def test_all_damaged_checkpoints_are_listed(tmp_path: Path) -> None:
    write(tmp_path, previous=1, last=2)
    for name in ("previous", "last"):
        (tmp_path / f"checkpoints/{name}.ckpt").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"(?s)rerun without resume to start over.*last\.ckpt is.*previous\.ckpt is"):
        newest(tmp_path)


def test_checkpoint_without_training_state_cannot_be_resumed(tmp_path: Path) -> None:
    write(tmp_path)
    weights = {key: value for key, value in content(1).items() if key != "loops"}
    torch.save(weights, tmp_path / "checkpoints/last.ckpt")
    with pytest.raises(DataError, match=r"last\.ckpt has no training state; it can be evaluated but not resumed"):
        newest(tmp_path)


def test_rotation_keeps_last_and_previous(tmp_path: Path) -> None:
    for step in range(1, 4):
        write(tmp_path, next=step)
        rotate(tmp_path / "checkpoints")
        files = {path.stem: torch.load(path)["global_step"] for path in (tmp_path / "checkpoints").iterdir()}
        assert files == {"last": step} | ({"previous": step - 1} if step > 1 else {})


def test_kill_during_rotation_leaves_newest_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.replace

    def killed(*arguments: Any) -> None:
        original(*arguments)
        raise KeyboardInterrupt

    write(tmp_path, previous=1, last=2, next=3)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            rotate(tmp_path / "checkpoints")
    assert newest_step(tmp_path) == 3


def configuration(**changes: Any) -> Any:
    return OmegaConf.create({"seed": 2, "model": {"dim": 4}, "output_dir": "elsewhere", "resume": True} | changes)


def test_changed_options_of_a_resumed_run_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, last=2)
    caplog.set_level(logging.INFO)
    found = checkpoint_to_resume(tmp_path, configuration())
    assert found is not None
    assert (found.path, found.best) == (tmp_path / "checkpoints/last.ckpt", None)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "written in epoch 2 after step 2" in caplog.text
    checkpoint_to_resume(tmp_path, configuration(optimizer={"lr": 3}, data_dir="moved", epochs=7))
    assert "resuming with changed values of data_dir, epochs, optimizer.lr" in caplog.text


@pytest.mark.parametrize(
    "key",
    [
        *("seed", "model.hidden_dim", "model._target_", "sampling.clips", "dataset.blind", "dataset.max_words"),
        *("dataset.holdout_fraction", "dataset.features.normalise", "optimizer._target_", "optimizer.amsgrad"),
        *("scheduler._target_", "metrics.strict", "callbacks.checkpoint", "callbacks.checkpoint.monitor"),
    ],
)
def test_options_that_a_resumed_run_cannot_change_are_refused(key: str, tmp_path: Path) -> None:
    write(tmp_path, last=2)
    cfg = configuration()
    OmegaConf.update(cfg, key, "other")
    message = rf"cannot change {key} \(.* in the run, other now\).*init_from={tmp_path}/checkpoints/last.ckpt"
    with pytest.raises(ConfigError, match=message):
        checkpoint_to_resume(tmp_path, cfg)


def test_resuming_needs_the_best_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, last=2)
    last, best = (tmp_path / f"checkpoints/{name}.ckpt" for name in ("last", "best"))
    torch.save(content(2, callbacks={"ModelCheckpoint": {"best_model_path": "/elsewhere/best.ckpt"}}), last)
    for damage in (lambda: None, lambda: best.write_bytes(b"damaged")):
        damage()
        with pytest.raises(DataError, match=rf"{best}(?s:.*)restore it, or train a new run: init_from={last}"):
            checkpoint_to_resume(tmp_path, configuration())
    write(tmp_path, best=1)
    found = checkpoint_to_resume(tmp_path, configuration())
    assert found is not None
    assert found.best == best


def test_clear_removes_files_of_an_earlier_run(tmp_path: Path) -> None:
    write(tmp_path, last=2, previous=1, best=2)
    for name in ("wandb/run-id", "metrics.csv", "notes.txt", *(f"{place}results.json" for place in ("", "test_ood/"))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        (tmp_path / name).with_name("predictions.jsonl").touch()
    (tmp_path / "wandb/predictions.jsonl").unlink()
    clear(tmp_path, results_only=True)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".ckpt"}
    assert left == {"metrics.csv", "run-id", "notes.txt"}
    assert len([*tmp_path.glob("checkpoints/*")]) == 3
    (tmp_path / "test_again/.hydra").mkdir(parents=True)  # an evaluation in a folder of such a name
    (tmp_path / "test_again/predictions.jsonl").touch()
    clear(tmp_path)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"notes.txt", "predictions.jsonl"}
    clear(tmp_path / "missing")


def test_config_is_written_resolved_by_the_first_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = OmegaConf.create({"root": "/data", "path": "${root}/x"})
    monkeypatch.setenv("RANK", "1")
    save_config(cfg, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("RANK", "0")
    save_config(cfg, tmp_path / "run")
    assert OmegaConf.load(tmp_path / "run/config.yaml") == {"root": "/data", "path": "/data/x"}


def test_locked_folder_is_refused(tmp_path: Path) -> None:
    with (
        holder(tmp_path / "run"),
        pytest.raises(ConfigError, match=r"another run is writing to .*run; wait until it ends, or choose another"),
        locked_run(tmp_path / "run"),
    ):
        pytest.fail("the run must not start")
    with locked_run(tmp_path / "run"):  # the lock is free again
        pass


def test_temporary_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    """Those of other runs stay, because the folder may contain the folders of running jobs."""
    for name in ("checkpoints", "other/checkpoints"):
        (tmp_path / name).mkdir(parents=True)
    others = ("notes.tmp", "notes.1.tmp", "other/checkpoints/next.ckpt.9.tmp")
    for name in ("metrics.csv", "metrics.csv.123.tmp", "checkpoints/next.ckpt.123.tmp", *others):
        (tmp_path / name).touch()
    with locked_run(tmp_path):
        files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {".lock", "metrics.csv", *(Path(name).name for name in others)}


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID"])
def test_other_processes_do_not_lock(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with holder(tmp_path / "run"), locked_run(tmp_path / "run"):
        pass
    with locked_run(tmp_path / "new"):
        assert not (tmp_path / "new").exists()


def test_file_system_without_locks_is_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(number: int) -> Any:
        def lock(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        return lock

    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOLCK))
    with locked_run(tmp_path):
        assert "this file system has no locks" in caplog.text
    monkeypatch.setattr(fcntl, "flock", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output"), locked_run(tmp_path):
        pytest.fail("the run must not start")


def test_links_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "wandb/first").mkdir(parents=True)
    (run / "wandb/latest").symlink_to("first")  # as W&B makes them
    (run / "wandb/first/debug-core.log").symlink_to(tmp_path / "cache/wandb/debug.log")
    (run / "train.log").symlink_to("first.log")
    (run / "process_1.log").symlink_to("process_1.log")
    (run / "checkpoints").symlink_to(tmp_path)  # on another disk
    (run / "notes").symlink_to(tmp_path)
    (run / "2d_features").symlink_to(tmp_path)
    check_links(run)
    (run / "1").mkdir()
    for name, target in (
        ("output.log", "../elsewhere"),
        ("0", tmp_path),
        (".hydra", "../run2"),
        ("1/.lock", "../../x"),
    ):
        link = run / name
        link.symlink_to(target)
        with pytest.raises(ConfigError, match=f"^{link} is a link to {tmp_path}.*outside of the folder"):
            check_links(run)
        link.unlink()


def test_commands_check_the_links_of_their_folder(tmp_path: Path) -> None:
    (tmp_path / "sent/0").mkdir(parents=True)
    (tmp_path / "sent/0/train.log").symlink_to("../../profile")
    for key in ("resume_from=sent/0", "hydra.run.dir=sent/0", "hydra.sweep.dir='sent'"):
        ended = call("train", key, folder=tmp_path, code=1)
        assert "0/train.log is a link to" in ended.err
        assert not (tmp_path / "profile").exists()


def test_compile_cache_of_a_checkpoint_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    sent = content(1)
    sent["cpnet"]["config"]["trainer"] = {"compile_cache": "theirs", "precision": "32-true"}
    torch.save(sent, tmp_path / "checkpoints/last.ckpt")
    monkeypatch.setattr(sys, "argv", ["train"])
    store_run_config([f"resume_from={tmp_path}"])
    taken = ConfigStore.instance().load("from_run.yaml").node.trainer
    assert taken == {"compile_cache": "outputs/.compiled", "precision": "32-true"}


def test_newest_best_checkpoint_is_found_among_links_and_odd_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no trained model below .*make demo"):
        newest_best(tmp_path / "nowhere")
    for age, run in enumerate(("new/cpnet", "multirun/a/0", "old")):
        write(tmp_path / run, best=1, last=1)
        os.utime(tmp_path / run / "checkpoints/best.ckpt", (1e9 - age, 1e9 - age))
    (tmp_path / "folder/checkpoints/best.ckpt").mkdir(parents=True)
    (tmp_path / "broken/checkpoints").mkdir(parents=True)
    (tmp_path / "broken/checkpoints/best.ckpt").symlink_to("nowhere")
    (tmp_path / "old/loop").symlink_to(tmp_path, target_is_directory=True)
    assert newest_best(tmp_path) == tmp_path / "new/cpnet/checkpoints/best.ckpt"
