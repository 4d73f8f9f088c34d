"""Extract the features of a folder of video files to a packed store.

Several processes encode one video each at a time. The rows of each finished video are kept beside the store until all
are done, so that an interrupted extraction continues with the next video. A file that cannot be read, or that crashes
its process, is reported and does not stop the others.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from filelock import FileLock, Timeout

from cpnet.data.extractor import Extractor
from cpnet.data.features.feature_pack import open_features
from cpnet.data.features.joined import UnitedFeatures
from cpnet.data.features.pack import Precision, pack, restore
from cpnet.data.features.packed import PackedFeatures
from cpnet.data.features.source import VideoFile
from cpnet.errors import ConfigError, DataError
from cpnet.files import write_json
from cpnet.terminal import Progress, seconds_bar, silent
from cpnet.video.backbones import load_backbone
from cpnet.video.decode import SUFFIXES, stated_duration

MARK = "extractor.json"  # in the folder of finished rows
WORKER = "cpnet.video.worker"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """Result of an extraction.

    Attributes:
        store: the packed store
        encoded: ids of the videos that were encoded now
        failed: why videos have no rows, by id
    """

    store: PackedFeatures
    encoded: list[str]
    failed: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class _Task:
    name: str
    path: Path
    target: Path
    seconds: float


@dataclass
class _Work:
    """Videos to encode, and what became of them."""

    tasks: SimpleQueue[_Task]
    advance: Callable[[float], None]
    failed: dict[str, str] = field(default_factory=dict)
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def stop(self) -> None:
        """End the processes and leave the other videos."""
        with suppress(Empty):
            while True:
                self.tasks.get_nowait()
        for child in self.children:
            child.kill()


def extract(
    videos: Path,
    target: Path,
    *,
    backbone: str = "efficientnet_lite0",
    fps: float | None = None,
    workers: int | None = None,
    dtype: Precision = "float16",
    progress: Progress = silent,
) -> Extraction:
    """Encode the videos of a folder and its subfolders, and add them to a packed store.

    The id of a video is its path below the folder without the suffix. Videos that the store has are not encoded again.

    Args:
        videos: the folder
        target: the packed store; created if it does not exist
        backbone: name of the backbone
        fps: frames per second; None takes the backbone's own rate
        workers: processes; None: one for each core
        dtype: type of the rows in the store
        progress: wraps the videos of each stage of packing

    Raises:
        ConfigError: the backbone or a number is invalid, or a package is missing
        DataError: there is no video, none can be read, the store has rows of another kind, or it cannot be written
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be 1 or more; got {workers}")
    kind = load_backbone(backbone, fps=fps).extractor()
    files = find_videos(videos)
    restore(target)
    store = PackedFeatures(path=target) if target.exists() else None
    known = {name: store.files.get(name) for name in store.ids()} if store else {}
    for name, file in known.items():
        if file and name in files and Path(file.path) != files[name].absolute() and Path(file.path).exists():
            raise DataError(f"{target} has {file.path} as {name!r}, so not {files[name]} too; rename one of them")
    if store and store.extractor != kind:
        raise DataError(
            f"{target} has rows of another kind, {store.extractor or 'of unknown origin'}, not of {kind}; set features "
            "to another path, or remove it"
        )
    partial = target.with_name(f"{target.name}.extracting")
    with _claimed(partial, kind):
        done = {name for name in files if name in known or (partial / f"{name}.npy").is_file()}
        failed = _encode(
            {name: path for name, path in files.items() if name not in done},
            partial,
            {"name": backbone, "fps": fps},
            workers or _cores(),
        )
        for name, reason in failed.items():
            log.warning("video %s has no rows: %s", name, reason)
        fresh = [name for name in files if (partial / f"{name}.npy").is_file()]
        if fresh:
            source = UnitedFeatures([*([store] if store else []), open_features(path=partial, layout="npy")])
            source.extractor = kind
            found = {name: _described(files[name], source.length(name), kind) for name in fresh}
            source.files = {name: file for name, file in known.items() if file} | found
            pack(source, target, videos=source.ids(), dtype=dtype, progress=progress)
        shutil.rmtree(partial)
        if not fresh and store is None:
            raise DataError(f"none of the {len(files)} videos in {videos} can be read; the reasons are above")
    return Extraction(PackedFeatures(path=target), [name for name in fresh if name not in done], failed)


