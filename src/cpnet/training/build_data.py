"""Build the DataModule, or read one video, from the configurations ``dataset`` and ``sampling``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from cpnet.config.corpus import build_annotations
from cpnet.config.instantiate import containers, instantiate
from cpnet.data.datamodule import GroundingDataModule, Loading
from cpnet.data.extractor import Extractor, check_extractor
from cpnet.data.features.feature_pack import FeaturePack
from cpnet.data.moment import normalise_id
from cpnet.data.vocabulary import Vocabulary, Words
from cpnet.errors import ConfigError, DataError, shown
from cpnet.locks import lock
from cpnet.options import FeatureOptions, WordOptions
from cpnet.training.precision import device_type


def build_features(features: DictConfig, *, gpu: bool = False) -> FeaturePack:
    """Build the feature pack of ``cfg.dataset.features`` without opening it."""
    return FeaturePack(options=_options(FeatureOptions, features), gpu=gpu)


def build_generator(dataset: DictConfig) -> Callable[[], None] | None:
    """Return what writes the files of a generated corpus and extracts the features of its videos; None for others.

    Raises:
        ConfigError: a value of ``dataset.generate`` is invalid
    """
    if not dataset.generate:
        return None
    corpus, backbone = instantiate(dataset.generate), dataset.generate.get("backbone")
    if not backbone:
        prepare: Callable[[], None] = corpus.prepare
        return prepare
    folder, store = Path(dataset.generate.folder).expanduser(), Path(dataset.features.path).expanduser()
    if folder.absolute() not in store.absolute().parents:  # it would outlive a corpus of other options
        raise ConfigError(
            f"dataset.features.path={store} is outside of dataset.generate.folder={folder}; remove it, or set "
            "dataset.generate.backbone=null for features that you extracted from these videos"
        )

    def generate() -> None:
        with ExitStack() as stack:  # of concurrent processes, one renders and extracts
            try:
                stack.enter_context(lock(folder.with_name(f".{folder.name}.first_use.lock")))
            except OSError as error:
                raise DataError(f"cannot write to {folder.parent} ({error}); choose another data_dir") from error
            corpus.prepare()
            if not store.exists():
                from cpnet.video.extract import extract

                extract(folder / "videos", store, backbone=backbone, fps=dataset.generate.fps)

    return generate


def read_video(
    dataset: DictConfig, video: str, duration_sec: float | None, *, trained: Extractor | None, any_rate: bool = False
) -> tuple[NDArray[np.floating], float]:
    """Return the features of one video of a corpus, and its duration, from the annotations unless it is given.

    Raises:
        ConfigError: a value is invalid
        DataError: the features are missing or not of the kind ``trained`` (with ``any_rate``, but for the rate), or the
            duration is unknown
    """
    if generate := build_generator(dataset):
        generate()
    pack, annotations = build_features(dataset.features), build_annotations(dataset)
    source = replace(pack, options=replace(pack.options, pack=False)).open([video])
    if any_rate and trained and source.extractor:  # as similarities take
        trained = replace(trained, fps=source.extractor.fps)
    check_extractor(trained, source.extractor, dataset.features.path)
    rows = source.rows(video)
    for name, arguments in annotations.splits.items() if duration_sec is None else ():
        if name != "val" or annotations.validation == "file":
            known = {normalise_id(each.video): each.duration_sec for each in annotations.reader(**arguments)}
            duration_sec = duration_sec or known.get(normalise_id(video))
    if duration_sec is None:
        raise DataError(f"the annotations of {dataset.name} have no video {shown(video)}; add duration=SECONDS")
    return rows, duration_sec


def build_datamodule(
    dataset: DictConfig,
    sampling: DictConfig,
    loading: Loading,
    accelerator: str,
    vocabulary: Vocabulary | None = None,
) -> GroundingDataModule:
    """Build the DataModule of ``cfg.dataset`` and ``cfg.sampling`` for a model on ``cfg.trainer.accelerator``.

    With the vocabulary of a checkpoint, word vectors are looked up only for words that it lacks.

    Raises:
        ConfigError: a value is invalid
    """
    words = _options(WordOptions, dataset.word_vectors)
    device = device_type(accelerator)
    if device == "mps" and dataset.features.placement == "device":
        raise ConfigError("dataset.features.placement=device needs an NVIDIA GPU; Apple's takes placement=memory")
    return GroundingDataModule(
        annotations=build_annotations(dataset),
        features=build_features(dataset.features, gpu=device == "cuda"),
        words=Words(options=words, max_words=dataset.max_words, known=vocabulary),
        sampling=instantiate(sampling),
        loading=loading,
        generate=build_generator(dataset),
    )


def _options(schema: type[Any], node: DictConfig) -> Any:
    """Return a node as the dataclass of its options, with interpolations resolved and types checked."""
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), containers(node)))
