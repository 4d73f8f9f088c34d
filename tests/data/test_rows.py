"""The oracle of every kind of rows is the arrays that a test wrote to a pack."""

from __future__ import annotations

import multiprocessing
import operator
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cpnet.data import rows as module
from cpnet.data import shared
from cpnet.data.features import FeatureSource, Hdf5Features, PackedFeatures
from cpnet.data.features.pack import Precision, pack
from cpnet.data.moment import DataError
from cpnet.data.progress import silent
from cpnet.data.rows import (
    DeviceRows,
    Fetched,
    Rows,
    SharedRows,
    SourceRows,
    StoreRows,
    fill_table,
    measure,
    shared_bytes,
)

Arrays = dict[str, NDArray[Any]]
Make = Callable[[Path, Arrays], Rows]

DIM = 6
RNG = np.random.default_rng(0)
# As exact in 16 bits as in 32.
ARRAYS: Arrays = {
    name: RNG.normal(size=(count, DIM)).astype("f2").astype("f4")
    for name, count in zip("dbeac", (3, 1, 7, 2, 4), strict=True)
}
VIDEOS = list(ARRAYS)  # not in the order of the pack


def write(path: Path, arrays: Arrays = ARRAYS) -> Hdf5Features:
    with h5py.File(path, "w") as file:
        for name, rows in arrays.items():
            file[name] = rows
    return Hdf5Features(path=path)


def packed(folder: Path, arrays: Arrays = ARRAYS, dtype: Precision = "float16") -> PackedFeatures:
    pack(write(folder / "pack", arrays), folder / "store", durations=dict.fromkeys(arrays, 1.0), dtype=dtype)
    return PackedFeatures(path=folder / "store")


def shared_rows(source: FeatureSource) -> SharedRows:
    return SharedRows(source, VIDEOS, measure(source, VIDEOS))


def device_rows(source: FeatureSource) -> DeviceRows:
    return DeviceRows(source, VIDEOS, measure(source, VIDEOS))


KINDS: dict[str, Callable[[Path], Rows]] = {
    "source": lambda folder: SourceRows(write(folder / "pack"), VIDEOS),
    "source, packed": lambda folder: SourceRows(packed(folder), VIDEOS),
    "store": lambda folder: StoreRows(packed(folder), VIDEOS),
    "store, float32": lambda folder: StoreRows(packed(folder, dtype="float32"), VIDEOS),
    "shared": lambda folder: shared_rows(write(folder / "pack")),
    "shared, packed": lambda folder: shared_rows(packed(folder)),
    "device": lambda folder: device_rows(write(folder / "pack")),
    "device, packed": lambda folder: device_rows(packed(folder)),
}


