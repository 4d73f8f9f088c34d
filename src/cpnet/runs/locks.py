"""Lock a folder, so that one process at a time writes to it."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cpnet.errors import ConfigError

log = logging.getLogger(__name__)

LOCK = ".lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def locked(folder: Path, *, by: str = "run", key: str = "hydra.run.dir") -> Iterator[None]:
    """Lock a folder, and create it if it does not exist. A killed process releases its lock.

    Args:
        folder: the folder
        by: what locks the folder, ``run`` or ``sweep``, for error messages
        key: configuration key of the folder, for error messages

    Raises:
        ConfigError: another process has the lock
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(
            f"another {by} is writing to {folder}; wait until it ends, or choose another folder: {key}=FOLDER"
        ) from error
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        log.warning("%s: this file system has no locks; make sure that only one %s writes there", folder, by)
    try:
        yield
    finally:
        lock.release()
