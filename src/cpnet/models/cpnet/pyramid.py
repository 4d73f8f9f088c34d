"""The contextual pyramid and its context-aware module (CPNet, Eq. 4-10)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cpnet.models.layers.attention import LONGEST_MAP
from cpnet.models.layers.convolution import TimeConv1d
from cpnet.models.layers.masking import mask_logits, masked_softmax, zero_padding
from cpnet.options import CAMOptions, ContextualOptions, CPNetOptions

ROWS = 128  # rows of M computed at a time, for sequences of more than LONGEST_MAP steps


class ContextualLevels(nn.Module):
    """CAM at T, T/2, T/4, ... clips, bottom-up (CPNet, Eq. 9).

    The levels share no weights. ``context_aware=False`` replaces CAM by the identity (the paper's "w/o CAM") and keeps
    the pooling.

    Shape:
        - x (B, T, D), mask (B, T) bool, True = real
        - -> levels (B, T_p, D), their masks (B, T_p), and the map M of each level, finest first; no maps unless
          ``return_maps``
    """

    def __init__(self, options: ContextualOptions) -> None:
        super().__init__()
        width, self.levels = options.hidden_dim, options.pyramid_levels
        aware_levels = self.levels if options.context_aware else 0
        self.cams = nn.ModuleList(ContextAwareModule(width, options.cam) for _ in range(aware_levels))
        self.downsamplings = nn.ModuleList(DownSampling(width, kind=options.downsample) for _ in range(self.levels - 1))

    def ascend(
        self, x: Tensor, mask: Tensor, *, return_maps: bool = False
    ) -> tuple[list[Tensor], list[Tensor], tuple[Tensor, ...]]:
        """Compute the levels, the finest first."""
        pyramid: list[Tensor] = []
        masks: list[Tensor] = []
        maps: list[Tensor] = []
        level, level_mask = x, mask
        for p in range(self.levels):
            if p > 0:
                level, level_mask = self.downsamplings[p - 1](level, level_mask)
            if self.cams:
                level, m = self.cams[p](level, level_mask, return_map=return_maps)
                maps += [] if m is None else [m]
            pyramid.append(level)
            masks.append(level_mask)
        return pyramid, masks, tuple(maps)


class ContextualPyramid(ContextualLevels):
    """Levels joined from the top down and concatenated (CPNet, Eq. 9-10).

    Shape:
        - x (B, T, D), mask (B, T) bool, True = real
        - -> Z (B, T, D), and the map M of each level, finest first; empty unless ``return_maps``
    """

    def __init__(self, options: CPNetOptions) -> None:
        super().__init__(options)
        self.top_down = TopDown(options.hidden_dim, levels=self.levels, upsample=options.upsample)

    def forward(self, x: Tensor, mask: Tensor, *, return_maps: bool = False) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute the levels bottom-up, then join them top-down at the finest size."""
        pyramid, masks, maps = self.ascend(x, mask, return_maps=return_maps)
        return self.top_down(pyramid, masks), maps


class ContextAwareModule(nn.Module):
    """CAM: each clip gathers its past and its future through a T x T correlation map (CPNet, Eq. 4-8).

    Row t of ``M`` has the weights with which clip t receives the others, as in Eq. 4. The upper triangle (later clips)
    is the future, the lower one the past; the labels of the paper's figure contradict its Eq. 4.

    Args:
        width: D
        options: with ``diagonal=both`` each triangle contains the diagonal, as ``triu`` and ``tril`` do, hence
            ``(M_U + M_L) g = M g + diag(M) g``; with ``once`` Eq. 7 is exactly the plain non-local block, and the
            diagonal belongs to the past. ``scale`` divides the scores by sqrt(D), unlike Eq. 5: without it the
            softmax saturates at large D. ``separate_values`` is an extension: one ``g`` for the past, another for
            the future

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D), M (B, T, T) or None unless ``return_map``
    """

    def __init__(self, width: int, options: CAMOptions) -> None:
        super().__init__()
        self.diagonal = options.diagonal
        self.scale = width**-0.5 if options.scale else 1.0
        self.theta = nn.Linear(width, width)
        self.phi = nn.Linear(width, width)
        self.g = nn.Linear(width, width)
        self.g_future = nn.Linear(width, width) if options.separate_values else None
        self.convolution = TimeConv1d(width, 3)

    def forward(self, x: Tensor, mask: Tensor, *, return_map: bool = False) -> tuple[Tensor, Tensor | None]:
        """Add to each clip the context of its past and future."""
        theta, phi, *values = self.projections(x)
        steps, m = x.shape[1], None
        if return_map or steps <= LONGEST_MAP:
            m = self.correlation(theta, phi, mask)
            context = self.gather(m, values)
        else:
            # Compute ROWS rows of M at a time, again in the backward pass: memory grows with T instead of T^2.
            blocks = [
                checkpoint(self.some_rows, theta[:, t : t + ROWS], phi, mask, t, *values, use_reentrant=False)
                for t in range(0, steps, ROWS)
            ]
            context = torch.cat(blocks, dim=1)
        return self.convolution(context, mask) + x, m if return_map else None  # Eq. (8)

    def projections(self, x: Tensor) -> Sequence[Tensor]:
        """Compute ``theta(x)``, ``phi(x)`` and the values ``g(x)``, past before future, as one product.

        Shape: (B, T, D) -> three or four (B, T, D)
        """
        maps = [self.theta, self.phi, self.g, *([] if self.g_future is None else [self.g_future])]
        weight, bias = torch.cat([each.weight for each in maps]), torch.cat([each.bias for each in maps])
        return self.linear(x, weight, bias).chunk(len(maps), dim=2)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Compute ``x W^T + b``; apart, because a compiled model has a faster form."""
        return F.linear(x, weight, bias)

    def correlation(self, theta: Tensor, phi: Tensor, mask: Tensor) -> Tensor:
        """Compute R rows of ``M``: the softmax of each row of ``theta(x) phi(x)^T`` (CPNet, Eq. 5-6).

        Shape: theta (B, R, D), phi (B, T, D), mask (B, T) bool, True = real -> (B, R, T)
        """
        scores = (theta * self.scale) @ phi.transpose(1, 2)  # Eq. (5)
        return masked_softmax(scores, mask[:, None, :], dim=2)  # Eq. (6)

    def gather(self, m: Tensor, values: Sequence[Tensor], first: int = 0) -> Tensor:
        """Compute ``x' = M_U g(x) + M_L g(x)`` (CPNet, Eq. 7) of R clips from clip ``first`` on.

        Shape: m (B, R, T), values one or two (B, T, D) -> (B, R, D)
        """
        past, future = values[0], values[-1]
        m = m.to(past.dtype)
        if self.g_future is not None:
            return m.triu(first + (self.diagonal == "once")) @ future + m.tril(first) @ past
        gathered = m @ past
        if self.diagonal == "both":  # one product instead of two triangular ones
            diagonal = m.diagonal(offset=first, dim1=1, dim2=2).unsqueeze(-1)
            gathered = gathered + diagonal * past[:, first : first + m.shape[1]]
        return gathered

    def some_rows(self, theta: Tensor, phi: Tensor, mask: Tensor, first: int, *values: Tensor) -> Tensor:
        """Compute Eq. 5-7 of R clips from clip ``first`` on."""
        return self.gather(self.correlation(theta, phi, mask), values, first)


class DownSampling(nn.Module):
    """Halve the time steps; an odd last step is pooled alone (CPNet, Eq. 9).

    Paper silent: ``kind`` is the pooling, ``max``, ``avg`` or ``conv``. Padded steps never win a maximum and have no
    weight in a mean.

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, ceil(T / 2), D), mask (B, ceil(T / 2))
    """

    def __init__(self, width: int, *, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.convolution = TimeConv1d(width, 3, stride=2) if kind == "conv" else None

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Halve the steps and their mask; a coarse step is real if one of its two steps is."""
        odd = x.shape[1] % 2
        pair_mask = F.pad(mask, (0, odd)).reshape(x.shape[0], -1, 2)  # (B, T/2, 2)
        coarse_mask = pair_mask.any(dim=2)
        if self.convolution is not None:
            return self.convolution(x, mask), coarse_mask
        pairs = F.pad(x, (0, 0, 0, odd)).reshape(x.shape[0], -1, 2, x.shape[2])  # (B, T/2, 2, D)
        if self.kind == "max":
            pairs = mask_logits(pairs, pair_mask.unsqueeze(-1))
            return zero_padding(self.larger(pairs[:, :, 0], pairs[:, :, 1]), coarse_mask), coarse_mask
        weight = pair_mask.unsqueeze(-1).to(x.dtype)
        return (pairs * weight).sum(dim=2) / weight.sum(dim=2).clamp_min(1), coarse_mask

    def larger(self, a: Tensor, b: Tensor) -> Tensor:
        """Compute the maximum; apart, because a compiled model has a faster form."""
        return torch.maximum(a, b)


