"""Ranks and folders under SLURM and torchrun. Oracle: the variables that their documentation names."""

from __future__ import annotations

import os
import re
import time

import pytest
from omegaconf import OmegaConf

from commands import compose
from cpnet.config import register_schemas

# Variables of one of eight processes on two machines, set by srun for --nodes=2 --ntasks-per-node=4.
SLURM = {"JOB_ID": "123456", "JOB_NAME": "train", "STEP_ID": "0", "NTASKS": "8", "NTASKS_PER_NODE": "4", "NNODES": "2"}
NOW = "2020-01-01_00-00-00"


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_", "GROUP_", "MASTER_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


def folder(*, resume: bool = False) -> str:
    register_schemas()
    return str(OmegaConf.create({"folder": f"${{run_folder:{NOW},{str(resume).lower()}}}"}).folder)


@pytest.mark.usefixtures("slurm")
def test_slurm_sets_the_numbers_of_processes_and_machines() -> None:
    cfg = compose("trainer=slurm")
    assert (cfg.trainer.devices, cfg.trainer.num_nodes) == (4, 2)


@pytest.mark.usefixtures("slurm")
def test_slurm_processes_share_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder() == "slurm_123456"
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert folder() == "slurm_123456"
    monkeypatch.setenv("SLURM_STEP_ID", "2")
    assert folder() == "slurm_123456.2"
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert folder() == NOW
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.setenv("SLURM_NTASKS", "1")  # a script may start several trainings
    assert folder() == NOW
    assert folder(resume=True) == "slurm_123456.2"  # the job may be requeued
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    assert folder(resume=True) == NOW


def test_torchrun_processes_share_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder() == NOW
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    found = folder()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", found)
    assert NOW < found <= time.strftime("%Y-%m-%d_%H-%M-%S")  # start time of the parent
    assert found == folder()
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    assert folder() == "torchrun_mine"
