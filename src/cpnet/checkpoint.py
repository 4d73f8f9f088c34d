"""What a checkpoint carries beyond weights, and how it is read: nothing in it can run code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from cpnet.config import ConfigError
from cpnet.data.moment import DataError
from cpnet.data.vocabulary import Vocabulary

FORMAT = 1
KEY = "cpnet"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained model's parts.

    Attributes:
        path: the file
        config: the run's whole configuration, interpolations unresolved, as plain containers
        vocabulary: its words and their vectors
        weights: the state of the LightningModule
        epoch: after which it was written, from 0
    """

    path: Path
    config: dict[str, Any]
    vocabulary: Vocabulary
    weights: dict[str, Tensor]
    epoch: int


def provenance(cfg: DictConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """Give what the LightningModule writes under the key ``cpnet``: plain containers and tensors."""
    config = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(config, dict)
    config["model_name"] = cfg.model_name  # Hydra knows it in the run itself only
    return {"format": FORMAT, "config": config, "vocabulary": vocabulary.state_dict()}


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint written by ``python -m cpnet.train``, with ``weights_only=True``.

    Raises:
        DataError: no such file, no checkpoint of ours, a damaged one, or one of another format
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"there is no checkpoint at {path}; a run's best one is OUTPUT_FOLDER/checkpoints/best.ckpt")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes lead the reader to an error of almost any type
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path} is no checkpoint, or a damaged one ({reason})") from error
    ours = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(ours, dict) or "format" not in ours:
        raise DataError(f"{path} was not written by cpnet.train; give the path of one of its checkpoints")
    if ours["format"] != FORMAT:
        raise DataError(
            f"{path} has format {ours['format']}, this version reads {FORMAT}; take the version that wrote it"
        )
    missing = {"config", "vocabulary"} - ours.keys() | {"state_dict", "epoch"} - content.keys()
    if missing:
        raise DataError(f"{path} is damaged: it has no {', '.join(sorted(missing))}; take another checkpoint")
    return Checkpoint(
        path=path,
        config=ours["config"],
        vocabulary=Vocabulary.from_state(ours["vocabulary"]),
        weights=content["state_dict"],
        epoch=content["epoch"],
    )


def chosen(trainer: Trainer) -> tuple[Path, dict[str, Any]]:
    """Give the checkpoint that validation chose, with the metric that chose it, its score and its epoch, from 0.

    Raises:
        ConfigError: no epoch was validated
    """
    best = trainer.checkpoint_callback
    if not isinstance(best, ModelCheckpoint) or best.best_model_score is None:
        raise ConfigError("no epoch was validated, so none was chosen: see trainer.limit_val_batches and the like")
    path = Path(best.best_model_path)
    score, epoch = float(best.best_model_score), load_checkpoint(path).epoch
    return path, {"monitor": best.monitor, "score": score, "epoch": epoch}
