"""The oracles are the arrays that a test wrote to a pack, and what h5py, zlib and struct say of the store's bytes."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from commands import spawn
from cpnet.data.features import Hdf5Features, PackedFeatures
from cpnet.data.features.fingerprint import fingerprint
from cpnet.data.features.pack import Precision, pack, verify
from cpnet.data.moment import DataError
from cpnet.data.progress import Progress, silent

Arrays = dict[str, NDArray[Any]]

DIM = 5
SEAL_BYTES = 512
STAGES = ("measuring", "packing", "checking")
fork = multiprocessing.get_context("fork")


def arrays(videos: int = 7, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {f"v{number:03}": rng.normal(size=(rng.integers(1, 7), DIM)).astype("f4") for number in range(videos)}


def write(path: Path, content: Arrays) -> Hdf5Features:
    with h5py.File(path, "w") as file:
        for name, rows in content.items():
            file[name] = rows
    return Hdf5Features(path=path)


def durations(content: Arrays) -> dict[str, float]:
    return {name: 1.5 * len(rows) for name, rows in content.items()}


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def rows_begin(store: Path) -> int:
    """Where the rows begin, as the store's first bytes say."""
    return SEAL_BYTES + int(store.read_bytes()[:SEAL_BYTES].split(b"\n")[1].split()[0])


def check(store: Path, content: Arrays, dtype: Precision = "float16") -> None:
    """Make sure that a store holds some arrays, in alphabetical order, and nothing else."""
    with h5py.File(store, "r") as file:
        read = {name: dataset[()] for name, dataset in file.items()}
        assert sorted(read) == ["checksums", "durations", "ids", "offsets", "rows"]
        assert file["rows"].chunks is None
        assert file["rows"].compression is None
    whole = np.concatenate([*content.values(), np.zeros((1, DIM))]).astype(dtype)
    assert read["rows"].dtype == whole.dtype
    np.testing.assert_array_equal(read["rows"], whole)
    assert [name.decode() for name in read["ids"]] == list(content)
    assert read["offsets"].tolist() == [0, *np.cumsum([len(rows) for rows in content.values()])]
    assert read["durations"].tolist() == list(durations(content).values())
    assert read["checksums"].tolist() == [zlib.crc32(rows.astype(dtype).tobytes()) for rows in content.values()]


@pytest.fixture
def content() -> Arrays:
    return arrays()


@pytest.fixture
def source(tmp_path: Path, content: Arrays) -> Hdf5Features:
    (tmp_path / "in").mkdir()
    return write(tmp_path / "in" / "pack.hdf5", content)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A place where a store of other features lies already."""
    (tmp_path / "out").mkdir()
    old = arrays(3, seed=9)
    pack(write(tmp_path / "old.hdf5", old), tmp_path / "out" / "store", durations=durations(old))
    return tmp_path / "out" / "store"


def fail(source: Hdf5Features, target: Path, content: Arrays, **how: Any) -> str:
    """Pack in vain: the old store stays, byte by byte, and nothing beside it. Give the error's message."""
    before = target.read_bytes()
    with pytest.raises(DataError) as caught:
        pack(source, target, durations=durations(content), **how)
    assert target.read_bytes() == before
    assert names(target.parent) == [target.name]
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("videos", [1, 2, 7, 300])
def test_the_store_holds_the_packs_rows_and_an_index(tmp_path: Path, videos: int, dtype: Precision) -> None:
    content = arrays(videos)
    source = write(tmp_path / "pack.hdf5", content)
    store = tmp_path / "new" / "folder" / "store"
    pack(source, store, durations=durations(content), dtype=dtype)
    check(store, content, dtype)
    assert names(store.parent) == ["store"]
    with h5py.File(store, "r") as file:
        assert dict(file.attrs) == {
            "format": "cpnet packed features, 1",
            "fingerprint": fingerprint(source),
            "stamp": source.stamp(),
            "source": f"{tmp_path / 'pack.hdf5'} (layout hdf5_flat, {videos} videos, {DIM} wide)",
        }


@pytest.mark.parametrize("videos", [1, 2, 3, 4])
def test_the_rows_are_one_block_at_the_end_and_the_first_bytes_seal_what_is_before(tmp_path: Path, videos: int) -> None:
    content = arrays(videos)
    pack(write(tmp_path / "pack.hdf5", content), tmp_path / "store", durations=durations(content), dtype="float32")
    stored, begin = (tmp_path / "store").read_bytes(), rows_begin(tmp_path / "store")
    assert stored[begin:] == b"".join(rows.tobytes() for rows in content.values()) + bytes(4 * DIM)
    assert begin % 4 == 0  # aligned, once mapped
    index = stored[SEAL_BYTES:begin]
    text = f"cpnet packed features, 1\n{len(index)} {zlib.crc32(index)}\n".encode()
    assert stored[:SEAL_BYTES] == text + bytes(SEAL_BYTES - len(text))


