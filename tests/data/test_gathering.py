"""The oracles are loops over clips, in float64; of memory, what a holder reads after others have written."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from cpnet.data import gathering
from cpnet.data.gathering import RecycledMemory, fresh, gather_between, gather_means, gather_rows

CPU = torch.device("cpu")
DTYPES = [np.float16, np.float32]
sizes = st.integers(1, 9)
# From one clip at a time to all at once.
blocks = st.sampled_from([1, 64, 200, 1 << 21])


def table(draw: st.DataObject, dtype: Any) -> NDArray[Any]:
    rows, width = draw.draw(st.integers(1, 30), label="rows"), draw.draw(st.integers(1, 9), label="width")
    scale = draw.draw(st.sampled_from([1.0, 1000.0]), label="scale")
    return (np.random.default_rng(rows * width).normal(size=(rows, width)) * scale).astype(dtype)


def index(draw: st.DataObject, shape: tuple[int, int], rows: int) -> NDArray[np.int64]:
    numbers = draw.draw(
        st.lists(st.integers(0, rows - 1), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]), label="index"
    )
    return np.array(numbers, np.int64).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), shape=st.tuples(sizes, sizes))
def test_each_clip_takes_its_row(dtype: Any, data: st.DataObject, shape: tuple[int, int]) -> None:
    rows = table(data, dtype)
    places = index(data, shape, len(rows))
    out = gather_rows(torch.from_numpy(rows), torch.from_numpy(places))
    assert out.numpy().dtype == dtype
    assert out.shape == (*shape, rows.shape[1])
    for place in np.ndindex(shape):
        np.testing.assert_array_equal(out[place].numpy(), rows[places[place]])


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), shape=st.tuples(sizes, sizes), block=blocks)
def test_each_clip_lies_between_its_two_rows(
    dtype: Any, data: st.DataObject, shape: tuple[int, int], block: int
) -> None:
    rows = table(data, dtype)
    lower, upper = index(data, shape, len(rows)), index(data, shape, len(rows))
    weight = np.random.default_rng(7).choice([0, 0.25, 0.9, 1.0], size=shape).astype("f4")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "BLOCK_BYTES", block)
        out = gather_between(*(torch.from_numpy(each) for each in (rows, lower, upper, weight))).numpy()
    assert out.dtype == np.float32
    assert out.shape == (*shape, rows.shape[1])
    for place in np.ndindex(shape):
        below, above = rows[lower[place]].astype("f8"), rows[upper[place]].astype("f8")
        size = np.abs(below).max() + np.abs(above).max()
        np.testing.assert_allclose(out[place], below + (above - below) * weight[place], rtol=0, atol=1e-6 * size)
        if weight[place] == 0 or lower[place] == upper[place]:
            np.testing.assert_array_equal(out[place], below)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), shape=st.tuples(sizes, sizes), block=blocks)
def test_each_clip_is_the_mean_of_its_rows(dtype: Any, data: st.DataObject, shape: tuple[int, int], block: int) -> None:
    rows = table(data, dtype)
    first = index(data, shape, len(rows))
    counts = 1 + index(data, shape, len(rows)) % (len(rows) - first)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "BLOCK_BYTES", block)
        out = gather_means(*(torch.from_numpy(each) for each in (rows, first, counts))).numpy()
    assert out.dtype == np.float32
    assert out.shape == (*shape, rows.shape[1])
    for place in np.ndindex(shape):
        clip = rows[first[place] : first[place] + counts[place]].astype("f8")
        np.testing.assert_allclose(out[place], clip.mean(0), rtol=0, atol=1e-6 * np.abs(clip).max())
        if len(clip) == 1:
            np.testing.assert_array_equal(out[place], clip[0])


def test_sums_in_16_bits_would_overflow_and_these_do_not() -> None:
    rows = torch.full((4, 2), 60000.0, dtype=torch.float16)
    zero, all_rows = torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 1), 4)
    assert (gather_means(rows, zero, all_rows) == rows[0].float()).all()
    assert (gather_between(rows, zero, zero + 1, torch.ones(1, 1)) == rows[0].float()).all()
    rows[1] *= -1  # 120000 apart
    assert (gather_between(rows, zero, zero + 1, torch.full((1, 1), 0.5)) == 0).all()


@pytest.mark.parametrize(("width", "per_clip"), [(1, 1), (7, 1), (3, 2), (64, 1)])
@pytest.mark.parametrize("clips", [1, 15, 16, 17, 48])
def test_blocks_cover_each_clip_once_and_fit(
    monkeypatch: pytest.MonkeyPatch, clips: int, width: int, per_clip: int
) -> None:
    monkeypatch.setattr(gathering, "BLOCK_BYTES", 4 * 16)
    parts = [range(clips)[part] for part in gathering._blocks(clips, torch.zeros(2, width), per_clip=per_clip)]
    assert [clip for part in parts for clip in part] == list(range(clips))
    assert all(len(part) == 1 or len(part) * width * per_clip <= 16 for part in parts)


def test_every_gathering_writes_into_the_memory_it_is_given() -> None:
    given = []

    def allocate(shape: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
        given.append(torch.full(tuple(shape), torch.nan, dtype=dtype, device=device))
        return given[-1]

    rows, zero = torch.ones(3, 5, dtype=torch.float16), torch.zeros(2, 4, dtype=torch.int64)
    outs = [
        gather_rows(rows, zero, allocate=allocate),
        gather_between(rows, zero, zero, torch.zeros(2, 4), allocate=allocate),
        gather_means(rows, zero, zero + 1, allocate=allocate),
    ]
    for out, memory in zip(outs, given, strict=True):
        assert out is memory
        assert (out == 1).all()


# Memory that is used again


def make(memory: RecycledMemory, value: float, shape: tuple[int, ...] = (8, 3)) -> Tensor:
    return memory(shape, torch.float32, CPU).fill_(value)


class Squared(torch.autograd.Function):
    """Saves its input for the backward pass and nothing else."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)
        return inputs.square()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (inputs,) = ctx.saved_tensors
        result: Tensor = 2 * inputs * gradient
        return result


