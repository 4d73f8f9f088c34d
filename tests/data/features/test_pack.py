"""The oracle is the arrays that a test wrote to a pack, and what numpy and json read of the store."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import struct
import tracemalloc
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

from cpnet.data.features import FeatureSource, PackedFeatures, open_features
from cpnet.data.features import pack as packing
from cpnet.data.features.fingerprint import fingerprint
from cpnet.data.features.pack import Precision, pack, restore
from cpnet.errors import DataError
from cpnet.terminal import track
from packs import Arrays

DIM = 5
fork = multiprocessing.get_context("fork")


def arrays(videos: int = 7, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {f"v{number:03}": rng.normal(size=(rng.integers(1, 7), DIM)).astype("f4") for number in range(videos)}


def write(path: Path, content: Arrays) -> FeatureSource:
    """Write a pack, as a new file if it exists."""
    with h5py.File(path.with_name("new"), "w") as file:
        for name, rows in content.items():
            file[name] = rows
    path.with_name("new").replace(path)
    return open_features(path=path)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.endswith(".lock"))


def read(store: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in store.iterdir()}


def check(store: Path, content: Arrays, dtype: Precision = "float16") -> None:
    """Check that a store holds some arrays, in alphabetical order, and nothing else."""
    assert names(store) == ["index.json", "rows.npy"]
    rows = np.load(store / "rows.npy", allow_pickle=False)
    whole = np.concatenate([*content.values(), np.zeros((1, DIM))]).astype(dtype)
    assert rows.dtype == whole.dtype
    np.testing.assert_array_equal(rows, whole)
    index = json.loads((store / "index.json").read_text())
    assert (index["ids"], index["counts"]) == ([*content], [len(rows) for rows in content.values()])


@pytest.fixture
def content() -> Arrays:
    return arrays()


@pytest.fixture
def source(tmp_path: Path, content: Arrays) -> FeatureSource:
    (tmp_path / "in").mkdir()
    return write(tmp_path / "in" / "pack.hdf5", content)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The path of a store of other features."""
    old = arrays(3, seed=9)
    pack(write(tmp_path / "old.hdf5", old), tmp_path / "out" / "store", videos=old)
    return tmp_path / "out" / "store"


def fail(source: FeatureSource, target: Path, content: Arrays, error: Any = DataError, **how: Any) -> str:
    """Expect that packing fails and leaves the old store and nothing beside it; return the error's message."""
    before = read(target)
    with pytest.raises(error) as caught:
        pack(source, target, videos=content, **how)
    assert read(target) == before
    assert names(target.parent) == [target.name]
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("videos", [1, 2, 300])
def test_store_holds_rows_and_index(tmp_path: Path, videos: int, dtype: Precision) -> None:
    content = arrays(videos)
    source = write(tmp_path / "pack.hdf5", content)
    store = tmp_path / "new" / "folder" / "store"
    pack(source, store, videos=content, dtype=dtype)
    check(store, content, dtype)
    assert names(store.parent) == ["store"]
    index = json.loads((store / "index.json").read_text())
    assert index["source"] == f"{tmp_path / 'pack.hdf5'} (layout hdf5_flat, {videos} videos, {DIM} wide)"
    assert (index["fingerprint"], index["stamp"]) == (fingerprint(source), source.stamp())


def test_only_the_given_videos_are_packed_as_annotations_spell_them(tmp_path: Path, content: Arrays) -> None:
    source = write(tmp_path / "pack.hdf5", {**content, "v_QOlSCBRmfWY": content["v000"] + 1})
    pack(source, tmp_path / "store", videos=["v002.mp4", "v000", "v002", "QOlSCBRmfWY"])
    check(
        tmp_path / "store",
        {"QOlSCBRmfWY": content["v000"] + 1, "v000": content["v000"], "v002": content["v002"]},
    )


