"""Masks of logits and of time steps: what keeps a prediction independent of padding."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_logits(logits: Tensor, mask: Tensor) -> Tensor:
    """Give padded positions the lowest finite value of the logits' own dtype, so that a softmax makes them 0.

    Shape: logits of any shape, mask bool that broadcasts to it, True = real -> as logits

    >>> mask_logits(torch.tensor([1.0, 2.0]), torch.tensor([True, False])).softmax(0).tolist()
    [1.0, 0.0]
    """
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min)


def zero_padding(x: Tensor, mask: Tensor) -> Tensor:
    """Zero the padded time steps.

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D)
    """
    return x * mask.unsqueeze(-1).to(x.dtype)
