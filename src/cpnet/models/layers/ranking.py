"""Ranked predictions out of many scored spans, by non-maximum suppression."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cpnet import spans as algebra


def rank(spans: Tensor, scores: Tensor, *, number: int, decay: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Choose the best span again and again; each lowers the scores of the others by a function of their IoU.

    Args:
        spans: candidates
        scores: their scores, 0 or more; below 0 where there is no candidate
        number: N
        decay: maps IoUs (B, M) to factors: ``hard(threshold)`` or ``soft(sigma)``

    Shape: spans (B, M, 2), scores (B, M) -> ranked (B, N, 2), scores (B, N); -inf where a pair has fewer than N, which
        repeat its first

    >>> spans = torch.tensor([[[0.0, 1.0], [0.0, 0.9], [0.5, 1.0]]])
    >>> rank(spans, torch.tensor([[0.9, 0.8, 0.3]]), number=3, decay=hard(0.8))[1][0].tolist()
    [0.8999999761581421, 0.30000001192092896, -inf]
    """
    scores = scores.masked_fill(scores < 0, -torch.inf)
    ranked, found = list[Tensor](), list[Tensor]()
    for _ in range(number):
        score, place = scores.max(dim=1, keepdim=True)
        best = spans.gather(1, place[..., None].expand(-1, -1, 2))  # (B, 1, 2)
        real = score > -torch.inf
        ranked.append(torch.where(real[..., None], best, ranked[0] if ranked else best))
        found.append(score)
        factor = decay(algebra.iou(best, spans)).to(scores.dtype)
        scores = torch.where(factor > 0, scores * factor, -torch.inf)
        scores = scores.scatter(1, place, -torch.inf)
    return torch.cat(ranked, dim=1), torch.cat(found, dim=1)


def vote(ranked: Tensor, spans: Tensor, scores: Tensor, *, least: float) -> Tensor:
    """Average each ranked span with all whose IoU with it is ``least`` or more, weighted by their scores.

    Shape: ranked (B, N, 2), spans (B, M, 2), scores (B, M), below 0 where there is no candidate -> (B, N, 2)

    >>> spans, scores = torch.tensor([[[0.0, 1.0], [0.0, 0.75], [0.5, 1.0]]]), torch.tensor([[0.75, 0.25, 0.5]])
    >>> vote(spans[:, :1], spans, scores, least=0.6).tolist()
    [[[0.0, 0.9375]]]
    """
    weight = scores.clamp_min(0)[:, None] * (algebra.iou(ranked[:, :, None], spans[:, None]) >= least)  # (B, N, M)
    total = weight.sum(dim=2, keepdim=True)
    return torch.where(total > 0, weight @ spans / total.clamp_min(torch.finfo(total.dtype).tiny), ranked)


def hard(threshold: float) -> Callable[[Tensor], Tensor]:
    """Return the decay that removes spans whose IoU with a better one is above the threshold."""
    return lambda iou: (iou <= threshold).to(iou.dtype)


def soft(sigma: float) -> Callable[[Tensor], Tensor]:
    """Return the Gaussian decay of soft-NMS (Bodla et al. 2017)."""
    return lambda iou: torch.exp(-(iou**2) / sigma)
