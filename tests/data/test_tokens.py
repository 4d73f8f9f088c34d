"""Oracle: tokens by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.data.tokens import tokenize


@pytest.mark.parametrize(
    ("query", "tokens"),
    [
        (
            "The man doesn't open John's 2.5-litre fridge.",
            "the man does n't open john 's 2.5 - litre fridge .",
        ),
        ("They can\u2019t, won\u2018t; I\u02bcm he\uff07ll", "they ca n't , wo n't ; i 'm he 'll"),
        ("you're we've she'd DON'T", "you 're we 've she 'd do n't"),
        ("the man 's hat does n't fit", "the man 's hat does n't fit"),
        ("the boys' 'salt' isn'tx", "the boys ' ' salt ' isn ' tx"),
        ("1,000 at 10:30, 3rd 5kg 2.5kg.", "1,000 at 10:30 , 3rd 5kg 2.5 kg ."),
        ("caf\u00e9 cafe\u0301 \u4eba", "caf\u00e9 caf\u00e9 \u4eba"),
        ("snake_case (a/b)!?", "snake _ case ( a / b ) ! ?"),
        ("  \t\n", ""),
    ],
)
def test_tokens_by_hand(query: str, tokens: str) -> None:
    assert tokenize(query) == tokens.split()


@given(st.text())
def test_tokens_keep_every_character_except_spaces(query: str) -> None:
    plain = "".join(ch for ch in query if ch.isascii())
    assert "".join(tokenize(plain)) == "".join(plain.lower().split())
    assert all(token and not any(ch.isspace() for ch in token) for token in tokenize(query))
