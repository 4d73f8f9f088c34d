"""What a whole sentence says about a video before its words are fused: its clips, and the channels of its features."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet.models.layers.dropout import Dropout
from cpnet.models.layers.masking import mask_logits

TEMPERATURE = 0.1  # of the cosines, at the start of training


class Alignment(nn.Module):
    """Compare each sentence with every clip of every video of the batch by scaled cosines.

    Shape:
        - sentence (B, D); video (V, S, D), each of whose steps covers ``patch`` of the T clips; mask (V, T) bool of the
          clips, True = real; index (B,) the video of each pair
        - -> log softmax over the clips of the pair's own video (B, T), and over those of all videos, of which those of
          its own video are returned (B, T); both float32 or wider
    """

    def __init__(self, width: int, *, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.sentence = nn.Linear(width, width)
        self.clip = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(TEMPERATURE)))

    def forward(self, sentence: Tensor, video: Tensor, mask: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Compare the sentences with the clips."""
        sentence, steps = F.normalize(self.sentence(sentence), dim=-1), F.normalize(self.clip(video), dim=-1)
        cosine = torch.einsum("bd,vsd->bvs", sentence, steps).repeat_interleave(self.patch, dim=2)
        wide = torch.promote_types(cosine.dtype, torch.float32)
        logits = cosine[..., : mask.shape[1]].to(wide) * self.log_scale.exp()  # (B, V, T)
        logits = mask_logits(logits, mask)
        own = logits[torch.arange(index.shape[0], device=index.device), index]
        return own.log_softmax(dim=1), own - logits.flatten(1).logsumexp(dim=1, keepdim=True)


class ChannelGate(nn.Module):
    """Weigh the channels of the features by the sentence, and project them: a bilinear map of both.

    A sentence needs few of the channels if each is a named action, as of the surrogate features on which this gate was
    chosen. Channels of backbones have no such meaning, and the gate may gain less.

    Shape: rows (B, S, patch * V), sentence (B, D) -> (B, S, D)
    """

    def __init__(self, width: int, *, channels: int, patch: int, dropout: float) -> None:
        super().__init__()
        self.patch = patch
        self.weight = nn.Linear(width, channels)
        self.projection = nn.Sequential(Dropout(dropout), nn.Linear(patch * channels, width))

    def forward(self, rows: Tensor, sentence: Tensor) -> Tensor:
        """Project the weighted channels."""
        projected: Tensor = self.projection(rows * self.weight(sentence).repeat(1, self.patch).unsqueeze(1))
        return projected
