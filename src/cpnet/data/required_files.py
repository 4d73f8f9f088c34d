"""Check that the files of a corpus exist. Does not import torch, which is slow to import."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cpnet.errors import DataError
from cpnet.options import SourceOptions


def default_store(features: Mapping[str, Any]) -> Path:
    """Return the default path of the packed store: next to the pack, with a hash of options that change content.

    >>> default_store({"path": "data/i3d.hdf5"}).name, default_store({"path": "data/i3d.hdf5", "normalise": True}).name
    ('i3d.hdf5.packed', 'i3d.hdf5.36689c67.packed')

    Raises:
        DataError: the path is the root folder, which has no place beside it
    """
    path, *others = paths_of(features["path"])
    if path.name in ("", ".."):  # "." has no name
        path = path.resolve()
    if not path.name:
        raise DataError(f"dataset.features.path={path} is the root folder; set the folder of the features")
    default = SourceOptions()
    changed = {
        key: features[key]
        for key in ("key", "window", "normalise", "transpose", "concat")
        if features.get(key) and features[key] != getattr(default, key, None)
    }
    if "concat" in changed:
        changed["concat"] = [sorted(asdict(SourceOptions(**part)).items()) for part in features["concat"]]
    if others:
        changed["path"] = [str(other) for other in others]
    mark = f".{hashlib.sha256(repr(changed).encode()).hexdigest()[:8]}" if changed else ""
    return path.with_name(f"{path.name}{mark}.packed")


def paths_of(path: object) -> list[Path]:
    """Return the paths of ``dataset.features.path``, which may be a list, with ``~`` expanded.

    Raises:
        DataError: it is empty, or neither text nor a list of texts
    """
    paths = path if isinstance(path, list | tuple) else [path]
    if not paths or not all(isinstance(each, str | Path) and str(each) for each in paths):
        raise DataError(f"dataset.features.path must be a path or a list of paths; got {path!r}")
    return [_path(each) for each in paths]


def exists(path: Path) -> bool:
    """Whether a path leads to a file or folder.

    Raises:
        DataError: permission denied
    """
    try:
        return path.exists()
    except OSError as error:
        raise DataError(f"{path} cannot be accessed ({error.strerror}); ask for permission, or move it") from error


@dataclass(frozen=True)
class NeededFile:
    """A file or folder that a corpus needs."""

    path: Path
    key: str  # config key of the path
    holds: str  # content of the file, for the error message
    published: str  # where it is published
    instead: Path | None = None  # alternative path

    def is_there(self) -> bool:
        """Whether the file or its alternative exists."""
        return exists(self.path) or (self.instead is not None and exists(self.instead))


def needed_files(
    dataset: Mapping[str, Any], *, words_known: bool = False, annotations_only: bool = False
) -> list[NeededFile]:
    """List the files in a resolved ``dataset`` group.

    Args:
        dataset: the group
        words_known: omit the word vectors
        annotations_only: omit the word vectors and the features
    """
    features, words = dataset["features"], dataset["word_vectors"]
    files = [
        NeededFile(
            _path(path), f"dataset.splits.{split}.{argument}", f"{argument} of the {split} split", dataset["published"]
        )
        for split, arguments in dataset["splits"].items()
        if split != "val" or dataset["validation"] == "file"
        for argument, path in arguments.items()
        if argument != "split"  # the name of a split in a file of several
    ]
    if annotations_only:
        return files
    store = _path(features["packed"]) if features["packed"] else default_store(features)
    holds = features["holds"] or f"video features, {features['dim']} wide"
    packs = [("dataset.features", features["path"], holds, features["published"])]
    for place, part in enumerate(features.get("concat", [])):
        key = f"dataset.features.concat.{place}"
        packs.append((key, part["path"], "further video features", "see dataset.features.concat"))
    for key, pack, holds, published in packs:
        files += [NeededFile(path, f"{key}.path", holds, published, store) for path in paths_of(pack)]
    if not words_known:
        holds = f"word vectors, {words['dim']} wide, in GloVe's text format"
        subset = _path(words["subset"]) if words["subset"] else None
        files.append(NeededFile(_path(words["path"]), "dataset.word_vectors.path", holds, words["published"], subset))
    return files


def check_files(name: str, files: Sequence[NeededFile]) -> None:
    """Check that all files of a corpus exist.

    Raises:
        DataError: files are missing; the message lists path, content, publisher and override of each
    """
    missing = [file for file in files if not file.is_there()]
    if not missing:
        return
    blocks = "\n".join(
        f"  {file.path}\n    content    {file.holds}\n    published  {file.published}\n    override   {file.key}=PATH"
        for file in missing
    )
    raise DataError(
        f"{len(missing)} of the {len(files)} files that dataset={name} needs are missing:\n{blocks}\n"
        "Set the root folder of all files with data_dir=PATH or the environment variable CPNET_DATA.\n"
        "To run without any file: python -m cpnet.train dataset=synthetic model=cpnet_small"
    )


def _path(path: object) -> Path:
    return Path(str(path)).expanduser()
