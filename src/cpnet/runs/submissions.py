"""Predictions of any system: JSON lines, JSON, CSV, and answers of language models in words."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cpnet.data.moment import normalise_id
from cpnet.errors import DataError, cut, quote, shown
from cpnet.evaluation.matching import Key, key_names

Span = tuple[float, float]

FORMATS = (
    'one object a line: {"qid": ...} or {"vid": ..., "query": ...}, with "pred_relevant_windows": [[start, end, score],'
    ' ...], "predicted": [[start, end], ...] or "answer": "from 12.3 s to 0:20"; or a CSV with the columns qid, or '
    "video and query, and start, end and perhaps score"
)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Predictions of a system.

    Attributes:
        ranked: (start, end) in seconds of each answered pair, best first, as in the file
        unread: keys of answers without two times
        repeated: keys that the file answers more than once; the first answer counts
    """

    ranked: dict[Key, tuple[Span, ...]] = field(default_factory=dict)
    unread: list[Key] = field(default_factory=list)
    repeated: list[Key] = field(default_factory=list)

    def remarks(self, name: str) -> list[str]:
        """Return sentences on answers that could not be read, and on repeated ones."""
        described = {"answers have no two times": self.unread, "pairs are answered again and ignored": self.repeated}
        return [f"{name}: {len(keys)} {what}: {quote(key_names(keys), 3)}" for what, keys in described.items() if keys]


def read_submission(path: Path, pairs: Mapping[str, tuple[str, str]]) -> Submission:
    """Read a file of predictions. The suffix tells CSV and JSON from JSON lines, and the keys of a row its form.

    Args:
        path: the file
        pairs: video and query of each pair by qid. Systems number pairs in their own ways, so a qid counts only if the
            row names no other video, nor the query of another pair of this video; else video and query find the pair.

    Raises:
        DataError: the file cannot be read, or a line has another form; the message names file and line
    """
    found, key_of = Submission(), partial(_key, pairs=pairs, known={*pairs.values()})
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = _csv(stream, key_of) if path.suffix.lower() == ".csv" else _json(stream, path.suffix.lower())
            for where, row in rows:
                try:
                    if not isinstance(row, dict):
                        raise ValueError(f"no object: {shown(row)}")
                    key, spans = key_of(row), _spans(row)
                except (ValueError, TypeError, LookupError) as error:
                    raise DataError(f"{path}, {where}: {cut(str(error), 300)}\n  {path.name} needs {FORMATS}") from None
                if key in found.ranked:
                    found.repeated.append(key)
                    continue
                found.ranked[key] = spans
                if not spans and "answer" in row:
                    found.unread.append(key)
    except DataError:
        raise
    except (OSError, TypeError, ValueError, csv.Error, RecursionError) as error:
        raise DataError(f"predictions={path} cannot be read ({cut(str(error))})") from error
    if not found.ranked:
        raise DataError(f"predictions={path} is empty; it needs {FORMATS}")
    return found


def _json(stream: Iterable[str], suffix: str) -> Iterator[tuple[str, Any]]:
    """Yield the objects of JSON lines, or of one JSON list, and where they stand."""
    if suffix == ".json":
        yield from ((f"object {number}", row) for number, row in enumerate(json.loads("".join(stream)), start=1))
        return
    for number, line in enumerate(stream, start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error}") from None


def _csv(stream: Iterable[str], key_of: Callable[[Mapping[str, Any]], Key]) -> Iterator[tuple[str, Any]]:
    """Yield an object for each pair of a CSV, whose rows are single spans."""
    grouped: dict[Key, tuple[str, dict[str, Any]]] = {}
    reader = csv.DictReader(stream)
    for row in reader:
        where = f"line {reader.line_num}"
        try:
            _, first = grouped.setdefault(key_of(row), (where, {**row, "pred_relevant_windows": []}))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        windows = first["pred_relevant_windows"]
        windows.append([row.get("start"), row.get("end"), row.get("score") or -len(windows)])
    yield from grouped.values()


