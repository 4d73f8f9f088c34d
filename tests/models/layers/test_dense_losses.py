"""Losses of clips. Oracles: the printed formula on Python numbers, and cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from cpnet.models.layers.dense_losses import distance_iou_loss, focal_loss


@pytest.mark.parametrize(("alpha", "gamma"), [(0.5, 2.0), (0.25, 2.0), (0.9, 0.0), (0.5, 1.5)])
def test_focal_loss_is_the_printed_formula(alpha: float, gamma: float) -> None:
    logits, targets = [-40.0, -3.0, 0.0, 0.5, 4.0, 1.0], [1.0, 0.0, 1.0, 0.0, 1.0, 0.3]
    found = focal_loss(torch.tensor(logits), torch.tensor(targets), alpha=alpha, gamma=gamma)
    for logit, target, loss in zip(logits, targets, found.tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        p_t, alpha_t = target * p + (1 - target) * (1 - p), target * alpha + (1 - target) * (1 - alpha)
        entropy = -target * math.log(p) - (1 - target) * math.log(1 - p)
        assert loss == pytest.approx(alpha_t * (1 - p_t) ** gamma * entropy, rel=1e-5)


@pytest.mark.parametrize(
    ("span", "loss"),
    [  # of the target [4, 8]
        ((4.0, 8.0), 0.0),
        ((4.0, 6.0), 1 - 2 / 4 + (1 / 4) ** 2),
        ((2.0, 6.0), 1 - 2 / 6 + (2 / 6) ** 2),
        ((5.0, 7.0), 1 - 2 / 4),
        ((0.0, 2.0), 1 + (5 / 8) ** 2),
        ((0.0, 16.0), 1 - 4 / 16 + (2 / 16) ** 2),
        ((6.0, 6.0), 1.0),
    ],
)
def test_distance_iou_loss_of_cases_worked_out_by_hand(span: tuple[float, float], loss: float) -> None:
    for unit in (1.0, 1e-3):
        found = distance_iou_loss(unit * torch.tensor([span]), unit * torch.tensor([[4.0, 8.0]]))
        assert found.tolist() == pytest.approx([loss], abs=1e-6)


def test_distance_iou_loss_moves_disjoint_spans_together_and_is_finite_for_points() -> None:
    span = torch.tensor([[0.0, 0.2], [0.5, 0.5]], requires_grad=True)
    loss = distance_iou_loss(span, torch.tensor([[0.6, 0.8], [0.5, 0.5]]))
    (gradient,) = torch.autograd.grad(loss.sum(), span)
    assert gradient[0].sum() < 0  # later
    assert loss.isfinite().all()
    assert gradient.isfinite().all()
