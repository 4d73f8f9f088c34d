"""Hold a run's folder. Locks of one process exclude each other as those of two do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


@contextmanager
def holder(folder: Path) -> Iterator[None]:
    """Hold the folder's lock in this context."""
    folder.mkdir(exist_ok=True)
    with FileLock(folder / ".lock"):
        yield
