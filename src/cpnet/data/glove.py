"""Text files of word vectors, as GloVe, fastText and word2vec write them, read once into a binary cache."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from cpnet.data.atomic import replacing
from cpnet.data.moment import DataError

Vectors = NDArray[np.float32]
Stamp = dict[str, object]

_HEADER = re.compile(rb"\d+ \d+\s*")
_PROBED_LINES = 100

logger = logging.getLogger(__name__)


def read_glove(
    path: str | Path,
    *,
    words: Collection[str] | None = None,
    dim: int | None = None,
    cache_dir: str | Path | None = None,
) -> tuple[list[str], Vectors]:
    """Read a text file of word vectors, or its binary cache once there is one.

    A line is a word, which may hold spaces (``glove.840B``), and W numbers. A header as word2vec writes it is passed
    over; the first of several lines for one word counts. The cache lies beside the file where that folder can be
    written, else in ``cache_dir``; it is made anew when the file's size or time changes, or when it is damaged.

    Args:
        path: the file
        words: only these words, in the file's order; None gives all of them, memory-mapped
        dim: the width W that the file must have; None takes the width that most of the first lines have
        cache_dir: None is ``$XDG_CACHE_HOME/cpnet`` or ``~/.cache/cpnet``

    Shape: the vectors of n words (n, W) float32

    Raises:
        DataError: no such file, a malformed line, another width than ``dim``, or a cache that cannot be written.
    """
    path = Path(path).expanduser().resolve()
    if not path.is_file():
        raise DataError(f"there is no file of word vectors at {path}; give the path of a GloVe text file")
    fallback = _user_cache() if cache_dir is None else Path(cache_dir).expanduser()
    known, vectors = _load_or_make(path, fallback)
    if dim is not None and vectors.shape[1] != dim:
        raise DataError(f"{path} holds vectors {vectors.shape[1]} wide, not {dim}; take a GloVe file of width {dim}")
    if words is None:
        return known, vectors
    wanted = set(words)
    rows = [row for row, word in enumerate(known) if word in wanted]
    return [known[row] for row in rows], np.array(vectors[rows])


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cpnet"


def _load_or_make(path: Path, fallback: Path) -> tuple[list[str], Vectors]:
    name = f".{path.name}.{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    status = path.stat()
    stamp: Stamp = {"file": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    for folder in (path.parent, fallback):
        loaded = _load(folder / name, stamp)
        if loaded is not None:
            return loaded
    # The mode counts too: a superuser could write into a folder that its owner has closed, and should not.
    is_open = os.access(path.parent, os.W_OK) and path.parent.stat().st_mode & stat.S_IWUSR
    folder = path.parent if is_open else fallback
    logger.info("reading the word vectors of %s once into %s", path, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make(path, folder / name, stamp)
    except OSError as error:
        raise DataError(
            f"cannot cache the word vectors of {path} in {folder} ({error}); make room or give write permission"
        ) from error
    loaded = _load(folder / name, stamp)
    if loaded is None:
        raise DataError(f"the cache of {path} in {folder} changed while it was made; start again")
    return loaded


def _load(cache: Path, stamp: Stamp) -> tuple[list[str], Vectors] | None:
    """Load a cache, or None where there is none, or one that is stale or damaged."""
    try:
        header, _, text = _words_file(cache).read_bytes().partition(b"\n")
        if json.loads(header) != {**stamp, "crc32": zlib.crc32(text)}:
            return None
        vectors: Vectors = np.load(_vectors_file(cache), mmap_mode="r")
    except (OSError, EOFError, ValueError):
        return None
    words = text.decode().split("\n")
    fits = vectors.dtype == np.float32 and vectors.ndim == 2 and len(vectors) == len(words)
    return (words, vectors) if fits else None


def _make(path: Path, cache: Path, stamp: Stamp) -> None:
    width = _width(path)
    words: dict[str, None] = {}
    with replacing(_vectors_file(cache)) as stream:
        _write_header(stream, 0, width)
        for word, vector in _parse(path, width):
            if word not in words:
                words[word] = None
                stream.write(vector.astype("<f4").tobytes())
        stream.seek(0)
        # numpy leaves room in the header for the first dimension to grow, so the rows stay where they are.
        _write_header(stream, len(words), width)
        # Words go last and are absent meanwhile, so that they never stand beside other vectors than their own.
        _words_file(cache).unlink(missing_ok=True)
    text = "\n".join(words).encode()
    with replacing(_words_file(cache)) as stream:
        stream.write(json.dumps({**stamp, "crc32": zlib.crc32(text)}).encode() + b"\n" + text)


def _write_header(stream: IO[bytes], rows: int, width: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(stream, header)


def _width(path: Path) -> int:
    """Take the width that most of the first lines have: the numbers at their ends, less the word."""
    with path.open("rb") as stream:
        lines = [line for line in islice(stream, _PROBED_LINES) if line.strip()]
    if len(lines) > 1 and _HEADER.fullmatch(lines[0]):
        del lines[0]
    widths = Counter(width for width in map(_numbers_at_end, lines) if width)
    if not widths:
        raise DataError(f"{path} holds no line of a word and numbers; give the path of a GloVe text file")
    return max(widths, key=lambda width: (widths[width], -width))


def _numbers_at_end(line: bytes) -> int:
    return sum(1 for _ in takewhile(_is_number, reversed(line.split()[1:])))


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _parse(path: Path, width: int) -> Iterator[tuple[str, Vectors]]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip() or (number == 1 and _HEADER.fullmatch(line) and int(line.split()[1]) == width):
                continue
            word, *fields = line.rstrip(b" \t\r\n").rsplit(b" ", width)
            try:
                vector = np.array([float(field) for field in fields], np.float32)
                if len(vector) != width or not word or not np.isfinite(vector).all():
                    raise ValueError(f"{len(vector)} finite numbers behind a word, where {width} are wanted")
                yield word.decode(), vector
            except ValueError as error:
                raise DataError(f"{path}, line {number}: {error}; the file is damaged, download it again") from error


def _words_file(cache: Path) -> Path:
    return cache.with_name(f"{cache.name}.words")


def _vectors_file(cache: Path) -> Path:
    return cache.with_name(f"{cache.name}.npy")
