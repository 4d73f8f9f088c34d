"""Oracle: the properties that make a split usable, and one split computed from its definition."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpora import make_annotations, moment
from cpnet.data.annotations import hold_out
from cpnet.data.moment import Moment
from cpnet.errors import ConfigError, DataError


def moments_of(videos: list[str]) -> list[Moment]:
    return [
        Moment(qid=str(index), video=video, query="a word", windows_sec=((0.0, 1.0),), duration_sec=2.0)
        for index, video in enumerate(videos)
    ]


def name_of(video: str) -> str:
    return video.partition(".")[0]


SPELLINGS = st.builds(str.__add__, st.text("abcd0", min_size=1, max_size=3), st.sampled_from(["", ".mp4", ".avi"]))
VIDEOS = st.lists(SPELLINGS, min_size=2, max_size=60).filter(lambda videos: len({*map(name_of, videos)}) > 1)


@given(videos=VIDEOS, seed=st.integers(), data=st.data())
def test_hold_out_splits_by_video_in_the_given_order(videos: list[str], seed: int, data: st.DataObject) -> None:
    total = len({*map(name_of, videos)})
    count = data.draw(st.integers(1, total - 1))
    moments = moments_of(videos)
    train, validation = hold_out(moments, fraction=count / total, seed=seed)
    in_train, in_validation = ({name_of(each.video) for each in part} for part in (train, validation))
    assert not in_train & in_validation
    assert (len(in_train), len(in_validation)) == (total - count, count)
    assert train == [each for each in moments if name_of(each.video) in in_train]
    assert validation == [each for each in moments if name_of(each.video) in in_validation]
    shuffled = random.Random(0).sample(moments, len(moments))
    assert {name_of(each.video) for each in hold_out(shuffled, fraction=count / total, seed=seed)[1]} == in_validation


def test_hold_out_takes_the_videos_with_the_lowest_digests() -> None:
    videos = [f"{number:05}" for number in range(40)]
    digests = {video: hashlib.sha256(f"17/{video}".encode()).hexdigest() for video in videos}
    lowest = sorted(videos, key=lambda video: digests[video])[:4]
    _, validation = hold_out(moments_of(videos), fraction=0.1, seed=17)
    assert {each.video for each in validation} == set(lowest)
    _, other = hold_out(moments_of(videos), fraction=0.1, seed=18)
    assert {each.video for each in other} != set(lowest)


@pytest.mark.parametrize(
    ("videos", "fraction", "message"),
    [
        *(("ab", fraction, "must lie between 0 and 1") for fraction in (0.0, 1.0, -0.1, 1.5, float("nan"))),
        ("abc", 0.1, "holding out 0.1 of 3 videos"),
        ("abc", 0.9, "holding out 0.9 of 3 videos"),
        ("a", 0.5, "holding out 0.5 of 1 videos"),
        ("", 0.5, "holding out 0.5 of 0 videos"),
    ],
)
def test_hold_out_refuses_an_impossible_fraction(videos: str, fraction: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        hold_out(moments_of([*videos]), fraction=fraction, seed=0)


def test_selection_on_a_test_split_without_true_windows_is_refused() -> None:
    splits = {"train": [moment("1", "v", (0, 5))], "test": [moment("2", "v")]}
    annotations = make_annotations(
        reader=lambda name: splits[name], validation="test", splits={k: {"name": k} for k in splits}
    )
    with pytest.raises(DataError, match=r"no true windows; set dataset\.validation=holdout"):
        annotations.read()
    splits = {"train": splits["train"], "test_ood": [moment("2", "v", (0, 5))]}
    named = replace(annotations, reader=lambda name: splits[name], splits={k: {"name": k} for k in splits})
    assert named.read()[0]["val"] == splits["test_ood"]


@pytest.mark.parametrize(
    ("splits", "validation", "said"),
    [
        ("train val test_iid test_ood", "file", None),
        ("train test", "holdout", None),
        ("train val test_b test_a", "holdout", None),
        ("train test test_ood", "holdout", "must hold test_ood, train; got train, test, test_ood; a corpus has either"),
        ("train val", "file", "must hold test, train, val; got train, val; a corpus has either test or several"),
        ("train test_/../..", "holdout", "must hold test, train; got train, test_/../..; a corpus has either test"),
        ("train test_ood", "file", "must hold test_ood, train, val; got train, test_ood"),
        ("train test ood", "holdout", "must hold test, train; got train, test, ood"),
        ("train test_a test_b", "test", "validation=test needs a single test split, but there are test_a, test_b"),
    ],
)
def test_a_corpus_has_one_test_or_several(splits: str, validation: str, said: str | None) -> None:
    arguments: dict[str, Any] = {"reader": None, "splits": {split: {} for split in splits.split()}}
    if said:
        with pytest.raises(ConfigError, match=said):
            make_annotations(**arguments, validation=validation)
        return
    tests = tuple(split for split in splits.split() if split not in ("train", "val"))
    annotations = make_annotations(**arguments, validation=validation)
    assert annotations.tests == annotations.measured("test") == tests
    assert [annotations.measured(split) for split in ("train", tests[-1])] == [("train",), (tests[-1],)]
    with pytest.raises(DataError, match=f"one of train, val, {', '.join(tests)}.*; got 'test_x'"):
        annotations.measured("test_x")


def test_videos_in_several_durations_or_splits_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    splits = {
        "train": [moment("1", "v_QOlSCBRmfWY", (0, 5)), moment("2", "b", (0, 5), duration_sec=8.0)],
        "test": [moment("3", "QOlSCBRmfWY", (0, 5), duration_sec=20.0), moment("4", "b", (0, 5), duration_sec=8.0)],
    }
    annotations = make_annotations(
        reader=lambda name: splits[name], validation="test", splits={k: {"name": k} for k in splits}
    )
    with caplog.at_level("WARNING"):
        annotations.read()
        assert "is not read" not in caplog.text
        splits["val"] = splits["test"]
        replace(annotations, splits={k: {"name": k} for k in splits}, validation="holdout", holdout_fraction=0.5).read()
    assert "val: its file is not read (dataset.validation=holdout); dataset.validation=file reads it" in caplog.text
    assert "durations: 1 of 2 videos have several: 'QOlSCBRmfWY' (10.0 to 20.0 s); " in caplog.text
    assert "test: 2 of 2 videos are in train too: 'QOlSCBRmfWY', 'b'; " in caplog.text