@given(values=st.lists(st.floats(-65504, 65504, width=32).filter(lambda x: not 0 < abs(x) < 1e-7), min_size=1))
def test_float16_rounds_to_nearest_and_float32_keeps_every_bit(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("rounding")
    source = write(folder / "pack.hdf5", {"v": np.array([values], "f4")})
    for dtype, code in (("float16", "e"), ("float32", "f")):
        pack(source, folder / dtype, videos=["v"], dtype=dtype)  # type: ignore[arg-type]
        written = (folder / dtype / "rows.npy").read_bytes()
        assert written.endswith(struct.pack(f"<{2 * len(values)}{code}", *values, *[0] * len(values)))


def changed(content: Arrays, place: tuple[int, int] | slice, value: float) -> Arrays:
    rows = content["v003"].copy()
    rows[place] = value
    return {**content, "v003": rows}


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (slice(None), 1e-9, "features of 'v003' have many values that float16 rounds to 0; set dtype=float32"),
        ((-1, 2), -65520.0, r"features of 'v003' reach 6.55e+04, beyond float16; set dtype=float32"),
    ],
)
def test_float16_refuses_values_that_only_float32_holds(
    source: FeatureSource, target: Path, content: Arrays, place: Any, value: float, said: str
) -> None:
    defective = changed(content, place, value)
    source = write(source.path, defective)
    assert said in fail(source, target, content)
    pack(source, target, videos=content, dtype="float32")
    check(target, defective, "float32")
    largest = changed(content, (-1, 2), -65519.0)  # rounds to the largest float16
    pack(write(source.path, largest), target, videos=content)
    check(target, largest)


def test_store_can_be_packed_from_itself(source: FeatureSource, tmp_path: Path, content: Arrays) -> None:
    store = tmp_path / "store"
    pack(source, store, videos=content, dtype="float32")
    before = PackedFeatures(path=store)
    pack(before, store, videos=content)
    check(store, content)
    np.testing.assert_array_equal(before.rows("v001"), content["v001"])  # a mapping keeps the old rows


@pytest.mark.parametrize("kind", ["file", "folder", "store with other files"])
def test_anything_but_a_store_is_never_replaced(
    source: FeatureSource, target: Path, content: Arrays, kind: str
) -> None:
    thesis = target / "thesis.tex"
    if kind != "store with other files":
        shutil.rmtree(target)
        thesis = target if kind == "file" else thesis
    thesis.parent.mkdir(exist_ok=True)
    thesis.touch()
    with pytest.raises(DataError, match=r"store is not a packed store, so it is not replaced; remove it, or set"):
        pack(source, target, videos=content)
    assert thesis.exists()


def at(stage: str, number: int, action: Callable[[], object]) -> Callable[[Sequence[str], str], Iterable[str]]:
    """Call a function before a video of a stage."""

    def progress(videos: Sequence[str], what: str) -> Iterable[str]:
        for place, video in enumerate(videos):
            if (what, place) == (stage, number):
                action()
            yield video

    return progress


