"""Names of videos: annotation files and feature packs spell the same id differently."""

from __future__ import annotations

import re

_MEDIA_EXTENSION = re.compile(r"(?<=.)(\.(avi|mp4|mkv|webm))+$", re.IGNORECASE)
# A YouTube id has 11 characters and may itself begin with v_, so only a prefix to a whole id is one.
_ACTIVITYNET = re.compile(r"v_(.{11})")
_TACOS_CAMERA = re.compile(r"(s\d+-d\d+)-cam-002")


def normalise_id(video: str) -> str:
    """Spelling of a video's id on which annotations and features are matched.

    A media extension goes, and ActivityNet's ``v_``, and TACoS's ``-cam-002``; "00607" stays a string with zeros.

    Example:
        >>> [normalise_id(video) for video in ("v_QOlSCBRmfWY", "s30-d52-cam-002", "s30-d52.avi", "00607")]
        ['QOlSCBRmfWY', 's30-d52', 's30-d52', '00607']
    """
    name = _MEDIA_EXTENSION.sub("", video)
    for spelling in (_ACTIVITYNET, _TACOS_CAMERA):
        if match := spelling.fullmatch(name):
            name = match[1]
    return name
