"""Oracle: what a stand-in for SLURM's ``scontrol`` was called with."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cpnet.launch import slurm
from cpnet.launch.signals import Interrupted
from cpnet.train import train

VARIABLES = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """File with the arguments of a fake ``scontrol``; outside of a job unless SLURM_JOB_ID is set."""
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
def test_job_id_comes_from_slurm_variables(
    environment: dict[str, str], name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert slurm.job() == name
    assert slurm.signals() == ((signal.SIGUSR1,) if name else ())


@pytest.mark.parametrize(
    ("number", "job", "called"),
    [
        (signal.SIGUSR1, "12", "requeue 12\n"),
        *((number, job, "") for number, job in ((signal.SIGTERM, "12"), (signal.SIGINT, "12"), (signal.SIGUSR1, ""))),
    ],
)
def test_job_is_requeued_by_sigusr1_alone(
    number: int, job: str, called: str, calls: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", job)
    with caplog.at_level(logging.INFO):
        slurm.requeue_if_asked(Interrupted(number))
    assert (calls.read_text() if calls.exists() else "") == called
    assert ("requeued job 12" in caplog.text) == bool(called)


@pytest.mark.parametrize(("rank", "agreed", "code"), [(0, True, 138), (0, False, 138), (1, True, 0), (1, False, 138)])
def test_exit_code_of_an_interrupted_rank(
    rank: int, agreed: bool, code: int, tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other ranks exit with 0 where all agreed, or the launcher would kill rank 0. Only rank 0 requeues the job."""

    def job(*_: object) -> float:
        raise Interrupted(signal.SIGUSR1, agreed=agreed)

    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setattr("cpnet.training.run.run_job", job)
    monkeypatch.setenv("RANK", str(rank))
    with pytest.raises(SystemExit) as ended:
        train(OmegaConf.create({"output_dir": str(tmp_path)}))
    assert ended.value.code == code
    assert calls.exists() == (rank == 0)


def test_failed_requeue_is_logged(
    calls: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    slurm.requeue_if_asked(Interrupted(signal.SIGUSR1))
    assert "job 13 could not be requeued (denied); requeue it by hand; resume=true then resumes the run" in caplog.text
    monkeypatch.setenv("PATH", str(calls.parent / "nothing"))
    slurm.requeue_if_asked(Interrupted(signal.SIGUSR1))
    assert "No such file or directory: 'scontrol'" in caplog.text
