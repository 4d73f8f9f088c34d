"""Oracle: what a stand-in for SLURM's ``scontrol`` was called with."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cpnet.interruption import Interrupted
from cpnet.recovery import requeue
from cpnet.train import train

VARIABLES = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the arguments of ``scontrol`` are written; no job unless one is set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    script = tmp_path / "scontrol"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ntest "$2" != 13 || {{ echo denied >&2; exit 1; }}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "calls"


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "12"}, "12"),
        ({"SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}, "12_3"),
        ({"SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "12"}, "14"),
        ({"SLURM_JOB_ID": "--all"}, None),
        ({"SLURM_JOB_ID": ""}, None),
    ],
)
@pytest.mark.usefixtures("calls")
def test_a_job_is_known_by_what_slurm_sets(
    environment: dict[str, str], name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert requeue.job() == name
    assert requeue.signals() == ((signal.SIGUSR1,) if name else ())


def test_a_job_that_was_asked_to_make_room_is_queued_again(
    calls: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with caplog.at_level(logging.INFO):
        requeue.after(Interrupted(signal.SIGUSR1))
    assert calls.read_text() == "requeue 12\n"
    assert "the job 12 is in the queue again" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_was_cancelled_is_not(number: int, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    requeue.after(Interrupted(number))
    assert not calls.exists()


def test_outside_of_slurm_nothing_is_called(calls: Path) -> None:
    requeue.after(Interrupted(signal.SIGUSR1))
    assert not calls.exists()


def test_another_process_than_the_first_leaves_it_to_it(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setattr("pytorch_lightning.utilities.rank_zero_only.rank", 1)
    requeue.after(Interrupted(signal.SIGUSR1))
    assert not calls.exists()


@pytest.mark.parametrize(("rank", "agreed", "code"), [(0, True, 143), (0, False, 143), (1, True, 0), (1, False, 143)])
def test_a_process_ends_well_only_where_the_first_ends_too(
    rank: int, agreed: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(*_: object) -> float:
        raise Interrupted(signal.SIGTERM, agreed=agreed)

    monkeypatch.setattr("cpnet.run.run_job", job)
    monkeypatch.setattr("pytorch_lightning.utilities.rank_zero_only.rank", rank)
    with pytest.raises(SystemExit) as ended:
        train(OmegaConf.create({"output_dir": str(tmp_path)}))
    assert ended.value.code == code


def test_where_it_does_not_work_it_is_said(
    calls: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    requeue.after(Interrupted(signal.SIGUSR1))
    assert "the job 13 cannot be queued again (denied\n); queue it by hand: it goes on with resume=true" in caplog.text
    monkeypatch.setenv("PATH", str(calls.parent / "nothing"))
    requeue.after(Interrupted(signal.SIGUSR1))
    assert "No such file or directory: 'scontrol'" in caplog.text
