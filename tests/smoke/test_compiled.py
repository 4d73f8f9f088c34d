"""A compiled model against the plain one: answers, gradients and training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cpnet.batch import GroundingBatch
from cpnet.models import CPNet
from cpnet.training import compilation
from cpnet.training.losses import GroundingLoss
from models.pairs import VIDEO_DIM, WORD_DIM, WORDS, batch, options_of, pair, randomised

CPU = torch.device("cpu")
BATCHES = [
    batch([pair(12, 4, dtype=torch.float32), pair(5, 2, dtype=torch.float32)], garbage=1.0),
    batch([pair(11, 7, seed=seed, dtype=torch.float32) for seed in (1, 2, 3)], more_clips=2, garbage=1.0),
]


@pytest.fixture(autouse=True)
def _own_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Compile in an empty cache, and leave nothing compiled to other tests."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with torch._dynamo.config.patch(recompile_limit=8):
        yield
    torch._dynamo.reset()


def model(**knobs: Any) -> CPNet:
    options: dict[str, Any] = {"hidden_dim": 16, "pyramid_levels": 2, "dropout": 0.0}
    torch.manual_seed(0)
    vectors = torch.randn(WORDS, WORD_DIM)
    return randomised(CPNet(VIDEO_DIM, vectors, options_of(**(options | knobs))), dtype=torch.float32)


def answers(of: CPNet, asked: GroundingBatch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    output = of(asked)
    names, parameters = zip(*of.named_parameters(), strict=True)
    gradients = torch.autograd.grad(GroundingLoss()(output, asked)["loss"], parameters)
    return output.span.detach(), output.log_attention.exp().detach(), dict(zip(names, gradients, strict=True))


def assert_same(one: CPNet, other: CPNet, *, modes: tuple[bool, ...] = (True, False)) -> None:
    for training in modes:
        one.train(training)
        other.train(training)
        for asked in BATCHES:
            (span, attention, gradients), expected = answers(one, asked), answers(other, asked)
            torch.testing.assert_close(span, expected[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(attention, expected[1], atol=1e-5, rtol=0)
            for name, gradient in expected[2].items():
                torch.testing.assert_close(gradients[name], gradient, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(compilation.missing(CPU) is not None, reason="needs a C++ compiler")
def test_a_compiled_model_is_the_plain_one() -> None:
    compiled, plain = model(), model()
    compilation.compile_model(compiled, CPU)
    assert_same(compiled, plain)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(compilation.missing(CPU) is not None, reason="needs a C++ compiler")
def test_a_compiled_model_learns_with_dropout() -> None:
    learning = model(dropout=0.2).train()
    compilation.compile_model(learning, CPU)
    optimizer = torch.optim.Adam(learning.parameters(), lr=1e-2, fused=True)
    losses: list[float] = []
    for _ in range(40):
        loss = GroundingLoss()(learning(BATCHES[1]), BATCHES[1])["loss"]
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert all(map(torch.isfinite, map(torch.tensor, losses)))
    assert len(set(losses[:5])) == 5
    assert sum(losses[-5:]) < sum(losses[:5])
