"""The contract's tensors move and are pinned together, and nobody changes them in place."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

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
    return {field.name: getattr(of, field.name) for field in fields(of)}


def test_length_is_the_number_of_pairs() -> None:
    assert len(batch()) == 2


def test_to_moves_every_tensor_and_keeps_its_type() -> None:
    here = batch()
    there = tensors(here.to("meta"))
    for name, tensor in tensors(here).items():
        assert (there[name].device.type, there[name].dtype, there[name].shape) == ("meta", tensor.dtype, tensor.shape)
        assert tensor.device.type == "cpu"


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
