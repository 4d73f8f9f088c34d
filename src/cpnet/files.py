"""Atomic file writes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

# A string has no raw line end, so the first characters are not part of one.
_NUMBERS = re.compile(r"\[\n\s+([-\d][^]\[{}\"]*?)\s+\]")


@contextmanager
def replacing(target: Path, *, durable: bool = False) -> Iterator[IO[bytes]]:
    """Write a temporary file and rename it to ``target`` at the end, so that no reader sees half a file.

    Args:
        target: path of the file
        durable: flush to disk before the rename, so that a power failure leaves no partial file

    Raises:
        OSError: the file cannot be written; the error's ``filename`` is ``target``, even if the disk is full

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
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically; a list of numbers is one line."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    text = _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    with replacing(path) as stream:
        stream.write(text.encode(errors="backslashreplace") + b"\n")  # a lone surrogate becomes JSON's escape
