"""Name each table row by the config keys that differ between runs."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from cpnet.runs.identity import changes_method, flatten

# Only the file name of these paths identifies the method; folders depend on the machine.
FILES = (
    *("dataset.features.path", "dataset.word_vectors.path"),
    *("dataset.splits.train.annotations", "dataset.splits.train.durations"),
)
# Among correlated keys, one of the first group in this order names the row.
GROUPS = ("dataset", "sampling", "loss", "batch_size", "epochs", "optimizer", "scheduler", "model")
MOST_KEYS = 3  # up to this many differing keys, names show all; beyond, only keys that differ from most runs
PRESET = "the model's preset"
ABSENT = "absent"  # text of a missing key; a value with this text is quoted


def name_runs(models: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Name runs by the config keys that differ. Return the names (equal for runs of one row), and notes on other keys.

    A name has the preset if presets differ, and ``key=value`` for each differing key that is not determined by the
    preset or another named key. If many keys differ, a name has only the keys with an unusual value.

    Args:
        models: preset of each run
        configs: configuration of each run

    >>> configs = [{"seed": 0, "model": {"pyramid_levels": levels}} for levels in (1, 2)]
    >>> name_runs(["cpnet", "cpnet"], configs)[0]
    ['model.pyramid_levels=1', 'model.pyramid_levels=2']
    """
    methods = [method(config) for config in configs]
    values = {key: [run.get(key, ABSENT) for run in methods] for key in sorted({*chain(*methods)}, key=_preference)}
    named, determined = _split(values, models)
    beyond = [key for key in determined[PRESET] if not key.startswith("model.")]
    notes = [f"{PRESET} also changes {_list(beyond)}"] if beyond else []
    keys = sorted(named)
    # With few keys, the name has all values except those of missing keys.
    usual = {key: Counter(values[key]).most_common(1)[0][0] if len(keys) > MOST_KEYS else ABSENT for key in keys}
    names = []
    for run, model in enumerate(models):
        parts = [_assignment(key, values[key][run]) for key in keys if values[key][run] != usual[key]]
        names.append(", ".join([model, *parts] if len(set(models)) > 1 or not parts else parts))
    if len(keys) > MOST_KEYS:
        notes.append(f"unless the name differs: {', '.join(_assignment(key, text) for key, text in usual.items())}")
    return names, notes + [f"{_spelled(key)} also changes {_list(determined[key])}" for key in named if determined[key]]


def _split(values: Mapping[str, Sequence[str]], models: Sequence[str]) -> tuple[list[str], defaultdict[str, list[str]]]:
    """Return the keys that name the runs, and the other differing keys by what determines them: preset or naming key.

    ``values`` has the text of each run by key, preferred keys first.
    """
    named, determined = list[str](), defaultdict[str, list[str]](list)
    for key, texts in values.items():
        if len(set(texts)) > 1:
            sources = {PRESET: models} | {each: values[each] for each in named}
            source = next((each for each, of_runs in sources.items() if _determines(of_runs, texts)), None)
            (named if source is None else determined[source]).append(key)
    return named, determined


def method(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of each value that is part of the method, by dotted key.

    >>> method({"seed": 1, "epochs": 3, "model": {"cam": {"scale": True}}})
    {'epochs': '3', 'model.cam.scale': 'true'}
    """
    texts = {key: _text(value) for key, value in flatten(config).items() if changes_method(key)}
    texts |= {key: file_names(texts[key]) for key in FILES if key in texts}
    if start := config.get("init_from"):  # whole, because every run names its file best.ckpt
        texts["init_from"] = str(start)
    return texts if epochs(config) is None else texts | {"epochs": _text(epochs(config))}


def epochs(config: Mapping[str, Any]) -> int | None:
    """Return the number of epochs of a run: ``trainer.max_epochs``, which is ``epochs`` unless it is set."""
    trainer = config.get("trainer") or {}
    return trainer.get("max_epochs") or config.get("epochs")


def file_names(paths: str) -> str:
    """Return the file name of a path, or of each path of a list.

    >>> file_names("data/[1]/"), file_names("[data/train, C:\\\\data\\\\val]")
    ('[1]', 'train, val')
    """
    listed = paths[1:-1] if paths.startswith("[") and paths.endswith("]") else paths
    return ", ".join(portable(path).rstrip("/").rpartition("/")[2] for path in listed.split(", "))


def portable(path: str) -> str:
    """Return the last part of an absolute path, whose folders depend on the machine, and other text unchanged.

    >>> portable("/home/me/pack.hdf5"), portable("data/pack.hdf5"), portable("max")
    ('pack.hdf5', 'data/pack.hdf5', 'max')
    """
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(path).is_absolute():
            return kind(path).name
    return path


def _text(value: Any) -> str:
    if isinstance(value, str):
        text = " ".join(portable(value).split())
        return text if text not in ("", ABSENT) else f"'{text}'"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return json.dumps(value, default=str)  # true, false, null, numbers, and dates of YAML


def _determines(sources: Sequence[str], texts: Sequence[str]) -> bool:
    """Return whether equal sources imply equal texts."""
    return len(set(zip(sources, texts, strict=True))) == len(set(sources))


def _preference(key: str) -> tuple[int, bool, str]:
    group = key.partition(".")[0]
    place = GROUPS.index(group) if group in GROUPS else len(GROUPS) - 1
    return place, not key.endswith("_target_"), key


def _assignment(key: str, text: str) -> str:
    return f"{_spelled(key)}={text.rpartition('.')[2] if key.endswith('_target_') else text}"


def _spelled(key: str) -> str:
    return key.removesuffix("._target_")


def _list(keys: Sequence[str], shown: int = 8) -> str:
    return ", ".join(map(_spelled, keys[:shown])) + (", ..." if len(keys) > shown else "")
