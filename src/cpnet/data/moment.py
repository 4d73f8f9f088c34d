"""A moment: the annotation that joins a sentence to a stretch of a video. And the error that every reader raises."""

from __future__ import annotations

from dataclasses import dataclass


class DataError(ValueError):
    """Something in a user's files is wrong; the message says what, where, and what to do next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One annotated pair: a query and the span of the video that it describes, exactly as the file has it.

    Attributes:
        qid: name of the pair, unique in its split
        video: id of the video, as the annotation file spells it
        query: the sentence, without outer white space
        start_sec: where the moment starts, in seconds
        end_sec: where it ends, in seconds; may lie past the video or before the start, see ``cleaning``
        duration_sec: length of the video in seconds
    """

    qid: str
    video: str
    query: str
    start_sec: float
    end_sec: float
    duration_sec: float
