"""The vocabulary, which maps the tokens of queries to rows of word vectors."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cpnet.batch import PADDING, UNKNOWN
from cpnet.data.glove import read_glove
from cpnet.data.tokens import tokenize
from cpnet.errors import ConfigError, DataError, cut, shown
from cpnet.options import WordOptions

SPECIAL = ("", "<unk>")  # words of row 0 (padding) and row 1 (unknown)

log = logging.getLogger(__name__)


def words_of(query: str, *, max_words: int) -> list[str]:
    """Return the first ``max_words`` tokens of a query.

    Raises:
        DataError: the query has no token
    """
    tokens = tokenize(query)
    if not tokens:
        raise DataError(f"query {shown(query)} holds no word; correct or remove it")
    return tokens[:max_words]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Maps words to rows of word vectors. Row 0 is padding, row 1 is for all unknown words.

    The vectors of rows 0 and 1 are 0; the model learns a vector of its own for row 1.

    Shape: vectors (2 + words, W) float32

    Raises:
        DataError: words and vectors do not fit each other

    >>> vocabulary = Vocabulary(("", "<unk>", "a", "door", "open"), torch.zeros(5, 8))
    >>> vocabulary.rows(words_of("open two doors", max_words=2))
    [4, 1]
    """

    words: tuple[str, ...]
    vectors: Tensor

    def __post_init__(self) -> None:
        if self.words[:2] != SPECIAL or len(set(self.words)) != len(self.words):
            raise DataError(f"words of a vocabulary must be distinct and begin with {SPECIAL}; got {self.words[:2]}")
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.words) or self.vectors.dtype != torch.float32:
            raise DataError(
                f"{len(self.words)} words do not fit vectors of {tuple(self.vectors.shape)} {self.vectors.dtype}; "
                "take both from one checkpoint"
            )

    @classmethod
    def build(cls, queries: Iterable[str], *, glove: Path, dim: int) -> Vocabulary:
        """Build the vocabulary of the query words that have a vector in a text file, sorted; see ``extend``."""
        return cls(SPECIAL, torch.zeros(len(SPECIAL), dim)).extend(queries, glove=glove)

    def extend(self, queries: Iterable[str], *, glove: Path, compare: bool = False) -> Vocabulary:
        """Append the new words of queries that have a vector; existing rows stay as they are.

        Raises:
            DataError: see ``read_glove``; with ``compare``, also if the file has another vector for a known word
        """
        tokens = {token for query in queries for token in tokenize(query)}
        wanted = tokens if compare else tokens - self._rows.keys()
        read = read_glove(glove, wanted, dim=self.vectors.shape[1])
        for word in sorted(read.keys() & self._rows.keys()):
            if not np.allclose(read[word], self.vectors[self._rows[word]], atol=1e-4):
                raise DataError(f"{glove} has another vector for {shown(word)} than training; use the file of training")
        found = sorted((word, vector) for word, vector in read.items() if word not in self._rows)
        if not found:
            return self
        vectors = torch.from_numpy(np.stack([vector for _, vector in found]))
        return Vocabulary((*self.words, *(word for word, _ in found)), torch.cat([self.vectors, vectors]))

    def rows(self, words: Sequence[str]) -> list[int]:
        """Return the rows of words, 0 for the empty word, 1 for unknown words."""
        return [self._rows.get(word, UNKNOWN) if word else PADDING for word in words]

    def unknown(self, query: str) -> tuple[str, ...]:
        """Return the distinct words of a query that have no row, without punctuation marks."""
        new = (token for token in tokenize(query) if token not in self._rows and any(map(str.isalnum, token)))
        return tuple(dict.fromkeys(new))

    def describe_coverage(self, queries: Iterable[str], *, max_words: int) -> str:
        """Return one line with the counts of truncated queries and unknown tokens, and frequent unknown words."""
        tokens = [tokenize(query) for query in queries]
        lengths = [len(query) for query in tokens]
        unknown = Counter(token for query in tokens for token in query if token not in self._rows)
        frequent = ", ".join(f"{cut(word, 60)} ({count})" for word, count in unknown.most_common(10))
        return (
            f"{len(tokens)} queries, {sum(length > max_words for length in lengths)} cut, longest {max(lengths)} "
            f"words; {unknown.total()} of {sum(lengths)} tokens unknown, {len(unknown)} distinct: {frequent or 'none'}"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return words and vectors in a form that ``torch.load(weights_only=True)`` reads."""
        return {"words": list(self.words), "vectors": self.vectors}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Vocabulary:
        """Rebuild a vocabulary from ``state_dict``.

        Raises:
            DataError: words or vectors are missing or do not fit each other
        """
        if not {"words", "vectors"} <= state.keys():
            raise DataError(f"vocabulary state needs words and vectors, got {sorted(state)}; use another checkpoint")
        return cls(tuple(state["words"]), state["vectors"])

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.words) if row >= len(SPECIAL)}


@dataclass(frozen=True, kw_only=True)
class Words:
    """Source of the word vectors of a corpus, and maximum length of its queries.

    Raises:
        ConfigError: a value is invalid
    """

    options: WordOptions
    max_words: int  # longer queries are truncated
    known: Vocabulary | None = None  # vocabulary of a checkpoint; only words missing from it are looked up

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise ConfigError(f"dataset.max_words must be 1 or more; got {self.max_words}")

    def vocabulary(self, queries: Iterable[str]) -> Vocabulary:
        """Build the vocabulary of some queries, or extend the known one if the file of vectors exists.

        Raises:
            DataError: no word of the queries has a vector; see also ``read_glove``
        """
        path = self.path()
        if self.known is None:
            vocabulary = Vocabulary.build(queries, glove=path, dim=self.options.dim)
            if len(vocabulary.words) == len(SPECIAL):
                way = "set dataset.word_vectors.path to vectors of their language"
                raise DataError(f"{path} holds no word of the queries; {way}")
            return vocabulary
        return self.known.extend(queries, glove=path) if path.exists() else self.known

    def path(self) -> Path:
        """Return the path of the vectors, or of their subset if only the subset exists."""
        path = Path(self.options.path).expanduser()
        subset = Path(self.options.subset).expanduser() if self.options.subset else path
        if path.exists() or not subset.exists():
            return path
        log.info("word vectors: %s does not exist; %s is used instead", path, subset)
        return subset
