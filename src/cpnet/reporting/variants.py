"""What a row of a table is called: the keys in which its runs differ from those of other rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

# Keys that do not change the method, each with all below it
IGNORED = (
    *("seed", "output_dir", "data_dir", "model_name", "run_name", "experiment_name", "num_workers", "evaluation_order"),
    *("sweep", "trainer", "logger", "callbacks", "metrics", "resume", "resume_from", "replay"),
    *(f"dataset.features.{key}" for key in ("packed", "residence", "holds", "published", "layout")),
    *("dataset.word_vectors.subset", "dataset.word_vectors.published"),
    *("dataset.generate.folder", "dataset.splits", "dataset.published", "dataset.paper", "optimizer.fused"),
)
# Keys below them that do: how much of the data is seen, what a step is, and which epoch is taken
KEPT = (
    *("trainer.gradient_clip_val", "trainer.accumulate_grad_batches", "trainer.effective_batch_size"),
    *("trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.devices", "trainer.num_nodes"),
    *("callbacks.early_stopping", "callbacks.checkpoint.monitor", "callbacks.checkpoint.mode"),
)
# Of these paths the last part counts: folders are of a machine, but another file is another method.
FILES = ("dataset.features.path", "dataset.word_vectors.path")
# Keys that follow from others unless somebody sets them
FOLLOWERS = {
    "model.video_dim": ("dataset.features.dim",),
    "model.max_length": ("sampling.clips", "dataset.max_words"),
    "dataset.generate.dim": ("dataset.features.dim",),
    "dataset.generate.word_dim": ("dataset.word_vectors.dim",),
}
# Of keys that differ together, one of the first group here names the row.
GROUPS = ("dataset", "sampling", "loss", "batch_size", "epochs", "optimizer", "scheduler", "model")
MOST_KEYS = 3  # in a row's name: of more, only those are named that are not as in most runs
ABSENT = "absent"  # no value: texts of values are never this word without quotes around it


@dataclass(frozen=True)
class Naming:
    """Names of runs, the same for runs of one row, and what the names do not tell."""

    names: tuple[str, ...]
    notes: tuple[str, ...]


def name_runs(models: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> Naming:
    """Name runs by what they differ in.

    The preset's name comes first where presets differ, without the keys that follow from it; then ``key=value`` of
    every key that differs, one of those that differ together; of many keys, those whose value is not the usual one.

    Args:
        models: name of each run's preset
        configs: configuration of each run

    >>> configs = [{"seed": 0, "model": {"pyramid_levels": levels}} for levels in (1, 2)]
    >>> name_runs(["cpnet", "cpnet"], configs).names
    ('model.pyramid_levels=1', 'model.pyramid_levels=2')
    """
    differing = _differing([flatten(config) for config in configs])
    by_preset = {key for key, values in differing.items() if is_function(models, values)}
    left = {key: values for key, values in differing.items() if key not in by_preset and not _follows(key, differing)}
    chosen: dict[tuple[int, ...], list[str]] = {}
    for key in sorted(left, key=_preference):
        chosen.setdefault(tuple(map(left[key].index, left[key])), []).append(key)
    keys = sorted(group[0] for group in chosen.values())
    usual = {key: _usual(left[key]) for key in keys} if len(keys) > MOST_KEYS else {}
    names = [_name(model, run, keys, left, usual, len(set(models)) > 1) for run, model in enumerate(models)]
    notes = [f"{_spelled(first)} differs together with {_list(rest)}" for first, *rest in chosen.values() if rest]
    told = [key for key in by_preset if not key.startswith("model.")]
    if usual:
        named = ", ".join(f"{_spelled(key)}={_value(key, text)}" for key, text in usual.items())
        notes.insert(0, f"where a row's name does not say otherwise: {named}")
    if told:
        notes.insert(0, f"with the model's preset differ also {_list(sorted(told))}")
    return Naming(tuple(names), tuple(notes))


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """Give the text of every value by its dotted key, but for keys that do not change the method.

    >>> flatten({"seed": 1, "epochs": 3, "model": {"cam": {"scale": True}}})
    {'epochs': '3', 'model.cam.scale': 'true'}
    """
    flat = dict(_leaves(config, ""))
    flat |= {key: flat[key].rpartition("/")[2] for key in FILES if key in flat}
    return {key: text for key, text in flat.items() if _is_below(key, KEPT) or not _is_below(key, IGNORED)}


def is_function(of: Sequence[Hashable], values: Sequence[Hashable]) -> bool:
    """Whether equal arguments always have equal values.

    >>> is_function([1, 1, 2], ["a", "a", "a"]), is_function([1, 1, 2], ["a", "b", "a"])
    (True, False)
    """
    return len(set(zip(of, values, strict=True))) == len(set(of))


def portable(path: str) -> str:
    """Leave of an absolute path its last part: the rest is of one machine.

    >>> portable("/home/me/pack.hdf5"), portable("data/pack.hdf5"), portable("max")
    ('pack.hdf5', 'data/pack.hdf5', 'max')
    """
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(path).is_absolute():
            return kind(path).name
    return path


def _leaves(node: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    leaves = []
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            leaves += _leaves(value, f"{prefix}{key}.")
        else:
            leaves.append((f"{prefix}{key}", _text(value)))
    return leaves


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, str):
        text = " ".join(portable(value).split())
        return text if text not in ("", ABSENT) else f"'{text}'"
    return repr(value)


def _differing(flat: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    keys = dict.fromkeys(key for run in flat for key in run)
    values = {key: [run.get(key, ABSENT) for run in flat] for key in keys}
    return {key: texts for key, texts in values.items() if len(set(texts)) > 1}


def _follows(key: str, differing: Mapping[str, Sequence[str]]) -> bool:
    sources = [differing[source] for source in FOLLOWERS.get(key, ()) if source in differing]
    return bool(sources) and is_function([*zip(*sources, strict=True)], differing[key])


def _preference(key: str) -> tuple[bool, int, bool, str]:
    group = key.partition(".")[0]
    place = GROUPS.index(group) if group in GROUPS else len(GROUPS) - 1
    return key in FOLLOWERS, place, not key.endswith("_target_"), key


def _name(
    model: str,
    run: int,
    keys: Sequence[str],
    values: Mapping[str, Sequence[str]],
    usual: Mapping[str, str],
    presets: bool,
) -> str:
    told = [
        f"{_spelled(key)}={_value(key, values[key][run])}"
        for key in keys
        if values[key][run] != usual.get(key, ABSENT)  # without a usual value, what is absent is not told
    ]
    return ", ".join([model, *told] if presets or not told else told)


def _usual(values: Sequence[str]) -> str:
    return Counter(values).most_common(1)[0][0]


def _value(key: str, text: str) -> str:
    return text.rpartition(".")[2] if key.endswith("_target_") else text


def _spelled(key: str) -> str:
    return key.removesuffix("._target_")


def _is_below(key: str, parents: Sequence[str]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def _list(keys: Sequence[str], shown: int = 8) -> str:
    return ", ".join(map(_spelled, keys[:shown])) + (", ..." if len(keys) > shown else "")
