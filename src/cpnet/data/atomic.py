"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(target: Path, *, durable: bool = False) -> Iterator[IO[bytes]]:
    """Write a file beside its place, and put it there when it is whole.

    Args:
        target: the place
        durable: wait until the disk has it, so that not even a loss of power leaves a part

    Raises:
        OSError: it cannot be written; the error names the place, where that of a full disk would name none

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "greeting"
    >>> with replacing(path) as stream:
    ...     _ = stream.write(b"hello")
    >>> path.read_text()
    'hello'
    """
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(target)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)
