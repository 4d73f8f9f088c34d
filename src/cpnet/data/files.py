"""Are the files of a corpus there? Standard library only, so that the answer does not wait for torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cpnet.data.moment import DataError


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
        return self.path.exists() or (self.instead is not None and self.instead.exists())


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
    files.append(
        NeededFile(
            path=path,
            key="dataset.features.path",
            holds=str(features["holds"]) or f"video features, {features['dim']} wide",
            published=str(features["published"]),
            instead=Path(str(features["packed"] or f"{path}.packed")).expanduser(),
        )
    )
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


def _mapping(parent: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = parent[key]
    if not isinstance(value, Mapping):
        raise DataError(f"dataset.{key} must be a mapping; got {value!r}")
    return value
