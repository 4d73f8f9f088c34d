"""Losses of models that attend to the clips and regress one span."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attention_loss(log_attention: Tensor, target: Tensor, *, normalizer: str = "target") -> Tensor:
    """Reward attention on the true clips: ``-sum_t y_t log a_t / sum_t y_t`` (CPNet, Eq. 15).

    Departs from the paper, whose denominator ``sum_t a_t`` is always 1. The works it cites (ABLR; LGI's guidance loss)
    divide by ``sum_t y_t``. The paper's form is available as ``literal``.

    Shape: log_attention (B, T), target (B, T) bool, True = inside a true window -> scalar, mean over B

    >>> log_attention = torch.tensor([[0.5, 0.25, 0.25]]).log()
    >>> round(attention_loss(log_attention, torch.tensor([[False, True, True]])).item(), 4)
    1.3863
    """
    inside = torch.where(target, log_attention, 0.0).sum(dim=1)
    return -(inside / target.sum(dim=1) if normalizer == "target" else inside).mean()


def regression_loss(span: Tensor, windows: Tensor) -> Tensor:
    """Sum of the smooth L1 losses (beta 1) of start and end, in fractions of the video (CPNet, Eq. 16).

    Of several true windows, the one with the least loss counts.

    Shape: span (B, 2), windows (B, K, 2) -> scalar, mean over B

    >>> regression_loss(torch.tensor([[0.0, 1.0]]), torch.tensor([[[0.5, 1.0], [0.0, 0.1]]])).item()
    0.125
    """
    loss = F.smooth_l1_loss(span[:, None].expand_as(windows), windows, reduction="none").sum(dim=-1)
    return loss.amin(dim=1).mean()
