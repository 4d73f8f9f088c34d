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

from cpnet.data.cleaning import CleaningReport, clean
from cpnet.data.moment import Moment
from cpnet.data.readers import read_activitynet_captions, read_charades_sta, read_tacos
from cpnet.data.time_units import SECONDS, check_unit
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


COUNTS: list[tuple[Any, ...]] = [
    (charades_sta, "train", 5338, 12408, 1805, 734, 4, 0),
    (charades_sta, "test", 1334, 3720, 562, 228, 0, 0),
    (activitynet_captions, "train", 10009, 37421, 29, 0, 2, 2),
    (activitynet_captions, "val_1", 4917, 17505, 5, 0, 0, 0),
    (activitynet_captions, "val_2", 4885, 17031, 1, 0, 0, 0),
    (tacos_tall, "train", 75, 10146, 48, 0, 0, 0),
    (tacos_tall, "val", 27, 4589, 0, 0, 0, 0),
    (tacos_tall, "test", 25, 4083, 5, 0, 0, 0),
    (tacos_2dtan, "train", 75, 9790, 43, 0, 0, 0),
    (tacos_2dtan, "val", 27, 4436, 0, 0, 0, 0),
    (tacos_2dtan, "test", 25, 4001, 5, 0, 0, 0),
]


@pytest.mark.parametrize(
    ("read", "split", "videos", "pairs", "ends", "ends_over_1s", "reversed_pairs", "empty_pairs"), COUNTS
)
def test_counts_of_the_published_splits(
    read: Callable[[str], list[Moment]],
    split: str,
    videos: int,
    pairs: int,
    ends: int,
    ends_over_1s: int,
    reversed_pairs: int,
    empty_pairs: int,
) -> None:
    moments = read(split)
    kept, report = clean(moments, split=split, drop=split == "train")
    dropped = reversed_pairs + empty_pairs
    assert (report.videos, report.read, report.kept) == (videos, pairs, pairs - dropped)
    assert (report.clipped_end, report.clipped_end_over_1s) == (ends, ends_over_1s)
    assert (report.reversed, report.empty, len(report.dropped)) == (reversed_pairs, empty_pairs, dropped)
    assert len({moment.qid for moment in moments}) == len(moments)
    assert all(0 <= start < end <= moment.duration_sec for moment in kept for start, end in moment.windows_sec)


@pytest.mark.parametrize(("read", "split"), [case[:2] for case in COUNTS])
def test_units_of_the_published_splits(
    read: Callable[[str], list[Moment]], split: str, caplog: pytest.LogCaptureFixture
) -> None:
    ends = [(end, each.duration_sec) for each in read(split) for _, end in each.windows_sec]
    check_unit(ends, split=split)
    assert not caplog.records
    for unit in ("milliseconds", "percent", "fractions"):
        with suppress(DataError) if unit == "percent" else pytest.raises(DataError, match=f"look like {unit}, "):
            check_unit([(end / SECONDS[unit](duration), duration) for end, duration in ends], split=split)
            assert "dataset.time_unit=percent" in caplog.text


def dropped_videos(report: CleaningReport) -> list[tuple[str, str]]:
    return [(qid.rsplit(":", 1)[0], reason) for qid, reason in report.dropped]


def test_the_four_reversed_pairs_of_charades_sta() -> None:
    moments = charades_sta("train")
    _, report = clean(moments, split="train", drop=True)
    assert dropped_videos(report) == [(video, "reversed") for video in ("LEOL6", "IOL8Q", "AKKWU", "AKKWU")]
    assert report.clipped_start == 3
    with pytest.raises(DataError, match=r"LEOL6:.*dataset\.on_defect=drop"):
        clean(moments, split="train", drop=False)


def test_the_defects_of_activitynet_captions() -> None:
    _, report = clean(activitynet_captions("train"), split="train", drop=True)
    assert dropped_videos(report) == [
        ("v_N7ppHQNikv8", "empty"),
        ("v_4rKTw99bM8g", "empty"),
        ("v_0bosp4-pyTM", "reversed"),
        ("v_rhOtqArO-3Y", "reversed"),
    ]


def test_float_noise_is_clipped_but_not_counted() -> None:
    moments = activitynet_captions("val_1")
    _, report = clean(moments, split="val_1", drop=False)
    assert sum(moment.windows_sec[0][1] > moment.duration_sec for moment in moments) == 134
    assert report.clipped_end == 5


def test_words_outside_ascii_survive() -> None:
    assert sum(not moment.query.isascii() for moment in activitynet_captions("train")) == 24


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