@pytest.fixture(autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where arrays are shared in this test: any process of this user may tidy the common folder at any time."""
    folder = tmp_path_factory.mktemp("shared")
    monkeypatch.setattr(shared, "shared_folder", lambda: folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Rows]]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("shared")
        patch.setattr(shared, "shared_folder", lambda: folder)
        yield {kind: make(tmp_path_factory.mktemp("rows")) for kind, make in KINDS.items()}


def check(fetched: Fetched, videos: Sequence[int], arrays: Arrays = ARRAYS) -> None:
    """Make sure that the rows of some videos have been fetched, and a row of zeros."""
    assert fetched.starts.dtype == fetched.counts.dtype == torch.int64
    assert fetched.counts.tolist() == [len(arrays[VIDEOS[video]]) for video in videos]
    for video, start, count in zip(videos, fetched.starts.tolist(), fetched.counts.tolist(), strict=True):
        np.testing.assert_array_equal(fetched.rows[start : start + count].numpy(), arrays[VIDEOS[video]])
    assert fetched.rows.shape[1] == DIM
    assert not fetched.rows[-1].any()
    assert int((fetched.starts + fetched.counts).max()) < len(fetched.rows)  # that row is no video's


@pytest.mark.parametrize("kind", KINDS)
@given(videos=st.lists(st.integers(0, len(VIDEOS) - 1), min_size=1, max_size=12))
def test_every_kind_gives_the_rows_of_any_videos(made: dict[str, Rows], kind: str, videos: list[int]) -> None:
    fetched = made[kind].fetch(torch.tensor(videos))
    check(fetched, videos)
    assert fetched.rows.dtype == (
        torch.float16 if kind in ("source, packed", "store", "shared, packed", "device, packed") else torch.float32
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_gives_the_same_rows(made: dict[str, Rows], kind: str) -> None:
    again = pickle.loads(pickle.dumps(made[kind]))
    for videos in ([4, 0, 4], [1]):
        check(again.fetch(torch.tensor(videos)), videos)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_gets_the_same_rows(made: dict[str, Rows], method: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as pool:
        for kind in ("source", "store", "shared"):
            got = pool.apply(operator.methodcaller("fetch", torch.tensor([2, 2, 3])), (made[kind],))
            check(got, [2, 2, 3])


def test_tables_of_a_pack_that_mixes_types_are_of_the_wider_one(tmp_path: Path) -> None:
    arrays = {name: rows.astype("f2" if name in "db" else "f4") for name, rows in ARRAYS.items()}
    fetched = SourceRows(write(tmp_path / "pack", arrays), VIDEOS).fetch(torch.tensor([0, 2, 1]))
    assert fetched.rows.dtype == torch.float32
    check(fetched, [0, 2, 1])


@pytest.mark.parametrize("make", [shared_rows, device_rows])
def test_a_pack_that_mixes_types_is_refused_in_memory_unless_the_first_is_the_wider(
    tmp_path: Path, folder: Path, make: Callable[[FeatureSource], Rows]
) -> None:
    arrays = {name: rows.astype("f2" if name in "db" else "f4") for name, rows in ARRAYS.items()}
    with pytest.raises(
        DataError, match=r"features of 'e' are float32, those of others float16; pack them: .*residence"
    ):
        make(write(tmp_path / "pack", arrays))
    assert list(folder.iterdir()) == []
    arrays = {name: rows.astype("f4" if name in "db" else "f2") for name, rows in ARRAYS.items()}
    check(make(write(tmp_path / "pack", arrays)).fetch(torch.arange(5)), range(5))


def test_values_that_are_not_finite_are_refused(tmp_path: Path, folder: Path) -> None:
    arrays = {name: rows.copy() for name, rows in ARRAYS.items()}
    arrays["e"][2, 1] = np.nan
    source = write(tmp_path / "pack", arrays)
    reads: list[Callable[[], object]] = [
        lambda: SourceRows(source, VIDEOS).fetch(torch.tensor([2])),
        lambda: shared_rows(source),
        lambda: device_rows(source),
    ]
    for read in reads:
        with pytest.raises(DataError, match="features of 'e' hold NaN or infinity in 1 of 7 rows, first in row 2"):
            read()
    assert list(folder.iterdir()) == []


def test_a_video_that_is_absent_is_named(tmp_path: Path) -> None:
    store = packed(tmp_path)
    reads: list[Callable[[], object]] = [
        lambda: SourceRows(store, ["d", "x"]).fetch(torch.tensor([1])),
        lambda: StoreRows(store, ["d", "x"]),
        lambda: measure(store, ["d", "x"]),
    ]
    for read in reads:
        with pytest.raises(DataError, match="has no features of video 'x'"):
            read()


def test_the_extent_tells_where_the_videos_are(tmp_path: Path) -> None:
    for source, size in ((write(tmp_path / "flat"), 4), (packed(tmp_path), 2)):
        extent = measure(source, VIDEOS)
        assert extent.counts.tolist() == [3, 1, 7, 2, 4]
        assert extent.starts.tolist() == [0, 3, 4, 11, 13]
        assert extent.shape == (18, DIM)
        assert extent.nbytes == 18 * DIM * size


# The mapped store


def test_pages_are_given_back_before_they_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = packed(tmp_path)
    rows = StoreRows(store, VIDEOS)
    released = []
    release = PackedFeatures.release

    def count(self: PackedFeatures) -> None:
        released.append(len(touched))
        release(self)

    monkeypatch.setattr(PackedFeatures, "release", count)
    monkeypatch.setattr(module, "MAPPED_BYTES", 20 * DIM * 2)  # of 20 rows
    touched: list[int] = []
    kept = []
    for videos in ([2, 2], [1], [2], [0], [4, 2, 4], [2], [1], [3]):
        kept.append((rows.fetch(torch.tensor(videos)), videos))
        touched.append(sum(len(ARRAYS[VIDEOS[video]]) for video in videos))
    assert touched == [14, 1, 7, 3, 15, 7, 1, 2]
    assert released == [3, 6]  # after 22 and 25 rows
    for fetched, videos in kept:
        check(fetched, videos)


def test_a_store_stays_mapped_once(tmp_path: Path) -> None:
    rows = StoreRows(packed(tmp_path), VIDEOS)
    assert rows.fetch(torch.tensor([0])).rows.data_ptr() == rows.fetch(torch.tensor([1])).rows.data_ptr()


def test_a_large_store_is_released_while_it_is_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, released = packed(tmp_path), []
    monkeypatch.setattr(PackedFeatures, "release", lambda self: released.append(self))
    monkeypatch.setattr(module, "MAPPED_BYTES", 3 * DIM * 2)
    check(device_rows(store).fetch(torch.arange(5)), range(5))
    assert released == [store] * 3  # after e, and after d and b, and after c


# In memory


def test_two_users_of_one_pack_share_one_table(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "pack")
    extent = measure(source, VIDEOS)
    assert shared_bytes(source, VIDEOS, extent) == 0
    first = shared_rows(source)
    assert extent.nbytes <= shared_bytes(source, VIDEOS, extent) == first.shared.path.stat().st_blocks * 512
    monkeypatch.setattr(module, "fill_table", lambda *_: pytest.fail("read again"))
    second = shared_rows(Hdf5Features(path=source.path))
    assert len(list(folder.iterdir())) == 1
    first.shared.array()[0] = 9
    assert (second.fetch(torch.tensor([0])).rows[0] == 9).all()


def test_a_pack_that_differs_in_anything_has_a_table_of_its_own(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "other").mkdir()
    source = write(tmp_path / "pack")
    kept: list[Rows] = [shared_rows(source), shared_rows(write(tmp_path / "other" / "pack"))]
    kept.append(SharedRows(source, VIDEOS[:3], measure(source, VIDEOS[:3])))
    kept.append(SharedRows(source, VIDEOS[::-1], measure(source, VIDEOS[::-1])))
    changed = {name: rows + 1 for name, rows in ARRAYS.items()}
    write(tmp_path / "new", changed).path.replace(source.path)
    kept.append(shared_rows(Hdf5Features(path=source.path)))
    assert len(list(folder.iterdir())) == len(kept) == 5
    check(kept[0].fetch(torch.arange(5)), range(5))
    check(kept[-1].fetch(torch.arange(5)), range(5), changed)


def test_progress_is_told_of_every_video_that_is_read(tmp_path: Path) -> None:
    told = []

    def progress(videos: Sequence[str], what: str) -> Iterator[str]:
        for video in videos:
            told.append((what, video))
            yield video

    source = write(tmp_path / "pack")
    SharedRows(source, VIDEOS, measure(source, VIDEOS), progress=progress)
    assert told == [("reading features", video) for video in VIDEOS]


@pytest.mark.parametrize("factor", [0.5, 2])
def test_a_source_that_changes_between_counting_and_reading_is_noticed(tmp_path: Path, factor: float) -> None:
    source = write(tmp_path / "pack")
    extent = measure(source, VIDEOS)
    source.close()
    changed = write(source.path, dict(ARRAYS, e=np.resize(ARRAYS["e"], (int(7 * factor), DIM))))
    with pytest.raises(DataError, match=r"pack changed while it was read: 'e' has other rows now; start again"):
        fill_table(np.empty(extent.shape, "f4"), changed, VIDEOS, extent, silent)


def test_a_table_of_a_device_stays_where_it_is(tmp_path: Path) -> None:
    rows = device_rows(write(tmp_path / "pack"))
    first, second = rows.fetch(torch.tensor([0])), rows.fetch(torch.tensor([3, 3]))
    assert first.rows is second.rows
    there = rows.fetch(torch.tensor([1, 2], device="meta"))  # the only other device that every machine has
    assert {tensor.device.type for tensor in (there.rows, there.starts, there.counts)} == {"meta"}
    assert there.rows.shape == first.rows.shape


def test_rows_that_do_not_fit_on_a_device_say_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "pack.hdf5")
    rows = DeviceRows(source, VIDEOS, measure(source, VIDEOS))

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.Tensor, "to", full)
    with pytest.raises(DataError, match=r"features do not fit on meta; set dataset\.features\.residence=memory"):
        rows.fetch(torch.tensor([0], device="meta"))
