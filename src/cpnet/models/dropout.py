"""Dropout with a cheaper mask on CPUs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RESOLUTION = 1 << 16  # probabilities are rounded to a multiple of its inverse on CPUs


class Dropout(nn.Module):
    """``nn.Dropout`` whose mask on a CPU takes 16 random bits an element, four elements a draw.

    torch draws one Bernoulli variable after the other there, which is a sixth of a small model's training step.

    Shape: any -> the same
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements while training, and scale the others up to keep the mean."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return F.dropout(x, self.p, self.training)
        dropped = min(round(self.p * RESOLUTION), RESOLUTION - 1)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
        kept = (bits >= dropped - RESOLUTION // 2).to(x.dtype)
        return x * kept.mul_(RESOLUTION / (RESOLUTION - dropped))
