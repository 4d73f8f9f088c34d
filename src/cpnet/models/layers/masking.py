"""Masks of logits and of time steps, which keep a prediction independent of padding."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_logits(logits: Tensor, mask: Tensor) -> Tensor:
    """Set padded positions to the lowest finite value of the logits' dtype, so that a softmax makes them 0.

    Shape: logits of any shape, mask bool that broadcasts to it, True = real -> as logits

    >>> mask_logits(torch.tensor([1.0, 2.0]), torch.tensor([True, False])).softmax(0).tolist()
    [1.0, 0.0]
    """
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min)


def zero_padding(x: Tensor, mask: Tensor) -> Tensor:
    """Set the padded time steps to 0.

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D)
    """
    return x * mask.unsqueeze(-1).to(x.dtype)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Return each sequence's mean over its real time steps. Shape: x (B, T, D), mask (B, T) bool -> (B, D)"""
    return zero_padding(x, mask).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def centre(x: Tensor, mask: Tensor) -> Tensor:
    """Subtract each sequence's mean over its real time steps, and divide by the root mean square of what remains.

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D), 0 where padded
    """
    count = mask.sum(dim=1)[:, None, None]
    centred = zero_padding(x - masked_mean(x, mask).unsqueeze(1), mask)
    scale = centred.square().mean(dim=2, keepdim=True).sum(dim=1, keepdim=True).div(count).sqrt()
    return centred / scale.clamp_min(1e-3)  # a still picture stays 0


def masked_softmax(logits: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Compute the softmax over the real positions; padded positions are 0.

    Adds a bias with the small shape of the mask, which is faster than ``masked_fill`` on the logits.

    Shape: logits of any shape, mask bool that broadcasts to it, True = real -> as logits, or float32 for float16
    """
    dtype = torch.float32 if logits.dtype == torch.float16 else logits.dtype  # float16 has no room below its logits
    # Half of the lowest value, so that no sum overflows.
    bias = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min / 2)
    return (logits + bias).softmax(dim=dim)
