"""Encoder, positions and words against loops; sequences are padded with garbage, the loops see each alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import oracles
from cpnet.models.cpnet.encoder import (
    ConvBlock,
    FeatureEncoder,
    PositionalEncoding,
    SelfAttention,
    sinusoidal_positions,
)
from cpnet.models.layers import attention as module
from cpnet.models.layers.embedding import WordEmbedding
from models.pairs import largest_saved, mask_of, options_of, padded, randomised

LENGTHS = (1, 6, 9)
LONG = 300  # more than module.LONGEST_MAP


def sequences(width: int) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(length, width, dtype=torch.float64) for length in LENGTHS]


def assert_alone(batched: Tensor, expected: list[oracles.Array], tolerance: float = 1e-9) -> None:
    for answer, alone in zip(batched, expected, strict=True):
        np.testing.assert_allclose(oracles.array(answer[: len(alone)]), alone, atol=tolerance)


@pytest.mark.parametrize(("length", "width"), [(1, 2), (7, 8), (130, 6), (5, 7), (3, 1)])
def test_sinusoids_are_the_formula(length: int, width: int) -> None:
    table = sinusoidal_positions(length, width)
    assert table.shape == (length, width)
    np.testing.assert_allclose(table.cpu().numpy(), oracles.sinusoids(length, width), atol=1e-6)


def test_sinusoids_serve_sequences_longer_than_their_table() -> None:
    positions = PositionalEncoding(6, kind="sinusoid", max_length=4)
    for length in (3, 9, 4):
        np.testing.assert_allclose(
            positions(torch.zeros(2, length, 6))[1].cpu().numpy(), oracles.sinusoids(length, 6), atol=1e-6
        )
        assert positions.table.shape == (4, 6)  # equal in all processes, whatever the length of their inputs
    assert not positions.state_dict()


def test_learned_positions_are_added_by_place_and_refuse_longer_sequences() -> None:
    positions = PositionalEncoding(3, kind="learned", max_length=4)
    x = torch.randn(2, 4, 3)
    for t in range(4):
        assert torch.equal(positions(x)[:, t], x[:, t] + positions.learned[t])
    with pytest.raises(ValueError, match=r"5 steps.*model\.position=learned has 4 positions.*model\.max_length"):
        positions(torch.zeros(1, 5, 3))


@pytest.mark.parametrize("kernel_size", [1, 3, 15])
def test_conv_block_is_the_loop(kernel_size: int) -> None:
    block = randomised(ConvBlock(4, kernel_size=kernel_size, dropout=0.5))
    x, w = sequences(4), oracles.weights(block)
    assert_alone(block(*padded(x, more=3)), [oracles.conv_block(oracles.array(alone), w) for alone in x])


@pytest.mark.parametrize("longest_map", [256, 4])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_self_attention_is_the_loop(heads: int, longest_map: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_MAP", longest_map)
    attention = randomised(SelfAttention(8, num_heads=heads, dropout=0.5))
    x, w = sequences(8), oracles.weights(attention)
    expected = [oracles.self_attention(oracles.array(alone), w, heads=heads) for alone in x]
    assert_alone(attention(*padded(x, more=3)), expected)


def test_no_map_of_a_long_sequence_is_saved_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = SelfAttention(8, num_heads=2, dropout=0.0)
    x, mask = torch.randn(1, LONG, 8, requires_grad=True), mask_of([LONG])
    assert largest_saved(lambda: attention(x, mask)) <= LONG * 3 * 8
    monkeypatch.setattr(module, "LONGEST_MAP", 10**9)
    assert largest_saved(lambda: attention(x, mask)) >= LONG * LONG


@pytest.mark.parametrize("position", ["sinusoid", "learned"])
@pytest.mark.parametrize("conv_layers", [0, 2])
def test_encoder_is_the_loop(position: str, conv_layers: int) -> None:
    blocks = {"kernel_size": 3, "conv_layers": conv_layers, "num_heads": 2}
    encoder = randomised(FeatureEncoder(options_of(hidden_dim=4, position=position, max_length=16, encoder=blocks)))
    x, w = sequences(4), oracles.weights(encoder)
    expected = [oracles.encoder(oracles.array(alone), w, heads=2) for alone in x]
    # The table of sines is float32, and agrees with the float64 loop to 1e-7.
    assert_alone(encoder(*padded(x, more=3)), expected, tolerance=1e-6)


def test_words_are_rows_of_the_table_except_the_unknown_word() -> None:
    vectors = torch.randn(5, 3)
    words = WordEmbedding(vectors)
    torch.nn.init.normal_(words.unknown)
    looked_up = words(torch.tensor([[4, 1], [0, 2]]))
    expected = torch.stack([vectors[4], words.unknown, vectors[0], vectors[2]]).reshape(2, 2, 3)
    assert torch.equal(looked_up, expected)


def test_only_the_unknown_word_learns() -> None:
    words = WordEmbedding(torch.randn(5, 3))
    assert [name for name, _ in words.named_parameters()] == ["unknown"]
    assert list(words.state_dict()) == ["unknown"]  # the others are the vocabulary's
    words(torch.tensor([[4, 1], [1, 2]])).sum().backward()
    assert words.unknown.grad is not None
    assert words.unknown.grad.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("shape", [(1, 3), (3,), (0, 3), (2, 2, 2)])
def test_word_vectors_of_a_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"word_vectors must be \(2 \+ words, W\)"):
        WordEmbedding(torch.zeros(shape))