def test_only_the_videos_asked_for_are_packed_under_the_annotations_spelling(tmp_path: Path, content: Arrays) -> None:
    source = write(tmp_path / "pack.hdf5", {**content, "v_QOlSCBRmfWY": content["v000"] + 1})
    asked = {"v002.mp4": 2.0, "v000": 1.0, "v002": 3.0, "QOlSCBRmfWY": 4.0}
    pack(source, tmp_path / "store", durations=asked)
    with h5py.File(tmp_path / "store", "r") as file:
        assert [name.decode() for name in file["ids"]] == ["QOlSCBRmfWY", "v000", "v002"]
        assert file["durations"][()].tolist() == [4.0, 1.0, 3.0]
        wanted = np.concatenate([content["v000"] + 1, content["v000"], content["v002"], np.zeros((1, DIM))])
        np.testing.assert_array_equal(file["rows"][()], wanted.astype("f2"))


def test_float16_is_the_default(tmp_path: Path, source: Hdf5Features, content: Arrays) -> None:
    pack(source, tmp_path / "store", durations=durations(content))
    assert PackedFeatures(path=tmp_path / "store").dtype == np.float16


def test_another_dtype_is_refused(source: Hdf5Features, target: Path, content: Arrays) -> None:
    assert fail(source, target, content, dtype="float64") == "dtype must be float16 or float32; got 'float64'"


@given(values=st.lists(st.floats(-65504, 65504, width=32).filter(lambda x: not 0 < abs(x) < 1e-7), min_size=1))
def test_float16_rounds_to_the_nearest_and_float32_keeps_every_bit(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("rounding")
    source = write(folder / "pack.hdf5", {"v": np.array([values], "f4")})
    for dtype, code in (("float16", "e"), ("float32", "f")):
        pack(source, folder / dtype, durations={"v": 1.0}, dtype=dtype)  # type: ignore[arg-type]
        with h5py.File(folder / dtype, "r") as file:
            assert file["rows"][0].tobytes() == struct.pack(f"<{len(values)}{code}", *values)


def test_small_values_are_not_packed_into_zeros(source: Hdf5Features, target: Path, content: Arrays) -> None:
    content["v003"] = np.full_like(content["v003"], 1e-9)
    small = write(source.path, content)
    said = fail(small, target, content)
    assert "many values of 'v003' are too small for float16 and would be 0; set dtype=float32" in said
    pack(small, target, durations=durations(content), dtype="float32")


def test_what_float16_cannot_hold_is_refused_and_float32_holds_it(
    source: Hdf5Features, target: Path, content: Arrays
) -> None:
    content["v003"][-1, 2] = -65519.0  # rounds to the largest float16
    pack(write(source.path, content), target, durations=durations(content))
    check(target, content)
    content["v003"][-1, 2] = -65520.0
    large = write(source.path, content)
    message = fail(large, target, content)
    assert "features of 'v003' reach 6.55e+04, beyond float16; set dtype=float32" in message
    pack(large, target, durations=durations(content), dtype="float32")
    check(target, content, "float32")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_values_that_are_not_finite_are_refused(
    source: Hdf5Features, target: Path, content: Arrays, bad: float, dtype: Precision
) -> None:
    content["v005"][-1, 0] = bad
    message = fail(write(source.path, content), target, content, dtype=dtype)
    assert f"features of 'v005' hold NaN or infinity in 1 of {len(content['v005'])} rows" in message


def test_a_video_that_is_absent_is_named(source: Hdf5Features, target: Path, content: Arrays) -> None:
    assert "has no features of video 'absent'" in fail(source, target, {**content, "absent": content["v000"]})


def test_a_store_is_packed_again_from_itself(source: Hdf5Features, tmp_path: Path, content: Arrays) -> None:
    store = tmp_path / "store"
    pack(source, store, durations=durations(content), dtype="float32")
    before = PackedFeatures(path=store)
    pack(before, store, durations=durations(content))
    check(store, content)
    np.testing.assert_array_equal(before.rows("v001"), content["v001"])  # who has the old one mapped keeps it


class Failing(Hdf5Features):
    """Raises an error when it comes to a video."""

    def __init__(self, path: Path, video: str, error: BaseException) -> None:
        super().__init__(path=path)
        self.video, self.error = video, error

    def rows(self, video: str) -> NDArray[np.floating]:
        if video == self.video:
            raise self.error
        return super().rows(video)


@pytest.mark.parametrize("video", ["v000", "v003", "v006"])
@pytest.mark.parametrize(
    "error", [DataError("bad"), RuntimeError("bad"), MemoryError("bad"), KeyboardInterrupt("bad"), OSError("bad")]
)
def test_an_error_in_the_middle_leaves_the_old_store(
    source: Hdf5Features, target: Path, content: Arrays, video: str, error: BaseException
) -> None:
    before = target.read_bytes()
    raised = DataError if isinstance(error, OSError) else type(error)
    with pytest.raises(raised, match="bad"):
        pack(Failing(source.path, video, error), target, durations=durations(content))
    assert target.read_bytes() == before
    assert names(target.parent) == [target.name]


def at(stage: str, number: int, action: Callable[[], object]) -> Progress:
    """Do something before a video of a stage."""

    def progress(videos: Sequence[str], what: str) -> Iterable[str]:
        for place, video in enumerate(videos):
            if (what, place) == (stage, number):
                action()
            yield video

    return progress


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [0, 6])
def test_an_interruption_of_any_stage_leaves_the_old_store(
    source: Hdf5Features, target: Path, content: Arrays, stage: str, number: int
) -> None:
    before = target.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        pack(source, target, durations=durations(content), progress=at(stage, number, interrupt))
    assert target.read_bytes() == before
    assert names(target.parent) == [target.name]


