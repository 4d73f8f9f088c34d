"""Give each run and each sweep a folder of its own, even if several start in the same second."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from cpnet.config import quoted
from cpnet.config.resolvers import under_slurm


class OwnFolder(Callback):
    """Hydra callback that creates the folder of a run or sweep whose name is the time.

    A folder that the command line names is left alone, and so is one that several processes of SLURM or torchrun share.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Create the folder in ``hydra.run.dir``."""
        _create(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Create the folder in ``hydra.sweep.dir``, unless the sweep resumes an earlier one."""
        if not OmegaConf.select(config, "sweep.resume"):
            _create(config, "sweep")


def _create(config: DictConfig, kind: str) -> None:
    written = OmegaConf.to_container(config.hydra[kind], resolve=False)
    assert isinstance(written, dict)
    if "${now:" not in str(written["dir"]) or under_slurm() or "TORCHELASTIC_RUN_ID" in os.environ:
        return
    folder = str(new_folder(Path(config.hydra[kind].dir)))
    with read_write(config):
        config.hydra[kind].dir = folder
        config.hydra.overrides.hydra.append(f"hydra.{kind}.dir={quoted(folder)}")  # launchers compose again


def new_folder(wanted: Path) -> Path:
    """Create a folder, with a number after its name if the name is taken, and return it.

    ``mkdir`` decides between several processes. A folder that cannot be created is left to Hydra, which reports it.
    """
    folder, number = wanted, 1
    while True:
        try:
            folder.mkdir(parents=True)
        except OSError:
            if os.path.lexists(folder):
                number += 1
                folder = wanted.with_name(f"{wanted.name}_{number}")
                continue
        return folder
