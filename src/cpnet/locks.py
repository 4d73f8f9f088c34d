"""A folder that one process at a time writes into. Imports nothing heavy."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cpnet.config import ConfigError

log = logging.getLogger(__name__)

LOCK = ".lock"
# What is added to or written over, in a run's folder or a sweep's; other files are replaced, a link like any other.
WRITTEN = (LOCK, "*.log", ".hydra", "wandb", "tensorboard", "multirun.yaml", "*.journal", "best.json")


@contextmanager
def held(folder: Path, *, by: str = "run", key: str = "hydra.run.dir") -> Iterator[None]:
    """Hold a folder, which is made where it is not there; a process that is killed holds nothing any more.

    Args:
        folder: what is held
        by: what holds it, for the message
        key: by which the user names another folder

    Raises:
        ConfigError: another process holds it
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+b") as stream:
        try:
            # Not inherited by processes that read data: these may outlive a run that was killed by seconds.
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise ConfigError(
                f"another {by} writes into {folder}; wait for its end, or choose another folder: {key}=FOLDER"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            log.warning("%s: this file system has no locks; make sure that only one %s writes there", folder, by)
        yield


def check_links(folder: Path) -> None:
    """Refuse the folder of a run or sweep where a link in it would have that write somewhere else.

    Raises:
        ConfigError: there is one
    """
    inside = os.path.realpath(folder)
    for pattern in ("*", ".hydra/*", "[0-9]*/*", "[0-9]*/.hydra/*"):  # also of a sweep's jobs
        for path in folder.glob(pattern):
            if not path.is_symlink():
                continue
            written = path.parent.name == ".hydra" or path.name.isdigit() or any(map(path.match, WRITTEN))
            place = os.path.realpath(path)
            if written and os.path.commonpath([inside, place]) != inside:
                raise ConfigError(
                    f"{path} is a link to {place}, out of the folder, which would be written to;"
                    " put a copy in its place, or remove it"
                )