def saved_for_backward(batch: Tensor) -> Callable[[], Tensor]:
    weight = torch.ones(3, requires_grad=True)
    loss = (batch * weight).sum()

    def read() -> Tensor:
        (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
        return gradient / 8

    return read


def saved_by_a_function(batch: Tensor) -> Callable[[], Tensor]:
    out: Tensor = Squared.apply(batch.requires_grad_()).sum()  # type: ignore[no-untyped-call]
    graph: Any = out.grad_fn
    saved = graph.next_functions[0][0]
    return lambda: saved.saved_tensors[0].detach()


def a_view(batch: Tensor) -> Callable[[], Tensor]:
    view = batch[2:4]
    return lambda: view


def a_data_slice(batch: Tensor) -> Callable[[], Tensor]:
    data = batch.data[-1:, 1]
    return lambda: data


def a_detached_transpose(batch: Tensor) -> Callable[[], Tensor]:
    other = batch.detach().T.view(torch.int32)
    return lambda: other.view(torch.float32)


def a_numpy_view(batch: Tensor) -> Callable[[], Tensor]:
    array = batch.numpy()[3:]
    return lambda: torch.from_numpy(array)


def the_storage(batch: Tensor) -> Callable[[], Tensor]:
    storage = batch.untyped_storage()
    return lambda: torch.tensor([], dtype=torch.float32).set_(storage)[:24]


def a_shallow_copy(batch: Tensor) -> Callable[[], Tensor]:
    again = copy.copy(batch)
    return lambda: again


def a_capsule(batch: Tensor) -> Callable[[], Tensor]:
    capsule = batch.__dlpack__()
    return lambda: torch.utils.dlpack.from_dlpack(capsule)


HOLDERS = [
    *(a_view, a_data_slice, a_detached_transpose, a_numpy_view, the_storage, a_shallow_copy, a_capsule),
    *(saved_for_backward, saved_by_a_function),
]


@pytest.mark.parametrize("hold", HOLDERS)
@pytest.mark.parametrize("most", [1, 4])
def test_what_somebody_holds_is_not_written_to(hold: Callable[[Tensor], Callable[[], Tensor]], most: int) -> None:
    memory = RecycledMemory(most)
    batch = make(memory, 1)
    place = batch.data_ptr()
    held = hold(batch)
    del batch
    others = [make(memory, -1 - number) for number in range(6)]
    for _ in range(6):
        make(memory, -9)  # used again and again
    assert (held() == 1).all()
    assert all((other == -1 - number).all() for number, other in enumerate(others))
    assert place not in {other.data_ptr() for other in others}


@pytest.mark.parametrize("hold", HOLDERS)
def test_what_was_held_is_used_again_once_it_is_let_go(hold: Callable[[Tensor], Callable[[], Tensor]]) -> None:
    memory = RecycledMemory()
    batch = make(memory, 1)
    place = batch.data_ptr()
    held = hold(batch)
    del batch
    first = make(memory, 2)
    assert first.data_ptr() != place
    del held
    gc.collect()
    assert make(memory, 3).data_ptr() == place


@given(
    most=st.integers(1, 5),
    steps=st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["hold", "drop"]), st.integers(0, 9)), max_size=40),
)
def test_memory_is_never_shared_whatever_is_held_and_let_go(most: int, steps: list[tuple[int, str, int]]) -> None:
    memory, held = RecycledMemory(most), dict[int, Tensor]()
    for number, (size, action, which) in enumerate(steps):
        if action == "drop" and held:
            del held[list(held)[which % len(held)]]
        held[number] = make(memory, number, (size, 2))
        assert len(memory._kept) <= most
        for value, tensor in held.items():
            assert (tensor == value).all()


