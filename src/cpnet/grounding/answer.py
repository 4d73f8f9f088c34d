"""The moments that answer a sentence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class FoundMoment:
    """A moment of a video that may show what a sentence describes.

    Attributes:
        query: the sentence
        start_sec: start in seconds
        end_sec: end in seconds
        score: how far the attention of the model agrees with it, from 0 to 1, see ``candidates.agreement``; lower for
            a moment that overlaps an earlier one. Comparable between moments, windows and videos. The first moment is
            the model's own prediction, so a later one may score higher. Models with scores of their own return those
            (zero-shot: the mean cosine), models without attention 1 / rank
    """

    query: str
    start_sec: float
    end_sec: float
    score: float


@dataclass(frozen=True, kw_only=True)
class Hit(FoundMoment):
    """A moment of one of many videos: the id of the video, and the path of its file, empty if unknown."""

    video: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model finds for a sentence.

    Attributes:
        query: the sentence
        moments: best first
        attention: over T equal parts of the video, of shape (T,), sums to 1; empty for a model without attention
        unknown_words: words of the sentence that the model does not know
    """

    query: str
    moments: tuple[FoundMoment, ...]
    attention: NDArray[np.float32]
    unknown_words: tuple[str, ...] = ()
