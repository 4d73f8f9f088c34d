"""The sentence weighs the channels of the features."""

from __future__ import annotations

from torch import Tensor, nn

from cpnet.models.layers.attention import attentive_pool
from cpnet.models.layers.dropout import Dropout


class ChannelGate(nn.Module):
    """Weigh the channels of the features by the sentence, and project them: a bilinear map of both.

    The sentence is the mean of its words, weighted by their importance. It needs few of the channels if each is a named
    action, as of the surrogate features on which this gate was chosen. Channels of backbones have no such meaning, and
    the gate may gain less.

    Shape: rows (B, S, patch * V), words (B, L, D), mask (B, L) bool, True = real -> (B, S, D)
    """

    def __init__(self, width: int, *, channels: int, patch: int, dropout: float) -> None:
        super().__init__()
        self.patch = patch
        self.importance = nn.Linear(width, 1, bias=False)  # of each word in the sentence
        self.weight = nn.Linear(width, channels)
        self.projection = nn.Sequential(Dropout(dropout), nn.Linear(patch * channels, width))

    def forward(self, rows: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Project the weighted channels."""
        sentence, _ = attentive_pool(words, self.importance(words).squeeze(-1), mask)
        projected: Tensor = self.projection(rows * self.weight(sentence).repeat(1, self.patch).unsqueeze(1))
        return projected
