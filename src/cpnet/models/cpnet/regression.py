"""Temporal self-attentive regression (CPNet, Eq. 11-13)."""

from __future__ import annotations

from torch import Tensor, nn

from cpnet.models.layers.attention import attentive_pool
from cpnet.models.layers.dropout import Dropout


class SelfAttentiveRegression(nn.Module):
    """Pool the clips by attention into one vector, and regress (start, end) from it.

    Args:
        width: D
        dropout: probability between the two layers of the regression

    Shape: z (B, T, D), mask (B, T) bool, True = real -> span (B, 2) in fractions, log a (B, T) float32 or wider
    """

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__()
        # Departs from the paper: its b1 and b2 of length T cannot be biases of these layers. A softmax ignores b2.
        self.hidden = nn.Linear(width, width // 2)
        self.score = nn.Linear(width // 2, 1, bias=False)
        self.regression = nn.Sequential(nn.Linear(width, width), nn.ReLU(), Dropout(dropout), nn.Linear(width, 2))

    def forward(self, z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Attend, pool and regress; both results are float32 or wider under any autocast."""
        logits = self.score(self.hidden(z).tanh()).squeeze(-1)
        pooled, log_attention = attentive_pool(z, logits, mask)  # Eq. (11-12)
        return self.regression(pooled).to(log_attention.dtype).sigmoid(), log_attention  # Eq. (13)
