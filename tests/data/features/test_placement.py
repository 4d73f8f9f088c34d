"""Oracle: the arrays that a test wrote to a pack. Free memory is made up; the choice then follows by hand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpnet.data.features import FeatureSource, PackedFeatures, open_features, placement
from cpnet.data.features.pack import Precision, pack
from cpnet.data.features.placement import (
    DeliveredFeatures,
    PlacedFeatures,
    TableFeatures,
    VideoRows,
    choose,
    place_features,
)
from cpnet.errors import DataError
from packs import Arrays, write_npy

DIM = 6
RNG = np.random.default_rng(0)
# As exact in 16 bits as in 32.
ARRAYS: Arrays = {
    name: RNG.normal(size=(count, DIM)).astype("f2").astype("f4")
    for name, count in zip("dbeac", (3, 1, 7, 2, 4), strict=True)
}
VIDEOS = list(ARRAYS)  # not in the order of the pack
SIZE = 18 * DIM * 2  # bytes of the table in 16 bits


def write(path: Path, arrays: Arrays = ARRAYS) -> FeatureSource:
    with h5py.File(path, "w") as file:
        for name, rows in arrays.items():
            file[name] = rows
    return open_features(path=path)


def packed(folder: Path, dtype: Precision = "float16") -> PackedFeatures:
    pack(write(folder / "pack"), folder / "store", videos=dict.fromkeys(ARRAYS, 1.0), dtype=dtype)
    return PackedFeatures(path=folder / "store")


def loaded(source: FeatureSource, placement: str = "memory") -> PlacedFeatures:
    return place_features(source, VIDEOS, placement=placement)


def on_disk(source: FeatureSource) -> PlacedFeatures:
    return place_features(source, VIDEOS, placement="disk")


KINDS: dict[str, tuple[Callable[[Path], PlacedFeatures], torch.dtype]] = {
    "delivered": (lambda folder: on_disk(write(folder / "pack")), torch.float32),
    "delivered, from a store": (lambda folder: DeliveredFeatures(packed(folder), VIDEOS), torch.float16),
    "mapped": (lambda folder: on_disk(packed(folder)), torch.float16),
    "mapped, float32": (lambda folder: on_disk(packed(folder, "float32")), torch.float32),
    "loaded": (lambda folder: loaded(write(folder / "pack")), torch.float32),
    "loaded, from a store": (lambda folder: loaded(packed(folder)), torch.float16),
}


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PlacedFeatures]:
    return {kind: make(tmp_path_factory.mktemp("rows")) for kind, (make, _) in KINDS.items()}


def check(found: VideoRows, videos: Sequence[int]) -> None:
    """Check the rows of some videos, and the row of zeros."""
    assert found.starts.dtype == found.counts.dtype == torch.int64
    assert found.counts.tolist() == [len(ARRAYS[VIDEOS[video]]) for video in videos]
    for video, start, count in zip(videos, found.starts.tolist(), found.counts.tolist(), strict=True):
        np.testing.assert_array_equal(found.table[start : start + count].numpy(), ARRAYS[VIDEOS[video]])
    assert found.table.shape[1] == DIM
    assert not found.table[-1].any()
    assert int((found.starts + found.counts).max()) < len(found.table)  # that row belongs to no video


@pytest.mark.parametrize("kind", KINDS)
@given(videos=st.lists(st.integers(0, len(VIDEOS) - 1), min_size=1, max_size=12))
def test_every_placement_returns_the_rows_of_any_videos(
    placed: dict[str, PlacedFeatures], kind: str, videos: list[int]
) -> None:
    found = placed[kind].fetch(torch.tensor(videos))
    check(found, videos)
    assert found.table.dtype == KINDS[kind][1]


def mixed(folder: Path, half: str) -> FeatureSource:
    return write(folder / "pack", {name: rows.astype("f2" if name in half else "f4") for name, rows in ARRAYS.items()})


@pytest.mark.parametrize("half", ["db", "eac"])
def test_pack_of_mixed_types_is_read_and_loaded_in_the_wider_type(half: str, tmp_path: Path) -> None:
    source = mixed(tmp_path, half=half)
    check(on_disk(source).fetch(torch.tensor([0, 2, 1])), [0, 2, 1])
    check(loaded(source).fetch(torch.arange(5)), range(5))


def test_values_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    rows = ARRAYS["e"].copy()
    rows[2, 1] = np.nan
    source = write(tmp_path / "pack", ARRAYS | {"e": rows})
    reads: list[Callable[[], object]] = [
        lambda: on_disk(source).fetch(torch.tensor([2])),
        lambda: loaded(source),
    ]
    for read in reads:
        with pytest.raises(DataError, match="features of 'e' hold NaN or infinity in 1 of 7 rows, first in row 2"):
            read()


@pytest.mark.parametrize("factor", [0.5, 2])
def test_pack_that_changes_between_counting_and_reading_is_an_error(
    tmp_path: Path, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pack").mkdir()
    source = open_features(path=write_npy(tmp_path / "pack", ARRAYS))

    def change(videos: Sequence[str], what: str) -> Sequence[str]:
        write_npy(tmp_path / "pack", {"e": np.resize(ARRAYS["e"], (int(7 * factor), DIM))})
        return videos

    monkeypatch.setattr("cpnet.data.features.placement.track", change)
    with pytest.raises(DataError, match="pack changed while it was read: 'e' has a new number of rows; start again"):
        loaded(source)


@pytest.mark.parametrize(("placement", "device"), [("memory", "cpu"), ("device", "meta")])
def test_table_moves_to_the_device_once_if_it_is_placed_there(tmp_path: Path, placement: str, device: str) -> None:
    features = loaded(write(tmp_path / "pack"), placement=placement)
    before = features.fetch(torch.tensor([1, 2]))
    features.to("meta")  # the only other device of every machine
    first, second = features.fetch(torch.tensor([0])), features.fetch(torch.tensor([1, 2]))
    assert first.table is second.table
    assert (second.table.device.type, second.table.shape) == (device, before.table.shape)
    assert torch.equal(second.starts, before.starts)
    assert torch.equal(second.counts, before.counts)


def test_table_that_does_not_fit_on_the_device_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = loaded(write(tmp_path / "pack.hdf5"), placement="device")

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.Tensor, "to", full)
    with pytest.raises(DataError, match=r"features do not fit on meta; set dataset\.features\.placement=memory"):
        features.to("meta")


# The choice


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Free bytes; a test changes them."""
    free = {"gpu": 0, "memory": 100 * SIZE}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free["gpu"], 200 * SIZE))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free["memory"]))
    for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return free


