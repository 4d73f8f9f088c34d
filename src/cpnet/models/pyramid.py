"""The contextual pyramid and its context-aware module (CPNet, Eq. 4-10)."""

from __future__ import annotations

from typing import Literal, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet.models.masking import TimeConv1d, mask_logits, zero_padding

MAX_LEVELS = 8


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
        self.theta = nn.Linear(width, width)
        self.phi = nn.Linear(width, width)
        self.g = nn.Linear(width, width)
        self.g_future = nn.Linear(width, width) if separate_values else None
        self.convolution = TimeConv1d(width, 3)

    def forward(self, x: Tensor, mask: Tensor, *, return_map: bool = False) -> tuple[Tensor, Tensor | None]:
        """Replenish each clip with its context; with ``once`` and shared values, M is made only if it is asked for."""
        m = None
        if self.diagonal == "once" and self.g_future is None and not return_map:
            # M g is attention with one head: the kernel needs no T x T map.
            context = F.scaled_dot_product_attention(
                self.theta(x), self.phi(x), self.g(x), attn_mask=mask[:, None, :], scale=self.scale
            )
        else:
            m = self.correlation(x, mask)
            context = self.gather(m, x)
        return self.convolution(context, mask) + x, m if return_map else None  # Eq. (8)

    def correlation(self, x: Tensor, mask: Tensor) -> Tensor:
        """``M``: softmax of ``theta(x) phi(x)^T`` over each row (CPNet, Eq. 5-6).

        Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, T)
        """
        scores: Tensor = (self.theta(x) * self.scale) @ self.phi(x).transpose(1, 2)  # Eq. (5)
        return mask_logits(scores, mask[:, None, :]).softmax(dim=2)  # Eq. (6)

    def gather(self, m: Tensor, x: Tensor) -> Tensor:
        """``x' = M_U g(x) + M_L g(x)`` (CPNet, Eq. 7).

        Shape: m (B, T, T), x (B, T, D) -> (B, T, D)
        """
        g: Tensor = self.g(x)
        m = m.to(g.dtype)
        if self.g_future is not None:
            future: Tensor = m.triu(0 if self.diagonal == "both" else 1) @ self.g_future(x)
            return future + m.tril() @ g
        if self.diagonal == "both":
            return m @ g + m.diagonal(dim1=1, dim2=2).unsqueeze(-1) * g  # one product instead of two triangular ones
        return m @ g


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
        weight = pair_mask.unsqueeze(-1)
        if self.kind == "max":
            return zero_padding(mask_logits(pairs, weight).amax(dim=2), coarse_mask), coarse_mask
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
        return x.repeat_interleave(factor, dim=1)[:, :size]
    steps = torch.arange(x.shape[1], device=x.device)
    # The last real step stands for the padding after it.
    held = torch.minimum(steps, mask.sum(dim=1, keepdim=True) - 1)  # (B, T_p)
    x = x.gather(1, held.unsqueeze(-1).expand_as(x))
    fine = F.interpolate(x.transpose(1, 2), scale_factor=float(factor), mode="linear", align_corners=False)
    return fine.transpose(1, 2)[:, :size]


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
        self.upsample_kind = upsample
        aware_levels = levels if context_aware else 0
        self.cams = nn.ModuleList(ContextAwareModule(width, **(cam or {})) for _ in range(aware_levels))
        self.downsamplings = nn.ModuleList(DownSampling(width, kind=downsample) for _ in range(levels - 1))
        self.top = nn.Linear(width, width)  # Conv1 of Eq. 10: a 1x1 convolution
        self.join = nn.Linear(levels * width, width)

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
        pyramid[-1] = self.top(pyramid[-1])
        for p in range(self.levels - 1, 0, -1):  # top-down, Eq. (10)
            pyramid[p - 1] = pyramid[p - 1] + self.to_level(pyramid[p], masks[p], 1, pyramid[p - 1].shape[1])
        spread = [self.to_level(level, masks[p], p, x.shape[1]) for p, level in enumerate(pyramid)]
        return self.join(torch.cat(spread, dim=-1)), tuple(maps)

    def to_level(self, x: Tensor, mask: Tensor, levels_down: int, size: int) -> Tensor:
        """UpSampling of Eq. 10, over one level or several.

        Shape: x (B, T_p, D), mask (B, T_p) -> (B, size, D)
        """
        return upsample(x, mask, factor=2**levels_down, size=size, kind=self.upsample_kind)
