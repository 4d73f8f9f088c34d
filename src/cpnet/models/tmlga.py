"""TMLGA: Temporal Moment Localisation by Guided Attention (Rodriguez-Opazo et al., WACV 2020).

The query becomes one filter, whose product with each clip guides the attention of the model to the moment. A recurrent
layer reads the attended clips and scores each as start and as end; soft labels allow for vague boundaries.

Departs from the paper:
    - Boundaries are decoded apart, each at its best clip; if they are reversed they are swapped.
    - Soft labels are Gaussians over the clips, normalised within the video. The public code has 1/2 at the true clip
      and 1/4 at its two neighbours.
    - The product with the filter is divided by the root of the number of words, as in the public code.
    - The true clips are those of ``spans.clip_target``; of several true windows, the one with the least loss counts.
    - Unknown words share a learned vector; the public code draws a random one for each.
    - Biases have the learning rate and weight decay of the weights; the public code doubles their rate, without decay.
    - A video has at most T clips; the public code reads all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet import spans
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.models.layers.embedding import WordEmbedding
from cpnet.models.layers.masking import mask_logits, masked_mean
from cpnet.models.layers.recurrent import Bidirectional
from cpnet.options import TMLGAOptions

EPSILON = 1e-12  # least argument of the logarithm in the attention loss, as in the public code


@dataclass(frozen=True, kw_only=True)
class TMLGAOutput(GroundingOutput):
    """Adds ``log_boundaries`` (B, 2, T), log probability of each clip as start and as end, very low where padded."""

    log_boundaries: Tensor


class TMLGA(nn.Module):
    """Find the clips at which a moment starts and ends among clips that a filter made of the query attends to.

    Args:
        video_dim: V
        word_vectors: (2 + words, W), see :class:`~cpnet.models.layers.embedding.WordEmbedding`
        options: see :class:`~cpnet.options.TMLGAOptions`

    Shape: a :class:`~cpnet.batch.GroundingBatch`, also one whose pairs share videos -> a :class:`TMLGAOutput`, N = 1
    """

    shares_videos = True

    def __init__(self, video_dim: int, word_vectors: Tensor, options: TMLGAOptions) -> None:
        super().__init__()
        width, word_dim = options.hidden_dim, word_vectors.shape[1]
        self.label_width = options.label_width
        self.words = WordEmbedding(word_vectors)
        self.query_encoder = Bidirectional("gru", word_dim, width // 2, bias=False)
        self.filter = nn.Linear(width, width)
        self.video_projection = nn.Linear(video_dim, width)
        self.localisation = Bidirectional("gru", width, width // 2, layers=2, dropout=options.dropout, bias=False)
        self.boundaries = nn.Linear(width, 2)

    def forward(self, batch: GroundingBatch) -> TMLGAOutput:
        """Predict a span for every pair."""
        mask, words = batch.clip_mask, batch.query_mask.sum(dim=1, keepdim=True)  # (B, T), (B, 1)
        video = batch.of_pairs(self.video_projection(batch.video))
        query, _ = self.query_encoder(self.words(batch.query), batch.query_mask)
        query = self.filter(masked_mean(query, batch.query_mask)).tanh()  # (B, D)
        guidance = (video @ query.unsqueeze(2)).squeeze(2) * words.rsqrt()
        log_attention = log_probability(guidance, mask)
        attended = video * log_attention.exp().to(video.dtype).unsqueeze(2)
        logits = self.boundaries(self.localisation(attended, mask)[0]).transpose(1, 2)  # (B, 2, T)
        log_boundaries = log_probability(logits, mask.unsqueeze(1))
        span = decode(log_boundaries, mask)
        ranked = span.sort(dim=-1).values.unsqueeze(1)
        return TMLGAOutput(span=span, ranked=ranked, log_attention=log_attention, log_boundaries=log_boundaries)

    def loss(self, output: TMLGAOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        """Return the scalar ``loss`` and its terms: ``boundaries`` and ``attention``."""
        assert output.log_attention is not None
        labels = soft_labels(batch.windows, batch.clip_mask, width=self.label_width)
        boundaries = boundary_loss(output.log_boundaries, labels)
        attention = guidance_loss(output.log_attention, spans.clip_target(batch.windows, batch.clip_mask))
        return {"loss": boundaries + attention, "boundaries": boundaries, "attention": attention}


def log_probability(logits: Tensor, mask: Tensor) -> Tensor:
    """Compute the log of the softmax over the real clips, in float32 or wider.

    Shape: logits (..., T), mask bool that broadcasts to it, True = real -> as logits, very low where padded
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    return F.log_softmax(mask_logits(logits, mask), dim=-1, dtype=wide)


def decode(log_boundaries: Tensor, mask: Tensor) -> Tensor:
    """Return the span from the beginning of the best first clip to the end of the best last clip.

    Shape: log_boundaries (B, 2, T), mask (B, T) bool, True = real -> (B, 2) in fractions; may be reversed

    >>> decode(torch.eye(4)[None, [1, 2]], torch.ones(1, 4, dtype=torch.bool)).tolist()
    [[0.25, 0.75]]
    """
    edges = log_boundaries.argmax(dim=2) + torch.tensor([0, 1], device=mask.device)
    return edges.to(log_boundaries.dtype) / mask.sum(dim=1, keepdim=True)


def soft_labels(windows: Tensor, mask: Tensor, *, width: float) -> Tensor:
    """Return Gaussians around the first and the last clip of each window, each with sum 1 over the real clips.

    Args:
        windows: true windows in fractions
        mask: real clips
        width: standard deviation in clips

    Shape: windows (B, K, 2), mask (B, T) bool, True = real -> (B, K, 2, T), 0 where padded
    """
    start, end = (windows.clamp(0, 1) * mask.sum(dim=1)[:, None, None]).unbind(dim=2)  # (B, K) each, in clips
    true = torch.stack((start.floor(), end.ceil() - 1), dim=2)  # first and last clip, as in spans.clip_target
    distance = (torch.arange(mask.shape[1], device=mask.device) - true.unsqueeze(3)) / width
    return torch.softmax(mask_logits(-distance.square() / 2, mask[:, None, None]), dim=3)


def boundary_loss(log_boundaries: Tensor, labels: Tensor) -> Tensor:
    """Sum the Kullback-Leibler divergences of both predictions from the labels.

    Shape: log_boundaries (B, 2, T), labels (B, K, 2, T) -> scalar, mean over B; of K windows that with the least loss
    """
    divergence = F.kl_div(log_boundaries.unsqueeze(1).expand_as(labels), labels, reduction="none")
    return divergence.sum(dim=(2, 3)).amin(dim=1).mean()


def guidance_loss(log_attention: Tensor, target: Tensor) -> Tensor:
    """Discourage attention outside of the moment: ``-sum_t (1 - y_t) log(1 - a_t)``.

    Shape: log_attention (B, T), target (B, T) bool, True = inside a true window -> scalar, mean over B
    """
    outside = -(1 - log_attention.exp()).clamp_min(EPSILON).log()
    return torch.where(target, 0.0, outside).sum(dim=1).mean()
