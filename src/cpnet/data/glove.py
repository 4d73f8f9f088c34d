"""Text files of word vectors, as GloVe, fastText and word2vec write them, also as .gz or in a .zip."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Collection, Iterable
from functools import partial
from io import BufferedReader, RawIOBase
from pathlib import Path
from statistics import mode
from typing import BinaryIO, cast
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from cpnet.errors import DataError, cut

Vector = NDArray[np.float32]

HEADER = re.compile(rb"\d+ \d+\s*")  # first line of word2vec: number of words and width
PROBED_LINES = 100  # lines read to check the width
BUFFER_BYTES = 1 << 16  # twice as fast as the default
LONGEST = 1 << 20  # bytes of a line; a decompressed file may have one line of many gigabytes


def read_glove(path: Path, words: Collection[str], *, dim: int) -> dict[str, Vector]:
    """Read the vectors of some words; words missing from the file are omitted.

    A line holds a word, which may contain spaces (``glove.840B``), and W numbers, separated by spaces or tabs. Only the
    numbers of wanted words are parsed. If a word has several lines, the first counts. A .gz or .zip, recognised by its
    content, is decompressed while it is read. Of several files in a .zip, that with ``{W}d`` in its name is read.

    Args:
        path: the file
        words: the wanted words
        dim: the width W

    Shape: each vector (W,) float32

    Raises:
        DataError: the file is missing or binary, its width is not ``dim``, or the line of a wanted word is malformed
    """
    try:
        if not path.is_file():
            raise DataError(f"no file of word vectors at {path}; set dataset.word_vectors.path to a GloVe file")
        with path.open("rb", buffering=BUFFER_BYTES) as file, _text(path, file, dim) as stream:
            probe = stream.read(LONGEST)
            _check(path, probe, dim)
            stream.seek(0)
            lines = iter(partial(stream.readline, LONGEST), b"")
            return _read(path, (line.replace(b"\t", b" ") for line in lines) if b"\t" in probe else lines, words, dim)
    except (OSError, EOFError, BadZipFile, zlib.error, RuntimeError) as error:  # RuntimeError: encrypted, or unknown
        raise DataError(f"{path} cannot be read ({error}); download it again, or unpack it yourself") from error


def _text(path: Path, file: BinaryIO, dim: int) -> BinaryIO:
    """Return the file, or the text that its archive holds, decompressed while it is read."""
    start = file.read(4)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return BufferedReader(gzip.GzipFile(fileobj=file), BUFFER_BYTES)
    if not start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return file
    archive = ZipFile(file)
    names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
    fitting = [name for name in names if len(names) == 1 or re.search(rf"(?<!\d){dim}d(?!\w)", name)]
    if len(fitting) != 1:
        raise DataError(
            f"{path} holds {len(names)} files ({cut(', '.join(names))}), not one with {dim}d in its name; unpack the "
            "right one, and set dataset.word_vectors.path to it"
        )
    return BufferedReader(cast(RawIOBase, archive.open(fitting[0])), BUFFER_BYTES)


def _read(path: Path, lines: Iterable[bytes], words: Collection[str], dim: int) -> dict[str, Vector]:
    wanted = {word.encode(): word for word in words}
    beginnings = {word.partition(b" ")[0] for word in wanted}
    found: dict[str, Vector] = {}
    for number, line in enumerate(lines, start=1):
        if len(line) == LONGEST:
            raise DataError(f"{path}, line {number}: it is longer than {LONGEST >> 20} MB; download the file again")
        if line[: line.find(b" ")] not in beginnings or (number == 1 and HEADER.fullmatch(line)):
            continue
        text, *fields = line.rstrip().rsplit(b" ", dim)
        word = wanted.get(text)
        if word is None or word in found:
            continue
        try:
            vector = np.array([*map(float, fields)], np.float32)
            if len(vector) != dim or not np.isfinite(vector).all():
                raise ValueError(f"{word!r} needs {dim} finite numbers")
        except ValueError as error:
            damage = f"{cut(str(error))}; the file is damaged, download it again"
            raise DataError(f"{path}, line {number}: {damage}") from error
        found[word] = vector
    return found


def _check(path: Path, probe: bytes, dim: int) -> None:
    """Check that the beginning of a file is text, and that most of its lines hold ``dim`` numbers."""
    first, *others = probe.split(b"\n", PROBED_LINES)[:PROBED_LINES]
    if b"\0" in probe and HEADER.fullmatch(first):
        raise DataError(
            f"{path} is word2vec's binary form; convert it to text, and set dataset.word_vectors.path to vectors.txt:\n"
            "  from gensim.models import KeyedVectors\n"
            f"  vectors = KeyedVectors.load_word2vec_format({str(path)!r}, binary=True)\n"
            "  vectors.save_word2vec_format('vectors.txt')"
        )
    if b"\0" in probe:
        raise DataError(f"{path} is not text; set dataset.word_vectors.path to GloVe's .txt, or fastText's .vec")
    lines = [line.split() for line in (first, *others) if line and not HEADER.fullmatch(line)]
    width = mode(len(fields) - 1 for fields in lines) if lines else 0
    if width != dim:
        raise DataError(
            f"{path} holds vectors {width} wide, not {dim}; set dataset.word_vectors.path or .dim (it begins with "
            f"{first[:60].decode(errors='replace')!r})"
        )
