"""Oracle: the categories of Unicode."""

from __future__ import annotations

import io
import logging
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import call
from cpnet.terminal import PrintableRecord, printable

EVIL = "\x1b]0;pwned\x07\x9b31m\u202ex"


@given(st.text())
def test_control_characters_are_escaped_and_other_text_is_kept(text: str) -> None:
    shown = printable(text)
    assert {letter for letter in shown if unicodedata.category(letter) == "Cc"} <= {"\n", "\t"}
    if all(unicodedata.category(letter) not in ("Cc", "Cf") for letter in text):
        assert shown == text


def test_error_message_is_escaped(tmp_path_factory: pytest.TempPathFactory) -> None:
    ended = call("evaluate", f"checkpoint={EVIL}", folder=tmp_path_factory.mktemp("here"), code=1)
    assert "\\x1b]0;pwned\\x07" in ended.err
    assert "\x1b" not in ended.err


def test_log_record_is_escaped() -> None:
    stream = io.StringIO()
    record = PrintableRecord("cpnet", logging.WARNING, __file__, 1, "other values of %s", (EVIL,), None)
    logging.StreamHandler(stream).handle(record)
    assert stream.getvalue() == "other values of \\x1b]0;pwned\\x07\\x9b31m\\u202ex\n"


def test_long_value_is_cut_in_the_log_and_in_errors(tmp_path: Path) -> None:
    record = PrintableRecord("cpnet", logging.WARNING, __file__, 1, "line\n%s\nend", ("x" * 10**6,), None)
    first, long, last = record.getMessage().split("\n")
    assert (first, last) == ("line", "end")
    assert len(long) < 2100
    ended = call("train", f"dataset={'x' * 10**5}", folder=tmp_path, code=1)
    assert len(ended.err) < 2100
