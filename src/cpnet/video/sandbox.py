"""Read a file of unknown origin in a process of its own, with limits of memory and time.

A file that crashes the decoder, allocates too much or never ends costs its process only. The process writes plain bytes
to a pipe, so that nothing that it writes can run a program in the reader. It has the rights of its user: the limits do
not replace a container.
"""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cpnet.errors import DataError, cut
from cpnet.video.cut import cut as cut_video
from cpnet.video.decode import MAX_PIXELS, MAX_SEC, Frame, SampledFrames, Seen, Size

HEADER = struct.Struct("<dII")  # second, height, width of a frame; at the end NaN, bytes of a JSON, 0
MAX_REPORT = 65536  # bytes of the JSON


@dataclass(frozen=True)
class Limits:
    """Limits of the process. Memory and processor time are limited on Linux and macOS only."""

    memory_bytes: int = 2 << 30
    cpu_sec: int = 1800
    wall_sec: float = 7200.0  # includes the time of the reader
    max_sec: float = MAX_SEC  # of the video


CUT_LIMITS = Limits(cpu_sec=60, wall_sec=60.0)  # packets are copied, not decoded


class SandboxedFrames:
    """Like ``SampledFrames``, decoded in a process of its own.

    Raises:
        DataError: iteration raises the errors of ``SampledFrames``, and that a limit was reached
    """

    def __init__(self, path: str | Path, fps: float, *, size: Size = None, limits: Limits | None = None) -> None:
        self.path, self.fps, self.size = Path(path), fps, size
        self.limits = limits or Limits()
        self.seen = Seen()

    def __iter__(self) -> Iterator[tuple[float, Frame]]:
        report = yield from _results(self.path, {"fps": self.fps, "size": self.size}, self.limits)
        self.seen = Seen(**report)


def cut_sandboxed(path: Path, start_sec: float, end_sec: float, target: Path) -> None:
    """Cut a span out as ``cpnet.video.cut.cut`` does, in a process of its own, within ``CUT_LIMITS``.

    Raises:
        DataError: the errors of ``cut``, and that a limit was reached
    """
    for _ in _results(path, {"span": (start_sec, end_sec), "target": str(target)}, CUT_LIMITS):
        pass  # there are no frames


def _results(path: Path, task: dict[str, Any], limits: Limits) -> Generator[tuple[float, Frame], None, dict[str, Any]]:
    """Run a task about a file, yield the frames that it writes, and return its report.

    Raises:
        DataError: the error of the task, or it stopped without a report
    """
    command = [sys.executable, "-m", __name__, json.dumps(task | {"path": str(path), "limits": asdict(limits)})]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # threads reserve memory
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    second = 0.0
    with subprocess.Popen(command, stdin=null, stdout=pipe, stderr=null, env=environment) as child:
        timer = threading.Timer(limits.wall_sec, child.kill)
        timer.daemon = True  # does not delay the end of this program
        timer.start()
        try:
            assert child.stdout is not None
            while len(header := child.stdout.read(HEADER.size)) == HEADER.size:
                time, height, width = HEADER.unpack(header)
                report_follows = math.isnan(time)
                size = height if report_follows else height * width * 3
                content = child.stdout.read(min(size, MAX_REPORT if report_follows else MAX_PIXELS * 3))
                if len(content) < size:
                    break
                if report_follows:
                    report: dict[str, Any] = json.loads(content)
                    if "error" in report:
                        raise DataError(report["error"])
                    return report
                second = time
                yield second, np.frombuffer(content, np.uint8).reshape(height, width, 3)
        finally:
            timer.cancel()
            child.kill()
    raise DataError(
        f"{path}: reading stopped after second {second:.1f}: it crashed, or needed more than "
        f"{limits.memory_bytes >> 20} MB, {limits.cpu_sec} seconds of processor time or {limits.wall_sec:.0f} seconds; "
        "cut the file into shorter ones, or convert it to a smaller mp4"
    )


def _limit(limits: Limits) -> None:
    """Limit memory and processor time of this process, where the system can."""
    with suppress(ImportError):  # Windows
        import resource

        memory, cpu, core = resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_CORE
        for kind, most in ((memory, limits.memory_bytes), (cpu, limits.cpu_sec), (core, 0)):  # a crash leaves no file
            with suppress(ValueError, OSError):  # macOS has no limit of the address space
                resource.setrlimit(kind, (most, most))


def main() -> None:
    """Do the task that the command line describes: write frames or a clip, then what was seen or the error."""
    task = json.loads(sys.argv[1])
    limits = Limits(**task["limits"])
    with suppress(ImportError):  # the task says that it is missing
        import av  # noqa: F401  # before the limits, which are for the file
    _limit(limits)
    out, report = sys.stdout.buffer, {}
    try:
        if "target" in task:
            start_sec, end_sec = task["span"]
            cut_video(Path(task["path"]), start_sec, end_sec, Path(task["target"]))
        else:
            size = tuple(task["size"]) if isinstance(task["size"], list) else task["size"]
            frames = SampledFrames(task["path"], task["fps"], size=size, max_sec=limits.max_sec)
            for second, frame in frames:
                out.write(HEADER.pack(second, *frame.shape[:2]))
                out.write(frame.data)
            report = asdict(frames.seen)
    except (ValueError, OSError) as error:  # ConfigError, DataError, or no space for a clip
        report = {"error": cut(str(error), 1000)}
    content = json.dumps(report).encode("ascii")
    out.write(HEADER.pack(math.nan, len(content), 0) + content)


if __name__ == "__main__":
    main()
