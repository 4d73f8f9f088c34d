"""Build the annotations of a corpus from the configuration ``dataset``, and write the yaml of a new corpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cpnet.config import check_call, make_later
from cpnet.config.instantiate import config_errors, containers
from cpnet.data.annotations import Annotations
from cpnet.options import DatasetOptions


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


def corpus_yaml(dataset: DictConfig, *, name: str, files: Mapping[str, str], published: str) -> str:
    """Return the yaml of a corpus with the features and word vectors of another, and jsonl files by split.

    It repeats the keys of the other corpus, with their interpolations, because a yaml that inherits would keep those
    of its reader, and could not find a corpus in another ``--config-dir``.
    """
    keys: Any = OmegaConf.to_container(dataset, resolve=False)
    new = {
        "name": name,
        "reader": {"_target_": "cpnet.data.readers.read_jsonl"},
        "splits": {split: {"annotations": path} for split, path in files.items()},
        "validation": "file",
        "published": published,
        "time_unit": "seconds",
        "ground_truth": "clipped",
        "paper": {},
    }
    defaults: Any = OmegaConf.to_container(OmegaConf.structured(DatasetOptions))
    return "defaults:\n- base_dataset\n- _self_\n" + OmegaConf.to_yaml(_differences({**keys, **new}, defaults))


def _differences(keys: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys whose values differ from the defaults."""
    found = {}
    for key, value in keys.items():
        default = defaults.get(key)
        changed = _differences(value, default) if isinstance(value, dict) and isinstance(default, dict) else value
        if changed != default:
            found[key] = changed
    return {key: value for key, value in found.items() if value != {}}