@pytest.mark.parametrize("stage", ["measuring", "packing"])
@pytest.mark.parametrize("number", [0, 3, 6])
@pytest.mark.parametrize("error", [DataError("bad"), MemoryError("bad"), KeyboardInterrupt("bad"), OSError("bad")])
def test_error_leaves_the_old_store(
    source: FeatureSource,
    target: Path,
    content: Arrays,
    stage: str,
    number: int,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop() -> None:
        raise error

    raised = DataError if isinstance(error, OSError) else type(error)
    monkeypatch.setattr(packing, "track", at(stage, number, stop))
    assert "bad" in fail(source, target, content, error=raised)
    with pytest.raises(raised):
        pack(source, target.with_name("second"), videos=content)
    assert names(target.parent) == ["store"]


def test_packing_needs_room_for_all_rows(
    source: FeatureSource, target: Path, content: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 2 * DIM * (sum(map(len, content.values())) + 1)
    free = size - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    assert f"the packed store needs 0.0 GB, but {target.parent} has 0.0 GB free; free" in fail(source, target, content)
    free = size
    pack(source, target, videos=content)
    check(target, content)


def limited(size: int, source: FeatureSource, target: Path, content: Arrays) -> bool:
    """Pack in a fork with a limit on the size of files, as on a full disk; return whether that succeeds."""

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            pack(source, target, videos=content)
        except DataError as error:
            expected = f"cannot write the packed store {target} ([Errno 27] File too large); free"
            os._exit(3 if str(error).startswith(expected) else 4)

    process = fork.Process(target=work)
    process.start()
    process.join()
    assert process.exitcode in (0, 3)
    return process.exitcode == 0


def test_failed_write_leaves_the_old_store(source: FeatureSource, target: Path, content: Arrays) -> None:
    pack(source, target.with_name("whole"), videos=content)
    sizes = [len(written) for written in read(target.with_name("whole")).values()]
    shutil.rmtree(target.with_name("whole"))
    before = read(target)
    for limit in (0, 1, 100, 200, max(sizes) - 1):
        assert not limited(limit, source, target, content)
        assert read(target) == before
        assert names(target.parent) == ["store"]
    assert limited(max(sizes), source, target, content)
    check(target, content)


@pytest.mark.parametrize("stage", ["measuring", "packing"])
@pytest.mark.parametrize("number", [0, 3, 6])
@pytest.mark.parametrize("change", ["touched", "other values", "more rows", "gone"])
def test_source_that_changes_meanwhile_leaves_the_old_store(
    source: FeatureSource,
    target: Path,
    content: Arrays,
    stage: str,
    number: int,
    change: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    actions: dict[str, Callable[[], object]] = {
        "touched": lambda: os.utime(source.path, ns=(1, 1)),
        "other values": lambda: write(source.path, {name: rows + 1 for name, rows in content.items()}),
        "more rows": lambda: write(source.path, {name: np.repeat(rows, 2, axis=0) for name, rows in content.items()}),
        "gone": source.path.unlink,
    }
    monkeypatch.setattr(packing, "track", at(stage, number, actions[change]))
    said = fail(source, target, content)
    assert str(source.path) in said
    if change != "gone":
        assert f"{source.path} changed during packing" in said
        assert said.endswith("pack again")


def test_memory_does_not_grow_with_the_pack(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((500, 500), "f4"))  # a megabyte
    peaks = []
    for videos in (5, 20):
        (tmp_path / str(videos)).mkdir()
        for video in range(videos):
            (tmp_path / f"{videos}/{video}.npy").symlink_to(tmp_path / "rows.npy")
        source = open_features(path=tmp_path / str(videos))
        tracemalloc.start()
        try:
            pack(source, tmp_path / "store", videos=source.ids())
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] - peaks[0] < 1e6


# Several processes, and kills


def start(source: FeatureSource, target: Path, content: Arrays, progress: Any = track) -> BaseProcess:
    """Pack in another process."""
    with pytest.MonkeyPatch.context() as patch:  # which a forked process inherits
        patch.setattr(packing, "track", progress)
        process = fork.Process(target=pack, args=(source, target), kwargs={"videos": content})
        process.start()
    return process


def test_second_process_waits_and_uses_the_store_of_the_first(
    source: FeatureSource, target: Path, content: Arrays
) -> None:
    begun, release = fork.Pipe(), fork.Pipe()

    def wait() -> None:
        begun[1].send("in the middle")
        release[0].recv()

    first = start(source, target, content, at("packing", 3, wait))
    assert begun[0].recv() == "in the middle"
    second = start(open_features(path=source.path), target, content, at("packing", 0, interrupt))
    second.join(0.5)
    assert second.is_alive()
    release[1].send("go")
    for process in (first, second):
        process.join()
        assert process.exitcode == 0
    check(target, content)
    assert names(target.parent) == ["store"]


def interrupt() -> None:
    raise KeyboardInterrupt


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("renames", "left"),
    [(None, "old"), (0, "old"), (1, "old"), (2, "new")],
    ids=["writing", "written", "between the renames", "renamed"],
)
def test_killed_packing_leaves_the_old_store_or_the_new_one(
    source: FeatureSource,
    target: Path,
    content: Arrays,
    monkeypatch: pytest.MonkeyPatch,
    renames: int | None,
    left: str,
) -> None:
    before, rename, remove, done = read(target), Path.rename, shutil.rmtree, 0

    def rename_or_die(self: Path, there: Path) -> Path:
        nonlocal done
        if done == renames:
            die()
        done += 1
        return rename(self, there)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_or_die)
        patch.setattr(shutil, "rmtree", lambda *args, **how: die() if done == 2 else remove(*args, **how))
        process = start(source, target, content, at("packing", 3, die) if renames is None else track)
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert target.exists() == (renames != 1)
    restore(target)
    if left == "old":
        assert read(target) == before
    elif left == "new":
        check(target, content)
    assert names(target.parent) != ["store"]  # but leftovers too
    pack(source, target, videos=content)
    check(target, content)
    assert names(target.parent) == ["store"]
