"""Each test shares in a folder of its own: any process of this user may tidy the common one at any time."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import operator
import os
import pickle
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from commands import spawn
from cpnet.data import shared
from cpnet.data.moment import DataError
from cpnet.data.shared import SharedArray, remove_abandoned, shared_folder, shared_path

fork = multiprocessing.get_context("fork")

Fill = Callable[[NDArray[Any]], None]

SHAPE = (50, 7)
CONTENTS: NDArray[np.float16] = np.random.default_rng(0).normal(size=SHAPE).astype("f2")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test and its forks share."""
    (tmp_path / "shared").mkdir()
    monkeypatch.setattr(shared, "shared_folder", lambda: tmp_path / "shared")
    return tmp_path / "shared"


def fill(table: NDArray[Any]) -> None:
    table[...] = CONTENTS


def never(table: NDArray[Any]) -> None:
    pytest.fail("filled again")


def share(fill: Fill, key: str = "key") -> SharedArray:
    return SharedArray(key, shape=SHAPE, dtype=CONTENTS.dtype, fill=fill)


@pytest.fixture
def array() -> Iterator[SharedArray]:
    array = share(fill)
    yield array
    array.close()


class User:
    """A process that shares an array, says when it has it, and holds it until it is told to end."""

    def __init__(self, fill: Fill = never) -> None:
        self.said, says = fork.Pipe()
        self.process: BaseProcess = fork.Process(target=self._live, args=(fill, says), daemon=True)
        self.process.start()
        says.close()

    def _live(self, fill: Fill, says: Connection) -> None:
        self.said.close()
        says.send("born")
        array = share(fill)
        says.send((array.path.stat().st_ino, array.array().tobytes()))
        says.recv()

    def has(self) -> Any:
        """Wait until it has the array, and give the file's inode and its bytes."""
        assert self.said.recv() == "born"
        return self.said.recv()

    def end(self) -> None:
        self.said.send("end")
        self.process.join()
        assert self.process.exitcode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def test_the_array_is_what_was_filled_in(array: SharedArray, folder: Path) -> None:
    assert array.array().dtype == np.float16
    np.testing.assert_array_equal(array.array(), CONTENTS)
    assert array.nbytes == CONTENTS.nbytes
    assert [array.path] == list(folder.iterdir())
    assert array.path == shared_path("key")
    assert array.path.stat().st_mode & 0o777 == 0o600  # features may be nobody else's business
    assert array.path.stat().st_blocks * 512 >= array.nbytes  # memory is reserved, not promised


def test_the_common_folder_is_in_memory_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert shared_folder() in (Path("/dev/shm"), Path(os.environ.get("TMPDIR", "/tmp")))
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert shared_folder() == tmp_path


def test_two_in_one_process_are_one(array: SharedArray, folder: Path) -> None:
    again = share(never)
    array.array()[3] = 7
    np.testing.assert_array_equal(again.array()[3], np.full(SHAPE[1], 7))
    again.close()
    assert array.path.exists()
    array.close()
    assert list(folder.iterdir()) == []


def test_other_keys_are_other_arrays(array: SharedArray) -> None:
    other = share(lambda table: table.fill(1), "other")
    np.testing.assert_array_equal(other.array(), np.ones(SHAPE))
    np.testing.assert_array_equal(array.array(), CONTENTS)
    other.close()
    assert array.path.exists()


def test_another_process_maps_the_same_file_and_fills_nothing(array: SharedArray) -> None:
    user = User()
    assert user.has() == (array.path.stat().st_ino, CONTENTS.tobytes())
    array.close()
    assert array.path.exists()  # the other still uses it
    user.end()
    assert not array.path.exists()


def test_a_change_is_seen_by_all_for_there_is_no_copy(array: SharedArray) -> None:
    array.array()[0] = 5
    user = User()
    assert user.has()[1] == array.array().tobytes() != CONTENTS.tobytes()
    user.end()


def test_the_last_of_several_processes_removes_the_array(folder: Path) -> None:
    users = [User(fill) for _ in range(3)]
    assert len({user.has() for user in users}) == 1
    for user in users:
        assert len(list(folder.iterdir())) == 1
        user.end()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("together", [False, True], ids=["as they come", "all see it empty"])
