"""Text files of word vectors, as GloVe, fastText and word2vec write them."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import islice
from pathlib import Path
from statistics import mode

import numpy as np
from numpy.typing import NDArray

from cpnet.errors import DataError, cut

Vector = NDArray[np.float32]

HEADER = re.compile(rb"\d+ \d+\s*")  # first line of word2vec: number of words and width
PROBED_LINES = 100  # lines read to check the width
BUFFER_BYTES = 1 << 16  # twice as fast as the default


def read_glove(path: Path, words: Collection[str], *, dim: int) -> dict[str, Vector]:
    """Read the vectors of some words; words missing from the file are omitted.

    A line holds a word, which may contain spaces (``glove.840B``), and W numbers. Only the numbers of wanted words are
    parsed. If a word has several lines, the first counts.

    Args:
        path: the file
        words: the wanted words
        dim: the width W

    Shape: each vector (W,) float32

    Raises:
        DataError: the file is missing, its width is not ``dim``, or the line of a wanted word is malformed
    """
    if not path.is_file():
        raise DataError(f"no file of word vectors at {path}; set dataset.word_vectors.path to a GloVe file")
    _check_width(path, dim)
    wanted = {word.encode(): word for word in words}
    beginnings = {word.partition(b" ")[0] for word in wanted}
    found: dict[str, Vector] = {}
    with path.open("rb", buffering=BUFFER_BYTES) as stream:
        for number, line in enumerate(stream, start=1):
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
                raise DataError(
                    f"{path}, line {number}: {cut(str(error))}; the file is damaged, download it again"
                ) from error
            found[word] = vector
    return found


def _check_width(path: Path, dim: int) -> None:
    """Check that most of the first lines hold ``dim`` numbers."""
    with path.open("rb") as stream:
        lines = [line.split() for line in islice(stream, PROBED_LINES) if not HEADER.fullmatch(line)]
    width = mode(len(fields) - 1 for fields in lines) if lines else 0
    if width != dim:
        raise DataError(f"{path} holds vectors {width} wide, not {dim}; set dataset.word_vectors.path or .dim")
