"""``python -m cpnet.video.worker``: encode videos for ``cpnet.video.extract``, until its input ends.

Reads one JSON a line: first the backbone, then ``{"path": VIDEO, "target": FILE.npy}`` for each video. Answers each
video with lines ``{"second": S}`` and at last ``{"defects": TEXT}`` or ``{"error": TEXT}``.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from cpnet.errors import DataError
from cpnet.files import replacing
from cpnet.video.backbones import load_backbone
from cpnet.video.encode import encode_video

REPORT_SECONDS = 0.5  # between reports


def main() -> None:
    """Serve the tasks on stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    options = json.loads(sys.stdin.readline())
    backbone = load_backbone(**options)
    for line in sys.stdin:
        task = json.loads(line)
        reported = time.monotonic()

        def report(second: float) -> None:
            nonlocal reported
            if time.monotonic() > reported + REPORT_SECONDS:
                reported = time.monotonic()
                _answer(second=second)

        try:
            video = encode_video(task["path"], backbone, threads=options["threads"], progress=report)
            with replacing(Path(task["target"])) as stream:
                np.save(stream, video.rows)
        except DataError as error:
            _answer(error=str(error))
        else:
            _answer(defects=video.defects)


def _answer(**content: Any) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # the parent was killed
        main()
