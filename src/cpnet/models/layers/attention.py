"""Attention over the real time steps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cpnet.models.layers.masking import mask_logits, masked_softmax

LONGEST_MAP = 256  # time steps up to which a whole T x T map is computed at once


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Compute ``softmax(q k^T / sqrt(D/H)) v`` over the real positions.

    On a CPU, up to 256 steps, two products and a softmax are faster than torch's fused kernel, whose backward pass is
    slow in bfloat16. For longer sequences, and on GPUs, that kernel stores no T x T map.

    Shape: q, k, v (B, H, T, D/H), mask (B, 1, 1, T) bool, True = real -> (B, H, T, D/H)
    """
    if q.device.type != "cpu" or q.shape[2] > LONGEST_MAP:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    logits = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)
    return masked_softmax(logits, mask, dim=3).to(v.dtype) @ v


def attentive_pool(x: Tensor, logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of the real steps, weighted by the softmax of ``logits``, and the log of the weights.

    Shape: x (B, T, D), logits (B, T), mask (B, T) bool, True = real -> (B, D), log weights (B, T) float32 or wider
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    log_attention = F.log_softmax(mask_logits(logits, mask), dim=1, dtype=wide)
    return (log_attention.exp().to(x.dtype).unsqueeze(1) @ x).squeeze(1), log_attention
