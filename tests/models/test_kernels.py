"""Each operation equals the plain one of torch, in the form that a compiled model takes as well."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet.models import kernels
from models.pairs import mask_of

Operation = Callable[..., Tensor]
LOWEST = torch.finfo(torch.float32).min


@pytest.fixture(autouse=True, params=["plain", "fused"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The forms for compilers run without one, too."""
    taken = str(request.param)
    monkeypatch.setattr(kernels, "is_fused", lambda x: taken == "fused")
    return taken


def answers(operation: Operation, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The value, and the gradients of a sum of it with random weights."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    value = operation(*leaves)
    weights = torch.randn(value.shape, dtype=value.dtype, generator=torch.Generator().manual_seed(9))
    return value.detach(), torch.autograd.grad((value * weights).sum(), leaves)


def assert_same(ours: Operation, theirs: Operation, *inputs: Tensor) -> None:
    value, gradients = answers(ours, *inputs)
    expected, expected_gradients = answers(theirs, *inputs)
    torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-4, rtol=1e-4)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_the_relu_is_that_of_torch() -> None:
    assert_same(kernels.relu, F.relu, normal(3, 7))


def test_the_relu_is_flat_at_zero() -> None:
    x = torch.tensor([-3.0, -1e-30, -0.0, 0.0, 1e-30, 2.0], requires_grad=True)
    y = kernels.relu(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.tolist() == [0.0, 0.0, 0.0, 0.0, x[4].item(), 2.0]
    assert gradient.tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]


def test_the_maximum_is_that_of_torch() -> None:
    assert_same(kernels.maximum, torch.maximum, normal(3, 7), normal(3, 7, seed=1))


def test_the_maximum_of_a_padded_step_is_the_other() -> None:
    a, b = torch.tensor([LOWEST, -7.0, LOWEST, 3.0]), torch.tensor([-7.0, LOWEST, LOWEST, 3.0])
    assert kernels.maximum(a, b).tolist() == [-7.0, -7.0, LOWEST, 3.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_relu_keeps_the_type(dtype: torch.dtype) -> None:
    assert kernels.relu(normal(2, 2).to(dtype)).dtype == dtype


@pytest.mark.parametrize("shape", [(1, 1, 8), (3, 5, 8), (2, 1, 2)])
def test_the_layer_norm_is_that_of_torch(shape: tuple[int, int, int]) -> None:
    width = shape[2]
    norm = nn.LayerNorm(width, eps=1e-3)

    def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        holder = nn.LayerNorm(width, eps=norm.eps)
        del holder.weight, holder.bias
        holder.weight, holder.bias = weight, bias  # type: ignore[assignment]  # leaves instead of parameters
        return kernels.layer_norm(x, holder)

    def theirs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, (width,), weight, bias, norm.eps)

    assert_same(ours, theirs, 3 * normal(*shape) + 1, normal(width, seed=1), normal(width, seed=2))


def test_the_layer_norm_stays_float32_under_autocast() -> None:
    norm, x = nn.LayerNorm(8), normal(2, 3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y = kernels.layer_norm(x, norm)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, F.layer_norm(x, (8,)), atol=1e-5, rtol=0)


def test_the_layer_norm_of_bfloat16_is_computed_in_float32() -> None:
    x = 100 + normal(2, 3, 8).bfloat16()  # whose square bfloat16 does not hold well enough for a variance
    y = kernels.layer_norm(x, nn.LayerNorm(8))
    torch.testing.assert_close(y.float(), F.layer_norm(x.float(), (8,)), atol=0.02, rtol=0)


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 3, 4)])
def test_a_linear_map_is_that_of_torch(shape: tuple[int, ...]) -> None:
    assert_same(kernels.linear, F.linear, normal(*shape), normal(5, 4, seed=1), normal(5, seed=2))
    assert_same(lambda x, w: kernels.linear(x, w, None), F.linear, normal(*shape), normal(5, 4, seed=1))


@pytest.mark.parametrize("bias", [True, False])
def test_the_layer_is_that_of_torch(bias: bool) -> None:
    ours, theirs = kernels.Linear(4, 5, bias=bias), nn.Linear(4, 5, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(normal(2, 3, 4)), theirs(normal(2, 3, 4)), atol=1e-5, rtol=0)


def test_a_linear_map_has_the_type_of_the_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        y = kernels.linear(normal(2, 4), normal(5, 4), normal(5))
    assert y.dtype == torch.bfloat16


