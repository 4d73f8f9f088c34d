"""Parameters and forward FLOPs of the presets: counted by torch, and written out by hand layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cpnet.batch import GroundingBatch
from cpnet.models import CPNet
from models.pairs import options_of

WORD_DIM, BLOCKS, KERNEL, LEVELS = 300, 4, 15, 3


@dataclass(frozen=True)
class Preset:
    video_dim: int
    hidden_dim: int
    clips: int
    words: int
    scale: bool
    parameters: int
    flops: int


PRESETS = {
    "cpnet, I3D": Preset(1024, 512, 128, 10, False, 12_175_662, 2_527_629_312),
    "cpnet_small, I3D": Preset(1024, 128, 128, 10, True, 906_030, 208_708_608),
    "cpnet_small, Charades-STA actions": Preset(157, 128, 32, 10, True, 795_054, 42_587_136),
}


def linear_parameters(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def parameters_by_hand(v: int, d: int) -> int:
    norm = 2 * d
    conv_block = norm + KERNEL * d + linear_parameters(d, d)
    attention = norm + linear_parameters(d, 3 * d)
    encoder = BLOCKS * conv_block + attention + norm + linear_parameters(d, d)
    coattention = 3 * d + linear_parameters(4 * d, d)
    cam = 3 * linear_parameters(d, d) + linear_parameters(3 * d, d)
    pyramid = LEVELS * cam + linear_parameters(d, d) + linear_parameters(LEVELS * d, d)
    attention_pooling = linear_parameters(d, d // 2) + d // 2
    regression = linear_parameters(d, d) + linear_parameters(d, 2)
    return (
        WORD_DIM  # the unknown word
        + linear_parameters(v, d)
        + linear_parameters(WORD_DIM, d)
        + 2 * encoder
        + coattention
        + pyramid
        + attention_pooling
        + regression
    )


def linear_flops(steps: int, inputs: int, outputs: int) -> int:
    return 2 * steps * inputs * outputs


def encoder_flops(n: int, d: int) -> int:
    conv_block = linear_flops(n, KERNEL, d) + linear_flops(n, d, d)
    attention = linear_flops(n, d, 3 * d) + 2 * linear_flops(n, d, n)
    return BLOCKS * conv_block + attention + linear_flops(n, d, d)


def flops_by_hand(v: int, d: int, t: int, words: int) -> int:
    similarity = linear_flops(t, d, words) + linear_flops(t, d, 1) + linear_flops(words, d, 1)
    contexts = 3 * linear_flops(t, d, words)  # C_qv, S_v^T v, and S_q times that
    cams = 0
    for n in (t // 2**level for level in range(LEVELS)):
        cams += linear_flops(n, d, 3 * d) + 2 * linear_flops(n, d, n) + linear_flops(n, 3 * d, d)
    join = sum(linear_flops(t // 2**level, d, d) for level in range(LEVELS))  # each level before it is spread
    pyramid = cams + linear_flops(t // 2 ** (LEVELS - 1), d, d) + join
    attention_pooling = linear_flops(t, d, d // 2) + linear_flops(t, d // 2, 1) + linear_flops(1, t, d)
    return (
        linear_flops(t, v, d)
        + linear_flops(words, WORD_DIM, d)
        + 2 * encoder_flops(t, d)
        + encoder_flops(words, d)
        + similarity
        + contexts
        + linear_flops(t, 4 * d, d)
        + pyramid
        + attention_pooling
        + linear_flops(1, d, d)
        + linear_flops(1, d, 2)
    )


def model_of(preset: Preset) -> CPNet:
    """Build a model without memory: only shapes matter."""
    options = options_of(hidden_dim=preset.hidden_dim, max_length=preset.clips, cam={"scale": preset.scale})
    with torch.device("meta"):
        return CPNet(preset.video_dim, torch.zeros(4, WORD_DIM), options).eval()


def trainable(model: CPNet) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def counted_flops(model: CPNet, preset: Preset) -> int:
    pair = GroundingBatch(
        video=torch.zeros(1, preset.clips, preset.video_dim),
        video_mask=torch.ones(1, preset.clips, dtype=torch.bool),
        query=torch.full((1, preset.words), 2),
        query_mask=torch.ones(1, preset.words, dtype=torch.bool),
        windows=torch.zeros(1, 1, 2),
        windows_sec=torch.zeros(1, 1, 2),
        duration_sec=torch.ones(1),
        index=torch.zeros(1),
    ).to("meta")
    # The counter knows products of matrices, but not every fused attention.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(pair)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_parameters_of_a_preset(preset: Preset) -> None:
    assert parameters_by_hand(preset.video_dim, preset.hidden_dim) == preset.parameters
    assert trainable(model_of(preset)) == preset.parameters


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_flops_of_a_preset(preset: Preset) -> None:
    assert flops_by_hand(preset.video_dim, preset.hidden_dim, preset.clips, preset.words) == preset.flops
    assert counted_flops(model_of(preset), preset) == preset.flops
