"""Layers of transformers. Oracle: the equations in loops over steps, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cpnet.models.layers import transformer
from cpnet.models.layers.transformer import Attention, Branch, EncoderLayer, add_positions
from models.pairs import padded, randomised

LENGTHS = (7, 1, 4)


def attended(layer: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend from each step (T, D) to those (L, E) within the window, one head at a time."""
    q, k, v = layer.query(q), layer.key(k), layer.value(v)
    size, rows = q.shape[1] // layer.heads, list[Tensor]()
    for t in range(len(q)):
        near = [u for u in range(len(k)) if not layer.window or abs(u - t) <= layer.window // 2]
        heads = list[Tensor]()
        for part in (slice(size * h, size * (h + 1)) for h in range(layer.heads)):
            weight = torch.stack([q[t, part] @ k[u, part] / math.sqrt(size) for u in near]).softmax(dim=0)
            heads.append(sum(w * v[u, part] for w, u in zip(weight, near, strict=True)))
        rows.append(torch.cat(heads))
    return layer.out(torch.stack(rows))  # type: ignore[no-any-return]


@pytest.mark.parametrize("longest", [0, 256])  # steps up to which a whole map is computed
@pytest.mark.parametrize("window", [0, 3, 5])
def test_attention(window: int, longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "LONGEST_MAP", longest)
    layer = randomised(Attention(8, 2, window=window))
    x, mask = padded([torch.randn(length, 8, dtype=torch.float64) for length in LENGTHS], more=2)
    found = layer(x, x, x, mask)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(found[row, :length], attended(layer, *[x[row, :length]] * 3))


def convolved(filters: Tensor, x: Tensor, stride: int) -> Tensor:
    """Convolve (T, D) with filters (3, D), with zeros around."""
    around = torch.cat((x[:1] * 0, x, x[:1] * 0))
    return torch.stack([(around[t : t + 3] * filters).sum(dim=0) for t in range(0, len(x), stride)])


@pytest.mark.parametrize("stride", [0, 1, 2])
def test_encoder_layer(stride: int) -> None:
    layer = randomised(EncoderLayer(8, 2, stride=stride, window=3 if stride else 0))
    x, mask = padded([torch.randn(length, 8, dtype=torch.float64) for length in LENGTHS])
    found, found_mask = layer(x, mask)
    for row, length in enumerate(LENGTHS):
        inside = x[row, :length]
        h = layer.attention_norm(inside)
        qkv = [h, h, h]
        if stride:
            filters = [weight for name, weight in layer.convolutions.named_parameters()]
            qkv = [norm(convolved(each, h, stride)) for each, norm in zip(filters, layer.norms, strict=True)]
        skip = inside
        if stride == 2:
            skip = torch.stack([inside[max(0, t - 1) : t + 2].amax(dim=0) for t in range(0, length, 2)])
        y = skip + layer.attention_branch.scale * attended(layer.attention, *qkv)
        y = y + layer.feed_forward_branch.scale * layer.feed_forward(layer.feed_forward_norm(y))
        torch.testing.assert_close(found[row, : len(y)], y)
        assert int(found_mask[row].sum()) == len(y)


def test_branch_drops_whole_sequences_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    branch = Branch(3, drop_path=0.25)
    out = branch(torch.ones(4000, 2, 3)).detach() / 1e-4
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert (out == out[:, :1, :1]).all()
    assert float(out.mean()) == pytest.approx(1, abs=0.05)
    assert (branch.eval()(torch.ones(5, 2, 3)) == branch.scale).all()


def test_positions() -> None:
    found = add_positions(torch.zeros(1, 3, 4, dtype=torch.float64))[0]
    for t in range(3):
        angles = [t, t / 100]  # 10,000 ** (i / 2)
        expected = [*(math.sin(angle) for angle in angles), *(math.cos(angle) for angle in angles)]
        assert found[t].tolist() == pytest.approx([each / 2 for each in expected], abs=1e-7)