def _key(row: Mapping[str, Any], pairs: Mapping[str, tuple[str, str]], known: Collection[tuple[str, str]]) -> Key:
    qid = "" if row.get("qid") is None else str(row["qid"])
    video, query = row.get("vid") or row.get("video"), row.get("query") or row.get("sentence")
    named = normalise_id(video) if isinstance(video, str) else None
    of = pairs[qid][0] if named is None and qid in pairs else named
    stated = (of, query.strip()) if of is not None and isinstance(query, str) else None
    if qid in pairs and of == pairs[qid][0] and (stated == pairs[qid] or stated not in known):
        return qid
    if stated is not None:
        return stated
    if not qid:
        raise ValueError(f"no qid, nor vid and query, in {shown(dict(row))}")
    return f"{qid} of {named}" if qid in pairs else qid  # of another video: no pair has this key


def _spans(row: Mapping[str, Any]) -> tuple[Span, ...]:
    if "answer" in row:
        return tuple(read_times(str(row["answer"])))
    if "pred_relevant_windows" in row:
        windows = [tuple(map(_number, each)) for each in row["pred_relevant_windows"]]
        ranked = sorted(windows, key=lambda window: -window[2]) if all(len(each) > 2 for each in windows) else windows
        return tuple((window[0], window[1]) for window in ranked)
    return tuple((_number(start), _number(end)) for start, end in row["predicted"])


def _number(value: Any) -> float:
    if type(value) is float and math.isfinite(value):  # nearly all, and fast
        return value
    if isinstance(value, bool) or not math.isfinite(number := float(value)):
        raise ValueError(f"a time or a score must be a finite number; got {shown(value)}")
    return number


_UNIT = r"\s*(?:s|secs?|seconds?)?\b"
_MINUTE = r"\s*(?:minutes?|mins?|m)\b"
_CLOCK = "|".join(
    (
        r"(?:\d+:)?\d{1,2}:\d{2}(?:\.\d+)?",
        rf"\d+{_MINUTE}(?:\s*(?:and\s*)?\d+(?:\.\d+)?\s*(?:secs?|seconds?|s)\b)?",
        rf"\d+(?:\.\d+)?{_UNIT}",
    )
)
_TIME = rf"(?<![\w.])(?<!\d:)({_CLOCK})"
_ABOUT = r"\s*(?:(?:at|about|around|second)\s+)?"
_PAIRS = re.compile(
    rf"{_TIME}\s*(?:-|\u2013|\u2014|to|until|till|through|\.\.+){_ABOUT}({_CLOCK})"
    rf"|between{_ABOUT}{_TIME}\s*and{_ABOUT}{_TIME}"
    rf"|(?:^|[\[(<])\s*{_TIME}\s*,\s*{_TIME}\s*(?:$|[\])>])"
    rf"|(?:start|begin)\w*\W+(?:\w+\W+){{0,3}}?{_TIME}.{{0,40}}?\bend\w*\W+(?:\w+\W+){{0,3}}?{_TIME}",
    re.IGNORECASE | re.DOTALL,
)
_MINUTES = re.compile(rf"(\d+){_MINUTE}(?:\s*(?:and\s*)?(\d+(?:\.\d+)?).*)?", re.IGNORECASE)


def read_times(answer: str) -> list[Span]:
    """Read the spans in a text, in seconds; none if it has no two times that belong together.

    >>> read_times("It happens from 12.3 s to 0:20, and again 1:00 - 1:05.5.")
    [(12.3, 20.0), (60.0, 65.5)]
    >>> read_times("start: 3 seconds, end: 1 min 2 s"), read_times("I cannot see it.")
    ([(3.0, 62.0)], [])
    """
    spans = []
    for match in _PAIRS.finditer(answer):
        start, end = (_seconds(each) for each in match.groups() if each is not None)
        if math.isfinite(start) and math.isfinite(end):
            spans.append((start, end))
    return spans


def _seconds(text: str) -> float:
    if ":" in text:
        return math.fsum(float(part) * 60.0**power for power, part in enumerate(reversed(text.split(":"))))
    if match := _MINUTES.fullmatch(text.strip()):
        return 60 * float(match[1]) + float(match[2] or 0)
    found = re.match(r"\d+(?:\.\d+)?", text)
    assert found is not None  # _CLOCK begins with a number
    return float(found[0])
