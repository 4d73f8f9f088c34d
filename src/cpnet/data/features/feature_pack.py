"""The video features of a corpus: a pack as delivered, and its packed store."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from cpnet.data.features.detection import detect_layout
from cpnet.data.features.folder import ArchiveFeatures, FolderFeatures, WindowFeatures, describe_folder
from cpnet.data.features.hdf5 import Hdf5Features
from cpnet.data.features.joined import JoinedFeatures, UnitedFeatures
from cpnet.data.features.pack import Precision, open_store, pack
from cpnet.data.features.packed import PackedFeatures
from cpnet.data.features.placement import Placement
from cpnet.data.features.source import FeatureSource, fix_missing, last_part
from cpnet.data.moment import Moment, is_test, normalise_id
from cpnet.data.required_files import default_store, exists, paths_of
from cpnet.errors import ConfigError, DataError, quote
from cpnet.options import FeatureOptions, SourceOptions

LAYOUTS = ("auto", "hdf5", "hdf5_flat", "hdf5_group", "npy", "npz", "pt", "windows", "packed")
READ_BY = ("path", "layout", "key", "window", "normalise", "transpose", "concat", "dim")  # options for reading the pack
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
        paths = [path for part in (self.options, *self.options.concat) for path in paths_of(part.path)]
        return exists(self.store_path()) and not any(map(exists, paths))

    def open(self, videos: Iterable[str], *, skip_missing: bool = False) -> FeatureSource:
        """Open the packed store, writing it first if it is not current, or else open the pack as delivered.

        A store is current if it has all videos and the sizes and times of the pack's files have not changed since. If
        the pack is missing, the store is not checked. A small pack without a store is read as delivered.

        Args:
            videos: ids of the videos of the corpus
            skip_missing: pack the other videos if some have no features; if false, nothing is packed then

        Raises:
            DataError: the features cannot be read
        """
        store, names, dim = self.store_path(), list(videos), self.options.dim
        if self.has_only_store():
            log.info("features: %s does not exist; reading its packed store", self.options.path)
            return PackedFeatures(path=store, dim=dim)
        source = open_features(**self.arguments())
        if skip_missing:
            names = [name for name in names if name in source]
        old = open_store(store, dim)
        if old and old.source_stamp == source.stamp() and not old.missing(names):
            return old
        # The caller reports missing videos.
        if isinstance(source, PackedFeatures) or not names or source.missing(names):
            return source
        if not self.options.pack:
            if exists(store):
                log.warning("features: reading %s: the packed store is outdated or damaged; pack again", source.path)
            return source
        if not exists(store) and sum(map(source.length, names)) * source.dim * np.dtype("f2").itemsize < SMALL:
            return source
        log.info("features: packing %s into %s (dataset.features.pack=false disables this)", source.path, store)
        try:
            return self.pack(source, names, dtype=cast(Precision, str(old.table.dtype) if old else "float16"))
        except DataError as error:
            log.warning("features: reading %s without packing it: %s", source.path, error)
            return source

    def pack(self, source: FeatureSource, videos: Iterable[str], *, dtype: Precision) -> PackedFeatures:
        """Write the packed store of some videos of the pack; it keeps those of other corpora that share the pack.

        Raises:
            DataError: see ``pack.pack``
        """
        store = self.store_path()
        old = open_store(store, self.options.dim)
        shared = [name for name in old.ids() if name in source] if old else []
        pack(source, store, videos=[*videos, *shared], dtype=dtype)
        return PackedFeatures(path=store, dim=self.options.dim)


def open_features(*, concat: Sequence[Mapping[str, Any]] = (), dim: int | None = None, **source: Any) -> FeatureSource:
    """Open a feature pack as it was delivered, or a packed store by its own path.

    Args:
        concat: further sources, each with fields of ``SourceOptions``; their columns are appended
        dim: the expected width V of all sources together; None takes the width of the first video
        source: fields of ``SourceOptions``: ``path`` and optionally ``layout``, ``key``, ``window``, ``normalise``,
            ``transpose``

    Raises:
        DataError: a path does not exist, or does not match layout, key and dim.
    """
    parts = [SourceOptions(**part) for part in (source, *concat)]
    try:
        if len(parts) == 1 and not parts[0].normalise:
            return _open_all(parts[0], dim)
        return JoinedFeatures([(_open_all(part, None), part.normalise) for part in parts], dim=dim)
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}); set dataset.features.path") from error


def split_by_features(
    source: FeatureSource, splits: Mapping[str, Sequence[Moment]], *, on_missing: str
) -> tuple[dict[str, list[Moment]], dict[str, list[Moment]]]:
    """Return the moments whose videos have features, and those whose videos have none, by split.

    Raises:
        DataError: videos have no features and ``on_missing`` is ``error``, or no video of a split has features
    """
    found: dict[str, list[Moment]] = {}
    missing: dict[str, list[Moment]] = {}
    for split, moments in splits.items():
        names = {moment.video: source.find(moment.video) for moment in moments}
        named = {video: normalise_id(last_part(name)) for video, name in names.items() if name is not None}
        if other := [video for video, name in named.items() if name != normalise_id(last_part(video))]:
            log.warning("features: %d videos of split %s match in another case: %s", len(other), split, quote(other))
        found[split] = [moment for moment in moments if moment.video in named]
        missing[split] = [moment for moment in moments if moment.video not in named]
        absent = [video for video in names if video not in named]
        if absent and (on_missing == "error" or not named):
            raise DataError(
                f"{len(absent)} of {len(names)} videos of split {split} have no features in {source.path}: "
                f"{quote(absent)} (its {len(source)} ids look like {quote(list(source.ids())[:1])}); "
                f"{fix_missing(some=bool(named))}"
            )
        if absent:
            effect = "count as missed" if is_test(split) else "are dropped"
            log.warning(
                "%s: %d of %d pairs %s, because %d videos have no features in %s: %s (dataset.on_missing=drop)",
                *(split, len(missing[split]), len(moments), effect, len(absent), source.path, quote(absent)),
            )
    return found, missing


def _open_all(source: SourceOptions, dim: int | None) -> FeatureSource:
    parts: list[FeatureSource] = []
    for path in paths_of(source.path):
        parts.append(_open_one(path, source, dim))
        dim = parts[0].dim
    return parts[0] if len(parts) == 1 else UnitedFeatures(parts, dim=dim)


def _open_one(path: Path, source: SourceOptions, dim: int | None) -> FeatureSource:
    options = replace(source, layout=_layout(path, source))
    if options.layout == "packed":
        return PackedFeatures(path=path, dim=dim)
    if options.layout == "windows":
        return WindowFeatures(path, options, dim)
    if path.is_dir():
        return FolderFeatures(path, options, dim)
    return (ArchiveFeatures if options.layout == "npz" else Hdf5Features)(path, options, dim)


def _layout(path: Path, source: SourceOptions) -> str:
    """Return the layout of a path, after checks that it exists and that the options fit it."""
    layout, key = source.layout, source.key
    if not path.is_file() and not path.is_dir():
        raise DataError(
            f"no feature pack at {path}; set dataset.features.path, or the path in dataset.features.concat, to a file "
            "or folder"
        )
    if layout not in LAYOUTS:
        raise DataError(f"dataset.features.layout={layout} is none of {', '.join(LAYOUTS)}; set it to auto")
    if layout == "auto":
        layout = detect_layout(path)
    archive = layout == "npz" and path.is_file()
    if (archive or layout.startswith("hdf5")) == path.is_dir():
        kind = f"a folder of {describe_folder(path)}" if path.is_dir() else "a file"
        raise DataError(f"dataset.features.layout={layout} does not match {path}, {kind}; set it to auto")
    if key is not None and (archive or not layout.startswith(("hdf5", "npz"))):
        raise DataError(f"{path}: layout {layout} has no named arrays such as {key!r}; set dataset.features.key=null")
    if source.transpose and layout in ("packed", "windows"):
        raise DataError(f"{path}: layout {layout} stores rows; set dataset.features.transpose=false")
    return layout
