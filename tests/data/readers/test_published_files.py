"""Oracle: the sizes that the papers publish, and defects counted once with other code."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cpnet.data.cleaning import clean
from cpnet.data.moment import Moment
from cpnet.data.readers import read_activitynet_captions, read_charades_sta, read_tacos
from cpnet.data.time_units import SECONDS, check_unit
from cpnet.data.vocabulary import Vocabulary, words_of
from cpnet.errors import DataError

DATA = Path(os.environ.get("CPNET_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))


def present(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the published annotations are not in {DATA} (CPNET_TEST_DATA)")
    return path


def charades_sta(split: str) -> list[Moment]:
    folder = present("charades_sta")
    return read_charades_sta(
        annotations=folder / f"charades_sta_{split}.txt", durations=folder / f"Charades_v1_{split}.csv"
    )


def activitynet_captions(split: str) -> list[Moment]:
    return read_activitynet_captions(annotations=present("activitynet_captions") / f"{split}.json")


def tacos_tall(split: str) -> list[Moment]:
    return read_tacos(annotations=present("tacos_org") / f"{split}.json", fps=29.4)


def tacos_2dtan(split: str) -> list[Moment]:
    return read_tacos(annotations=present("tacos_2dtan") / f"{split}.json")


REVERSED = [(video, "reversed") for video in ("LEOL6", "IOL8Q", "AKKWU", "AKKWU")]
DEFECTS = [("v_N7ppHQNikv8", "empty"), ("v_4rKTw99bM8g", "empty")]
DEFECTS += [("v_0bosp4-pyTM", "reversed"), ("v_rhOtqArO-3Y", "reversed")]
# Videos, pairs, ends behind their video and those by more than a second; dropped pairs
PUBLISHED: list[tuple[Any, ...]] = [
    (charades_sta, "train", (5338, 12408, 1805, 734), REVERSED),
    (charades_sta, "test", (1334, 3720, 562, 228), []),
    (activitynet_captions, "train", (10009, 37421, 29, 0), DEFECTS),
    (activitynet_captions, "val_1", (4917, 17505, 5, 0), []),
    (activitynet_captions, "val_2", (4885, 17031, 1, 0), []),
    (tacos_tall, "train", (75, 10146, 48, 0), []),
    (tacos_tall, "val", (27, 4589, 0, 0), []),
    (tacos_tall, "test", (25, 4083, 5, 0), []),
    (tacos_2dtan, "train", (75, 9790, 43, 0), []),
    (tacos_2dtan, "val", (27, 4436, 0, 0), []),
    (tacos_2dtan, "test", (25, 4001, 5, 0), []),
]


@pytest.mark.parametrize(("read", "split", "counts", "dropped"), PUBLISHED)
def test_counts_defects_and_unit_of_the_published_splits(
    read: Callable[[str], list[Moment]],
    split: str,
    counts: tuple[int, ...],
    dropped: list[tuple[str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    moments = read(split)
    kept, report = clean(moments, split=split, drop=split == "train")
    assert (report.videos, report.read, report.clipped_end, report.clipped_end_over_1s) == counts
    assert [(qid.rsplit(":", 1)[0], reason) for qid, reason in report.dropped] == dropped
    assert report.kept == report.read - len(dropped)
    assert len({moment.qid for moment in moments}) == len(moments)
    assert all(0 <= start < end <= moment.duration_sec for moment in kept for start, end in moment.windows_sec)
    ends = [(end, each.duration_sec) for each in moments for _, end in each.windows_sec]
    check_unit(ends, split=split)
    assert not caplog.records
    for unit in ("milliseconds", "percent", "fractions"):
        with suppress(DataError) if unit == "percent" else pytest.raises(DataError, match=f"look like {unit}, "):
            check_unit([(end / SECONDS[unit](duration), duration) for end, duration in ends], split=split)
            assert "dataset.time_unit=percent" in caplog.text


def test_duplicates_of_tacos_are_kept() -> None:
    videos = json.loads((present("tacos_2dtan") / "test.json").read_text(encoding="utf-8"))
    as_spelt = Counter(
        (video, *timestamp, sentence)
        for video, entry in videos.items()
        for timestamp, sentence in zip(entry["timestamps"], entry["sentences"], strict=True)
    )
    moments = tacos_2dtan("test")
    as_read = Counter((moment.video, *moment.windows_sec[0], moment.query) for moment in moments)
    assert as_spelt.total() - len(as_spelt) == 567
    # Five more rows are equal once outer white space is gone.
    assert as_read.total() - len(as_read) == 572
    assert len(moments) == 4001


def test_glove_covers_charades_sta() -> None:
    queries = [moment.query for split in ("train", "test") for moment in charades_sta(split)]
    vocabulary = Vocabulary.build(queries, glove=present("glove/glove.6B.300d.charades.txt"), dim=300)
    rows = [vocabulary.rows(words_of(query, max_words=99)) for query in queries]
    assert max(map(len, rows)) <= 15
    # Nearly all unknown words are misspelt and occur once: "opend", "persno".
    assert sum(query.count(1) for query in rows) / sum(map(len, rows)) < 0.0015
