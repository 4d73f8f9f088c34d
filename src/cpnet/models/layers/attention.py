"""Attention over the real time steps."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cpnet.models.layers.masking import masked_softmax

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
