"""The video features of a corpus: a pack as delivered, and its packed store."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from cpnet.data.features.folder import FolderFeatures, WindowFeatures, describe_folder, detect_folder
from cpnet.data.features.hdf5 import Hdf5Features
from cpnet.data.features.joined import JoinedFeatures
from cpnet.data.features.pack import Precision, pack
from cpnet.data.features.packed import PackedFeatures, is_packed
from cpnet.data.features.placement import Placement
from cpnet.data.features.source import FeatureSource, quote
from cpnet.data.moment import normalise_id
from cpnet.data.required_files import default_store, exists
from cpnet.errors import ConfigError, DataError
from cpnet.options import FeatureOptions, SourceOptions
from cpnet.terminal import Progress, silent

LAYOUTS = ("auto", "hdf5", "hdf5_flat", "hdf5_group", "npy", "npz", "pt", "windows", "packed")
READ_BY = ("path", "layout", "key", "window", "normalise", "concat", "dim")  # options for reading the pack
SMALL = 64 << 20  # bytes; smaller packs are read in less than a second and need no packed store

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FeaturePack:
    """A feature pack and its packed store.

    Attributes:
        options: the configuration ``dataset.features``
        gpu: whether the model runs on a GPU

    Raises:
        ConfigError: the placement is unknown
    """

    options: FeatureOptions
    gpu: bool = False

    def __post_init__(self) -> None:
        allowed = get_args(Placement)
        if self.options.placement not in allowed:
            got = self.options.placement
            raise ConfigError(f"dataset.features.placement must be one of {', '.join(allowed)}; got {got!r}")

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``open_features``."""
        options = asdict(self.options)
        return {key: options[key] for key in READ_BY}

    def store_path(self) -> Path:
        """Return the path of the packed store, whether or not it exists."""
        return Path(self.options.packed).expanduser() if self.options.packed else default_store(self.arguments())

    def has_only_store(self) -> bool:
        """Return whether the packed store exists and all paths of the pack are missing."""
        paths = [self.options.path, *(part.path for part in self.options.concat)]
        return exists(self.store_path()) and not any(exists(Path(path).expanduser()) for path in paths)

    def open(self, videos: Iterable[str], *, progress: Progress = silent) -> FeatureSource:
        """Open the packed store, writing it first if it is not current, or else open the pack as delivered.

        A store is current if it has all videos and the sizes and times of the pack's files have not changed since. If
        the pack is missing, the store is not checked. A small pack without a store is read as delivered.

        Args:
            videos: ids of the videos of the corpus
            progress: wraps the ids of videos while their features are read

        Raises:
            DataError: the features cannot be read
        """
        store, names, dim = self.store_path(), list(videos), self.options.dim
        if self.has_only_store():
            log.info("features: %s does not exist; reading its packed store", self.options.path)
            return PackedFeatures(path=store, dim=dim)
        source = open_features(**self.arguments())
        try:
            old = PackedFeatures(path=store, dim=dim)
        except DataError:  # missing or damaged
            old = None
        if old and old.source_stamp == source.stamp():
            if not old.missing(names):
                return old
            names += old.ids()  # keep the videos of another corpus that shares the pack
        if isinstance(source, PackedFeatures) or source.missing(names):  # the caller reports missing videos
            return source
        if not self.options.pack:
            if exists(store):
                log.warning("features: reading %s: the packed store is outdated or damaged; pack again", source.path)
            return source
        if not exists(store) and sum(map(source.length, names)) * source.dim * np.dtype("f2").itemsize < SMALL:
            return source
        log.info("features: packing %s into %s (dataset.features.pack=false disables this)", source.path, store)
        try:
            dtype = cast(Precision, str(old.table.dtype) if old else "float16")
            pack(source, store, videos=names, dtype=dtype, progress=progress)
            return PackedFeatures(path=store, dim=dim)
        except DataError as error:
            log.warning("features: reading %s without packing it: %s", source.path, error)
            return source


def open_features(*, concat: Sequence[Mapping[str, Any]] = (), dim: int | None = None, **source: Any) -> FeatureSource:
    """Open a feature pack as it was delivered, or a packed store by its own path.

    Args:
        concat: further sources, each with fields of ``SourceOptions``; their columns are appended
        dim: the expected width V of all sources together; None takes the width of the first video
        source: fields of ``SourceOptions``: ``path`` and optionally ``layout``, ``key``, ``window``, ``normalise``

    Raises:
        DataError: a path does not exist, or does not match layout, key and dim.
    """
    parts = [SourceOptions(**part) for part in (source, *concat)]
    try:
        if len(parts) == 1 and not parts[0].normalise:
            return _open_one(parts[0], dim)
        return JoinedFeatures([(_open_one(part, None), part.normalise) for part in parts], dim=dim)
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}); set dataset.features.path") from error


def check_coverage(source: FeatureSource, *, split: str, videos: Iterable[str]) -> None:
    """Check that every video of a split has features.

    Raises:
        DataError: videos have no features; the message has their number and the first ten.
    """
    distinct = list(dict.fromkeys(videos))
    found = {video: source.find(video) for video in distinct}
    if other := [video for video, name in found.items() if name and normalise_id(name) != normalise_id(video)]:
        log.warning("features: %d videos of split %s match in another case: %s", len(other), split, quote(other))
    missing = source.missing(distinct)
    if missing:
        raise DataError(
            f"{len(missing)} of {len(distinct)} videos of split {split} have no features in {source.path}: "
            f"{quote(missing)} (its {len(source)} ids look like {quote(list(source.ids())[:1])}); "
            "set dataset.features.path=... to a pack with all of them"
        )


def _open_one(source: SourceOptions, dim: int | None) -> FeatureSource:
    path, layout, key = Path(source.path).expanduser(), source.layout, source.key
    if not path.exists():
        raise DataError(
            f"no feature pack at {path}; set dataset.features.path, or the path in dataset.features.concat, to the "
            "file or folder"
        )
    if not path.is_file() and not path.is_dir():
        raise DataError(f"{path} is neither a file nor a folder; set dataset.features.path to one of them")
    if layout not in LAYOUTS:
        raise DataError(f"dataset.features.layout={layout} is none of {', '.join(LAYOUTS)}; {_describe(path)}")
    if layout == "auto":
        layout = "packed" if is_packed(path) else detect_folder(path) if path.is_dir() else "hdf5"
    hdf5 = layout.startswith("hdf5")
    if hdf5 == path.is_dir():
        raise DataError(f"dataset.features.layout={layout} does not match: {_describe(path)}; set it to auto")
    if key is not None and not hdf5 and layout != "npz":
        raise DataError(f"{path}: layout {layout} has no named arrays such as {key!r}; set dataset.features.key=null")
    if hdf5:
        return Hdf5Features(path=path, layout=layout, key=key, dim=dim)
    if layout == "packed":
        return PackedFeatures(path=path, dim=dim)
    if layout == "windows":
        return WindowFeatures(path=path, window=source.window, dim=dim)
    return FolderFeatures(path=path, layout=layout, key=key, dim=dim)


def _describe(path: Path) -> str:
    return f"{path} is " + (f"a folder of {describe_folder(path)}" if path.is_dir() else "a file")
