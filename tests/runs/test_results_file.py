"""Oracle: JSON of a run, each value replaced by one of another type."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.errors import DataError
from cpnet.evaluation.protocol import Protocol, Selection
from cpnet.runs.results import Results, Validation
from cpnet.runs.typed_json import parse
from reporting.made import config, results

CONTENT: dict[str, Any] = json.loads(json.dumps(asdict(results(config()))))
CONTENT |= {"metrics": {"R1@0.5": 12.5, "mIoU": 33}, "git_commit": None}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def paths(node: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of nested dictionaries, but those below the sampling policy, which may be anything."""
    found = []
    for key, value in node.items():
        found.append((*above, key))
        if isinstance(value, dict) and key != "sampling":
            found += paths(value, (*above, key))
    return found


def changed(path: tuple[str, ...], value: object) -> dict[str, Any]:
    content = copy.deepcopy(CONTENT)
    node = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return content


def test_json_becomes_typed_objects() -> None:
    parsed = parse(Results, CONTENT | {"unknown": 1})
    assert parsed.validation == Validation(monitor="val/mIoU", score=30.0, epoch=1)
    assert parsed.trivial["best constant, mIoU"].span == (0.0, 0.5)
    assert isinstance(parsed.protocol, Protocol)
    assert parsed.protocol.selection is Selection.HOLDOUT
    assert parsed.metrics == {"R1@0.5": 12.5, "mIoU": 33.0}
    assert type(parsed.metrics["mIoU"]) is float
    assert parse(Results, CONTENT | {"validation": None, "git_commit": "abc"}).validation is None


def test_written_file_is_read_back(tmp_path: Path) -> None:
    parsed = parse(Results, CONTENT | {"model": "café"})
    parsed.write(tmp_path)
    assert Results.read(tmp_path) == parsed
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert json.loads(text) == CONTENT | {"model": "café"}
    assert "café" in text


@pytest.mark.parametrize("path", [path for path in paths(CONTENT) if path[-1] != "sampling"], ids=".".join)
def test_value_of_another_type_is_refused_with_its_key(path: tuple[str, ...]) -> None:
    for wrong in ([1, 2, 3], True if path[-1] not in ("strict", "compiled") else 1):
        with pytest.raises(ValueError, match="must be ") as caught:
            parse(Results, changed(path, wrong))
        assert f"{'.'.join(path)} must be " in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([], "the file must be an object; got []"),
        ({}, "it has no experiment, model, metrics"),
        (changed(("protocol",), {"dataset": "x"}), "it has no protocol.split, protocol.selection"),
        (
            changed(("protocol", "selection"), "TEST"),
            "protocol.selection must be one of file, holdout, other, test; got 'TE",
        ),
        (changed(("trivial", "whole video", "span"), [0]), "trivial.whole video.span must be 2 values; got [0]"),
        (changed(("pairs",), 1.5), "pairs must be an integer; got 1.5"),
        (changed(("metrics", "mIoU"), None), "metrics.mIoU must be a number; got None"),
        (changed(("metrics", "mIoU"), 10**400), "metrics.mIoU must be a number"),
    ],
)
def test_message_names_key_and_expected_type(content: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse(Results, content)


@pytest.mark.parametrize("text", [None, "", "{", "[" * 100_000, "\xff", "{}"])
def test_missing_or_malformed_file_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"results\.json cannot be read .*; rerun cpnet\.train or cpnet\.evaluate"):
        Results.read(tmp_path)


@given(st.sampled_from(paths(CONTENT)), JSON)
def test_any_json_is_parsed_or_refused(path: tuple[str, ...], value: object) -> None:
    try:
        parsed = parse(Results, changed(path, value))
    except ValueError:
        return
    assert isinstance(parsed.metrics, dict)
    assert isinstance(parsed.pairs, int)
