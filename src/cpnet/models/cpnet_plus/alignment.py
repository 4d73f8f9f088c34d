"""Alignment of a sentence with clips before fusion, learned against all clips of a batch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet import spans as algebra
from cpnet.models.layers.masking import mask_logits, masked_softmax
from cpnet.models.layers.span_losses import attention_loss

TEMPERATURE = 0.1  # of the cosines, at the start of training


class Alignment(nn.Module):
    """Compare each sentence with every clip of every video of the batch by scaled cosines.

    Shape:
        - video (V, S, D), video_mask (V, T), query (B, L, D), query_mask (B, L); masks bool, True = real; each of the
          S steps covers ``patch`` of the T clips
        - index None if V = B, or (B,) the video of each pair
        - -> log softmax over the clips of the pair's own video (B, T), and over those of all videos, of which the
          own video's are returned (B, T); both float32 or wider
    """

    def __init__(self, width: int, *, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.weight = nn.Linear(width, 1)
        self.sentence = nn.Linear(width, width)
        self.clip = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(TEMPERATURE)))

    def forward(
        self, video: Tensor, video_mask: Tensor, query: Tensor, query_mask: Tensor, index: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compare the sentences with the clips."""
        share = masked_softmax(self.weight(query).squeeze(-1), query_mask, dim=1).to(query.dtype)
        pooled = (share.unsqueeze(1) @ query).squeeze(1)
        sentence = F.normalize(self.sentence(pooled), dim=-1)
        clips = F.normalize(self.clip(video), dim=-1)
        cosine = torch.einsum("bd,vsd->bvs", sentence, clips)
        wide = torch.promote_types(cosine.dtype, torch.float32)
        of_clips = cosine.repeat_interleave(self.patch, dim=2)[..., : video_mask.shape[1]]  # (B, V, T)
        logits = mask_logits(of_clips.to(wide) * self.log_scale.exp(), video_mask)
        pair = torch.arange(len(query), device=query.device)
        video_of = pair if index is None else index
        own = logits[pair, video_of]
        return own.log_softmax(dim=1), own - logits.flatten(1).logsumexp(dim=1, keepdim=True), cosine[pair, video_of], pooled


def alignment_loss(alignment: Tensor, windows: Tensor, clip_mask: Tensor) -> Tensor:
    """Return the mean of the negative log shares of the clips inside the true windows, as CPNet's Eq. 15 for one video.

    Shape: alignment (B, T), windows (B, K, 2), clip_mask (B, T) bool, True = real -> scalar
    """
    return attention_loss(alignment, algebra.clip_target(windows, clip_mask))
