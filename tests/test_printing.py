"""Oracle: the categories of Unicode."""

from __future__ import annotations

import io
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from commands import call
from cpnet.printing import PrintableRecord, printable
from cpnet.results import print_results

EVIL = "\x1b]0;pwned\x07\x9b31m\u202ex"


@given(st.text())
def test_a_terminal_obeys_nothing_of_it_and_the_rest_stays(text: str) -> None:
    shown = printable(text)
    assert {letter for letter in shown if unicodedata.category(letter) == "Cc"} <= {"\n", "\t"}
    if all(unicodedata.category(letter) not in ("Cc", "Cf") for letter in text):
        assert shown == text


def test_what_a_table_of_results_names_is_shown() -> None:
    rules = {
        "dataset": EVIL,
        "split": "test",
        "selection": "x",
        "strict": False,
        "ground_truth": "raw",
        "blind": "none",
    }
    console = Console(file=io.StringIO(), width=200)
    content = {"protocol": rules, "metrics": {"mIoU": 1.0}, "pairs": 1, "model": EVIL, "trivial": {}, "paper": {}}
    print_results({**content, "paper_model": EVIL}, console=console)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert said.count("\\x1b]0;pwned\\x07\\x9b31m\\u202ex") == 2
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said)


def test_an_error_is_shown(tmp_path_factory: pytest.TempPathFactory) -> None:
    ended = call("evaluate", f"checkpoint={EVIL}", folder=tmp_path_factory.mktemp("here"))
    assert ended.code == 1
    assert "\\x1b]0;pwned\\x07" in ended.err
    assert "\x1b" not in ended.err


def test_a_line_of_a_log_is_shown() -> None:
    stream = io.StringIO()
    record = PrintableRecord("cpnet", logging.WARNING, __file__, 1, "other values of %s", (EVIL,), None)
    logging.StreamHandler(stream).handle(record)
    assert stream.getvalue() == "other values of \\x1b]0;pwned\\x07\\x9b31m\\u202ex\n"
