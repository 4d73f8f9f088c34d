"""The contextual pyramid and its context-aware module (CPNet, Eq. 4-10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cpnet.models.convolution import TimeConv1d
from cpnet.models.kernels import LONGEST_MAP, Linear, linear, masked_softmax, maximum
from cpnet.models.masking import mask_logits, zero_padding

MAX_LEVELS = 8
ROWS = 128  # of M at a time, for sequences of more than LONGEST_MAP steps


class CAMOptions(TypedDict, total=False):
    """Keys under ``model.cam``; a key left out takes the default of :class:`ContextAwareModule`."""

    diagonal: Literal["both", "once"]
    scale: bool
    separate_values: bool


class ContextAwareModule(nn.Module):
    """CAM: each clip gathers its past and its future through a T x T correlation map (CPNet, Eq. 4-8).

    Row t of ``M`` belongs to the clip that receives, as in Eq. 4. Its upper triangle (later clips) is the future, its
    lower one the past: the paper's labels are the other way round from its own Eq. 4.

    Args:
        width: D
        diagonal: ``both`` triangles hold the diagonal, as ``triu`` and ``tril`` do, so that
            ``(M_U + M_L) g = M g + diag(M) g``; with ``once`` Eq. 7 is exactly the plain non-local block
        scale: divide the scores by sqrt(D), which Eq. 5 does not; without it they saturate at large D
        separate_values: a ``g`` of its own for the past and for the future, an extension; with ``once`` the diagonal
            then belongs to the past

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D), M (B, T, T) or None where it was not asked for
    """

    def __init__(
        self,
        width: int,
        *,
        diagonal: Literal["both", "once"] = "both",
        scale: bool = False,
        separate_values: bool = False,
    ) -> None:
        super().__init__()
        self.diagonal = diagonal
        self.scale = width**-0.5 if scale else 1.0
        self.theta = Linear(width, width)
        self.phi = Linear(width, width)
        self.g = Linear(width, width)
        self.g_future = Linear(width, width) if separate_values else None
        self.convolution = TimeConv1d(width, 3)

    def forward(self, x: Tensor, mask: Tensor, *, return_map: bool = False) -> tuple[Tensor, Tensor | None]:
        """Replenish each clip with its context; the whole of M is kept only if it is asked for."""
        theta, phi, *values = self.projections(x)
        steps, m = x.shape[1], None
        if return_map or steps <= LONGEST_MAP:
            m = self.correlation(theta, phi, mask)
            context = self.gather(m, values)
        else:
            # Memory that grows with T, not with its square: some rows of M at a time, made again for the gradient.
            context = torch.cat(
                [
                    checkpoint(self.some_rows, theta[:, t : t + ROWS], phi, mask, t, *values, use_reentrant=False)
                    for t in range(0, steps, ROWS)
                ],
                dim=1,
            )
        return self.convolution(context, mask) + x, m if return_map else None  # Eq. (8)

    def projections(self, x: Tensor) -> Sequence[Tensor]:
        """``theta(x)``, ``phi(x)`` and the values ``g(x)``, past before future, as one product.

        Shape: (B, T, D) -> three or four (B, T, D)
        """
        maps = [self.theta, self.phi, self.g, *([] if self.g_future is None else [self.g_future])]
        weight, bias = torch.cat([each.weight for each in maps]), torch.cat([each.bias for each in maps])
        return linear(x, weight, bias).chunk(len(maps), dim=2)

    def correlation(self, theta: Tensor, phi: Tensor, mask: Tensor) -> Tensor:
        """Rows of ``M``: softmax of ``theta(x) phi(x)^T`` over each (CPNet, Eq. 5-6).

        Shape: theta (B, R, D), phi (B, T, D), mask (B, T) bool, True = real -> (B, R, T)
        """
        scores = (theta * self.scale) @ phi.transpose(1, 2)  # Eq. (5)
        return masked_softmax(scores, mask[:, None, :], dim=2)  # Eq. (6)

    def gather(self, m: Tensor, values: Sequence[Tensor], first: int = 0) -> Tensor:
        """``x' = M_U g(x) + M_L g(x)`` (CPNet, Eq. 7) of the clips from ``first`` on.

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
        """Eq. 5-7 of some clips, from ``first`` on."""
        return self.gather(self.correlation(theta, phi, mask), values, first)


