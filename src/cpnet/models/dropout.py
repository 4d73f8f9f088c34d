"""Dropout with cheaper masks on CPUs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet.models.kernels import is_fused

RESOLUTION = 1 << 16  # probabilities are rounded to a multiple of its inverse on CPUs


class Dropout(nn.Module):
    """``nn.Dropout`` whose mask on a CPU takes 16 random bits an element, four elements a draw.

    torch draws one Bernoulli variable after the other there, which is a sixth of a small model's training step.
    Compiled, the bits are a hash of each element's place and of one draw, which costs no memory.

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
        least = dropped - RESOLUTION // 2
        # bits >= least; compiled by the sign bit of their difference, for the reason in kernels.py
        kept = ((hashed_bits(x) - least) >> 31) + 1 if is_fused(x) else drawn_bits(x) >= least
        return x * kept.to(x.dtype).mul(RESOLUTION / (RESOLUTION - dropped))


def drawn_bits(x: Tensor) -> Tensor:
    """Draw a random integer from -2^15 to 2^15 - 1 for each element.

    Shape: any -> the same, int16
    """
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    return draws.view(torch.int16)[: x.numel()].view(x.shape)


def hashed_bits(x: Tensor) -> Tensor:
    """Hash the place of each element with one draw to an integer from -2^15 to 2^15 - 1.

    The hash is ``lowbias32`` of Chris Wellons' search (public domain): xors of shifts and two products.

    Shape: any -> the same, int32
    """
    seed = torch.randint(-(2**31), 2**31 - 1, (), dtype=torch.int32)
    bits = torch.arange(x.numel(), dtype=torch.int32).view(x.shape) * -1640531527 + seed
    for shift, factor in ((16, 0x7FEB352D), (15, -2073254261)):
        bits = (bits ^ ((bits >> shift) & ((1 << 32 - shift) - 1))) * factor
    return bits >> 16
