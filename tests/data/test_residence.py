"""Sizes and free memory are made up; what is chosen from them follows by hand."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray

from cpnet.data import residence as module
from cpnet.data import shared
from cpnet.data.features import FeatureSource, Hdf5Features, PackedFeatures
from cpnet.data.features.pack import pack
from cpnet.data.residence import Residence, available_memory, choose, place_rows
from cpnet.data.rows import DeviceRows, Extent, Rows, SharedRows, SourceRows, StoreRows

GB = 10**9
ARRAYS: dict[str, NDArray[np.float32]] = {"a": np.ones((3, 4), "f4"), "b": np.full((5, 4), 2, "f4")}
VIDEOS = list(ARRAYS)
SIZE = (3 + 5 + 1) * 4 * 2  # of the table, packed in 16 bits


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test shares."""
    (tmp_path / "shared").mkdir()
    for each in (shared, module):
        monkeypatch.setattr(each, "shared_folder", lambda: tmp_path / "shared")
    return tmp_path / "shared"


@pytest.fixture
def source(tmp_path: Path) -> Hdf5Features:
    with h5py.File(tmp_path / "pack", "w") as file:
        file.update(ARRAYS)
    return Hdf5Features(path=tmp_path / "pack")


@pytest.fixture
def store(source: Hdf5Features, tmp_path: Path) -> PackedFeatures:
    pack(source, tmp_path / "store", durations=dict.fromkeys(VIDEOS, 1.0))
    return PackedFeatures(path=tmp_path / "store")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What is free, in bytes; a test changes it."""
    free: dict[str, float] = {"gpu": 80 * GB, "memory": 100 * GB, "folder": 60 * GB}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free["gpu"], 200 * GB))
    monkeypatch.setattr(module, "available_memory", lambda: free["memory"])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free["folder"]))
    return free


def extent(size: float) -> Extent:
    one = torch.tensor([1])
    return Extent(counts=one, starts=one - 1, shape=(int(size / 1000), 500), dtype=np.dtype("f2"))


@pytest.mark.parametrize(
    ("size", "gpu", "chosen", "reason"),
    [
        (40 * GB, True, "device", "80.0 GB free on the GPU"),
        (40.1 * GB, True, "disk", "80.0 GB free on the GPU, 60.0 GB of memory free for {folder}"),
        (30 * GB, False, "memory", "60.0 GB of memory free for {folder}"),
        (30.1 * GB, False, "disk", "60.0 GB of memory free for {folder}"),
        (1 * GB, False, "memory", "60.0 GB of memory free for {folder}"),
    ],
)
def test_half_of_what_is_free_is_enough_for_the_fastest_residence(
    folder: Path, free: dict[str, float], size: float, gpu: bool, chosen: str, reason: str
) -> None:
    assert choose(extent(size), gpu=gpu) == (chosen, reason.format(folder=folder))


def test_a_gpu_that_is_too_small_leaves_the_memory(folder: Path, free: dict[str, float]) -> None:
    free.update(gpu=8.25 * GB, folder=200 * GB)
    wanted = f"8.2 GB free on the GPU, 100.0 GB of memory free for {folder}"
    assert choose(extent(50 * GB), gpu=True) == ("memory", wanted)
    free.update(memory=99 * GB)
    assert choose(extent(50 * GB), gpu=True)[0] == "disk"


def test_the_gpu_is_not_asked_where_the_model_is_not_there(
    free: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: pytest.fail("asked"))
    assert choose(extent(GB), gpu=False)[0] == "memory"


def test_who_comes_second_chooses_as_the_first_did(folder: Path, free: dict[str, float]) -> None:
    first = choose(extent(30 * GB), gpu=False)
    free.update(memory=70 * GB, folder=30 * GB)  # since the first has filled it
    second = choose(extent(30 * GB), gpu=False, shared=30 * GB)
    assert first[0] == second[0] == "memory"
    assert second[1] == f"60.0 GB of memory free for {folder}, or taken by these rows"
    assert choose(extent(30 * GB), gpu=False)[0] == "disk"


def check(rows: Rows) -> None:
    """Make sure that the rows are those of the pack."""
    fetched = rows.fetch(torch.tensor([1, 0]))
    for start, count, name in zip(fetched.starts.tolist(), fetched.counts.tolist(), "ba", strict=True):
        np.testing.assert_array_equal(fetched.rows[start : start + count].numpy(), ARRAYS[name])


@pytest.mark.parametrize(
    ("residence", "kind", "packed_kind"),
    [("disk", SourceRows, StoreRows), ("memory", SharedRows, SharedRows), ("device", DeviceRows, DeviceRows)],
)
def test_rows_are_where_they_are_told_to_be(
    source: Hdf5Features,
    store: PackedFeatures,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    residence: Residence,
    kind: type[Rows],
    packed_kind: type[Rows],
) -> None:
    monkeypatch.setattr(module, "choose", lambda *_, **__: pytest.fail("chose"))
    caplog.set_level(logging.INFO, module.__name__)
    cases: list[tuple[FeatureSource, type[Rows], str]] = [
        (source, kind, "as delivered" if residence == "disk" else "0.00 GB of float32 rows (as told)"),
        (store, packed_kind, "mapped" if residence == "disk" else "0.00 GB of float16 rows (as told)"),
    ]
    for given, wanted, said in cases:
        caplog.clear()
        rows = place_rows(given, VIDEOS, residence=residence)
        assert type(rows) is wanted
        check(rows)
        assert caplog.messages == [f"features: residence {residence}, {said}"]


@pytest.mark.parametrize(
    ("gpu", "memory", "chosen", "kind", "reason"),
    [
        (2 * SIZE, 2 * SIZE, "device", DeviceRows, "0.0 GB free on the GPU"),
        # Rows are read into memory on their way to the GPU.
        (2 * SIZE, 2 * SIZE - 1, "disk", StoreRows, "0.0 GB free on the GPU, 0.0 GB of memory free for {folder}"),
        (2 * SIZE - 1, 2 * SIZE, "memory", SharedRows, "0.0 GB free on the GPU, 0.0 GB of memory free for {folder}"),
        (0, 2 * SIZE - 1, "disk", StoreRows, "0.0 GB free on the GPU, 0.0 GB of memory free for {folder}"),
    ],
)
def test_auto_places_the_rows_and_says_why(
    folder: Path,
    store: PackedFeatures,
    free: dict[str, float],
    caplog: pytest.LogCaptureFixture,
    gpu: int,
    memory: int,
    chosen: str,
    kind: type[Rows],
    reason: str,
) -> None:
    free.update(gpu=gpu, memory=memory)
    caplog.set_level(logging.INFO, module.__name__)
    rows = place_rows(store, VIDEOS, gpu=True)
    assert type(rows) is kind
    check(rows)
    reason = reason.format(folder=folder)
    assert caplog.messages == [f"features: residence {chosen}, 0.00 GB of float16 rows ({reason})"]


def test_auto_tells_how_to_read_faster_what_is_read_as_delivered(
    source: Hdf5Features, free: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    free.update(memory=0)
    rows = place_rows(source, VIDEOS)
    assert type(rows) is SourceRows
    check(rows)
    assert caplog.messages == [
        f"features: each batch will be read from {source.path}; action=pack of cpnet.prepare is faster"
    ]


def test_auto_counts_what_holds_the_rows_already_as_free(store: PackedFeatures, free: dict[str, float]) -> None:
    first = place_rows(store, VIDEOS)
    assert isinstance(first, SharedRows)
    free.update(memory=0, folder=0)
    second = place_rows(store, VIDEOS)
    assert isinstance(second, SharedRows)
    assert second.shared.path == first.shared.path
    assert type(place_rows(store, VIDEOS[:1])) is StoreRows


def test_auto_first_removes_what_a_killed_process_has_left(
    folder: Path, store: PackedFeatures, free: dict[str, float]
) -> None:
    left = multiprocessing.get_context("fork").Event()

    def share_and_hang() -> None:
        array = shared.SharedArray("left", shape=(9,), dtype=np.dtype("f4"), fill=lambda table: table.fill(0))
        left.set()
        while array.path:
            signal.pause()

    process = multiprocessing.get_context("fork").Process(target=share_and_hang)
    process.start()
    left.wait()
    process.kill()
    process.join()
    assert [file.name.rpartition("-")[2] for file in folder.iterdir()] == ["left"]
    free.update(memory=0)
    assert type(place_rows(store, VIDEOS)) is StoreRows
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("residence", ["gpu", "", None, "Disk"])
def test_an_unknown_residence_is_refused(store: PackedFeatures, residence: Any) -> None:
    wanted = f"dataset.features.residence must be one of auto, disk, memory, device; got {residence!r}"
    with pytest.raises(ValueError, match=f"^{wanted}$"):
        place_rows(store, VIDEOS, residence=residence)


# Free memory

V2 = {"memory.max": "10000", "memory.current": "6000", "memory.stat": "anon 1\nfile 900\ninactive_file 700\n"}
V1 = {
    "memory/memory.limit_in_bytes": "10000\n",
    "memory/memory.usage_in_bytes": "6000\n",
    "memory/memory.stat": "cache 900\ninactive_file 300\ntotal_cache 900\ntotal_inactive_file 800\n",
}


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, 5000),  # what the system says
        (V2, 4700),
        (V1, 4800),
        ({**V1, "memory/memory.stat": "inactive_file 300\n"}, 4300),
        ({**V2, **V1}, 4700),  # both mounted
        ({**V2, "memory.max": "max\n"}, 5000),
        ({**V1, "memory/memory.limit_in_bytes": "9223372036854771712\n"}, 5000),
        ({**V2, "memory.max": "20000"}, 5000),
        ({**V2, "memory.current": "10500"}, 200),
        ({**V2, "memory.current": "11000"}, 0),
        ({**V2, "memory.stat": ""}, 4000),
        ({"memory.max": "10000", "memory.current": "6000"}, 4000),  # no more is known to be forgettable
        ({**V2, "memory.current": "six"}, 5000),
    ],
)
def test_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], wanted: int
) -> None:
    for name, content in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(content)
    monkeypatch.setattr(module, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(module, "MEMBERSHIP", tmp_path / "none")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=5000))
    assert available_memory() == wanted


@pytest.mark.parametrize(
    ("membership", "group", "names"),
    [
        ("0::/slurm/job7/step0\n", "slurm/job7", ("memory.max", "memory.current")),
        ("3:cpu:/x\n9:memory:/slurm/job7\n", "memory/slurm", ("memory.limit_in_bytes", "memory.usage_in_bytes")),
    ],
)
def test_the_limit_of_a_job_is_seen_in_any_group_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, membership: str, group: str, names: tuple[str, str]
) -> None:
    place = tmp_path / "cgroup" / group
    place.mkdir(parents=True)
    for name, value in zip(names, ("3000", "1000"), strict=True):
        (place / name).write_text(value)
    (place / "memory.stat").write_text("inactive_file 200\n")
    (tmp_path / "membership").write_text(membership)
    monkeypatch.setattr(module, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(module, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=5000))
    assert available_memory() == 2200
    (tmp_path / "membership").write_text("0::/elsewhere\n")
    assert available_memory() == 5000


def test_this_machine_has_memory() -> None:
    assert 0 < available_memory() <= psutil.virtual_memory().total