class TopDown(nn.Module):
    """Add each level to the finer one below it, and join all at the finest size (CPNet, Eq. 10).

    Shape: level p (B, T_p, D), mask p (B, T_p) bool, True = real, finest first -> Z (B, T, D)
    """

    def __init__(self, width: int, *, levels: int, upsample: str) -> None:
        super().__init__()
        self.kind = upsample
        self.top = nn.Linear(width, width)  # Conv1 of Eq. 10: a 1x1 convolution
        self.join = nn.Linear(levels * width, width)

    def forward(self, pyramid: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
        """Add the levels from the coarsest down, and join them."""
        size, kind = pyramid[0].shape[1], self.kind
        joined = [self.top(pyramid[-1])]
        for p in reversed(range(len(pyramid) - 1)):
            coarser = upsample(joined[0], masks[p + 1], factor=2, size=pyramid[p].shape[1], kind=kind)
            joined.insert(0, pyramid[p] + coarser)
        # A linear map of concatenated levels is a sum of maps. Each is cheaper at its level's own size.
        weights = self.join.weight.chunk(len(masks), dim=1)
        mapped = [F.linear(level, weight) for level, weight in zip(joined, weights, strict=True)]
        spread = [upsample(level, masks[p], factor=2**p, size=size, kind=kind) for p, level in enumerate(mapped)]
        return sum(spread[1:], spread[0]) + self.join.bias.to(spread[0].dtype)


def upsample(x: Tensor, mask: Tensor, *, factor: int, size: int, kind: str) -> Tensor:
    """Spread each coarse step over the ``factor`` finer steps that it covers (Eq. 10), and cut to ``size`` steps.

    The factor does not depend on the sizes, so that padding never changes which coarse step a clip receives.
    ``nearest`` repeats each step; ``linear`` interpolates between the centres of steps and repeats the last real step
    beyond its centre.

    Shape: x (B, T_p, D), mask (B, T_p) bool, True = real -> (B, size, D)

    >>> x = torch.tensor([[[0.0], [4.0]]])
    >>> upsample(x, torch.ones(1, 2, dtype=torch.bool), factor=2, size=3, kind="linear").flatten().tolist()
    [0.0, 1.0, 3.0]
    """
    if factor == 1:
        return x[:, :size]
    if kind == "nearest":
        return x.unsqueeze(2).expand(-1, -1, factor, -1).flatten(1, 2)[:, :size]
    steps = torch.arange(x.shape[1], device=x.device)
    held = torch.minimum(steps, mask.sum(dim=1, keepdim=True) - 1)  # (B, T_p): padding repeats the last real step
    x = x.gather(1, held.unsqueeze(-1).expand_as(x))
    fine = F.interpolate(x.transpose(1, 2), scale_factor=float(factor), mode="linear", align_corners=False)
    return fine.transpose(1, 2)[:, :size]
