"""The contract's tensors move and are pinned together, and nobody changes them in place."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest
import torch
from torch import Tensor

from cpnet.batch import GroundingBatch, GroundingOutput


def batch() -> GroundingBatch:
    return GroundingBatch(
        video=torch.rand(2, 4, 3),
        video_mask=torch.ones(2, 4, dtype=torch.bool),
        query=torch.ones(2, 5, dtype=torch.int64),
        query_mask=torch.ones(2, 5, dtype=torch.bool),
        span=torch.rand(2, 2),
        span_sec=torch.rand(2, 2, dtype=torch.float64),
        duration_sec=torch.rand(2, dtype=torch.float64),
        index=torch.arange(2),
    )


def tensors(of: GroundingBatch) -> dict[str, Tensor]:
    return {field.name: value for field in fields(of) if (value := getattr(of, field.name)) is not None}


def test_length_is_the_number_of_pairs() -> None:
    assert len(batch()) == 2


def test_to_moves_every_tensor_and_keeps_its_type() -> None:
    here = batch()
    there = tensors(here.to("meta"))
    for name, tensor in tensors(here).items():
        assert (there[name].device.type, there[name].dtype, there[name].shape) == ("meta", tensor.dtype, tensor.shape)
        assert tensor.device.type == "cpu"


def test_features_become_float32_on_their_way() -> None:
    half = replace(batch(), video=torch.full((2, 4, 3), 0.1, dtype=torch.float16))
    assert half.to("cpu").video.dtype == torch.float32
    assert torch.equal(half.to("cpu").video, half.video.float())


def test_a_shared_video_is_given_to_each_of_its_pairs() -> None:
    shared = replace(batch(), video_index=torch.tensor([1, 1]))
    alone = shared.to("cpu").per_pair()
    assert alone.video_index is None
    assert torch.equal(alone.video, shared.video[[1, 1]])
    assert torch.equal(alone.video_mask, shared.video_mask[[1, 1]])
    assert batch().per_pair().video_index is None


def test_the_clip_mask_is_that_of_each_pair() -> None:
    mask = torch.tensor([[True, False, False, False], [True, True, True, False]])
    alone = replace(batch(), video_mask=mask)
    assert alone.clip_mask.tolist() == mask.tolist()
    for index in ([1, 0], [1, 1], [0, 0]):
        shared = replace(alone, video_index=torch.tensor(index))
        assert shared.clip_mask.tolist() == [mask[row].tolist() for row in index]
        assert shared.clip_mask.tolist() == shared.per_pair().video_mask.tolist()


def test_pin_memory_pins_every_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[int] = []

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(id(tensor))
        return tensor.clone()

    monkeypatch.setattr(Tensor, "pin_memory", pin)  # the real one needs an accelerator
    here = batch()
    there = tensors(here.pin_memory())
    assert pinned == [id(tensor) for tensor in tensors(here).values()]
    for name, tensor in tensors(here).items():
        assert there[name] is not tensor
        assert torch.equal(there[name], tensor)


@pytest.mark.parametrize("name", [field.name for field in fields(GroundingBatch)])
def test_fields_are_frozen(name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(batch(), name, torch.zeros(2))


def test_attention_maps_are_optional() -> None:
    output = GroundingOutput(span=torch.rand(1, 2), ranked=torch.rand(1, 1, 2), log_attention=torch.rand(1, 4))
    assert output.maps is None
