"""From a query to rows of word vectors: tokens, and the vocabulary that a checkpoint carries."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cpnet.batch import UNKNOWN
from cpnet.data.glove import read_glove
from cpnet.data.moment import DataError

SPECIAL = ("", "<unk>")  # the words of row 0, padding, and of row 1

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\uff07", "'"))
_TOKEN = re.compile(
    r"""
    \d+(?:[.,:]\d+)+                # 2.5, 1,000, 10:30
    | n't\b | [^\W_]+?(?=n't\b)     # does + n't, ca + n't
    | '(?:s|m|d|re|ve|ll)\b         # 's
    | [^\W_]+
    | [^\w\s] | _                   # each sign of punctuation
    """,
    re.VERBOSE,
)


def tokenize(query: str) -> list[str]:
    """Split a query into lower-case words, numbers, clitics and signs of punctuation, as GloVe's corpora were.

    >>> tokenize("The man can't open John's 2.5-litre fridge.")
    ['the', 'man', 'ca', "n't", 'open', 'john', "'s", '2.5', '-', 'litre', 'fridge', '.']
    """
    return _TOKEN.findall(unicodedata.normalize("NFC", query).translate(_APOSTROPHES).lower())


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of some queries a vocabulary knows.

    Attributes:
        queries: queries read
        cut: queries longer than ``max_words``
        longest: tokens of the longest query
        tokens: tokens of all queries, also those cut
        unknown: tokens without a vector
        unknown_words: distinct words without a vector
        frequent: the most frequent of them with their counts
    """

    queries: int
    cut: int
    longest: int
    tokens: int
    unknown: int
    unknown_words: int
    frequent: tuple[tuple[str, int], ...]

    def describe(self) -> str:
        """Say it in one line, for a report."""
        share = self.unknown / max(self.tokens, 1)
        named = ", ".join(f"{word} ({count})" for word, count in self.frequent)
        return (
            f"{self.queries} queries, {self.cut} cut, longest {self.longest} words; {self.unknown} of {self.tokens} "
            f"tokens unknown ({share:.2%}), {self.unknown_words} distinct" + (f": {named}" if named else "")
        )


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The words that have a vector, each with its row; row 0 is padding, row 1 every unknown word.

    Attributes:
        words: word of each row
        vectors: word vectors, 0 in rows 0 and 1; the model learns its own for row 1

    Shape: vectors (2 + words, W) float32

    Raises:
        DataError: words and vectors do not fit each other.

    >>> vocabulary = Vocabulary.build(["open a door"], glove=None, dim=8)
    >>> vocabulary.words, vocabulary.encode("open two doors", max_words=2)
    (('', '<unk>', 'a', 'door', 'open'), [4, 1])
    """

    words: tuple[str, ...]
    vectors: Tensor

    def __post_init__(self) -> None:
        if self.words[:2] != SPECIAL or len(set(self.words)) != len(self.words):
            raise DataError(f"a vocabulary's words are distinct and begin with {SPECIAL}, not {self.words[:2]}")
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.words) or self.vectors.dtype != torch.float32:
            raise DataError(
                f"{len(self.words)} words do not fit vectors of {tuple(self.vectors.shape)} {self.vectors.dtype}; "
                "take both from one checkpoint"
            )

    @classmethod
    def build(
        cls,
        queries: Iterable[str],
        *,
        glove: str | Path | None,
        dim: int | None = None,
        cache_dir: str | Path | None = None,
    ) -> Vocabulary:
        """Collect the words of queries that have a vector, in alphabetical order.

        Args:
            queries: the sentences, of every split that will be encoded
            glove: a text file of word vectors; None gives every word a random vector fixed by its
                spelling, for synthetic data
            dim: the width W; None takes the file's, and must be given without a file
            cache_dir: see ``read_glove``

        Raises:
            DataError: see ``read_glove``.
        """
        words, vectors = _look_up(_distinct(queries), glove=glove, dim=dim, cache_dir=cache_dir)
        padded = torch.cat([torch.zeros(len(SPECIAL), vectors.shape[1]), vectors])
        return cls((*SPECIAL, *words), padded)

    def extend(
        self, queries: Iterable[str], *, glove: str | Path | None, cache_dir: str | Path | None = None
    ) -> Vocabulary:
        """Append the new words of queries that have a vector in a GloVe file; rows that exist stay as they are.

        Raises:
            DataError: the file's width is not W; see also ``read_glove``.
        """
        new = _distinct(queries) - self._rows.keys()
        words, vectors = _look_up(new, glove=glove, dim=self.vectors.shape[1], cache_dir=cache_dir)
        return Vocabulary((*self.words, *words), torch.cat([self.vectors, vectors]))

    def encode(self, query: str, *, max_words: int) -> list[int]:
        """Give the row of each token, 1 where unknown, cut after ``max_words``.

        Raises:
            DataError: the query has no token.
        """
        tokens = tokenize(query)
        if not tokens:
            raise DataError(f"query {query!r} holds no word; correct or remove its annotation")
        return [self._rows.get(token, UNKNOWN) for token in tokens[:max_words]]

    def coverage(self, queries: Iterable[str], *, max_words: int) -> Coverage:
        """Count what of the queries is unknown or cut."""
        unknown: Counter[str] = Counter()
        lengths: Counter[int] = Counter()
        for query in queries:
            tokens = tokenize(query)
            lengths[len(tokens)] += 1
            unknown.update(token for token in tokens if token not in self._rows)
        return Coverage(
            queries=lengths.total(),
            cut=sum(count for length, count in lengths.items() if length > max_words),
            longest=max(lengths, default=0),
            tokens=sum(length * count for length, count in lengths.items()),
            unknown=unknown.total(),
            unknown_words=len(unknown),
            frequent=tuple(sorted(unknown.items(), key=lambda item: (-item[1], item[0]))[:10]),
        )

    def state_dict(self) -> dict[str, Any]:
        """Give words and vectors as plain containers, which ``torch.load(weights_only=True)`` reads."""
        return {"words": list(self.words), "vectors": self.vectors}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Vocabulary:
        """Rebuild a vocabulary from ``state_dict``.

        Raises:
            DataError: words or vectors are absent or do not fit each other.
        """
        if not {"words", "vectors"} <= state.keys():
            raise DataError(f"a vocabulary's state has words and vectors, not {sorted(state)}; take another checkpoint")
        return cls(tuple(state["words"]), state["vectors"])

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.words) if row >= len(SPECIAL)}


def _distinct(queries: Iterable[str]) -> set[str]:
    return {token for query in queries for token in tokenize(query)}


def _look_up(
    words: Collection[str], *, glove: str | Path | None, dim: int | None, cache_dir: str | Path | None
) -> tuple[list[str], Tensor]:
    """Find those words that have a vector, in alphabetical order."""
    if glove is not None:
        found, vectors = read_glove(glove, words=words, dim=dim, cache_dir=cache_dir)
        order = sorted(range(len(found)), key=found.__getitem__)
        return [found[row] for row in order], torch.from_numpy(vectors[order])
    if dim is None:
        raise DataError("without a file of word vectors their width must be given; set a GloVe file or a width")
    known = sorted(words)
    random = [np.random.default_rng(list(word.encode())).standard_normal(dim, np.float32) for word in known]
    return known, torch.from_numpy(np.array(random, np.float32).reshape(-1, dim))
