"""Small models, and pairs of any length that are padded with garbage instead of zeros."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cpnet.batch import GroundingBatch
from cpnet.models import CPNet
from cpnet.options import CAMOptions, CPNetOptions, EncoderOptions

VIDEO_DIM, WORD_DIM, WORDS = 3, 5, 11
GARBAGE = 1e4
Module = TypeVar("Module", bound=nn.Module)
Options = TypeVar("Options")


@dataclass(frozen=True)
class Pair:
    video: Tensor  # (clips, V)
    query: list[int]


def pair(clips: int, words: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Pair:
    random = torch.Generator().manual_seed(1000 * seed + 10 * clips + words)
    video = torch.randn(clips, VIDEO_DIM, generator=random, dtype=dtype)
    return Pair(video, torch.randint(1, WORDS, (words,), generator=random).tolist())


PAIRS = [pair(5, 3), pair(1, 1), pair(9, 2), pair(2, 6)]


def mask_of(lengths: Sequence[int], *, more: int = 0) -> Tensor:
    return torch.arange(max(lengths) + more) < torch.tensor(lengths)[:, None]


def padded(sequences: Sequence[Tensor], *, more: int = 0, garbage: float = GARBAGE) -> tuple[Tensor, Tensor]:
    """Stack (t, D) sequences of different length into (B, T, D) and its mask, with noise where there is nothing."""
    mask = mask_of([len(sequence) for sequence in sequences], more=more)
    random = torch.Generator().manual_seed(mask.numel())
    first = sequences[0]
    stacked = garbage * torch.randn(*mask.shape, first.shape[1], generator=random, dtype=first.dtype)
    stacked[mask] = torch.cat(list(sequences))
    return stacked, mask


def batch(
    pairs: Sequence[Pair], *, more_clips: int = 0, more_words: int = 0, garbage: float = GARBAGE
) -> GroundingBatch:
    video, video_mask = padded([pair.video for pair in pairs], more=more_clips, garbage=garbage)
    query_mask = mask_of([len(pair.query) for pair in pairs], more=more_words)
    query = torch.randint(0, WORDS, query_mask.shape, generator=torch.Generator().manual_seed(0))
    query[query_mask] = torch.tensor([word for pair in pairs for word in pair.query])
    windows = torch.tensor([[[0.2, 0.7]]], dtype=video.dtype).repeat(len(pairs), 1, 1)
    return GroundingBatch(
        video=video,
        video_mask=video_mask,
        query=query,
        query_mask=query_mask,
        windows=windows,
        windows_sec=10 * windows.double(),
        duration_sec=torch.full((len(pairs),), 10.0, dtype=torch.float64),
        index=torch.arange(len(pairs)),
    )


def randomised(module: Module, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Module:
    """Add noise to every parameter, so that none is 0 or 1 by its initialisation, small enough to saturate nothing."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.7 * parameter[0].numel() ** -0.5)
            else:
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return module.to(dtype).eval()


def built(
    model: Callable[[int, Tensor, Options], Module],
    options: Options,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Module:
    torch.manual_seed(seed)
    return randomised(model(VIDEO_DIM, torch.randn(WORDS, WORD_DIM), options), seed=seed, dtype=dtype)


def options_of(
    *, encoder: Mapping[str, Any] | None = None, cam: Mapping[str, Any] | None = None, **knobs: Any
) -> CPNetOptions:
    """Make options from the keys under ``model``."""
    return CPNetOptions(encoder=EncoderOptions(**(encoder or {})), cam=CAMOptions(**(cam or {})), **knobs)


def small_model(*, seed: int = 0, dtype: torch.dtype = torch.float32, **knobs: Any) -> CPNet:
    small: dict[str, Any] = {
        "hidden_dim": 8,
        "encoder": {"kernel_size": 5, "conv_layers": 1, "num_heads": 2},
        "max_length": 24,
    }
    return built(CPNet, options_of(**(small | knobs)), seed=seed, dtype=dtype)


def largest_saved(forward: Callable[[], Tensor]) -> int:
    """Elements of the largest tensor that a forward pass keeps for its backward pass."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return max(sizes)
