"""Several moments from one output of a model: candidates, their scores, and soft-NMS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.evaluation.functional import iou

Floats = NDArray[np.floating[Any]]
VALLEY = 0.5  # a valley separates two peaks if it is below this share of the lower one
SIGMA = 0.5  # of soft-NMS, as in its paper


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Candidate moments of a sentence in a video or a window, the model's ``ranked`` ones first.

    Shape: spans (N, 2) in fractions, scores (N,), attention (T,) that sums to 1, empty for a model without
    """

    spans: Floats
    scores: Floats
    ranked: int
    attention: NDArray[np.float32]


def find_candidates(batch: GroundingBatch, output: GroundingOutput) -> list[Candidates]:
    """Return the candidates of each pair in the output of a model: its ranked spans, and those of its attention."""
    found, ranked = [], output.ranked.cpu().double().numpy()
    for index, clips in enumerate(batch.clip_mask.sum(dim=1).tolist()):
        own, attention = ranked[index], np.zeros(0, np.float32)
        if output.log_attention is not None:
            attention = output.log_attention[index, :clips].float().exp().cpu().numpy()
        if output.scores is not None:
            scores = output.scores[index].cpu().double().numpy()
            real = np.isfinite(scores)
            spans = own = own[real]
            scores = scores[real]
        elif clips == len(attention):
            spans = np.concatenate([own, *(best_span(attention, *part) for part in basins(attention))])
            scores = agreement(spans, attention)
        else:
            spans, scores = own, 1 / np.arange(1.0, len(own) + 1)
        found.append(Candidates(spans=spans, scores=scores, ranked=len(own), attention=attention))
    return found


def basins(attention: Floats) -> list[tuple[int, int]]:
    """Split an attention (T,) at its valleys; return the first clip of each part and the clip behind its last.

    >>> basins(np.array([0.1, 0.3, 0.25, 0.0, 0.05, 0.3]))
    [(0, 3), (3, 6)]
    """
    parts, waiting = [], [(0, len(attention))]
    while waiting:
        first, behind = waiting.pop()
        part = attention[first:behind]
        lower = np.minimum(np.maximum.accumulate(part), np.maximum.accumulate(part[::-1])[::-1])
        depth = np.divide(part, lower, out=np.ones_like(part), where=lower > 0)
        valley = int(depth.argmin())
        if depth[valley] < VALLEY:
            waiting += [(first + valley, behind), (first, first + valley)]
        else:
            parts.append((first, behind))
    return parts


def best_span(attention: Floats, first: int, behind: int) -> Floats:
    """Return the span within a part with which an attention (T,) agrees most. Shape: -> (1, 2) in fractions"""
    spans = (first + np.stack(np.triu_indices(behind - first + 1, k=1), axis=1)) / len(attention)
    return spans[[agreement(spans, attention).argmax()]]


def agreement(spans: Floats, attention: Floats) -> Floats:
    """Return how far an attention agrees with spans: 1 if it is uniform within the span and 0 elsewhere.

    It is the IoU of the span and the attention divided by its maximum, corrected for chance: a uniform attention agrees
    with no span. An attention that n moments share agrees with each by about 1/n.

    Shape: spans (N, 2) in fractions, attention (T,) -> (N,) in [0, 1]
    """
    edges = np.arange(len(attention) + 1) / len(attention)
    mass = np.concatenate([[0.0], attention.astype(np.float64).cumsum() / attention.max() / len(attention)])
    start, end = np.interp(spans, edges, mass).T
    length, shared = (spans[:, 1] - spans[:, 0]).clip(0), (end - start).clip(0)
    corrected: Floats = (shared / (length + mass[-1] - shared) - length) / (1 - length).clip(1e-9)
    return corrected.clip(0)


def soft_nms(spans: Floats, scores: Floats, *, top: int, kept: int = 0) -> list[tuple[list[float], float]]:
    """Rank spans; each lowers the scores of later ones that overlap it (Gaussian soft-NMS, Bodla et al. 2017).

    The first ``kept`` spans keep places and scores. Returns the ``top`` spans, best first, with their scores.

    Shape: spans (N, 2) in any unit, scores (N,)
    """
    scores, order = np.array(scores, np.float64), list[int]()
    waiting = np.arange(len(scores)) >= kept
    for place in range(min(top, len(scores))):
        best = place if place < kept else int(np.where(waiting, scores, -np.inf).argmax())
        waiting[best] = False
        order.append(best)
        decay = np.exp(-(iou(spans[best], spans) ** 2) / SIGMA)
        lowered = np.where(scores > 0, scores * decay, scores / decay)  # a negative score too becomes lower
        scores = np.where(waiting, lowered, scores)
    return [*zip(spans[order].tolist(), scores[order].tolist(), strict=True)]
