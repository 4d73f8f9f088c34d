"""Worker process of ``cpnet.video.extract``; imports torch with the first video."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from operator import setitem
from pathlib import Path
from typing import Any

import numpy as np

from cpnet.errors import DataError
from cpnet.files import replacing
from cpnet.video.decode import stated_duration
from cpnet.workers import obey_parent

state: dict[str, Any] = {}  # of this process: the backbone, and the second of each video, shared with the parent


def start(reached: Any) -> None:
    """Prepare this process, which ends with its parent or when its parent kills it."""
    state["reached"] = reached
    obey_parent()


def measure(paths: list[Path]) -> None:
    """Share the seconds that files state, 0 for those that cannot be opened."""
    for number, path in enumerate(paths):
        with suppress(DataError):  # ``encode`` says why
            state["reached"][number] = stated_duration(path)


def encode(number: int, path: Path, target: Path, options: dict[str, Any]) -> str:
    """Encode a video to an npy file and return its defects in words; raises the errors of ``encode_video``."""
    stated_duration(path)  # a file that cannot be opened fails before the imports
    from cpnet.video.backbones import load_backbone
    from cpnet.video.encode import encode_video

    backbone = state.get("backbone") or state.setdefault("backbone", load_backbone(**options))
    reach = partial(setitem, state["reached"], number)
    video = encode_video(path, backbone, threads=options["threads"], progress=reach)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target, durable=True) as stream:
        np.save(stream, video.rows)
    return video.defects
