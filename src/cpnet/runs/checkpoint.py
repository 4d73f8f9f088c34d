"""Checkpoints: configuration, vocabulary and weights of a run. Reading an untrusted file executes no code."""

from __future__ import annotations

import logging
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, InterpolationResolutionError
from torch import Tensor

from cpnet.data.extractor import Extractor
from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError, DataError, cut

log = logging.getLogger(__name__)

KEY = "cpnet"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Parts of a checkpoint that are needed outside of its run.

    Attributes:
        path: path of the file
        config: the run's configuration with unresolved interpolations
        vocabulary: words and their vectors
        weights: state of the LightningModule
        epoch: the last epoch that was trained, counted from 0
        extractor: what extracted the features; None if unknown
        longest_sec: length of the longest video of training; None if unknown
    """

    path: Path
    config: dict[str, Any]
    vocabulary: Vocabulary
    weights: dict[str, Tensor]
    epoch: int
    extractor: Extractor | None = None
    longest_sec: float | None = None


def provenance(
    cfg: DictConfig,
    vocabulary: Vocabulary,
    *,
    extractor: Extractor | None = None,
    longest_sec: float | None = None,
    pairs: str | None = None,
) -> dict[str, Any]:
    """Return the content of a checkpoint's key ``cpnet``: plain containers and tensors.

    ``pairs`` is a hash of the pairs of train and val; for the other arguments see ``Checkpoint``.
    """
    config = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(config, dict)
    for key in ("model_name", "experiment_name", "run_name"):  # only Hydra can resolve them, during the run
        with suppress(InterpolationResolutionError, ConfigKeyError):
            config[key] = cfg[key]
    found: dict[str, Any] = {"extractor": extractor.to_dict()} if extractor else {}
    found |= {name: value for name, value in (("longest_sec", longest_sec), ("pairs", pairs)) if value}
    return {"format": FORMAT, "config": config, "vocabulary": vocabulary.state_dict(), **found}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of ``python -m cpnet.train`` with ``weights_only=True``, after verifying its CRC-32 checksums.

    Raises:
        DataError: the file is missing or damaged, or has another origin or format
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"no checkpoint at {path}; the best one of a run is OUTPUT_FOLDER/checkpoints/best.ckpt")
    try:
        with zipfile.ZipFile(path) as archive:
            if part := archive.testzip():
                raise zipfile.BadZipFile(f"wrong checksum of {part}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can raise almost any type
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path} is not a checkpoint or is damaged ({cut(reason)})") from error
    ours = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(ours, dict) or "format" not in ours:
        raise DataError(f"{path} was not written by cpnet.train; use one of its checkpoints")
    if ours["format"] != FORMAT:
        raise DataError(
            f"{path} has format {cut(str(ours['format']))}, expected {FORMAT}; use the version of cpnet that wrote it"
        )
    missing = {"config", "vocabulary"} - ours.keys() | {"state_dict", "epoch"} - content.keys()
    if missing:
        raise DataError(f"{path} is damaged: missing {', '.join(sorted(missing))}; use another checkpoint")
    return dict(content)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read the parts of a checkpoint that are needed outside of its run.

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
        extractor=Extractor.from_dict(content[KEY].get("extractor")),
        longest_sec=content[KEY].get("longest_sec"),
    )


def is_other_corpus(cfg: DictConfig, checkpoint: Checkpoint) -> bool:
    """Return whether a model was trained on another corpus than ``cfg.dataset``, after checking that it fits this one.

    Raises:
        ConfigError: features or word vectors have another width
    """
    trained, measured = OmegaConf.create(checkpoint.config).dataset, cfg.dataset
    for key in ("features", "word_vectors"):
        if measured[key].dim != trained[key].dim:
            raise ConfigError(
                f"dataset.{key}.dim={measured[key].dim}, but the model was trained on {trained.name} with {key} "
                f"{trained[key].dim} wide; use such {key}, or train with init_from={cfg.checkpoint}"
            )
    if measured.features.normalise != trained.features.normalise:
        log.warning("the model was trained with dataset.features.normalise=%s", trained.features.normalise)
    if measured.name != trained.name:
        log.info("the model was trained on %s and is measured on %s", trained.name, measured.name)
    return bool(measured.name != trained.name)
