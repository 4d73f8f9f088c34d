"""Which checkpoint a run goes on from, and who may write into its folder."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from commands import call
from cpnet.cli import offer_run
from cpnet.config import ConfigError
from cpnet.data.moment import DataError
from cpnet.locks import check_links
from cpnet.recovery import begin, checkpoint_to_go_on_from, claimed, newest
from cpnet.recovery.saving import rotate
from locks import holder


def content(step: int, **changes: Any) -> dict[str, Any]:
    ours = {"format": 2, "config": {"seed": step, "model": {"dim": 4}}, "vocabulary": {}}
    state = {"weight": torch.full((20,), float(step))}
    return {"cpnet": ours, "state_dict": state, "epoch": 1, "global_step": step, "loops": {}} | changes


def write(folder: Path, **steps: int) -> None:
    """Write checkpoints by their names and steps."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    for name, step in steps.items():
        torch.save(content(step), folder / f"checkpoints/{name}.ckpt")


def chosen(folder: Path) -> int | None:
    found = newest(folder)
    return found.step if found else None


def test_the_last_one_is_chosen(tmp_path: Path) -> None:
    assert chosen(tmp_path) is None
    write(tmp_path, previous=1)
    assert chosen(tmp_path) == 1  # as a kill between two renamings leaves it on a file system without links
    write(tmp_path, last=2, best=9)
    found = newest(tmp_path)
    assert found is not None
    assert (found.path, found.step, found.epoch) == (tmp_path / "checkpoints/last.ckpt", 2, 1)
    assert found.config == {"seed": 2, "model": {"dim": 4}}


def test_one_that_was_written_but_not_yet_renamed_is_newer(tmp_path: Path) -> None:
    write(tmp_path, previous=1, last=2, next=3)
    assert chosen(tmp_path) == 3


def test_a_part_of_a_file_has_another_name_and_is_not_looked_at(tmp_path: Path) -> None:
    write(tmp_path, last=2)
    (tmp_path / "checkpoints/next.ckpt.123.tmp").write_bytes(b"half")
    assert chosen(tmp_path) == 2


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, previous=1, last=2)
    for name, age in (("previous", -1e6), ("last", 1e6)):
        os.utime(tmp_path / f"checkpoints/{name}.ckpt", (time.time() - age, time.time() - age))
    assert chosen(tmp_path) == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_one_is_passed_over_and_named(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, previous=1, last=2)
    last, rng = tmp_path / "checkpoints/last.ckpt", random.Random(0)
    whole = last.read_bytes()
    weights = whole.index(torch.full((20,), 2.0).numpy().tobytes())
    for _ in range(20):
        place = weights + rng.randrange(80)
        last.write_bytes(
            {
                "flip": whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :],
                "cut": whole[: rng.randrange(1, len(whole))],
                "empty": b"",
            }[damage]
        )
        caplog.clear()
        assert chosen(tmp_path) == 1
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "last.ckpt is no checkpoint, or a damaged one" in record.getMessage()
        assert "the one before it serves" in record.getMessage()


def test_where_all_are_damaged_it_is_said(tmp_path: Path) -> None:
    write(tmp_path, previous=1, last=2)
    for name in ("previous", "last"):
        (tmp_path / f"checkpoints/{name}.ckpt").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"(?s)without resume the run begins anew.*last\.ckpt is.*previous\.ckpt is"):
        newest(tmp_path)


def test_an_older_format_cannot_be_gone_on_from(tmp_path: Path) -> None:
    write(tmp_path)
    old = content(1)
    old["cpnet"]["format"] = 1
    torch.save(old, tmp_path / "checkpoints/last.ckpt")
    with pytest.raises(DataError, match=r"last\.ckpt is of an older format: it can be evaluated, not gone on with"):
        newest(tmp_path)


@pytest.mark.parametrize("links", [True, False])
def test_files_move_up(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for step in range(1, 4):
        write(tmp_path, next=step)
        rotate(tmp_path / "checkpoints")
        files = {path.stem: torch.load(path)["global_step"] for path in (tmp_path / "checkpoints").iterdir()}
        assert files == {"last": step} | ({"previous": step - 1} if step > 1 else {})


def test_one_of_them_is_there_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Killed behind each of the calls that change the folder, it leaves a whole run.
    calls = [(os, "link"), (Path, "unlink"), (Path, "replace")]

    class Killed(BaseException):
        pass

    for owner, name in calls:
        write(tmp_path, previous=1, last=2, next=3)
        original = getattr(owner, name)

        def killed(*arguments: Any, original: Any = original, **options: Any) -> None:
            original(*arguments, **options)
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, killed)
            with pytest.raises(Killed):
                rotate(tmp_path / "checkpoints")
        assert chosen(tmp_path) == 3