class DownSampling(nn.Module):
    """Halves the time steps, an odd last one standing alone (CPNet, Eq. 9).

    Paper silent: ``kind`` is the pooling; padded steps never win a maximum nor weigh in a mean.

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, ceil(T / 2), D), mask (B, ceil(T / 2))
    """

    def __init__(self, width: int, *, kind: Literal["max", "avg", "conv"]) -> None:
        super().__init__()
        self.kind = kind
        self.convolution = TimeConv1d(width, 3, stride=2) if kind == "conv" else None

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Halve the steps and their mask; a coarse step is real where either of its two is."""
        odd = x.shape[1] % 2
        pair_mask = F.pad(mask, (0, odd)).reshape(len(x), -1, 2)  # (B, T/2, 2)
        coarse_mask = pair_mask.any(dim=2)
        if self.convolution is not None:
            return self.convolution(x, mask), coarse_mask
        pairs = F.pad(x, (0, 0, 0, odd)).reshape(len(x), -1, 2, x.shape[2])  # (B, T/2, 2, D)
        if self.kind == "max":
            pairs = mask_logits(pairs, pair_mask.unsqueeze(-1))
            return zero_padding(maximum(pairs[:, :, 0], pairs[:, :, 1]), coarse_mask), coarse_mask
        weight = pair_mask.unsqueeze(-1).to(x.dtype)
        return (pairs * weight).sum(dim=2) / weight.sum(dim=2).clamp_min(1), coarse_mask


def upsample(x: Tensor, mask: Tensor, *, factor: int, size: int, kind: Literal["nearest", "linear"]) -> Tensor:
    """Spread each coarse step over the ``factor`` finer ones that it covers, cut to ``size`` steps.

    By factor and not by size, so that a clip takes the same coarse step however far the video is padded. ``linear``
    interpolates between the steps' centres and holds the last real step beyond its own.

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
    # The last real step stands for the padding after it.
    held = torch.minimum(steps, mask.sum(dim=1, keepdim=True) - 1)  # (B, T_p)
    x = x.gather(1, held.unsqueeze(-1).expand_as(x))
    fine = F.interpolate(x.transpose(1, 2), scale_factor=float(factor), mode="linear", align_corners=False)
    return fine.transpose(1, 2)[:, :size]


class TopDown(nn.Module):
    """Joins the levels from the top down, and side by side at the finest size (CPNet, Eq. 10).

    Shape: level p (B, T_p, D), mask p (B, T_p) bool, True = real, finest first -> Z (B, T, D)
    """

    def __init__(self, width: int, *, levels: int, upsample: Literal["nearest", "linear"]) -> None:
        super().__init__()
        self.kind = upsample
        self.top = Linear(width, width)  # Conv1 of Eq. 10: a 1x1 convolution
        self.join = Linear(levels * width, width)

    def forward(self, pyramid: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
        """Descend, and join all levels."""
        *finer, top = pyramid
        joined = [self.top(top)]  # coarsest first
        for p, level in reversed(list(enumerate(finer))):
            joined.append(level + self.spread(joined[-1], masks[p + 1], 1, level.shape[1]))  # Eq. (10)
        # A linear map of the levels side by side is a sum of maps, each of which is applied before its level is spread.
        weights = self.join.weight.chunk(len(masks), dim=1)
        mapped = [F.linear(level, weight) for level, weight in zip(reversed(joined), weights, strict=True)]
        spread = [self.spread(level, masks[p], p, masks[0].shape[1]) for p, level in enumerate(mapped)]
        return sum(spread[1:], spread[0]) + self.join.bias.to(spread[0].dtype)

    def spread(self, x: Tensor, mask: Tensor, levels_down: int, size: int) -> Tensor:
        """UpSampling of Eq. 10, over one level or several.

        Shape: x (B, T_p, D), mask (B, T_p) -> (B, size, D)
        """
        return upsample(x, mask, factor=2**levels_down, size=size, kind=self.kind)


class ContextualPyramid(nn.Module):
    """CAM at T, T/2, T/4, ... clips, joined from the top down and concatenated (CPNet, Eq. 9-10).

    Args:
        width: D
        levels: P, 1 to 8
        downsample: how a level is halved
        upsample: how a level is brought to the size of a finer one
        context_aware: False replaces CAM by the identity (the paper's "w/o CAM"); pooling and joining stay
        cam: options of every level's CAM; the levels share no weights

    Shape:
        - x (B, T, D), mask (B, T) bool, True = real
        - -> Z (B, T, D), and the maps M of each level, finest first, where they were asked for

    Raises:
        ValueError: for a number of levels outside 1 to 8
    """

    def __init__(
        self,
        width: int,
        *,
        levels: int = 3,
        downsample: Literal["max", "avg", "conv"] = "max",
        upsample: Literal["nearest", "linear"] = "nearest",
        context_aware: bool = True,
        cam: CAMOptions | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= levels <= MAX_LEVELS:
            raise ValueError(f"model.pyramid_levels must be 1 to {MAX_LEVELS}; got {levels}")
        self.levels = levels
        aware_levels = levels if context_aware else 0
        self.cams = nn.ModuleList(ContextAwareModule(width, **(cam or {})) for _ in range(aware_levels))
        self.downsamplings = nn.ModuleList(DownSampling(width, kind=downsample) for _ in range(levels - 1))
        self.top_down = TopDown(width, levels=levels, upsample=upsample)

    def forward(self, x: Tensor, mask: Tensor, *, return_maps: bool = False) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Climb, descend, and join all levels at the finest size."""
        pyramid: list[Tensor] = []
        masks: list[Tensor] = []
        maps: list[Tensor] = []
        level, level_mask = x, mask
        for p in range(self.levels):  # bottom-up, Eq. (9)
            if p > 0:
                level, level_mask = self.downsamplings[p - 1](level, level_mask)
            if self.cams:
                level, m = self.cams[p](level, level_mask, return_map=return_maps)
                maps += [] if m is None else [m]
            pyramid.append(level)
            masks.append(level_mask)
        return self.top_down(pyramid, masks), tuple(maps)
