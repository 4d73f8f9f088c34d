"""Every form for compiled CPUs computes the same as its plain layer, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cpnet.batch import GroundingBatch
from cpnet.models.layers.convolution import DepthwiseConv1d
from cpnet.training import cpu_forms
from cpnet.training.cpu_forms import fuse
from cpnet.training.losses import GroundingLoss
from models.pairs import batch, mask_of, pair, randomised, small_model

LENGTHS = [9, 1, 4]
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "layer norm": lambda: nn.LayerNorm(6, eps=1e-3),
    "linear": lambda: nn.Linear(6, 5),
    "linear without bias": lambda: nn.Linear(6, 5, bias=False),
    "depthwise, k=1": lambda: DepthwiseConv1d(6, 1),
    "depthwise, k=3": lambda: DepthwiseConv1d(6, 3),
    "depthwise, k=15": lambda: DepthwiseConv1d(6, 15),
}


def fused(module: nn.Module) -> nn.Module:
    other = deepcopy(module)
    fuse(other)
    return other


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_form_is_its_plain_layer(make: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    """Under autocast in bfloat16, which rounds the two forms at different places."""
    torch.manual_seed(0)
    plain = randomised(make(), dtype=torch.float32)
    form, tolerance = fused(plain), 1e-5 if dtype == torch.float32 else 0.05
    assert type(form) is cpu_forms.FORMS[type(plain)]
    results = []
    for layer in (plain, form):
        x = (3 * torch.randn(3, 9, 6, generator=torch.Generator().manual_seed(1)) + 1).to(dtype).requires_grad_()
        mask = (mask_of(LENGTHS),) if isinstance(plain, DepthwiseConv1d) else ()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = layer(x, *mask)
        results.append((y, *torch.autograd.grad(y.sin().sum(), [x, *layer.parameters()])))
    assert results[0][0].dtype == results[1][0].dtype
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=tolerance * max(1, expected.abs().max().item()), rtol=0)


@pytest.mark.parametrize(
    ("bias", "affine", "shape"), [(True, True, (4, 6)), (False, True, (2, 4, 6)), (True, False, (2, 4, 6))]
)
def test_other_layer_norms_are_plain(bias: bool, affine: bool, shape: tuple[int, ...]) -> None:
    plain, x = nn.LayerNorm(6, bias=bias, elementwise_affine=affine), torch.randn(shape)
    torch.testing.assert_close(fused(plain)(x), plain(x))


def test_the_fused_relu_is_flat_at_zero() -> None:
    x = torch.tensor([-3.0, -1e-30, -0.0, 0.0, 1e-30, 2.0], requires_grad=True)
    y = fused(nn.ReLU())(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.tolist() == [0.0, 0.0, 0.0, 0.0, x[4].item(), 2.0]
    assert gradient.tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]


def test_the_fused_layer_norm_of_bfloat16_is_computed_in_float32() -> None:
    x = 100 + torch.randn(2, 3, 8).bfloat16()  # bfloat16 cannot hold its square well enough for a variance
    y = fused(nn.LayerNorm(8))(x)
    torch.testing.assert_close(y.float(), nn.LayerNorm(8)(x.float()), atol=0.02, rtol=0)


def gradients(model: nn.Module, pairs: GroundingBatch) -> tuple[Tensor, dict[str, Tensor]]:
    output = model(pairs)
    names, parameters = zip(*model.named_parameters(), strict=True)
    return output.span, dict(
        zip(names, torch.autograd.grad(GroundingLoss()(output, pairs)["loss"], parameters), strict=True)
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"downsample": "avg", "upsample": "linear", "cam": {"diagonal": "once"}, "fusion": "two_layer"},
        {"downsample": "conv", "cam": {"separate_values": True}, "share_fusion_encoder": True},
    ],
    ids=str,
)
def test_a_fused_model_is_the_plain_one(knobs: dict[str, Any], training: bool) -> None:
    plain = small_model(dropout=0.0, encoder={"kernel_size": 5, "conv_layers": 2, "num_heads": 2}, **knobs)
    other = fused(plain).train(training)
    assert list(other.state_dict()) == list(plain.state_dict())
    assert not {type(module) for module in other.modules()} & cpu_forms.FORMS.keys()
    fuse(again := deepcopy(other), undo=True)
    assert [type(module) for module in again.modules()] == [type(module) for module in plain.modules()]
    pairs = batch([pair(9, 3, dtype=torch.float32), pair(4, 6, dtype=torch.float32)], more_clips=1, garbage=1.0)
    (span, found), (expected_span, expected) = gradients(other, pairs), gradients(plain.train(training), pairs)
    torch.testing.assert_close(span, expected_span, atol=1e-5, rtol=0)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-5)