def configuration(**changes: Any) -> Any:
    return OmegaConf.create({"seed": 2, "model": {"dim": 4}, "output_dir": "elsewhere", "resume": True} | changes)


def test_other_values_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, last=2)
    caplog.set_level(logging.INFO)
    assert checkpoint_to_go_on_from(tmp_path, configuration()) == tmp_path / "checkpoints/last.ckpt"
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "written in epoch 2 after step 2" in caplog.text
    checkpoint_to_go_on_from(tmp_path, configuration(seed=3, model={"dim": 5}, epochs=7))
    assert "the run goes on with other values of epochs, model.dim, seed" in caplog.text


def test_nothing_of_an_earlier_run_is_taken_for_the_new_ones(tmp_path: Path) -> None:
    write(tmp_path, last=2, previous=1, best=2)
    ours = ("results.json", "metrics.csv", "predictions.jsonl", "non_finite.ckpt")
    for name in (*ours, "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/run-id").touch()
    begin(tmp_path)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"notes.txt"}
    begin(tmp_path / "new")  # where there is nothing


def test_a_folder_that_another_run_holds_is_refused(tmp_path: Path) -> None:
    with (
        holder(tmp_path / "run"),
        pytest.raises(ConfigError, match=r"another run writes into .*run; wait for its end, or choose another"),
        claimed(tmp_path / "run"),
    ):
        pytest.fail("it must not begin")
    with claimed(tmp_path / "run"):  # a run that was killed holds nothing
        pass


def test_parts_of_files_of_a_run_that_was_killed_are_cleared_away(tmp_path: Path) -> None:
    """And no other's: the folder may be one above other runs, which are writing."""
    for name in ("checkpoints", "other/checkpoints"):
        (tmp_path / name).mkdir(parents=True)
    theirs = ("notes.tmp", "notes.1.tmp", "other/checkpoints/next.ckpt.9.tmp")
    for name in ("metrics.csv", "metrics.csv.123.tmp", "checkpoints/next.ckpt.123.tmp", *theirs):
        (tmp_path / name).touch()
    with claimed(tmp_path):
        files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {".lock", "metrics.csv", *(Path(name).name for name in theirs)}


def test_a_process_that_is_not_the_first_leaves_the_claim_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytorch_lightning.utilities.rank_zero_only.rank", 1)
    with holder(tmp_path / "run"), claimed(tmp_path / "run"):
        pass
    with claimed(tmp_path / "new"):
        assert not (tmp_path / "new").exists()


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(number: int) -> Any:
        def lock(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        return lock

    monkeypatch.setattr(fcntl, "lockf", refuse(errno.ENOLCK))
    with claimed(tmp_path):
        assert "this file system has no locks" in caplog.text
    monkeypatch.setattr(fcntl, "lockf", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output"), claimed(tmp_path):
        pytest.fail("it must not begin")


def test_a_link_that_leads_out_of_a_run_is_refused_and_others_are_not(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "wandb/first").mkdir(parents=True)
    (run / "wandb/latest").symlink_to("first")  # as W&B makes them
    (run / "wandb/first/debug-core.log").symlink_to(tmp_path / "cache/wandb/debug.log")
    (run / "train.log").symlink_to("first.log")
    (run / "process_1.log").symlink_to("process_1.log")
    (run / "checkpoints").symlink_to(tmp_path)  # on another disk, say
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
        with pytest.raises(ConfigError, match=f"^{link} is a link to {tmp_path}.*out of the folder"):
            check_links(run)
        link.unlink()


def test_the_command_line_says_which_folder_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "sent/0").mkdir(parents=True)
    (tmp_path / "sent/0/train.log").symlink_to("../../profile")
    for key in ("resume_from=sent/0", "hydra.run.dir=sent/0", "hydra.sweep.dir='sent'"):
        ended = call("train", key, folder=tmp_path)
        assert (ended.code, "0/train.log is a link to" in ended.err) == (1, True), key
        assert not (tmp_path / "profile").exists()


def test_no_compiled_program_is_loaded_from_where_a_checkpoint_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, last=1)
    sent = content(1)
    sent["cpnet"]["config"]["trainer"] = {"compile_cache": "theirs", "precision": "32-true"}
    torch.save(sent, tmp_path / "checkpoints/last.ckpt")
    monkeypatch.setattr(sys, "argv", ["train"])
    offer_run([f"resume_from={tmp_path}"])
    taken = ConfigStore.instance().load("from_run.yaml").node.trainer
    assert taken == {"compile_cache": "outputs/.compiled", "precision": "32-true"}
