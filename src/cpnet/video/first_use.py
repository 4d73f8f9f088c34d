"""Features of videos that cpnet renders itself, extracted when they are first needed."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from cpnet.data.features.packed import PackedFeatures
from cpnet.errors import DataError, quote
from cpnet.terminal import track
from cpnet.video.extract import extract, find_videos


def extract_missing(videos: Path, target: Path, *, backbone: str, fps: float) -> None:
    """Extract the features of a folder of videos unless the packed store has them all.

    Concurrent processes wait for each other. A complete store is used without the packages that extraction needs.

    Raises:
        ConfigError: the backbone is unknown, fps is invalid, or a package is missing
        DataError: a video cannot be read, or the store has other rows or cannot be written
    """
    if _is_complete(videos, target, backbone, fps):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.first_use.lock")):
        if _is_complete(videos, target, backbone, fps):
            return
        if failed := extract(videos, target, backbone=backbone, fps=fps, progress=track).failed:
            raise DataError(
                f"{len(failed)} videos in {videos} cannot be read: {quote([*failed])}; remove {videos.parent}"
            )


def _is_complete(videos: Path, target: Path, backbone: str, fps: float) -> bool:
    try:
        store = PackedFeatures(path=target)
    except DataError:  # missing or damaged
        return False
    kind = store.extractor
    return kind is not None and (kind.backbone, kind.fps) == (backbone, fps) and not store.missing(find_videos(videos))
