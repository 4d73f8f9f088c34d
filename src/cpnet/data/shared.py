"""An array in memory that all processes of a user on one machine share: filled once, gone with the last of them."""

from __future__ import annotations

import fcntl
import logging
import math
import mmap
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpnet.data.moment import DataError

log = logging.getLogger(__name__)

PREFIX = "cpnet-rows"
COMPLETE = b"complete"  # behind the array, once it is filled

Fill = Callable[[NDArray[Any]], None]


def shared_folder() -> Path:
    """Where arrays are shared: a file system in memory where the system has one."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def shared_path(key: str) -> Path:
    """Where the array of a key is, while there is one."""
    return shared_folder() / f"{PREFIX}-{os.getuid()}-{key}"


class SharedArray:
    """An array that every process which names the same key maps, without a copy of its own.

    The first process fills it while the others wait. A lock that ends with its process tells who still uses it: the
    last one removes the array, and what a killed one has left is removed by the next that makes any. Can be pickled.

    Args:
        key: names the contents; letters and digits
        shape: of the array
        dtype: of the array
        fill: writes the contents into the array it is given; called by one process

    Raises:
        DataError: there is no room for it, or somebody else's file is in the way.
    """

    def __init__(self, key: str, *, shape: tuple[int, ...], dtype: np.dtype[Any], fill: Fill) -> None:
        self.path = shared_path(key)
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.nbytes = math.prod(shape) * self.dtype.itemsize
        remove_abandoned()
        self._attach(fill)

    def array(self) -> NDArray[Any]:
        """Give the array; nobody may write to it."""
        return self._array(self._mapping)

    def close(self) -> None:
        """Let go of the array, and remove it where no other process uses it; arrays that were taken stay."""
        self._let_go()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapping": None, "_let_go": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._attach(None)

    def _array(self, mapping: mmap.mmap) -> NDArray[Any]:
        return np.frombuffer(mapping, self.dtype, math.prod(self.shape)).reshape(self.shape)

    def _attach(self, fill: Fill | None) -> None:
        try:
            lock = self._open(fill)
        except OSError as error:
            raise DataError(
                f"cannot share {self.nbytes / 1e9:.1f} GB of features in {self.path.parent} ({error}); set "
                "dataset.features.residence=disk"
            ) from error
        # Also runs where a process of multiprocessing ends; -1 is after its children, which map the array too.
        self._let_go = Finalize(self, _let_go, args=(self.path, lock), exitpriority=-1)

    def _open(self, fill: Fill | None) -> int:
        while True:
            lock = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                if self._join(lock, fill):
                    # All pages at once, where the system can: one by one they would hold up the first epoch.
                    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
                    self._mapping = mmap.mmap(lock, self.nbytes + len(COMPLETE), flags)
                    return lock
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)

    def _join(self, lock: int, fill: Fill | None) -> bool:
        """Hold the array with a shared lock, filled; False where its file was removed meanwhile."""
        while is_at(lock, self.path):
            _wait_for(lock, fcntl.LOCK_SH, self.path)
            if self._is_filled(lock):
                return is_at(lock, self.path)
            # Whoever waited for the lock here would wait until the one who fills the array has ended. To ask in vain
            # gives up the shared lock, so that of several one succeeds.
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_at(lock, self.path) and not self._is_filled(lock):
                    self._fill(lock, fill)
        return False

    def _is_filled(self, lock: int) -> bool:
        whole = os.fstat(lock).st_size == self.nbytes + len(COMPLETE)
        return whole and os.pread(lock, len(COMPLETE), self.nbytes) == COMPLETE

    def _fill(self, lock: int, fill: Fill | None) -> None:
        try:
            if fill is None:
                raise DataError(f"the shared features {self.path} are gone; start again")
            size = self.nbytes + len(COMPLETE)
            os.ftruncate(lock, 0)
            # Reserved at once: memory that runs out while it is written to would kill the process.
            if hasattr(os, "posix_fallocate"):  # macOS has none, and no file system in memory either
                os.posix_fallocate(lock, 0, size)
            os.ftruncate(lock, size)
            mapping = mmap.mmap(lock, size)
            fill(self._array(mapping))
            mapping[self.nbytes :] = COMPLETE
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise


def remove_abandoned() -> None:
    """Remove arrays of this user that no process uses any more."""
    for path in shared_folder().glob(f"{PREFIX}-{os.getuid()}-*"):
        with suppress(OSError, DataError):  # of somebody else who took the name
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                _remove_unused(path, lock)
            finally:
                os.close(lock)


def is_at(lock: int, path: Path) -> bool:
    """Whether an open file is still the one at its path.

    Raises:
        DataError: it is somebody else's.
    """
    mine = os.fstat(lock)
    if mine.st_uid != os.getuid() or not stat.S_ISREG(mine.st_mode):
        raise DataError(f"{path} belongs to somebody else; remove it, or set dataset.features.residence=disk")
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _let_go(path: Path, lock: int) -> None:
    _remove_unused(path, lock)
    os.close(lock)


def _remove_unused(path: Path, lock: int) -> None:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_at(lock, path):
            path.unlink(missing_ok=True)


def _wait_for(lock: int, kind: int, path: Path) -> None:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("features: waiting for another process, which fills %s", path)
        fcntl.flock(lock, kind)
