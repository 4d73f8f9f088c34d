"""What a process of ``cpnet.video.extract`` runs. Imports torch with the first video only."""

from __future__ import annotations

from functools import partial
from operator import setitem
from pathlib import Path
from typing import Any

import numpy as np

from cpnet.files import replacing
from cpnet.video.decode import stated_duration
from cpnet.workers import obey_parent

state: dict[
    str, Any
] = {}  # of this process: the seconds that videos have reached, shared with the parent; the backbone


def start(reached: Any) -> None:
    """Prepare this process; ``reached`` is shared with its parent."""
    state["reached"] = reached
    obey_parent()


def encode(number: int, path: Path, target: Path, options: dict[str, Any]) -> str:
    """Encode a video to an npy file and return its defects in words; raises the errors of ``encode_video``."""
    stated_duration(path)  # a file that cannot be opened fails before the imports
    from cpnet.video.backbones import load_backbone
    from cpnet.video.encode import encode_video

    backbone = state.get("backbone") or state.setdefault("backbone", load_backbone(**options))
    reach = partial(setitem, state["reached"], number)
    video = encode_video(path, backbone, threads=options["threads"], progress=reach)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as stream:
        np.save(stream, video.rows)
    return video.defects
