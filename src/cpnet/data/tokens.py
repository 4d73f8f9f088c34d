"""Tokens of queries."""

from __future__ import annotations

import re
import unicodedata

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\uff07", "'"))
_TOKEN = re.compile(
    r"""
    \d+(?:[.,:]\d+)+                # 2.5, 1,000, 10:30
    | n't\b | [^\W_]+?(?=n't\b)     # does + n't, ca + n't
    | '(?:s|m|d|re|ve|ll)\b         # 's
    | [^\W_]+
    | [^\w\s] | _                   # each punctuation mark
    """,
    re.VERBOSE,
)


def tokenize(query: str) -> list[str]:
    """Split a query into lower-case words, numbers, clitics and punctuation marks, like GloVe's corpora.

    >>> tokenize("The man can't open John's 2.5-litre fridge.")
    ['the', 'man', 'ca', "n't", 'open', 'john', "'s", '2.5', '-', 'litre', 'fridge', '.']
    """
    return _TOKEN.findall(unicodedata.normalize("NFC", query).translate(_APOSTROPHES).lower())


def without_punctuation(query: str) -> list[str]:
    """Return the tokens of a query that begin with a letter or a digit.

    >>> without_punctuation("Then he can't open it!")
    ['then', 'he', 'ca', "n't", 'open', 'it']
    """
    return [token for token in tokenize(query) if token[0].isalnum()]
