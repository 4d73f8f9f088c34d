"""Training runs of seven batches per epoch that change nothing."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch.optim import SGD

from corpora import TRAIN, Table, trainer
from cpnet.data.datamodule import GroundingDataModule
from cpnet.training.callbacks.resume import ExactResume
from cpnet.training.checkpoint_io import CheckpointFiles
from cpnet.training.losses import GroundingLoss
from cpnet.training.module import GroundingModule


def module_of(**config: Any) -> GroundingModule:
    return GroundingModule(
        model=Table(torch.rand(len(TRAIN), 2)),
        loss=GroundingLoss(),
        optimizer=lambda parameters: SGD(parameters, lr=0.0),
        provenance={"format": 1, "config": config, "vocabulary": {}},
    )


def fit(datamodule: GroundingDataModule, *callbacks: Callback, checkpoint: Any = None, **settings: Any) -> Trainer:
    """Train; ``ExactResume`` is added unless it is passed."""
    resume = [] if any(isinstance(each, ExactResume) for each in callbacks) else [ExactResume()]
    options = {"max_epochs": 1, "enable_checkpointing": True} | settings
    run = trainer(callbacks=[*resume, *callbacks], plugins=[CheckpointFiles()], **options)
    run.fit(module_of(), datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    return run
