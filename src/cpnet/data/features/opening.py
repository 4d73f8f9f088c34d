"""From what a configuration says of a pack to its reader."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cpnet.data.features.fingerprint import fingerprint
from cpnet.data.features.folder import FolderFeatures, WindowFeatures, describe_folder, detect_folder
from cpnet.data.features.hdf5 import Hdf5Features, Layout
from cpnet.data.features.joined import JoinedFeatures
from cpnet.data.features.pack import differing
from cpnet.data.features.packed import PackedFeatures, is_packed
from cpnet.data.features.source import FeatureSource, quote
from cpnet.data.files import exists
from cpnet.data.moment import DataError
from cpnet.data.progress import Progress, silent

log = logging.getLogger(__name__)

HDF5_LAYOUTS: dict[str, Layout] = {"hdf5": "hdf5", "hdf5_flat": "hdf5_flat", "hdf5_group": "hdf5_group"}
FOLDER_LAYOUTS = ("npy", "npz", "pt")
LAYOUTS = ("auto", *HDF5_LAYOUTS, *FOLDER_LAYOUTS, "windows", "packed")


def open_features(
    *,
    path: str | Path,
    layout: str = "auto",
    key: str | None = None,
    window: int = 64,
    normalise: bool = False,
    concat: Sequence[Mapping[str, Any]] = (),
    dim: int | None = None,
) -> FeatureSource:
    """Open a feature pack as it was delivered, or a packed store by its own path.

    Args:
        path: an HDF5 file or a folder
        layout: ``hdf5`` (flat or group, as the file is), ``hdf5_flat``, ``hdf5_group``, ``npy``, ``npz``, ``pt``,
            ``windows``, ``packed``, or ``auto`` for what is recognised on disk
        key: name of the dataset inside each group of ``hdf5_group``, or of the array in each ``.npz``; None where
            there is exactly one
        window: length in frames of the windows that are taken, for ``windows``
        normalise: divides each row by its L2 norm
        concat: further sources, each with the keys above, whose columns follow
        dim: the width V that all must have together; None takes the width of the first video

    Raises:
        DataError: a path does not exist, or does not hold what layout, key and dim say.
    """
    first = {"path": path, "layout": layout, "key": key, "window": window, "normalise": normalise}
    if not concat and not normalise:
        return _open_one(path, layout, key, window, dim)
    parts = [{"layout": "auto", "key": None, "window": 64, "normalise": False, **one} for one in (first, *concat)]
    sources = [(_open_one(p["path"], p["layout"], p["key"], p["window"], None), bool(p["normalise"])) for p in parts]
    return JoinedFeatures(sources, dim=dim)


def open_store(
    store: Path, *, videos: Iterable[str], features: Mapping[str, Any], progress: Progress = silent
) -> FeatureSource:
    """Open the packed store of a pack where there is one that serves, else the pack itself; the log tells which.

    A store serves if it has the videos and was packed from what ``features``, the arguments of ``open_features``, now
    describe: by the sizes and times of its files, else by its fingerprint and then by comparing all rows, which takes
    as long as to pack. Where the pack is gone the store is trusted.

    Raises:
        DataError: see ``open_features``.
    """
    if not exists(store) or store == Path(features["path"]).expanduser():
        return open_features(**features)
    if is_gone(features):
        log.info("features: %s is gone; its packed store serves", features["path"])
        return PackedFeatures(path=store, dim=features.get("dim"))
    source = open_features(**features)
    try:
        packed = PackedFeatures(path=store, dim=features.get("dim"))
        reason = _unfit(packed, source, videos, progress)
    except DataError as error:
        reason = str(error)
    if reason is None:
        source.close()
        return packed
    log.warning("features: the packed store %s does not serve, %s does: %s", store, source.path, reason)
    return source


def is_gone(features: Mapping[str, Any]) -> bool:
    """Whether nothing is left of what ``features``, the arguments of ``open_features``, describe."""
    paths = [features["path"], *(one["path"] for one in features.get("concat", ()))]
    return not any(exists(Path(path).expanduser()) for path in paths)


def check_coverage(source: FeatureSource, *, split: str, videos: Iterable[str]) -> None:
    """Make sure that every video of a split has features.

    Raises:
        DataError: some have none; tells how many, of how many, and the first ten.
    """
    distinct = list(dict.fromkeys(videos))
    missing = source.missing(distinct)
    if missing:
        raise DataError(
            f"{len(missing)} of {len(distinct)} videos of split {split} have no features in {source.path}: "
            f"{quote(missing)} (its {len(source)} ids look like {quote(list(source.ids())[:1])}); "
            "set dataset.features.path=... to a pack that has them all"
        )


def _unfit(packed: PackedFeatures, source: FeatureSource, videos: Iterable[str], progress: Progress) -> str | None:
    """Why a packed store does not serve for a source, None where it does."""
    missing = packed.missing(videos)
    if missing:
        return f"{packed.path} lacks {len(missing)} videos ({quote(missing)}); pack again"
    if packed.source_stamp == source.stamp():
        return None
    if packed.fingerprint != fingerprint(source):
        return f"{packed.path} was packed from other features ({packed.description}); pack again, or remove it"
    log.info("features: %s is not as it was when it was packed; comparing all rows, which to pack saves", source.path)
    if changed := differing(packed, source, progress=progress):
        return f"{packed.path} has other rows of {len(changed)} videos ({quote(changed)}); pack again"
    return None


def _open_one(path: str | Path, layout: str, key: str | None, window: int, dim: int | None) -> FeatureSource:
    path = Path(path).expanduser()
    try:
        return _open_path(path, layout, key, window, dim)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); mend it, or set dataset.features.path") from error


def _open_path(path: Path, layout: str, key: str | None, window: int, dim: int | None) -> FeatureSource:
    if not path.exists():
        raise DataError(
            f"there is no feature pack at {path}; set dataset.features.path, or that of concat, to the file or folder"
        )
    if not path.is_file() and not path.is_dir():
        raise DataError(f"{path} is neither a file nor a folder; set dataset.features.path to one of them")
    if layout not in LAYOUTS:
        raise DataError(
            f"dataset.features.layout={layout} is none of {', '.join(LAYOUTS)}; {path} is "
            + (f"a folder of {describe_folder(path)}" if path.is_dir() else "a file")
        )
    if layout == "auto":
        layout = detect_folder(path) if path.is_dir() else "packed" if is_packed(path) else "hdf5"
    if layout in HDF5_LAYOUTS:
        return Hdf5Features(path=path, layout=HDF5_LAYOUTS[layout], key=key, dim=dim)
    if layout in FOLDER_LAYOUTS:
        return FolderFeatures(path=path, layout=layout, key=key, dim=dim)
    if key is not None:
        raise DataError(f"{path}: layout {layout} has no inner {key!r}; set dataset.features.key=null")
    return (
        WindowFeatures(path=path, window=window, dim=dim) if layout == "windows" else PackedFeatures(path=path, dim=dim)
    )