def test_of_several_processes_that_start_at_once_one_fills(
    folder: Path, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    start, filled = fork.Barrier(4), fork.Value("i", 0)
    looked: list[bool] = []
    is_filled = SharedArray._is_filled

    def look_together(self: SharedArray, lock: int) -> bool:
        seen = is_filled(self, lock)
        if not looked:
            looked.append(seen)
            start.wait()
        return seen

    def count(table: NDArray[Any]) -> None:
        with filled.get_lock():
            filled.value += 1
        fill(table)

    if together:
        monkeypatch.setattr(SharedArray, "_is_filled", look_together)
    users = [User(count) for _ in range(4)]
    ready = [user.said.recv() == "born" and user.said.poll(20) for user in users]  # none waits for another's end
    assert ready == [True] * 4
    assert {user.said.recv()[1] for user in users} == {CONTENTS.tobytes()}
    assert filled.value == 1
    for user in users:
        user.end()
    assert list(folder.iterdir()) == []


PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from cpnet.data import shared

shared.shared_folder = lambda: Path(sys.argv[1])
array = shared.SharedArray("key", shape=(3,), dtype=np.dtype("f4"), fill=lambda table: table.fill(2))
assert array.path.exists()
sys.exit(array.array().sum() != 6 or sys.argv[2])
"""


@pytest.mark.parametrize("code", ["0", "an error"])
def test_a_program_that_ends_leaves_nothing(folder: Path, code: str) -> None:
    ended = spawn("-c", PROGRAM.replace("sys.argv[2]", repr(code) if code != "0" else "0"), str(folder), folder=folder)
    assert (ended.code, ended.err) == ((0, "") if code == "0" else (1, "an error\n"))
    assert list(folder.iterdir()) == []


def test_an_array_that_nobody_refers_to_goes_before_the_process_does(folder: Path) -> None:
    array = share(fill)
    taken = array.array()
    del array
    gc.collect()
    assert list(folder.iterdir()) == []
    np.testing.assert_array_equal(taken, CONTENTS)


def test_closing_twice_does_nothing_more(array: SharedArray, folder: Path) -> None:
    table = array.array()
    array.close()
    again = share(fill)
    array.close()
    assert again.path.exists()
    np.testing.assert_array_equal(table, CONTENTS)
    again.close()
    assert list(folder.iterdir()) == []


def test_what_a_killed_process_leaves_goes_with_the_next_array(folder: Path) -> None:
    user = User(fill)
    user.has()
    user.kill()
    assert shared_path("key").exists()
    other = share(lambda table: table.fill(0), "other")
    assert list(folder.iterdir()) == [other.path]
    other.close()


def test_what_somebody_uses_is_not_abandoned(array: SharedArray) -> None:
    user = User()
    user.has()
    remove_abandoned()
    assert array.path.exists()
    array.close()
    remove_abandoned()
    assert array.path.exists()
    user.kill()
    remove_abandoned()
    assert not array.path.exists()


def test_a_fork_leaves_the_array_to_its_parent(array: SharedArray) -> None:
    def use() -> None:
        np.testing.assert_array_equal(array.array(), CONTENTS)
        array.close()

    process = fork.Process(target=use)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert array.path.exists()
    np.testing.assert_array_equal(share(never).array(), CONTENTS)


def half(begun: Any) -> Fill:
    """Fill half, tell of it, and wait for the kill."""

    def fill(table: NDArray[Any]) -> None:
        table[: SHAPE[0] // 2] = 1
        begun.set()
        signal.pause()

    return fill


@pytest.mark.parametrize("tidied", [True, False])
def test_what_was_half_filled_is_filled_anew(monkeypatch: pytest.MonkeyPatch, tidied: bool) -> None:
    begun = fork.Event()
    user = User(half(begun))
    begun.wait()
    user.kill()
    assert shared_path("key").stat().st_size > 0
    if not tidied:
        monkeypatch.setattr(shared, "remove_abandoned", lambda: None)
    array = share(fill)
    np.testing.assert_array_equal(array.array(), CONTENTS)
    array.close()
    assert not array.path.exists()


@pytest.mark.parametrize("end", ["killed", "failed"])
def test_who_waits_for_a_process_that_gives_up_fills_the_array(
    folder: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    begun, waiting, fail = fork.Event(), fork.Event(), fork.Event()

    def give_up(table: NDArray[Any]) -> None:
        table[:10] = 1
        begun.set()
        fail.wait()
        os.close(2)  # its traceback is nobody's concern
        raise RuntimeError

    first = User(give_up)
    begun.wait()
    monkeypatch.setattr(shared.log, "info", lambda *_: waiting.set())
    second = User(fill)
    waiting.wait()
    if end == "killed":
        first.kill()
    else:
        fail.set()
        first.process.join()
    inode, contents = second.has()
    assert contents == CONTENTS.tobytes()
    assert [file.stat().st_ino for file in folder.iterdir()] == [inode]
    second.end()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("error", [DataError("features of 'v' hold NaN"), KeyboardInterrupt("now"), OSError("read")])
def test_a_fill_that_fails_leaves_nothing_and_its_error_comes_through(folder: Path, error: BaseException) -> None:
    def fail(table: NDArray[Any]) -> None:
        table[0] = 1
        raise error

    with pytest.raises(DataError if isinstance(error, OSError) else type(error), match=str(error)):
        share(fail)
    assert list(folder.iterdir()) == []
    array = share(fill)
    np.testing.assert_array_equal(array.array(), CONTENTS)
    array.close()


def test_what_does_not_fit_is_refused_and_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        assert size >= CONTENTS.nbytes
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=rf"cannot share 0\.0 GB of features in {folder} .*No space.*residence=disk"):
        share(never)
    assert list(folder.iterdir()) == []


def test_more_than_the_file_system_has_is_refused() -> None:
    with pytest.raises(DataError, match=r"cannot share 1152921504\.6 GB of features"):
        SharedArray("key", shape=(1 << 60,), dtype=np.dtype("u1"), fill=never)


def test_a_link_in_the_way_is_refused_and_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    shared_path("key").symlink_to(tmp_path / "precious")
    with pytest.raises(DataError, match="cannot share"):
        share(never)
    assert shared_path("key").is_symlink()
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize("filled", [True, False])
def test_a_file_of_somebody_else_is_refused_and_not_touched(
    folder: Path, monkeypatch: pytest.MonkeyPatch, filled: bool
) -> None:
    """It is made by this user, who then is another one: permissions do not bind root, as which tests may run."""
    mine = os.getuid()
    path = folder / f"cpnet-rows-{mine + 1}-key"
    contents = CONTENTS.tobytes() + b"complete" if filled else b"theirs"
    path.write_bytes(contents)
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(DataError, match=f"{path} belongs to somebody else; remove it, or set .*residence=disk"):
        share(never)
    assert path.read_bytes() == contents
    remove_abandoned()
    assert path.read_bytes() == contents


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused_and_hinders_no_other(folder: Path, kind: str) -> None:
    (Path.mkdir if kind == "folder" else os.mkfifo)(shared_path("key"))
    with pytest.raises(DataError):
        share(never)
    other = share(fill, "other")
    other.close()
    assert list(folder.iterdir()) == [shared_path("key")]


def test_a_pickle_carries_no_contents_and_maps_the_same(array: SharedArray) -> None:
    pickled = pickle.dumps(array)
    assert len(pickled) < 500
    again = pickle.loads(pickled)
    again.array()[1] = 3
    assert (array.array()[1] == 3).all()
    again.close()
    assert array.path.exists()


def test_a_pickle_of_what_is_gone_says_so_and_leaves_nothing(array: SharedArray, folder: Path) -> None:
    pickled = pickle.dumps(array)
    array.close()
    with pytest.raises(DataError, match=f"the shared features {array.path} are gone; start again"):
        pickle.loads(pickled)
    assert list(folder.iterdir()) == []


def test_a_spawned_process_maps_the_same(array: SharedArray) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        got = pool.apply(operator.methodcaller("array"), (array,))
        array.array()[...] = 2
        np.testing.assert_array_equal(got, CONTENTS)
        np.testing.assert_array_equal(pool.apply(operator.methodcaller("array"), (array,)), np.full(SHAPE, 2))
        pool.close()
        pool.join()
    assert array.path.exists()


def test_the_common_folder_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "shared_folder", shared_folder)
    key = uuid.uuid4().hex
    array = share(fill, key)
    try:
        np.testing.assert_array_equal(array.array(), CONTENTS)
        assert array.path.name == f"cpnet-rows-{os.getuid()}-{key}"
    finally:
        array.close()
    assert not array.path.exists()