@pytest.mark.parametrize("dim", [1, 2])
def test_the_softmax_is_that_of_the_real_positions_alone(dim: int) -> None:
    lengths = [1, 4, 6]
    mask = mask_of(lengths, more=2)
    logits = 3 * normal(3, 8, 8)

    def alone(x: Tensor) -> Tensor:
        rows = []
        for row, length in zip(x, lengths, strict=True):
            real = row.narrow(dim - 1, 0, length).softmax(dim=dim - 1)
            padding = (0, 8 - length) if dim == 2 else (0, 0, 0, 8 - length)
            rows.append(F.pad(real, padding))
        return torch.stack(rows)

    shaped = mask[:, None, :] if dim == 2 else mask[:, :, None]
    assert_same(lambda x: kernels.masked_softmax(x, shaped, dim=dim), alone, logits)
    found = kernels.masked_softmax(logits, shaped, dim=dim)
    assert found[~shaped.expand_as(found)].tolist() == [0.0] * int((~shaped.expand_as(found)).sum())


@pytest.mark.parametrize("extreme", [1e4, 1e30, 0.49 * LOWEST, -0.49 * LOWEST])
def test_the_softmax_bears_any_logits_up_to_half_of_the_lowest(extreme: float) -> None:
    mask = torch.tensor([True, True, False, False])
    real = kernels.masked_softmax(torch.tensor([extreme, extreme, 0.0, -5.0]), mask, dim=0)
    assert real.tolist() == [0.5, 0.5, 0.0, 0.0]


def test_the_softmax_bears_the_lowest_logits_where_others_are_real() -> None:
    mask = torch.tensor([True, True, False, False])
    assert kernels.masked_softmax(torch.tensor([2.0, LOWEST, LOWEST, 2.0]), mask, dim=0).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("size", [1.0, 1e37, 1.6e38])
def test_a_row_of_padding_alone_stays_finite(size: float) -> None:
    logits = torch.tensor([[-1.0, -2.0, -0.5], [1.0, -1.0, 0.5]]).mul(size / 2).requires_grad_()
    mask = torch.tensor([[False, False, False], [True, True, False]])
    answer = kernels.masked_softmax(logits, mask, dim=1)
    (gradient,) = torch.autograd.grad(answer.square().sum(), logits)
    assert answer.isfinite().all()
    assert gradient.isfinite().all()


def rows_of_attention(q: Tensor, k: Tensor, v: Tensor, lengths: list[int]) -> Tensor:
    """Each sequence by itself, with no key beyond its end."""
    mixed = []
    for b, length in enumerate(lengths):
        logits = q[b] @ k[b, :, :length].transpose(1, 2) / q.shape[3] ** 0.5
        mixed.append(logits.softmax(dim=2) @ v[b, :, :length])
    return torch.stack(mixed)


@pytest.mark.parametrize("steps", [1, 7, kernels.LONGEST_MAP, kernels.LONGEST_MAP + 3])
def test_attention_mixes_the_real_steps(steps: int) -> None:
    lengths = [steps, 1, max(1, steps // 2)]
    mask = mask_of(lengths)[:, None, None, :]
    inputs = [normal(3, 2, steps, 4, seed=seed) for seed in range(3)]

    def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return kernels.attention(q, k, v, mask)

    assert_same(ours, lambda q, k, v: rows_of_attention(q, k, v, lengths), *inputs)
    assert_same(ours, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask), *inputs)


def test_attention_has_the_type_of_the_values() -> None:
    q, k, v = (normal(1, 2, 5, 4, seed=seed).bfloat16() for seed in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        assert kernels.attention(q, k, v, mask_of([5])[:, None, None, :]).dtype == torch.bfloat16


@pytest.mark.parametrize("size", [1, 3, 15])
@pytest.mark.parametrize("steps", [1, 2, 9, 20])
def test_a_depthwise_convolution_is_that_of_torch(size: int, steps: int) -> None:
    def theirs(x: Tensor, weight: Tensor) -> Tensor:
        filters = weight.t().unsqueeze(1)
        return F.conv1d(x.transpose(1, 2), filters, padding=size // 2, groups=x.shape[2]).transpose(1, 2)

    assert_same(kernels.depthwise, theirs, normal(2, steps, 6), normal(size, 6, seed=1))


@pytest.mark.parametrize(("size", "steps"), [(1, 3), (3, 5), (5, 2)])
def test_the_gradient_of_a_depthwise_convolution_is_that_of_its_differences(size: int, steps: int) -> None:
    x, weight = normal(2, steps, 3, dtype=torch.float64), normal(size, 3, seed=1, dtype=torch.float64)
    assert torch.autograd.gradcheck(kernels.depthwise, (x.requires_grad_(), weight.requires_grad_()))


def test_a_compiled_form_is_taken_on_cpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the function itself
    assert not kernels.is_fused(torch.zeros(1))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert kernels.is_fused(torch.zeros(1))
    assert not kernels.is_fused(torch.zeros(1, device="meta"))
