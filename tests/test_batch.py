"""Tensors of a batch move together and are frozen."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor

from cpnet.batch import GroundingBatch


def batch() -> GroundingBatch:
    return GroundingBatch(
        video=torch.rand(2, 4, 3),
        video_mask=torch.ones(2, 4, dtype=torch.bool),
        query=torch.ones(2, 5, dtype=torch.int64),
        query_mask=torch.ones(2, 5, dtype=torch.bool),
        windows=torch.rand(2, 1, 2),
        windows_sec=torch.rand(2, 1, 2, dtype=torch.float64),
        duration_sec=torch.rand(2, dtype=torch.float64),
        index=torch.arange(2),
    )


def tensors(of: GroundingBatch) -> dict[str, Tensor]:
    return {field.name: value for field in fields(of) if (value := getattr(of, field.name)) is not None}


def test_to_moves_every_tensor_but_float64_and_keeps_types() -> None:
    here = batch()
    there = tensors(here.to("meta"))
    for name, tensor in tensors(here).items():
        device = "cpu" if tensor.dtype == torch.float64 else "meta"
        assert (there[name].device.type, there[name].dtype, there[name].shape) == (device, tensor.dtype, tensor.shape)
        assert tensor.device.type == "cpu"


def test_to_converts_features_to_float32() -> None:
    half = replace(batch(), video=torch.full((2, 4, 3), 0.1, dtype=torch.float16))
    assert half.to("cpu").video.dtype == torch.float32
    assert torch.equal(half.to("cpu").video, half.video.float())


def test_per_pair_repeats_shared_videos() -> None:
    shared = replace(batch(), video_index=torch.tensor([1, 1]))
    alone = shared.to("cpu").per_pair()
    assert alone.video_index is None
    assert torch.equal(alone.video, shared.video[[1, 1]])
    assert torch.equal(alone.video_mask, shared.video_mask[[1, 1]])
    assert batch().per_pair().video_index is None


def test_clip_mask_belongs_to_pairs() -> None:
    mask = torch.tensor([[True, False, False, False], [True, True, True, False]])
    alone = replace(batch(), video_mask=mask)
    assert alone.clip_mask.tolist() == mask.tolist()
    for index in ([1, 0], [1, 1], [0, 0]):
        shared = replace(alone, video_index=torch.tensor(index))
        assert shared.clip_mask.tolist() == [mask[row].tolist() for row in index]
        assert shared.clip_mask.tolist() == shared.per_pair().video_mask.tolist()
