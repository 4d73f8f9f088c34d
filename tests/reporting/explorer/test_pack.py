"""Oracle: the lines of predictions.jsonl, read with json alone."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpnet.reporting.documents import to_explorer
from cpnet.reporting.explorer.pack import MOST_RUNS, Attention, Pack, pack, shown_runs
from cpnet.reporting.explorer.page import to_page
from cpnet.reporting.tables import Table
from cpnet.terminal import printable
from reporting.made import compared, config, spans, write_run

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "$title ${script}",
    "\u202egnp.exe \x1b[2J",
    "a\nb",
]


def table_of(folder: Path, runs: int, seeds: int = 1) -> Table:
    for run in range(runs):
        for seed in range(seeds):
            cfg = config(seed=seed, novelty=run)
            write_run(folder / f"{run}_{seed}", cfg=cfg, predicted=spans(12, 10 * run + seed))
    return compared(folder).tables[0]


def rename(path: Path, **changes: list[str]) -> list[dict[str, Any]]:
    """Replace texts of a predictions file; return its rows in order of qid."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for key, texts in changes.items():
        for place, text in enumerate(texts):
            rows[place][key] = text
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return sorted(rows, key=lambda row: row["qid"])


def unpacked(packed: Pack) -> tuple[dict[str, Any], bytes]:
    columns, attention = (gzip.decompress(base64.b64decode(block)) for block in packed.blocks())
    return json.loads(columns), attention


def test_columns_are_those_of_the_predictions(tmp_path: Path) -> None:
    true = spans(48, 1).reshape(-1, 2, 2)  # two windows each
    for run in range(2):
        write_run(tmp_path / f"{run}", cfg=config(novelty=run), true=true, predicted=spans(24, run))
    table, texts = compared(tmp_path).tables[0], [*HOSTILE, "x" * 3000]
    read = [rename(tmp_path / f"{run}/predictions.jsonl", query=texts, video=texts) for run in range(2)]
    columns, _ = unpacked(pack(table))
    plain = [[printable(" ".join(row[key].split()))[:2000] for row in read[0]] for key in ("query", "video")]
    assert [columns["query"], [columns["videos"][video] for video in columns["video"]]] == plain
    assert columns["qid"] == [row["qid"] for row in read[0]]
    assert columns["windows"] == [pytest.approx(np.ravel(row["true"]).tolist(), abs=5e-4) for row in read[0]]
    for run, rows in zip(columns["runs"], read, strict=True):
        assert run["predicted"] == pytest.approx(np.ravel([row["predicted"] for row in rows]).tolist(), abs=5e-4)
        best = []
        for row in rows:
            (start, end), windows = row["predicted"][0], row["true"]
            met = [max(0, min(end, e) - max(start, s)) for s, e in windows]
            best.append(max(m / (end - start + e - s - m) for m, (s, e) in zip(met, windows, strict=True)))
        assert run["iou"] == pytest.approx(best, abs=1e-6)
        assert "attention=all" in run["without"]


def test_attention_lies_in_one_row_of_bytes(tmp_path: Path) -> None:
    table = table_of(tmp_path, 3)
    clips = [np.array([0, 255, 7], np.uint8), np.array([255], np.uint8)]
    weights = [np.array([100, 155], np.uint8), np.array([255], np.uint8)]
    first = Attention(pairs=[2, 5], clips=clips, words=[["<b>", "open (?)"], ["x"]], weights=weights)
    columns, data = unpacked(pack(table, [first, "no <b>", Attention(pairs=[5], clips=clips[1:])]))
    runs = columns["runs"]
    assert runs[0]["attention"] == {"at": 0, "pairs": [2, 5], "counts": [3, 1]}
    assert runs[0]["words"] == {"at": 4, "pairs": [2, 5], "counts": [2, 1]}
    assert (runs[1]["without"], runs[2]["attention"]["at"], runs[2]["words"]) == ("no <b>", 7, None)
    assert [*data] == [0, 255, 7, 255, 100, 155, 255, 255]
    assert (columns["tokens"][2], columns["tokens"][0]) == ("<b>\nopen (?)", "")


@pytest.mark.parametrize(
    ("runs", "seeds", "names"),
    [
        (2, 1, ["novelty=0", "novelty=1"]),
        (2, 2, ["novelty=0, seed 0", "novelty=0, seed 1", "novelty=1, seed 0", "novelty=1, seed 1"]),
        (3, 3, ["novelty=0", "novelty=1", "novelty=2"]),
        (7, 1, [f"novelty={run}" for run in range(MOST_RUNS)]),
    ],
)
def test_up_to_six_runs_are_shown(tmp_path: Path, runs: int, seeds: int, names: list[str]) -> None:
    table = table_of(tmp_path, runs, seeds)
    assert [name for name, _ in shown_runs(table)] == names
    assert bool(pack(table).columns["note"]) == (len(names) < runs * seeds)


class Tags(HTMLParser):
    """Counts the tags of a page, and keeps its policy, styles and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.texts: list[str] = []
        self.policy = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"] or ""

    def handle_data(self, data: str) -> None:
        if self.opened and self.opened[-1] in ("style", "script"):
            self.texts.append(data)


@settings(max_examples=8)
@given(st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20)), min_size=1, max_size=4))
def test_no_text_of_a_run_becomes_markup(texts: list[str]) -> None:
    """Texts in columns and in the title change neither the tags nor the scripts of a page."""
    plain, hostile = (
        to_page(name, "<p></p>", [Pack(columns={"query": [*each]}, attention=b"")])
        for name, each in (("x", ["x"]), (texts[0], texts))
    )
    assert Tags(hostile).opened == Tags(plain).opened
    assert Tags(hostile).policy == Tags(plain).policy
    found = re.findall(r'type="application/octet-stream" id="[a-z]+-0">([^<]*)</script>', hostile)
    assert len(found) == 2
    assert json.loads(gzip.decompress(base64.b64decode(found[0], validate=True)))["query"] == texts


def test_page_is_one_file_and_its_policy_allows_its_own_script_only(tmp_path: Path) -> None:
    table = table_of(tmp_path / "runs", 2)
    (tmp_path / "recall.png").write_bytes(b"\x89PNG")
    report = compared(tmp_path / "runs")
    page = to_explorer(report, [{"recall": "recall.png"}], [pack(table)], tmp_path)
    assert set(re.findall('(?:src|href)="([^"]*)"', page)) == {"data:,", "data:image/png;base64,iVBORw=="}
    assert "style=" not in page
    policy = dict(part.strip().split(" ", 1) for part in Tags(page).policy.split(";"))
    assert (policy["default-src"], policy["img-src"]) == ("'none'", "data:")
    assert {policy[name].count("sha256-") for name in ("script-src", "style-src")} == {1}
    assert "unsafe" not in Tags(page).policy
