"""What a checkpoint carries beyond weights, and how it is read: nothing in it can run code."""

from __future__ import annotations

import os
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, InterpolationResolutionError
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from cpnet.config import ConfigError
from cpnet.data.atomic import replacing
from cpnet.data.moment import DataError
from cpnet.data.vocabulary import Vocabulary
from cpnet.migration import FORMAT, migrate

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
    for key in ("model_name", "experiment_name", "run_name"):  # Hydra knows them in the run itself only
        with suppress(InterpolationResolutionError, ConfigKeyError):
            config[key] = cfg[key]
    return {"format": FORMAT, "config": config, "vocabulary": vocabulary.state_dict()}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint written by ``python -m cpnet.train``, with ``weights_only=True``, in today's format.

    Every part of the file carries a checksum (CRC-32, of the zip archive that it is), and all are compared first.

    Raises:
        DataError: no such file, no checkpoint of ours, a damaged one, or one of a format that cannot be migrated
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"there is no checkpoint at {path}; a run's best one is OUTPUT_FOLDER/checkpoints/best.ckpt")
    try:
        with zipfile.ZipFile(path) as archive:
            if part := archive.testzip():
                raise zipfile.BadZipFile(f"the checksum of {part} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes lead the reader to an error of almost any type
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path} is no checkpoint, or a damaged one ({reason})") from error
    ours = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(ours, dict) or "format" not in ours:
        raise DataError(f"{path} was not written by cpnet.train; give the path of one of its checkpoints")
    if ours["format"] not in range(1, FORMAT + 1):
        raise DataError(
            f"{path} has format {ours['format']}, this version reads 1 to {FORMAT}; take the version that wrote it"
        )
    missing = {"config", "vocabulary"} - ours.keys() | {"state_dict", "epoch"} - content.keys()
    if missing:
        raise DataError(f"{path} is damaged: it has no {', '.join(sorted(missing))}; take another checkpoint")
    return migrate(content)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read the parts of a checkpoint that serve without its run.

    Raises:
        DataError: see ``read_checkpoint``
    """
    content = read_checkpoint(path)
    return Checkpoint(
        path=Path(path).expanduser(),
        config=content[KEY]["config"],
        vocabulary=Vocabulary.from_state(content[KEY]["vocabulary"]),
        weights=content["state_dict"],
        epoch=content["epoch"],
    )


class CheckpointFiles(CheckpointIO):
    """Writes Lightning's checkpoints whole or not at all, and reads them as ``read_checkpoint`` does."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint, which is on the disk before it takes the place of an older one.

        Raises:
            DataError: it cannot be written; the older one stays
        """
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target, durable=True) as stream:
                torch.save(checkpoint, stream)
        except (OSError, RuntimeError) as error:
            # torch's writer of archives says in words of its own that the system's write has failed
            told = error.__context__ if isinstance(error.__context__, OSError) else error
            reason = getattr(told, "strerror", None) or next(iter(str(told).splitlines()), type(told).__name__)
            raise DataError(
                f"{target} cannot be written ({reason}); what was there is as it was: make room for it, then go on with"
                f" resume_from={target.parent.parent}"
            ) from error

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint onto the CPU, whatever is asked for.

        Raises:
            DataError: see ``read_checkpoint``
        """
        return read_checkpoint(os.fspath(path))

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


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
