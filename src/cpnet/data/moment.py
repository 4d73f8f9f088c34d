"""Moments (annotations that link a query to a span of a video), normalised ids of videos, and names of splits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_MEDIA_EXTENSION = re.compile(r"(?<=.)(\.(3gp|avi|flv|m4v|mkv|mov|mp4|mpe?g|ogv|ts|webm|wmv))+$", re.IGNORECASE)
# A YouTube id has 11 characters and may itself begin with v_, so v_ is a prefix only before 11 characters.
_ACTIVITYNET = re.compile(r"v_(.{11})")
_TACOS_CAMERA = re.compile(r"(s\d+-d\d+)-cam-002")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One annotated pair of a query and the spans that it describes, exactly as in the file."""

    qid: str  # unique within its split
    video: str  # as the annotation file spells it
    query: str  # without outer white space
    windows_sec: tuple[tuple[float, float], ...]  # all true (start, end), uncleaned; empty if none is known
    duration_sec: float  # of the video
    numbered: bool = False  # the qid is a number in the file


def is_test(split: str) -> bool:
    """Return whether a split is measured once, after training: ``test``, or one of several, ``test_NAME``.

    A name becomes that of a folder, so it has letters, digits, ``_`` and ``-`` alone.

    >>> [is_test(split) for split in ("train", "val", "test", "test_ood", "test_/../..")]
    [False, False, True, True, False]
    """
    return re.fullmatch(r"test(_[\w-]+)?", split) is not None


@lru_cache(maxsize=1 << 16)  # a video has many moments
def normalise_id(video: str) -> str:
    """Normalise a video's id, so that ids of annotations and features match.

    Removes spaces around it, media extensions, ActivityNet's ``v_`` and TACoS's ``-cam-002``.

    >>> [normalise_id(video) for video in ("v_QOlSCBRmfWY", "s30-d52-cam-002", "s30-d52.avi", "00607")]
    ['QOlSCBRmfWY', 's30-d52', 's30-d52', '00607']
    """
    name = _MEDIA_EXTENSION.sub("", video.strip(" ")).strip(" ")
    for spelling in (_ACTIVITYNET, _TACOS_CAMERA):
        if match := spelling.fullmatch(name):
            name = match[1]
    return name
