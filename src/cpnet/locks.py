"""Locks, so that one process at a time writes to a place."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cpnet.errors import ConfigError

log = logging.getLogger(__name__)

LOCK = ".lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def lock(path: Path, *, timeout: float = -1) -> Iterator[None]:
    """Hold the lock of a file; on a file system without locks, warn and continue. A killed process releases its lock.

    Args:
        path: the file of the lock
        timeout: seconds to wait for another process that has the lock; below 0: as long as it takes

    Raises:
        Timeout: another process has the lock
        OSError: the file cannot be written
    """
    held = FileLock(path)
    try:
        held.acquire(timeout=timeout)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        log.warning("%s: this file system has no locks; make sure that only one process writes there", path.parent)
    try:
        yield
    finally:
        held.release()


@contextmanager
def locked(folder: Path, *, by: str = "run", key: str = "hydra.run.dir") -> Iterator[None]:
    """Lock a folder, and create it if it does not exist.

    Args:
        folder: the folder
        by: what locks the folder, ``run`` or ``sweep``, for error messages
        key: configuration key of the folder, for error messages

    Raises:
        ConfigError: another process has the lock
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock(folder / LOCK, timeout=0))
        except Timeout as error:
            raise ConfigError(
                f"another {by} is writing to {folder}; wait until it ends, or choose another folder: {key}=FOLDER"
            ) from error
        yield