def test_a_loop_that_lets_go_uses_two_places() -> None:
    memory = RecycledMemory()
    batch = make(memory, 0)
    places = set()
    for value in range(20):
        batch = make(memory, value)  # the old one goes when the new one is there
        places.add(batch.data_ptr())
    assert len(places) == len(memory._kept) == 2
    assert (batch == 19).all()


def test_no_more_than_the_most_is_kept_and_what_falls_out_lives_as_long_as_it_is_held() -> None:
    memory = RecycledMemory(2)
    batches = [make(memory, number) for number in range(5)]
    assert len(memory._kept) == 2
    assert all((batch == number).all() for number, batch in enumerate(batches))
    places = [batch.data_ptr() for batch in batches]
    del batches
    again = [make(memory, 0) for _ in range(2)]
    assert {batch.data_ptr() for batch in again} == set(places[-2:])


def test_memory_serves_other_sizes_and_types() -> None:
    memory = RecycledMemory()
    place = make(memory, 1).data_ptr()
    for shape, dtype in (
        ((4, 6), torch.float32),
        ((8, 3), torch.float16),
        ((3,), torch.int64),
        ((2, 0), torch.float32),
    ):
        tensor = memory(shape, dtype, CPU)
        assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == (shape, dtype, True)
        assert tensor.data_ptr() == (place if tensor.numel() else 0)
        del tensor
    larger = make(memory, 2, (25, 1))
    assert (larger == 2).all()
    assert larger.data_ptr() != place
    assert make(memory, 3).data_ptr() == place
    assert memory(torch.Size(()), torch.float32, CPU).shape == ()


def test_another_device_keeps_its_own_memory() -> None:
    memory = RecycledMemory()
    assert memory((2, 3), torch.float32, torch.device("meta")).device.type == "meta"
    assert memory._kept == []
    assert fresh((2, 3), torch.float16, CPU).shape == (2, 3)


def test_pickles_and_copies_keep_nothing() -> None:
    memory = RecycledMemory(3)
    batch = make(memory, 1, (1000, 10))
    pickled = pickle.dumps(memory)
    assert len(pickled) < 200
    for other in (pickle.loads(pickled), copy.copy(memory)):
        assert (other.most, other._kept) == (3, [])
        make(other, 2, (1000, 10))
    assert (batch == 1).all()


def test_memory_that_is_free_but_too_small_goes() -> None:
    memory, cpu = RecycledMemory(), torch.device("cpu")
    held = memory((7,), torch.uint8, cpu)
    for size in (440, 480, 520, 560):
        memory((size,), torch.uint8, cpu)
    assert [each.nbytes for each in memory._kept] == [7, 560]
    assert len(held) == 7
