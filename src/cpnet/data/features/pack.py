"""Write the packed store of a corpus atomically, with one video in memory at a time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.fingerprint import fingerprint
from cpnet.data.features.packed import FORMAT, INDEX, ROWS, PackedFeatures, is_packed
from cpnet.data.features.source import FeatureSource
from cpnet.data.moment import normalise_id
from cpnet.errors import DataError, shown
from cpnet.locks import lock
from cpnet.terminal import track

Precision = Literal["float16", "float32"]

LOST = 0.01  # share of a video's values that may become 0 in float16


def pack(
    source: FeatureSource,
    target: Path,
    *,
    videos: Iterable[str],
    dtype: Precision = "float16",
) -> None:
    """Write a packed store of some videos of a source, unless the target already is that store.

    The store is written to ``TARGET.partial`` and renamed when complete. If packing is interrupted, the old store (if
    any) remains, and the next packing removes the partial files. Concurrent processes wait for each other.

    Args:
        source: the pack
        target: the folder of the store; an old store there is replaced, other content is rejected
        videos: ids of the videos to pack
        dtype: type of the rows

    Raises:
        DataError: a video is missing, defective or does not fit the dtype; the disk is full or read-only; the
            source changes during packing; or the target exists but is not a packed store.
    """
    names = sorted({normalise_id(video): video for video in videos}.values(), key=normalise_id)
    partial, old = (target.with_name(f"{target.name}.{mark}") for mark in ("partial", "old"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        restore(target)
        with lock(target.with_name(f".{target.name}.lock")):
            _remove(partial, old)
            if _is_current(target, source, names, dtype):
                return
            if target.exists() and not is_packed(target):
                raise DataError(
                    f"{target} is not a packed store, so it is not replaced; remove it, or set dataset.features.packed "
                    "to another place"
                )
            try:
                _write(source, partial, names, np.dtype(dtype).newbyteorder("<"))
                if target.exists():
                    target.rename(old)  # not removed: NFS refuses removal of files that a training run maps
                partial.rename(target)
            finally:
                _remove(partial, old)
    except OSError as error:
        raise DataError(
            f"cannot write the packed store {target} ({error}); free some space or grant write permission, or set "
            "dataset.features.packed to another place"
        ) from error


def restore(target: Path) -> None:
    """Put the old store back if packing was killed between its two renames."""
    old = target.with_name(f"{target.name}.old")
    if old.exists() and not target.exists():
        with lock(target.with_name(f".{target.name}.lock")):
            if old.exists() and not target.exists():  # not by another process meanwhile
                old.rename(target)


def open_store(path: Path, dim: int | None = None) -> PackedFeatures | None:
    """Open a packed store; return None if it is missing or damaged, or has another width."""
    try:
        return PackedFeatures(path=path, dim=dim)
    except DataError:
        return None


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _is_current(target: Path, source: FeatureSource, names: Sequence[str], dtype: str) -> bool:
    store = open_store(target)
    return bool(
        store and store.table.dtype == dtype and store.source_stamp == source.stamp() and not store.missing(names)
    )


def _write(source: FeatureSource, folder: Path, names: Sequence[str], dtype: np.dtype[Any]) -> None:
    stamp = source.stamp()
    extractor = source.extractor.to_dict() if source.extractor else None
    origin = {"fingerprint": fingerprint(source), "stamp": stamp, "source": source.describe(), "extractor": extractor}
    files = {name: source.files[name] for name in names if name in source.files}
    counts = [source.length(name) for name in track(names, "measuring")]
    shape = (sum(counts) + 1, source.dim)
    size, free = shape[0] * shape[1] * dtype.itemsize, shutil.disk_usage(folder.parent).free
    if size > free:
        raise DataError(
            f"the packed store needs {size / 1e9:.1f} GB, but {folder.parent} has {free / 1e9:.1f} GB free; free some "
            "space, or set dataset.features.packed to another place"
        )
    folder.mkdir()
    with (folder / ROWS).open("wb") as stream:  # a memory map would crash the process on a full disk
        np.lib.format.write_array_header_1_0(stream, {"descr": dtype.str, "fortran_order": False, "shape": shape})
        for name, count in zip(track(names, "packing"), counts, strict=True):
            stream.write(_convert(source, name, count, dtype).data)
        stream.write(bytes(source.dim * dtype.itemsize))
        stream.flush()
        os.fsync(stream.fileno())
    (folder / INDEX).write_text(
        json.dumps({"format": FORMAT, "ids": names, "counts": counts, "files": files, **origin}), encoding="utf-8"
    )
    if source.stamp() != stamp:
        raise DataError(f"{source.path} changed during packing, so the packed store was discarded; pack again")


def _convert(source: FeatureSource, name: str, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    rows = source.rows(name)
    if len(rows) != count:
        raise DataError(f"{source.path} changed during packing: {shown(name)} has a new number of rows; pack again")
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(rows, dtype=dtype)
    if stored.itemsize >= rows.itemsize:
        return stored
    if not np.isfinite(stored).all():
        reason = f"reach {np.abs(rows).max():.3g}, beyond float16"
    elif np.count_nonzero(stored) < (1 - LOST) * np.count_nonzero(rows):
        reason = "have many values that float16 rounds to 0"
    else:
        return stored
    raise DataError(f"{source.path}: features of {shown(name)} {reason}; set dtype=float32")
