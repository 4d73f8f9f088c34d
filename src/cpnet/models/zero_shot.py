"""Grounding without training, by the similarity of clips and sentences in the space of an image-text model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.models.layers.masking import mask_logits

EPSILON = 1e-6  # height by which a constant curve is one stretch
NEVER = -1e6  # height of clips that no further stretch may use, below any sum of heights


class ZeroShot(nn.Module):
    """Rank the best stretches of the curve of cosine similarities between a sentence and the clips of a video.

    The curve is normalised to mean 0 and deviation 1 over the video. The height of a clip is its value minus half of
    the peak. The best stretch has the largest sum of heights, the next one the largest among the remaining clips; a
    single low clip does not end a stretch. Its score is its mean similarity, or that of the stretch before if lower.
    The attention is the softmax of the curve.

    Args:
        word_vectors: (sentences, V) vectors of whole sentences; they may be replaced as ``sentences``
        number: N

    Shape: a :class:`~cpnet.batch.GroundingBatch`, also one whose pairs share videos, whose ``index`` is the row of each
        pair's sentence -> a :class:`~cpnet.batch.GroundingOutput`
    """

    shares_videos = True
    sentences: Tensor

    def __init__(self, word_vectors: Tensor, number: int = 5) -> None:
        super().__init__()
        self.number = number
        self.register_buffer("sentences", word_vectors, persistent=False)

    def forward(self, batch: GroundingBatch) -> GroundingOutput:
        """Rank the stretches of each pair."""
        clips, mask = F.normalize(batch.video, dim=-1), batch.clip_mask.cpu()
        text = F.normalize(self.sentences[batch.index], dim=-1)
        rows = range(len(batch)) if batch.video_index is None else batch.video_index.tolist()
        # Without a copy of each pair's video; then in float64, which Apple's MPS lacks
        curve = torch.stack([clips[row] @ each for row, each in zip(rows, text, strict=True)]).cpu().double()
        real = mask.sum(dim=1, keepdim=True)
        centred = torch.where(mask, curve - (curve * mask).sum(dim=1, keepdim=True) / real, 0.0)
        z = mask_logits(centred / (centred.square().sum(dim=1, keepdim=True) / real).sqrt().clamp_min(1e-9), mask)
        heights = z - z.amax(dim=1, keepdim=True) / 2 + EPSILON
        ranked, scores = best_stretches(heights, curve, real, self.number)
        ranked, scores, attention = (each.float().to(clips.device) for each in (ranked, scores, z.log_softmax(dim=1)))
        return GroundingOutput(span=ranked[:, 0], ranked=ranked, scores=scores, log_attention=attention)


def best_stretches(heights: Tensor, curve: Tensor, real: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return the disjoint stretches with the largest sums of heights, and their scores; -inf where there are fewer.

    Shape: heights and curve (B, T) float64, real clips (B, 1) -> (B, number, 2) in fractions, (B, number)
    """
    place, similarity = torch.arange(heights.shape[1]), F.pad(curve.cumsum(dim=1), (1, 0))
    spans, scores = list[Tensor](), list[Tensor]()
    for _ in range(number):
        sums = F.pad(heights.clamp_min(NEVER).cumsum(dim=1), (1, 0))
        lowest, starts = sums.cummin(dim=1)
        gain, behind = (sums - lowest).max(dim=1, keepdim=True)
        span = torch.cat([starts.gather(1, behind), behind], dim=1)
        mean = similarity.gather(1, span).diff(dim=1) / span.diff(dim=1).clamp_min(1)
        spans.append(torch.where(gain > 0, span / real, spans[0] if spans else span / real))
        scores.append(torch.where(gain > 0, mean, -torch.inf))
        heights = torch.where((span[:, :1] <= place) & (place < behind), NEVER, heights)
    return torch.stack(spans, dim=1), torch.cat(scores, dim=1).cummin(dim=1).values
