"""Layers in the forms that are faster on CPUs once ``torch.compile`` has fused them.

The compiler fuses elementwise operations into a few passes over memory. On CPUs four things slow these passes down:
masks of bools, which are written one by one; random numbers, which are drawn one by one; sums over a whole batch, which
read narrow columns; and values that are computed again for every reader, unless a ``clone`` stores them. Each form is
a subclass that computes the same function as its plain layer and avoids one of these.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet.models.cpnet.encoder import ConvBlock
from cpnet.models.cpnet.pyramid import ContextAwareModule, DownSampling
from cpnet.models.layers.convolution import DepthwiseConv1d
from cpnet.models.layers.dropout import Dropout


def fuse(model: nn.Module, *, undo: bool = False) -> None:
    """Change the class of every layer that has a faster form, or back, in place: parameters and their names stay."""
    forms = {form: layer for layer, form in FORMS.items()} if undo else FORMS
    for module in model.modules():
        module.__class__ = forms.get(type(module), type(module))


class FusedReLU(nn.ReLU):
    """ReLU for finite inputs, whose gradient mask has the dtype of the input."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``max(x, 0)``."""
        return x * x.detach().sign().clamp_min(0)


class FusedLayerNorm(nn.LayerNorm):
    """LayerNorm over channels that sums the gradients of weight and bias over each sequence first."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, in the dtype of x; inputs other than (B, T, D) as the plain layer does."""
        if x.ndim != 3 or self.weight is None or self.bias is None:
            return super().forward(x)
        weight, bias = (parameter.expand(len(x), 1, -1) for parameter in (self.weight, self.bias))
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return (F.layer_norm(wide, self.normalized_shape, eps=self.eps) * weight + bias).to(x.dtype)


class FusedLinear(nn.Linear):
    """Linear layer whose bias is fused with the next operation, and whose bias gradient is a matrix product."""

    def forward(self, x: Tensor) -> Tensor:
        """Map the channels."""
        return fused_linear(x, self.weight, self.bias)


def fused_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute ``F.linear`` as :class:`FusedLinear` does."""
    product = F.linear(x, weight)
    if bias is None:
        return product
    added: Tensor = _AddBias.apply(product, bias.to(product.dtype))  # type: ignore[no-untyped-call]
    return added


class _AddBias(torch.autograd.Function):
    """Add a bias whose gradient is a product with ones, twice as fast as a sum over rows."""

    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return x + bias

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        rows = gradient.reshape(-1, gradient.shape[-1])
        return gradient, (rows.new_ones(1, len(rows)) @ rows).squeeze(0)


class FusedDropout(Dropout):
    """Dropout that hashes each element's index and one random seed to random bits, without a buffer for them."""

    def kept(self, x: Tensor, *, least: int) -> Tensor:
        """Return 1 for elements to keep and 0 for others, by the sign bit of a difference."""
        return ((hashed_bits(x) - least) >> 31) + 1


def hashed_bits(x: Tensor) -> Tensor:
    """Hash the index of each element and one random seed to an integer from -2^15 to 2^15 - 1.

    The hash is ``lowbias32`` of Chris Wellons' search (public domain): xors of shifts and two products.

    Shape: any -> the same, int32
    """
    seed = torch.randint(-(2**31), 2**31 - 1, (), dtype=torch.int32)
    bits = torch.arange(x.numel(), dtype=torch.int32).view(x.shape) * -1640531527 + seed
    for shift, factor in ((16, 0x7FEB352D), (15, -2073254261)):
        bits = (bits ^ ((bits >> shift) & ((1 << 32 - shift) - 1))) * factor
    return bits >> 16


class FusedDepthwiseConv1d(DepthwiseConv1d):
    """Depthwise convolution as a sum of shifted products."""

    def convolve(self, x: Tensor) -> Tensor:
        """Compute ``y_t = sum_i w_i x_{t + i - k // 2}``."""
        shifted: Tensor = _ShiftedProducts.apply(x, self.weight.to(x.dtype))  # type: ignore[no-untyped-call]
        return shifted


class _ShiftedProducts(torch.autograd.Function):
    """Sum of shifted products with explicit gradients, so that the compiler has no scatter to fuse."""

    @staticmethod
    def forward(ctx, x: Tensor, filters: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, filters)
        return _shifted_products(x, filters)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        x, filters = ctx.saved_tensors
        windows = _windows(x, len(filters))
        # Over each sequence first, then over the batch.
        filters_gradient = torch.stack([(gradient * window).sum(dim=1) for window in windows], dim=1).sum(dim=0)
        return _shifted_products(gradient, filters.flip(0)), filters_gradient


def _windows(x: Tensor, size: int) -> list[Tensor]:
    # Store the padded input: otherwise each of the ``size`` reads checks whether it falls into the padding.
    padded = F.pad(x, (0, 0, size // 2, size // 2)).clone()
    return [padded[:, i : i + x.shape[1]] for i in range(size)]


def _shifted_products(x: Tensor, filters: Tensor) -> Tensor:
    first, *others = (window * filters[i] for i, window in enumerate(_windows(x, len(filters))))
    return sum(others, first)


class FusedConvBlock(ConvBlock):
    """Convolution block that stores its output, so that its readers do not compute it again."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Compute the block."""
        return super().forward(x, mask).clone()


class FusedContextAwareModule(ContextAwareModule):
    """CAM whose joint projection is a :func:`fused_linear`."""

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Compute a linear map."""
        return fused_linear(x, weight, bias)


class FusedDownSampling(DownSampling):
    """Pooling of finite numbers without bools."""

    def larger(self, a: Tensor, b: Tensor) -> Tensor:
        """Compute the maximum; if both are equal, the gradient is that of ``a`` alone."""
        greater = (b - a).detach().sign().clamp_min(0)
        return a * (1 - greater) + b * greater


FORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.ReLU: FusedReLU,
    nn.LayerNorm: FusedLayerNorm,
    nn.Linear: FusedLinear,
    Dropout: FusedDropout,
    DepthwiseConv1d: FusedDepthwiseConv1d,
    ConvBlock: FusedConvBlock,
    ContextAwareModule: FusedContextAwareModule,
    DownSampling: FusedDownSampling,
}
