"""Operations in the form that is fastest where they run; each is a plain one of torch, to which tests hold it.

``torch.compile`` fuses elementwise work into a few passes over memory, but on CPUs some things keep it from being fast:
masks of bools, which it stores one by one; random numbers, which it draws one by one; sums over a whole batch, which it
reads in narrow columns; and what it makes again for every element, unless a ``clone`` has it :func:`stored`. Under it
these functions take forms without them. Without it they are torch's own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def is_fused(x: Tensor) -> bool:
    """Whether this call is being compiled for a CPU."""
    return torch.compiler.is_compiling() and x.device.type == "cpu"


def stored(x: Tensor) -> Tensor:
    """Give ``x``; compiled, from memory, instead of making it again wherever it is read."""
    return x.clone() if is_fused(x) else x


def relu(x: Tensor) -> Tensor:
    """``max(x, 0)`` of finite numbers, with a mask in the dtype of ``x`` for the gradient."""
    return x * x.detach().sign().clamp_min(0) if is_fused(x) else F.relu(x)


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """LayerNorm over channels; gradients of weight and bias are summed over each sequence first.

    Shape: (B, T, D) -> (B, T, D), in the dtype of x
    """
    if not is_fused(x):
        normalised: Tensor = norm(x)
        return normalised.to(x.dtype)
    weight, bias = (parameter.expand(len(x), 1, -1) for parameter in (norm.weight, norm.bias))
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (F.layer_norm(wide, norm.normalized_shape, eps=norm.eps) * weight + bias).to(x.dtype)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x W^T + b``; the bias is left to be fused with what follows, and its gradient is a matrix product.

    Shape: x (..., inputs), weight (outputs, inputs), bias (outputs,) -> (..., outputs)
    """
    if bias is None or not is_fused(x):
        return F.linear(x, weight, bias)
    product = F.linear(x, weight)
    answer: Tensor = _AddBias.apply(product, bias.to(product.dtype))  # type: ignore[no-untyped-call]
    return answer


class _AddBias(torch.autograd.Function):
    """A sum, whose gradient by the bias is ones times all rows: half the time of a sum over rows."""

    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return x + bias

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        rows = gradient.reshape(-1, gradient.shape[-1])
        return gradient, (rows.new_ones(1, len(rows)) @ rows).squeeze(0)


def maximum(a: Tensor, b: Tensor) -> Tensor:
    """``max(a, b)`` of finite numbers; compiled, the gradient of equal ones is ``a``'s alone."""
    if not is_fused(a):
        return torch.maximum(a, b)
    greater = (b - a).detach().sign().clamp_min(0)
    return a * (1 - greater) + b * greater


LONGEST_MAP = 256  # steps; maps of more are made of a block of rows at a time


def masked_softmax(logits: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax over the real positions, 0 at the padded ones, by a sum with a small tensor instead of a choice.

    Shape: logits of any shape, mask bool that broadcasts to it, True = real -> as logits, or float32
    """
    wide = torch.float32 if logits.dtype == torch.float16 else logits.dtype  # float16 has no room below its logits
    # Half of the lowest value, so that no sum overflows.
    bias = torch.zeros_like(mask, dtype=wide).masked_fill(~mask, torch.finfo(wide).min / 2)
    return (logits + stored(bias)).softmax(dim=dim)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """``softmax(q k^T / sqrt(width)) v``, over the real positions.

    On a CPU, up to 256 steps, two products and a softmax are faster than torch's fused kernel, whose backward pass is
    slow in bfloat16; beyond, and on GPUs, that kernel keeps no T x T map.

    Shape: q, k, v (B, H, T, D/H), mask (B, 1, 1, T) bool, True = real -> (B, H, T, D/H)
    """
    if q.device.type != "cpu" or q.shape[2] > LONGEST_MAP:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    logits = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)
    return masked_softmax(logits, mask, dim=3).to(v.dtype) @ v


def depthwise(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve each channel over time with a filter of its own, with zeros around the sequence.

    Compiled, it is the sum of shifted products, ``y_t = sum_i w_i x_{t + i - k // 2}``. Without a compiler it is a 2-d
    convolution of height 1: (B, T, D) in memory is then the channels-last layout, which the kernels of CPUs and GPUs
    read without a copy. On a CPU a depthwise k = 15 is 14 times as fast as ``nn.Conv1d`` forward, and 2.5 times with
    the backward pass.

    Shape: x (B, T, D), weight (k, D), k odd -> (B, T, D)
    """
    if is_fused(x):
        shifted: Tensor = _ShiftedProducts.apply(x, weight.to(x.dtype))  # type: ignore[no-untyped-call]
        return shifted
    image, filters = x.transpose(1, 2).unsqueeze(2), weight.t()[:, None, None]  # (B, D, 1, T), (D, 1, 1, k)
    return F.conv2d(image, filters, padding=(0, len(weight) // 2), groups=x.shape[2]).squeeze(2).transpose(1, 2)


class _ShiftedProducts(torch.autograd.Function):
    """The sum of shifted products with the gradients that follow from it, so that no scatter is left to be fused."""

    @staticmethod
    def forward(ctx, x: Tensor, filters: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, filters)
        return _shifted_products(x, filters)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        x, filters = ctx.saved_tensors
        windows = _windows(x, len(filters))
        # Each sequence by itself, and then their sum.
        filters_gradient = torch.stack([(gradient * window).sum(dim=1) for window in windows], dim=1).sum(dim=0)
        return _shifted_products(gradient, filters.flip(0)), filters_gradient


def _windows(x: Tensor, size: int) -> list[Tensor]:
    # Stored, or each of the ``size`` reads would ask whether it falls into the padding.
    padded = stored(F.pad(x, (0, 0, size // 2, size // 2)))
    return [padded[:, i : i + x.shape[1]] for i in range(size)]


def _shifted_products(x: Tensor, filters: Tensor) -> Tensor:
    first, *others = (window * filters[i] for i, window in enumerate(_windows(x, len(filters))))
    return sum(others, first)


class Linear(nn.Linear):
    """``nn.Linear`` by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map the channels."""
        return linear(x, self.weight, self.bias)
