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
    """Refuse a folder that is to be gone on with where a link in it would have the run write elsewhere.

    Of what W&B has in its folder nothing is written again, and some of it are links to its logs.

    Raises:
        ConfigError: there is one
    """
    inside = os.path.realpath(folder)
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent) / name for name in (*folders, *files)):
            if path.is_symlink() and os.path.commonpath([inside, os.path.realpath(path)]) != inside:
                raise ConfigError(
                    f"{path} is a link to {os.path.realpath(path)}, out of the folder, where a run would write;"
                    " put a copy in its place, or remove it"
                )
        folders[:] = [name for name in folders if name != "wandb"]
