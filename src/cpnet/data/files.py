"""Are the files of a corpus there? Standard library only, so that the answer does not wait for torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpnet.data.moment import DataError

# How a pack is read, beyond its path and layout; other values than these make other features of the same files.
READING: dict[str, object] = {"key": None, "window": 64, "normalise": False, "concat": ()}


def default_store(features: Mapping[str, Any]) -> Path:
    """Where the packed store of a pack lies unless it is told otherwise: beside it, one for each way to read it.

    >>> default_store({"path": "data/i3d.hdf5"}).name, default_store({"path": "data/i3d.hdf5", "normalise": True}).name
    ('i3d.hdf5.packed', 'i3d.hdf5.36689c67.packed')
    """
    path = Path(str(features["path"])).expanduser()
    differs = {key: features[key] for key in READING if features.get(key) and features[key] != READING[key]}
    if "concat" in differs:
        differs["concat"] = [sorted((READING | {"layout": "auto"} | dict(part)).items()) for part in features["concat"]]
    mark = f".{hashlib.sha256(repr(differs).encode()).hexdigest()[:8]}" if differs else ""
    return path.with_name(f"{path.name}{mark}.packed")


def exists(path: Path) -> bool:
    """Whether a path leads to something.

    Raises:
        DataError: nobody may look there.
    """
    try:
        return path.exists()
    except OSError as error:
        raise DataError(f"{path} cannot be looked at ({error.strerror}); ask for permission, or move it") from error


@dataclass(frozen=True, kw_only=True)
class NeededFile:
    """A file or folder that a corpus needs.

    Attributes:
        path: where it is expected
        key: the override that points elsewhere
        holds: what it must hold
        published: where it is published
        instead: another path that serves as well
    """

    path: Path
    key: str
    holds: str
    published: str
    instead: Path | None = None

    def is_there(self) -> bool:
        """Whether it, or what serves instead, exists."""
        return exists(self.path) or (self.instead is not None and exists(self.instead))


def needed_files(dataset: Mapping[str, object], *, words_known: bool = False) -> list[NeededFile]:
    """List the files that a resolved ``dataset`` group names; without word vectors where these are known already."""
    splits, features, words = (_mapping(dataset, key) for key in ("splits", "features", "word_vectors"))
    published = str(dataset["published"])
    files = [
        NeededFile(
            path=Path(str(path)).expanduser(),
            key=f"dataset.splits.{split}.{argument}",
            holds=f"{argument} of the {split} split",
            published=published,
        )
        for split in splits
        if split != "val" or dataset["validation"] == "file"
        for argument, path in _mapping(splits, split).items()
    ]
    path = Path(str(features["path"])).expanduser()
    store = Path(str(features["packed"])).expanduser() if features["packed"] else default_store(features)
    files.append(
        NeededFile(
            path=path,
            key="dataset.features.path",
            holds=str(features["holds"]) or f"video features, {features['dim']} wide",
            published=str(features["published"]),
            instead=store,
        )
    )
    files += [
        NeededFile(
            path=Path(str(part["path"])).expanduser(),
            key=f"dataset.features.concat.{place}.path",
            holds="further video features, whose columns follow",
            published="where it was",
            instead=store,
        )
        for place, part in enumerate(_list(features, "concat"))
    ]
    if not words_known:
        subset = words["subset"]
        files.append(
            NeededFile(
                path=Path(str(words["path"])).expanduser(),
                key="dataset.word_vectors.path",
                holds=f"word vectors, {words['dim']} wide, in GloVe's text format",
                published=str(words["published"]),
                instead=Path(str(subset)).expanduser() if subset else None,
            )
        )
    return files


def check_files(name: str, files: Sequence[NeededFile]) -> None:
    """Make sure that all files are there.

    Raises:
        DataError: some are not; the message has, for each, its place, contents, publisher and override.
    """
    missing = [file for file in files if not file.is_there()]
    if not missing:
        return
    blocks = "\n".join(
        f"  {file.path}\n    holds      {file.holds}\n    published  {file.published}\n    elsewhere  {file.key}=PATH"
        for file in missing
    )
    raise DataError(
        f"{len(missing)} of the {len(files)} files that dataset={name} needs are not there:\n{blocks}\n"
        "All of them lie under one root: data_dir=PATH, or the environment variable CPNET_DATA.\n"
        "What works now, without any file: python -m cpnet.train dataset=synthetic model=cpnet_small"
    )


def _list(parent: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    value = parent.get(key, [])
    assert isinstance(value, list)
    return value


def _mapping(parent: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = parent[key]
    if not isinstance(value, Mapping):
        raise DataError(f"dataset.{key} must be a mapping; got {value!r}")
    return value
