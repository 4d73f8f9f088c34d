"""Extract the features of a folder of video files to a packed store.

The rows of each finished video are kept beside the store until all are done, so that an interrupted extraction
continues with the next video. A file that cannot be read, or that crashes its process, does not stop the others.
"""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import shutil
import zlib
from collections import deque
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from filelock import Timeout

from cpnet.data.extractor import Extractor
from cpnet.data.features.feature_pack import open_features
from cpnet.data.features.folder import entries
from cpnet.data.features.joined import UnitedFeatures
from cpnet.data.features.pack import Precision, pack, restore
from cpnet.data.features.packed import PackedFeatures
from cpnet.data.features.source import VideoFile
from cpnet.data.moment import normalise_id
from cpnet.errors import ConfigError, DataError
from cpnet.locks import lock
from cpnet.terminal import seconds_bar
from cpnet.video import worker
from cpnet.video.backbones import load_backbone
from cpnet.video.decode import SUFFIXES, stated_duration
from cpnet.workers import cores

log = logging.getLogger(__name__)


class Extraction(NamedTuple):
    """Result of an extraction."""

    store: PackedFeatures
    encoded: list[str]  # ids of the videos that were encoded now
    failed: dict[str, str]  # why videos have no rows, by id


def extract(
    videos: Path,
    target: Path,
    *,
    backbone: str = "efficientnet_lite0",
    weights: Path | None = None,
    fps: float | None = None,
    workers: int | None = None,
    dtype: Precision = "float16",
) -> Extraction:
    """Encode the videos of a folder and its subfolders, and add them to a packed store.

    The id of a video is its path below the folder without the suffix. Videos that the store has are not encoded again.
    A script that calls this needs ``if __name__ == "__main__"``, because the processes import it.

    Args:
        videos: the folder
        target: the packed store; created if it does not exist
        backbone, weights, fps: see ``load_backbone``
        workers: processes; None: one for each core
        dtype: see ``pack``

    Raises:
        ConfigError: the backbone or a number is invalid, or a package is missing
        DataError: there is no video, none can be read, the store has rows of another extractor, or it cannot be written
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be 1 or more; got {workers}")
    options: dict[str, Any] = {"name": backbone, "weights": weights, "fps": fps}
    kind = load_backbone(**options).extractor()
    files, target = find_videos(videos), target.absolute()
    folder = target.with_name(f"{target.name}.extracting")
    rows = folder / f"{zlib.crc32(os.fsencode(f'{kind} of {videos.resolve()}')):08x}"  # of a backbone and folder
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with lock(folder.with_name(f".{folder.name}.lock"), timeout=0):
            store = _open_store(target, files, kind)
            known = set(store.ids()) if store else set()
            rows.mkdir(parents=True, exist_ok=True)
            # Remove rows of files that are gone, and of a process that was killed after packing.
            for path in [each for each in rows.rglob("*.npy") if each.is_file()]:
                name = path.relative_to(rows).as_posix().removesuffix(".npy")
                if name in known or name not in files:
                    path.unlink()
            done = {name for name in files if name in known or (rows / f"{name}.npy").is_file()}
            failed = _encode({name: files[name] for name in files if name not in done}, rows, options, workers)
            for name, reason in sorted(failed.items()):
                log.warning("video %s is skipped: %s", name, reason)
            if any(rows.rglob("*.npy")):
                source = UnitedFeatures([*([store] if store else []), open_features(path=rows, layout="npy")])
                source.extractor = kind
                fresh = [name for name in source.ids() if name not in known]
                found = {name: _describe(files[name], source.length(name), kind) for name in fresh}
                source.files = {**store.files, **found} if store else found
                pack(source, target, videos=source.ids(), dtype=dtype)
            shutil.rmtree(rows)
            with suppress(OSError):  # it has rows of another extraction, which was interrupted
                folder.rmdir()
    except OSError as error:
        why = "another process extracts to it" if isinstance(error, Timeout) else error
        raise DataError(f"cannot write {target} ({why}); wait, free space, or choose another path") from error
    if not target.exists():
        raise DataError(f"none of the {len(files)} videos in {videos} can be read; the reasons are above")
    return Extraction(PackedFeatures(path=target), [name for name in files if name not in {*done, *failed}], failed)


def _open_store(target: Path, files: dict[str, Path], kind: Extractor) -> PackedFeatures | None:
    """Open the store, if there is one, and check that the rows of the files may be added to it."""
    restore(target)
    if not target.exists():
        return None
    store = PackedFeatures(path=target)
    if store.extractor != kind:
        raise DataError(
            f"{target} has features of another extractor, {store.extractor or 'an unknown one'}, not of {kind}; choose "
            "another path, or remove it"
        )
    alike = {normalise_id(name): name for name in files}
    for name in store.ids():
        if (other := alike.get(normalise_id(name), name)) != name:
            raise DataError(
                f"{target} has {name!r}, and annotations cannot tell it from {files[other]}; rename this file"
            )
    for name, file in store.files.items():
        if name in files and (old := Path(file.path)).exists() and not old.samefile(files[name]):
            raise DataError(f"{target} has the id {name!r} already, of {old}; rename {files[name]}")
    return store


def _describe(path: Path, rows: int, kind: Extractor) -> VideoFile:
    """Return the path and the duration of a file: what it states, unless its rows differ, as of a truncated file."""
    duration_sec, row_sec = rows * kind.stride / kind.fps, kind.stride / kind.fps
    with suppress(DataError):  # the file was removed meanwhile
        stated_sec = stated_duration(path)
        if abs(stated_sec - duration_sec) <= row_sec:
            duration_sec = stated_sec
    return VideoFile(str(path.absolute()), duration_sec)


def find_videos(folder: Path, *, key: str = "videos") -> dict[str, Path]:
    """Return the video files of a folder and its subfolders by id, in alphabetical order; hidden files are ignored.

    Raises:
        DataError: there is no video, a folder cannot be read, or two files have one id
    """
    found: dict[str, Path] = {}
    alike: dict[str, Path] = {}  # by ids as annotations may spell them
    try:
        names = sorted(name for name, entry in entries(folder) if not entry.is_dir()) if folder.is_dir() else []
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror}); grant access, or set {key} to a folder without it"
        ) from error
    for inside in map(Path, names):
        path = folder / inside
        if path.suffix.lower() in SUFFIXES:
            name = inside.with_suffix("").as_posix()
            if (other := alike.setdefault(normalise_id(name), path)) != path:
                raise DataError(f"{other} and {path} have the same id {name!r}; rename one of them")
            found[name] = path
    if not found:
        raise DataError(f"{key}={folder} contains no video files ({', '.join(SUFFIXES)})")
    return found


def _encode(files: dict[str, Path], rows: Path, backbone: dict[str, Any], workers: int | None) -> dict[str, str]:
    """Encode videos in several processes, where a crash costs one video; return why videos failed, by id."""
    if not files:
        return {}
    failed: dict[str, str] = {}
    most = cores()
    workers = min(workers or most, len(files))
    options = backbone | {"threads": max(1, most // workers)}
    spawn, others = multiprocessing.get_context("spawn"), set(multiprocessing.active_children())
    reached = spawn.RawArray("d", len(files))  # the second of each video
    start = partial(ProcessPoolExecutor, 1, spawn, worker.start, (reached,))  # one process, so a crash names its video
    idle: list[ProcessPoolExecutor] = []
    jobs: dict[Future[str], tuple[int, str, ProcessPoolExecutor]] = {}
    queue = deque(enumerate(files))
    try:
        pool = start()
        with suppress(BrokenExecutor):  # a crash: the seconds of the files that follow are unknown
            pool.submit(worker.measure, [*files.values()]).result()
            idle.append(pool)
        seconds = [*reached]
        reached[:] = [0.0] * len(files)
        log.info("extracting %d videos of %.0f seconds with %d processes", len(files), sum(seconds), workers)
        with seconds_bar("extracting", sum(seconds)) as show:
            while queue or jobs:
                while queue and len(jobs) < workers:
                    number, name = queue.popleft()
                    pool = idle.pop() if idle else start()
                    job = pool.submit(worker.encode, number, files[name], rows / f"{name}.npy", options)
                    jobs[job] = number, name, pool
                for job in wait(jobs, timeout=0.5, return_when=FIRST_COMPLETED).done:
                    number, name, pool = jobs.pop(job)
                    reached[number] = seconds[number]
                    if error := job.exception():
                        failed[name] = _reason(error, files[name])
                    elif job.result():
                        log.warning("video %s is damaged: %s", files[name], job.result())
                    if not isinstance(error, BrokenExecutor):
                        idle.append(pool)
                show(sum(reached))
    finally:  # also after Ctrl-C
        for child in set(multiprocessing.active_children()) - others:
            child.kill()
    return failed


def _reason(error: BaseException, path: Path) -> str:
    """Return why a video failed; raise an error of the disk, with which the other videos would fail too."""
    if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
        raise error
    return str(error) if isinstance(error, DataError) else f"encoding {path} failed: {error!r}"