def find_videos(folder: Path) -> dict[str, Path]:
    """Return the video files of a folder and its subfolders by id, in alphabetical order; hidden files are ignored.

    Raises:
        DataError: it is no folder, has no video, or two files have one id
    """
    if not folder.is_dir():
        raise DataError(f"videos={folder} is no folder; set it to a folder of video files")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("[!.]*")):
        inside = path.relative_to(folder)
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in inside.parts):
            continue
        name = inside.with_suffix("").as_posix()
        if name in found:
            raise DataError(f"{found[name]} and {path} have the same id {name!r}; rename one of them")
        found[name] = path
    if not found:
        raise DataError(f"{folder} has no video file ({', '.join(SUFFIXES)})")
    return found


def _described(path: Path, rows: int, kind: Extractor) -> VideoFile:
    """Return path and duration of a file; a duration that does not fit its rows, as of a truncated file, is not used."""
    stated, row_sec = stated_duration(path), kind.stride / kind.fps
    seconds = stated if abs(stated - rows * row_sec) <= row_sec else rows * row_sec
    return VideoFile(str(path.absolute()), seconds)


@contextmanager
def _claimed(partial: Path, kind: Extractor) -> Iterator[None]:
    """Create the folder of finished rows, or continue with it; no other process may use it meanwhile."""
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with FileLock(partial.with_name(f".{partial.name}.lock"), timeout=0):
            if not (partial / MARK).exists():
                write_json(partial / MARK, kind.to_dict())
            if Extractor.from_dict(json.loads((partial / MARK).read_text(encoding="utf-8"))) != kind:
                raise DataError(
                    f"{partial} has rows of an interrupted extraction of another kind; finish that one, or remove it"
                )
            yield
    except Timeout as error:
        raise DataError(
            f"another process extracts to {partial}; wait for it, or set features to another path"
        ) from error
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(
            f"cannot write {partial} ({error}); free some space, or set features to another path"
        ) from error


def _encode(files: dict[str, Path], partial: Path, options: dict[str, object], workers: int) -> dict[str, str]:
    """Encode videos in several processes; return why videos failed, by id."""
    work = _Work(SimpleQueue(), advance=lambda seconds: None)
    seconds = []
    for name, path in files.items():
        try:
            seconds.append(stated_duration(path))
        except DataError as error:
            work.failed[name] = str(error)
            continue
        work.tasks.put(_Task(name=name, path=path, target=partial / f"{name}.npy", seconds=seconds[-1]))
    workers = min(workers, len(seconds))
    if not workers:
        return work.failed
    log.info("extracting %d videos of %.0f seconds with %d processes", len(seconds), sum(seconds), workers)
    settings = json.dumps({**options, "threads": max(1, _cores() // workers)})
    with seconds_bar("extracting", sum(seconds)) as work.advance, ThreadPoolExecutor(workers) as threads:
        try:
            for thread in [threads.submit(_serve, work, settings) for _ in range(workers)]:
                thread.result()
        except BaseException:  # such as Ctrl-C
            work.stop()
            raise
    return dict(sorted(work.failed.items()))


def _serve(work: _Work, settings: str) -> None:
    """Let one process encode videos until none is left; start another if it crashes."""
    while not work.tasks.empty():
        command = [sys.executable, "-m", WORKER]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8", env=environment) as child:
            assert child.stdin
            work.children.append(child)
            lines = [settings]
            while True:
                try:
                    task = work.tasks.get_nowait()
                except Empty:
                    break
                task.target.parent.mkdir(parents=True, exist_ok=True)
                lines.append(json.dumps({"path": str(task.path), "target": str(task.target)}))
                if not _run(child, lines, task, work):
                    break
                lines = []


def _run(child: subprocess.Popen[str], lines: list[str], task: _Task, work: _Work) -> bool:
    """Let a process encode a video; return whether it can encode the next one."""
    assert child.stdin
    assert child.stdout
    reached, answer = 0.0, None
    try:
        child.stdin.write("".join(f"{line}\n" for line in lines))
        child.stdin.flush()
        for line in child.stdout:
            answer = json.loads(line)
            if "second" not in answer:
                break
            work.advance(answer["second"] - reached)
            reached, answer = answer["second"], None
    except BrokenPipeError:
        pass
    work.advance(task.seconds - reached)
    if answer is None:
        work.failed[task.name] = f"the process that decoded {task.path} ended with code {child.wait()}"
        return False
    if "error" in answer:
        work.failed[task.name] = answer["error"]
    elif answer["defects"]:
        log.warning("video %s is damaged: %s", task.path, answer["defects"])
    return True


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
