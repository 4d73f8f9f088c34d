"""What a run makes of the environment that SLURM and torchrun set; oracle: their documentation."""

from __future__ import annotations

import os
import re
import time

import hydra
import pytest
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from omegaconf import OmegaConf
from pytorch_lightning.utilities import rank_zero_only

from cpnet.build import make_trainer
from cpnet.config import CONFIG_DIR, register_schemas

# The sixth of eight processes on two machines, as srun sets it for --nodes=2 --ntasks-per-node=4.
SLURM = {
    "JOB_ID": "123456",
    "JOB_NAME": "train",
    "STEP_ID": "0",
    "NTASKS": "8",
    "NTASKS_PER_NODE": "4",
    "NNODES": "2",
    "PROCID": "5",
    "LOCALID": "1",
    "NODEID": "1",
    "NODELIST": "gpu[07-08]",
}
NOW = "2020-01-01_00-00-00"


@pytest.fixture(autouse=True)
def _nobody_started_this(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_", "GROUP_", "MASTER_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that what Lightning sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # the trainer sets it for the whole process


def folder() -> str:
    register_schemas()
    return str(OmegaConf.create({"folder": f"${{run_folder:{NOW}}}"}).folder)


@pytest.mark.usefixtures("slurm")
def test_a_process_of_slurm_knows_its_place() -> None:
    register_schemas()
    chosen = ["trainer=slurm", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        cfg = hydra.compose("train", overrides=["output_dir=out", "model_name=cpnet", "experiment_name=null", *chosen])
    assert (cfg.trainer.devices, cfg.trainer.num_nodes) == (4, 2)
    trainer = make_trainer(cfg, callbacks=[], logger=False)
    assert (trainer.world_size, trainer.global_rank, trainer.local_rank, trainer.node_rank) == (8, 5, 1, 1)
    assert not trainer.is_global_zero
    environment = vars(trainer.strategy)["cluster_environment"]
    assert isinstance(environment, SLURMEnvironment)
    assert (environment.main_address, environment.main_port) == ("gpu07", 15000 + 3456)


@pytest.mark.usefixtures("slurm")
def test_processes_of_slurm_share_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder() == "slurm_123456"
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert folder() == "slurm_123456"
    monkeypatch.setenv("SLURM_STEP_ID", "2")
    assert folder() == "slurm_123456.2"
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert folder() == NOW
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.setenv("SLURM_NTASKS", "1")  # a script may train several times
    assert folder() == NOW


def test_processes_of_torchrun_share_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder() == NOW
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    found = folder()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", found)
    assert NOW < found <= time.strftime("%Y-%m-%d_%H-%M-%S")  # when the parent was started
    assert found == folder()
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    assert folder() == "torchrun_mine"
