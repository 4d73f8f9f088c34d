"""Compose a command's configuration from a checkpoint: ``cpnet.evaluate checkpoint=`` and ``cpnet.train resume_from=``.

A checkpoint may be untrusted. Only listed keys of its configuration are used, none of which Hydra interprets.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from cpnet.config import given, quoted
from cpnet.config.schema import TrainConfig
from cpnet.errors import ConfigError, DataError
from cpnet.options import TrainerOptions

FROM_CHECKPOINT = ("dataset", "model", "model_name", "sampling", "metrics", "data_dir", "batch_size", "seed")
ZERO_SHOT = {  # in the place of a checkpoint's
    "model": {"_target_": "cpnet.models.ZeroShot"},
    "sampling": {"_target_": "cpnet.data.sampling.Pick", "clips": 512},
    "metrics": {"recall_at": [1, 5]},
    "data_dir": "${oc.env:CPNET_DATA,data}",
    "batch_size": 100,
    "seed": 0,
    "trainer": {"precision": "32-true"},
}


def store_checkpoint_config(arguments: Sequence[str]) -> None:
    """Store the configuration of the given checkpoint, or that of ``zero_shot``, for ``conf/evaluate.yaml``.

    Raises:
        ConfigError: both are given, or ``zero_shot`` without a dataset
        DataError: no checkpoint is given, or it cannot be read
    """
    path = given(arguments, "checkpoint")
    if backbone := given(arguments, "zero_shot"):
        if path or not given(arguments, "dataset"):
            raise ConfigError(f"zero_shot={backbone} needs dataset=NAME and no checkpoint")
        ConfigStore.instance().store(name="from_checkpoint", node=ZERO_SHOT | {"model_name": f"zero_shot_{backbone}"})
        return
    if not path and not {"--hydra-help", "--version"} & set(arguments):
        raise DataError("checkpoint is required: checkpoint=outputs/RUN/checkpoints/best.ckpt")
    used: dict[str, object] = {}
    if path:
        from cpnet.runs.checkpoint import load_checkpoint

        config = load_checkpoint(path).config
        used = {key: config[key] for key in FROM_CHECKPOINT}
        if given(arguments, "dataset"):
            # Another corpus must not change the model, or what it was trained to see of a video and a query.
            trained = OmegaConf.create(config)
            used |= {key: OmegaConf.to_container(trained[key], resolve=True) for key in ("model", "sampling")}
            used["dataset"] = {key: trained.dataset[key] for key in ("blind", "max_words")}
        used["trainer"] = {"precision": config["trainer"]["precision"]}
    ConfigStore.instance().store(name="from_checkpoint", node=used)


def train_config_name(arguments: Sequence[str]) -> str:
    """Return the name of the primary configuration: ``resume`` if ``resume_from`` is set, else ``train``."""
    return "resume" if given(arguments, "resume_from") else "train"


def store_run_config(arguments: Sequence[str]) -> None:
    """Store the configuration of the run to resume for ``conf/resume.yaml``, and set ``hydra.run.dir`` to its folder.

    Raises:
        ConfigError: the command line sets ``hydra.run.dir`` to another folder, asks for a sweep, or for other weights
        DataError: the folder has no checkpoint, or none can be read
    """
    folder = given(arguments, "resume_from")
    if not folder:
        return
    from cpnet.runs.folder import newest

    run = Path(folder).expanduser()
    found = newest(run)
    if found is None:
        raise DataError(f"resume_from={folder}: no checkpoint in {folder}/checkpoints")
    allowed = {field.name for field in fields(TrainConfig)}
    config = {key: value for key, value in found.config.items() if key in allowed}
    # torch loads compiled programs from this folder: a checkpoint must not choose it.
    trainer = {**config.get("trainer", {}), "compile_cache": TrainerOptions.compile_cache}
    ConfigStore.instance().store(name="from_run", node=config | {"trainer": trainer, "resume": True})
    if {"-m", "--multirun"} & set(arguments):
        raise ConfigError(f"resume_from={folder} resumes one run: remove --multirun; sweep.resume=true resumes a sweep")
    if (init := given(arguments, "init_from")) and init != config.get("init_from"):
        raise ConfigError(f"resume_from={folder} resumes with the weights of that run; remove init_from={init}")
    if other := given(arguments, "hydra.run.dir"):
        if Path(other).resolve() != run.resolve():
            raise ConfigError(
                f"resume_from={folder} resumes in that folder, not in hydra.run.dir={other}; remove hydra.run.dir, "
                "or copy the folder and resume from the copy"
            )
    else:
        # Keep .hydra as the first start wrote it.
        sys.argv[1:1] = [f"hydra.run.dir={quoted(str(run))}", "hydra.output_subdir=null"]
