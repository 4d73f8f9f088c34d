"""Build the annotations of a corpus from the configuration ``dataset``."""

from __future__ import annotations

from omegaconf import DictConfig

from cpnet.config import check_call, make_later
from cpnet.config.instantiate import config_errors, containers
from cpnet.data.annotations import Annotations


def build_annotations(dataset: DictConfig) -> Annotations:
    """Build the annotations of ``cfg.dataset`` without reading them.

    Raises:
        ConfigError: a value is invalid
    """
    policy = ("validation", "holdout_fraction", "holdout_seed", "on_defect", "on_missing", "ground_truth", "time_unit")
    with config_errors("dataset.reader"):
        reader = make_later(dataset.reader)
    splits = containers(dataset.splits)
    for split, arguments in splits.items():
        check_call(reader, arguments, f"dataset.splits.{split}")
    with config_errors("dataset"):
        return Annotations(reader=reader, splits=splits, **{key: dataset[key] for key in policy})
