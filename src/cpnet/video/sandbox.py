"""Decode a file of unknown origin in a process of its own, with limits of memory and time.

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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np

from cpnet.errors import DataError, cut
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
        limits, second = self.limits, 0.0
        task = {"path": str(self.path), "fps": self.fps, "size": self.size, "limits": asdict(limits)}
        with _child(json.dumps(task), limits.wall_sec) as stream:
            while True:
                header = stream.read(HEADER.size)
                if len(header) < HEADER.size:
                    raise self._stopped(second)
                second, height, width = HEADER.unpack(header)
                count = min(height, MAX_REPORT) if math.isnan(second) else min(height * width, MAX_PIXELS) * 3
                content = stream.read(count)
                if math.isnan(second):
                    break
                if len(content) < height * width * 3:
                    raise self._stopped(second)
                yield second, np.frombuffer(content, np.uint8).reshape(height, width, 3)
        report = json.loads(content)
        if "error" in report:
            raise DataError(str(report["error"]))
        self.seen = Seen(**report)

    def _stopped(self, second: float) -> DataError:
        limits = self.limits
        return DataError(
            f"{self.path}: decoding stopped after second {second:.1f}: it crashed, or needed more than "
            f"{limits.memory_bytes >> 20} MB, {limits.cpu_sec} seconds of processor time or {limits.wall_sec:.0f} "
            "seconds; convert the file to mp4"
        )


@contextmanager
def _child(task: str, wall_sec: float) -> Iterator[IO[bytes]]:
    """Start the process and yield what it writes; kill it at the end or after some seconds."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # threads reserve memory
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    command = [sys.executable, "-m", __name__, task]
    with subprocess.Popen(command, stdin=null, stdout=pipe, stderr=null, env=environment) as child:
        timer = threading.Timer(wall_sec, child.kill)
        timer.start()
        try:
            assert child.stdout is not None
            yield child.stdout
        finally:
            timer.cancel()
            child.kill()


def limit(limits: Limits) -> None:
    """Limit memory and processor time of this process, where the system can."""
    with suppress(ImportError):  # Windows
        import resource

        for kind, most in ((resource.RLIMIT_AS, limits.memory_bytes), (resource.RLIMIT_CPU, limits.cpu_sec)):
            with suppress(ValueError, OSError):  # macOS has no limit of the address space
                resource.setrlimit(kind, (most, most))


def main() -> None:
    """Write the frames of the file that the command line names to stdout, then what was seen or the error."""
    task = json.loads(sys.argv[1])
    limits = Limits(**task["limits"])
    with suppress(ImportError):  # SampledFrames says that it is missing
        import av  # noqa: F401  # before the limits, which are for the file
    limit(limits)
    size = task["size"] if task["size"] is None or isinstance(task["size"], int) else (task["size"][0], task["size"][1])
    out = sys.stdout.buffer
    try:
        frames = SampledFrames(task["path"], task["fps"], size=size, max_sec=limits.max_sec)
        for second, frame in frames:
            out.write(HEADER.pack(second, *frame.shape[:2]))
            out.write(frame.data)
        report = json.dumps(asdict(frames.seen))
    except ValueError as error:  # ConfigError, DataError
        report = json.dumps({"error": cut(str(error), 1000)})
    out.write(HEADER.pack(math.nan, len(report), 0) + report.encode("ascii"))


if __name__ == "__main__":
    main()