@pytest.mark.parametrize("configured", ["disk", "memory", "device"])
def test_features_are_placed_as_configured(tmp_path: Path, caplog: pytest.LogCaptureFixture, configured: str) -> None:
    caplog.set_level(logging.INFO, placement.__name__)
    for source in (write(tmp_path / "delivered"), packed(tmp_path)):
        features = place_features(source, VIDEOS, placement=configured)
        delivered = configured == "disk" and source.layout != "packed"
        assert type(features) is (DeliveredFeatures if delivered else TableFeatures)
        check(features.fetch(torch.tensor([1, 0])), [1, 0])
    assert caplog.messages == [f"features: placement {configured} (dataset.features.placement)"] * 2


@pytest.mark.parametrize(
    ("packed", "gpu", "gpu_free", "memory_free", "processes", "chosen"),
    [
        (True, True, 2 * SIZE, 2 * SIZE, 1, "device"),
        (True, True, 2 * SIZE - 1, 2 * SIZE, 1, "disk"),
        (True, True, 2 * SIZE, 2 * SIZE - 1, 1, "disk"),  # the table is read into memory first
        (True, True, 2 * SIZE, 2 * SIZE, 2, "disk"),
        (True, False, 100 * SIZE, 100 * SIZE, 1, "disk"),
        (False, True, 2 * SIZE, 2 * SIZE, 1, "device"),
        (False, True, 2 * SIZE - 1, 2 * SIZE, 1, "memory"),
        (False, False, 100 * SIZE, 2 * SIZE, 1, "memory"),
        (False, False, 100 * SIZE, 2 * SIZE - 1, 1, "disk"),
        (False, False, 100 * SIZE, 6 * SIZE, 3, "memory"),
        (False, False, 100 * SIZE, 6 * SIZE, 4, "disk"),
    ],
)
def test_auto_uses_half_of_what_is_free(
    free: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    packed: bool,
    gpu: bool,
    gpu_free: int,
    memory_free: int,
    processes: int,
    chosen: str,
) -> None:
    free.update(gpu=gpu_free, memory=memory_free)
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    assert choose(SIZE, packed=packed, gpu=gpu)[0] == chosen


def test_auto_measures_the_rows_and_logs_the_reason(
    tmp_path: Path, free: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, placement.__name__)
    for memory, kind in ((4 * SIZE, TableFeatures), (4 * SIZE - 1, DeliveredFeatures)):  # 32 bits take twice the size
        free.update(memory=memory)
        features = place_features(write(tmp_path / "pack"), VIDEOS, placement="auto")
        assert type(features) is kind
        check(features.fetch(torch.tensor([1, 0])), [1, 0])
    assert caplog.messages == [
        f"features: placement {chosen} (0.0 GB of rows, 0.0 GB of memory free for each process)"
        for chosen in ("memory", "disk")
    ]


@pytest.mark.parametrize("configured", ["memory", "device"])
def test_table_that_does_not_fit_in_memory_is_an_error(tmp_path: Path, free: dict[str, int], configured: str) -> None:
    free.update(memory=SIZE - 1)
    with pytest.raises(DataError, match=r"do not fit in .* free memory; set dataset\.features\.placement=disk"):
        place_features(packed(tmp_path), VIDEOS, placement=configured)
