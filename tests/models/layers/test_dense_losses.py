"""Losses of clips. Oracles: the printed formula on Python numbers, and cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from cpnet.models.layers.dense_losses import ALPHA, GAMMA, distance_iou_loss, focal_loss


def test_focal_loss_is_the_printed_formula() -> None:
    logits, targets = [-40.0, -3.0, 0.0, 0.5, 4.0, 1.0], [1.0, 0.0, 1.0, 0.0, 1.0, 0.3]
    found = focal_loss(torch.tensor(logits), torch.tensor(targets))
    for logit, target, loss in zip(logits, targets, found.tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        p_t, alpha_t = target * p + (1 - target) * (1 - p), target * ALPHA + (1 - target) * (1 - ALPHA)
        entropy = -target * math.log(p) - (1 - target) * math.log(1 - p)
        assert loss == pytest.approx(alpha_t * (1 - p_t) ** GAMMA * entropy, rel=1e-5)


def test_distance_iou_loss_moves_disjoint_spans_together_and_is_finite_for_points() -> None:
    span = torch.tensor([[0.0, 0.2], [0.5, 0.5]], requires_grad=True)
    loss = distance_iou_loss(span, torch.tensor([[0.6, 0.8], [0.5, 0.5]]))
    (gradient,) = torch.autograd.grad(loss.sum(), span)
    assert gradient[0].sum() < 0  # later
    assert loss.isfinite().all()
    assert gradient.isfinite().all()