def test_an_error_without_an_old_store_leaves_nothing(source: Hdf5Features, tmp_path: Path, content: Arrays) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(source, tmp_path / "new" / "store", durations=durations(content), progress=at("packing", 3, interrupt))
    assert names(tmp_path / "new") == []


def test_progress_is_told_of_all_videos_of_each_stage(source: Hdf5Features, target: Path, content: Arrays) -> None:
    told = []

    def progress(videos: Sequence[str], what: str) -> Iterable[str]:
        for video in videos:
            told.append((what, video))
            yield video

    pack(source, target, durations=durations(content), progress=progress)
    assert told == [(stage, video) for stage in STAGES for video in content]


def test_the_disk_needs_room_for_the_whole_store(
    source: Hdf5Features, target: Path, content: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(source, target.with_name("measured"), durations=durations(content))
    size = target.with_name("measured").stat().st_size
    target.with_name("measured").unlink()
    free = size - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    message = fail(source, target, content)
    assert f"the packed store {target} needs 0.0 GB, and 0.0 GB are free there; make room, or set" in message
    free = size
    pack(source, target, durations=durations(content))
    check(target, content)


def test_what_a_killed_process_has_left_takes_no_room_and_is_overwritten(
    source: Hdf5Features, target: Path, content: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.with_name("store.partial").write_bytes(b"x" * 200_000)

    def usage(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(free=210_000 - sum(file.stat().st_size for file in Path(folder).iterdir()))

    assert usage(target.parent).free < target.stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", usage)
    pack(source, target, durations=durations(content))
    check(target, content)
    assert names(target.parent) == ["store"]


def outcome(work: Callable[[], object]) -> str:
    """Do something in a fork, and give the error's name and message, or "done"; a crash is an error here."""
    reader, writer = fork.Pipe(duplex=False)

    def report() -> None:
        try:
            work()
            writer.send("done")
        except BaseException as error:
            writer.send(f"{type(error).__name__}: {error}")

    process = fork.Process(target=report)
    process.start()
    writer.close()
    try:
        return str(reader.recv())
    finally:
        process.join()
        assert process.exitcode == 0


def limited(size: int, source: Hdf5Features, target: Path, content: Arrays) -> None:
    """Pack where no file may grow beyond a size: writing fails as it does on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    pack(source, target, durations=durations(content))


def test_a_write_that_fails_anywhere_leaves_the_old_store(source: Hdf5Features, target: Path, content: Arrays) -> None:
    pack(source, target.with_name("whole"), durations=durations(content))
    size, begin = target.with_name("whole").stat().st_size, rows_begin(target.with_name("whole"))
    target.with_name("whole").unlink()
    before = target.read_bytes()
    for limit in (0, 1, 511, 513, 1000, 2000, 4096, begin - 1, begin, begin + 1, (begin + size) // 2, size - 1):
        message = outcome(lambda limit=limit: limited(limit, source, target, content))  # type: ignore[misc]
        assert message.startswith(
            f"DataError: cannot write the packed store {target} ([Errno 27] File too large); make"
        )
        assert target.read_bytes() == before
        assert names(target.parent) == ["store"]
    assert outcome(lambda: limited(size, source, target, content)) == "done"
    check(target, content)


def test_a_place_that_cannot_be_written_to_is_named(source: Hdf5Features, tmp_path: Path, content: Arrays) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "file" / "store", tmp_path / "folder", tmp_path / ("x" * 250)):
        with pytest.raises(DataError, match=r"cannot write the packed store .* set dataset\.features\.packed to "):
            pack(source, place, durations=durations(content))
    assert names(tmp_path) == ["file", "folder", "in"]


def rewrite(path: Path, content: Arrays) -> None:
    write(path.with_name("other"), content)
    path.with_name("other").replace(path)


def test_a_source_that_changes_meanwhile_leaves_the_old_store(
    source: Hdf5Features, target: Path, content: Arrays
) -> None:
    same_shapes = {name: rows + 1 for name, rows in content.items()}
    longer = {name: np.repeat(rows, 2, axis=0) for name, rows in content.items()}
    changes: list[Callable[[], object]] = [
        lambda: os.utime(source.path, ns=(1, 1)),
        lambda: rewrite(source.path, same_shapes),
        lambda: rewrite(source.path, longer),
    ]
    for stage in STAGES[:2]:
        for number in (0, 3, 6):
            for change in changes:
                rewrite(source.path, content)
                message = fail(Hdf5Features(path=source.path), target, content, progress=at(stage, number, change))
                assert message.startswith(f"{source.path} changed while it was packed")
                assert message.endswith("start again")


def test_rows_that_come_and_go_meanwhile_are_noticed(source: Hdf5Features, target: Path, content: Arrays) -> None:
    class Growing(Hdf5Features):
        def rows(self, video: str) -> NDArray[np.floating]:
            return np.repeat(super().rows(video), 2, axis=0)

    message = fail(Growing(path=source.path), target, content)
    assert message.endswith("changed while it was packed: 'v000' has other rows now; start again")


def test_a_source_that_goes_away_meanwhile_leaves_the_old_store(
    source: Hdf5Features, target: Path, content: Arrays
) -> None:
    message = fail(source, target, content, progress=at("packing", 3, source.path.unlink))
    assert str(source.path) in message


def test_one_process_packs_at_a_time(source: Hdf5Features, target: Path, content: Arrays) -> None:
    reported, go_on = fork.Pipe(), fork.Pipe()

    def wait() -> None:
        reported[1].send("in the middle")
        go_on[0].recv()

    first = fork.Process(
        target=pack, args=(source, target), kwargs={"durations": durations(content), "progress": at("packing", 3, wait)}
    )
    first.start()
    assert reported[0].recv() == "in the middle"
    before, half = target.read_bytes(), target.with_name("store.partial").read_bytes()
    with pytest.raises(DataError, match=f"another process is packing to {target}; wait for it"):
        pack(Hdf5Features(path=source.path), target, durations=durations(content))
    assert target.read_bytes() == before
    assert target.with_name("store.partial").read_bytes() == half
    go_on[1].send("on")
    first.join()
    assert first.exitcode == 0
    check(target, content)
    assert names(target.parent) == ["store"]


@pytest.mark.parametrize("ended", ["finished", "failed"])
def test_who_comes_as_another_process_ends_touches_nothing(
    source: Hdf5Features, target: Path, content: Arrays, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    partial = target.with_name("store.partial")
    pack(source, target.with_name("new"), durations=durations(content))
    new = target.with_name("new").read_bytes()
    target.with_name("new").replace(partial)

    def late(stream: Any, kind: int) -> None:
        if ended == "finished":
            partial.replace(target)
        else:
            partial.unlink()
        flock(stream, kind)

    flock = fcntl.flock
    before = target.read_bytes()
    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(DataError, match="another process is packing"):
        pack(source, target, durations=durations(content))
    assert target.read_bytes() == (new if ended == "finished" else before)
    assert names(target.parent) == ["store"]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_verify_finds_every_flipped_byte_of_the_rows(
    source: Hdf5Features, tmp_path: Path, content: Arrays, dtype: Precision
) -> None:
    store = tmp_path / "store"
    pack(source, store, durations=durations(content), dtype=dtype)
    verify(PackedFeatures(path=store))
    good, place = store.read_bytes(), rows_begin(store)
    for name, rows in {**content, "last": np.zeros((1, DIM), "f4")}.items():
        wanted = r"its last row is damaged" if name == "last" else f"the rows of '{name}' are damaged"
        for byte in range(place, place + rows.astype(dtype).nbytes):
            store.write_bytes(good[:byte] + bytes([good[byte] ^ 1]) + good[byte + 1 :])
            with pytest.raises(DataError, match=f"{wanted}.*; pack the features again"):
                verify(PackedFeatures(path=store))
        place += rows.astype(dtype).nbytes
    assert place == len(good)


def test_a_store_that_is_not_what_was_written_is_not_kept(
    source: Hdf5Features, target: Path, content: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(descriptor: int) -> None:
        os.pwrite(descriptor, b"\x01", os.fstat(descriptor).st_size - 2 * DIM - 1)  # in the last video

    monkeypatch.setattr(os, "fsync", damage)
    assert "the rows of 'v006' are damaged" in fail(source, target, content)


MEMORY = """
import json, resource, sys
from pathlib import Path
import h5py
from cpnet.data.features import Hdf5Features, pack as module

folder, videos, rows, width = Path(sys.argv[1]), 0, 500, 500  # a megabyte a video
early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # there, and sparse
module.VERIFIED_AT_ONCE = 4 << 20
peaks = []
for videos in (60, 240):
    with h5py.File(folder / str(videos), "w") as file:
        for video in range(videos):
            space = h5py.h5s.create_simple((rows, width))
            h5py.h5d.create(file.id, b"v%d" % video, h5py.h5t.IEEE_F32LE, space, dcpl=early)
    source = Hdf5Features(path=folder / str(videos))
    module.pack(source, folder / "store", durations={f"v{video}": 1.0 for video in range(videos)})
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(json.dumps(peaks))
"""


def test_memory_does_not_grow_with_the_pack(tmp_path: Path) -> None:
    ended = spawn("-c", MEMORY, str(tmp_path), folder=tmp_path)
    assert ended.code == 0, ended.err
    small, large = json.loads(ended.out)
    assert (tmp_path / "store").stat().st_size > 120e6
    assert large - small < 30


# Killed at any moment


def packing(source: Hdf5Features, target: Path, content: Arrays, progress: Progress) -> BaseProcess:
    """Pack in a process of its own."""
    process = fork.Process(
        target=pack, args=(source, target), kwargs={"durations": durations(content), "progress": progress}
    )
    process.start()
    return process


def left(target: Path, old: bytes, content: Arrays) -> str:
    """Say which store a killed process has left, and make sure that it is whole."""
    assert set(names(target.parent)) <= {"store", "store.partial"}
    if target.read_bytes() == old:
        return "old"
    verify(PackedFeatures(path=target))
    check(target, content)
    return "new"


@pytest.mark.timeout(120)
def test_a_kill_at_a_random_moment_leaves_the_old_store_or_the_new_one(tmp_path: Path, target: Path) -> None:
    content, old, kills = arrays(300, seed=2), target.read_bytes(), 25
    source = write(tmp_path / "pack.hdf5", content)
    begun = time.monotonic()
    packing(source, target, content, silent).join()
    lasted = time.monotonic() - begun
    assert left(target, old, content) == "new"
    rng, found = random.Random(0), []
    for number in range(kills):
        target.write_bytes(old)
        process = packing(source, target, content, silent)
        time.sleep((number + rng.random()) / kills * lasted)
        process.kill()
        process.join()
        found.append((process.exitcode == -signal.SIGKILL, left(target, old, content)))
    print(f"{lasted:.3f} s; killed and left: {found}")
    assert sum(killed for killed, _ in found) >= 5
    assert all(store == "new" for killed, store in found if not killed)
    process = packing(source, target, content, silent)
    process.join()
    assert process.exitcode == 0
    assert left(target, old, content) == "new"
    assert names(target.parent) == ["store"]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [0, 3, 6])
def test_a_kill_in_any_stage_leaves_the_old_store(
    source: Hdf5Features, target: Path, content: Arrays, stage: str, number: int
) -> None:
    old = target.read_bytes()
    process = packing(source, target, content, at(stage, number, die))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert left(target, old, content) == "old"
    pack(source, target, durations=durations(content))
    assert left(target, old, content) == "new"
    assert names(target.parent) == ["store"]


@pytest.mark.parametrize(("moment", "store"), [("before", "old"), ("after", "new")])
def test_a_kill_as_the_store_takes_its_place(
    source: Hdf5Features, target: Path, content: Arrays, monkeypatch: pytest.MonkeyPatch, moment: str, store: str
) -> None:
    replace = Path.replace

    def replace_and_die(self: Path, there: Path) -> Path:
        if moment == "after":
            replace(self, there)
        die()
        return there

    old = target.read_bytes()
    monkeypatch.setattr(Path, "replace", replace_and_die)
    process = packing(source, target, content, silent)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert left(target, old, content) == store
    assert names(target.parent) == (["store"] if store == "new" else ["store", "store.partial"])
