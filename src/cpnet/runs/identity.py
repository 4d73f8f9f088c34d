"""Classify configuration keys: those that define a run's method, and those of a single start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Keys of a single start; a resumed run may have other values.
OF_THE_START = ("resume", "resume_from", "sweep", "output_dir", "run_name", "experiment_name", "model_name")
# Keys that do not change the method, each with all keys below it
NOT_PART_OF_METHOD = (
    *OF_THE_START,
    *("seed", "data_dir", "evaluation_order", "trainer", "logger", "callbacks", "metrics"),
    *(f"dataset.features.{key}" for key in ("packed", "pack", "placement", "holds", "published", "layout", "name")),
    *("dataset.word_vectors.subset", "dataset.word_vectors.published"),
    *("dataset.generate.folder", "dataset.splits", "dataset.published", "dataset.paper", "optimizer.fused"),
)
# Exceptions: keys that set training data, length of training, pairs per step, gradient clipping, and chosen weights
PART_OF_METHOD = (
    "dataset.splits.train",
    *("trainer.gradient_clip_val", "trainer.accumulate_grad_batches", "trainer.effective_batch_size"),
    *("trainer.gradient_clip_algorithm", "trainer.max_steps"),
    *("trainer.check_val_every_n_epoch", "trainer.val_check_interval", "trainer.overfit_batches", "trainer.max_time"),
    *("trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.devices", "trainer.num_nodes"),
    *("callbacks.early_stopping", "callbacks.checkpoint.monitor", "callbacks.checkpoint.mode", "callbacks.average"),
)
# Keys of the method that a resumed run can change
APPLIED_ON_RESUME = (
    *("epochs", "batch_size", "loss", "model.dropout", "scheduler.warmup", "trainer", "callbacks.early_stopping"),
    *(f"optimizer.{key}" for key in ("lr", "weight_decay", "betas", "eps", "foreach")),
    *("dataset.features.path", "dataset.word_vectors.path", "dataset.splits.train"),  # of the same files elsewhere
)


def flatten(config: Mapping[str, Any], prefix: str = "", *, separator: str = ".") -> dict[str, Any]:
    """Return the values of a nested configuration by dotted key. An empty mapping is a value.

    >>> flatten({"seed": 1, "model": {"cam": {"scale": True}}})
    {'seed': 1, 'model.cam.scale': True}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}{separator}", separator=separator)
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def changes_method(key: str) -> bool:
    """Return whether a dotted key is part of the method.

    >>> changes_method("model.dropout"), changes_method("trainer.precision"), changes_method("callbacks.average.share")
    (True, False, True)
    """
    return is_below(key, PART_OF_METHOD) or not is_below(key, NOT_PART_OF_METHOD)


def may_change_on_resume(key: str) -> bool:
    """Return whether a resumed run may have another value of a dotted key."""
    if is_below(key, ("seed", "metrics.strict", "callbacks.checkpoint")):  # which would mix two results
        return False
    return is_below(key, APPLIED_ON_RESUME) or not changes_method(key)


def is_below(key: str, parents: Sequence[str]) -> bool:
    """Return whether a dotted key is one of ``parents`` or lies below one.

    >>> is_below("a.b", ["a"]), is_below("ab", ["a"])
    (True, False)
    """
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)
