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
        score: how far the model's attention agrees with the moment, in [0, 1], see ``candidates.agreement``; lower for
            a moment that overlaps an earlier one; comparable between moments, windows and videos. The first moment is
            the model's own: if a later one has a higher score, the attention contradicts it. Without attention it is
            the model's own score, such as the mean cosine of zero-shot grounding, or 1 / rank
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
