"""Oracle: the properties that make a split usable, and one split worked out with the definition."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.data.moment import DataError, Moment
from cpnet.data.splits import hold_out


def moments_of(videos: list[str]) -> list[Moment]:
    return [
        Moment(qid=str(index), video=video, query="a word", start_sec=0.0, end_sec=1.0, duration_sec=2.0)
        for index, video in enumerate(videos)
    ]


VIDEOS = st.lists(st.text("abcd0", min_size=1, max_size=3), min_size=2, max_size=60).filter(lambda v: len(set(v)) > 1)


@given(videos=VIDEOS, seed=st.integers(), data=st.data())
def test_splits_by_video_in_order_whatever_the_order(videos: list[str], seed: int, data: st.DataObject) -> None:
    total = len(set(videos))
    count = data.draw(st.integers(1, total - 1))
    moments = moments_of(videos)
    train, validation = hold_out(moments, fraction=count / total, seed=seed)
    in_train, in_validation = {each.video for each in train}, {each.video for each in validation}
    assert not in_train & in_validation
    assert (len(in_train), len(in_validation)) == (total - count, count)
    assert train == [each for each in moments if each.video in in_train]
    assert validation == [each for each in moments if each.video in in_validation]
    shuffled = random.Random(0).sample(moments, len(moments))
    assert {each.video for each in hold_out(shuffled, fraction=count / total, seed=seed)[1]} == in_validation


def test_takes_the_videos_of_the_lowest_digests() -> None:
    videos = [f"{number:05}" for number in range(40)]
    digests = {video: hashlib.sha256(f"17/{video}".encode()).hexdigest() for video in videos}
    lowest = sorted(videos, key=lambda video: digests[video])[:4]
    _, validation = hold_out(moments_of(videos), seed=17)
    assert {each.video for each in validation} == set(lowest)
    _, other = hold_out(moments_of(videos), seed=18)
    assert {each.video for each in other} != set(lowest)


def test_one_video_under_two_spellings_stays_on_one_side() -> None:
    videos = [f"s{number}-d1{suffix}" for number in range(20) for suffix in (".avi", "", "-cam-002")]
    train, validation = hold_out(moments_of(videos), fraction=0.5, seed=0)
    assert not {each.video.split("-")[0] for each in train} & {each.video.split("-")[0] for each in validation}
    assert (len(train), len(validation)) == (30, 30)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_refuses_a_fraction_outside_zero_and_one(fraction: float) -> None:
    with pytest.raises(DataError, match="must lie between 0 and 1"):
        hold_out(moments_of(["a", "b"]), fraction=fraction, seed=0)


@pytest.mark.parametrize(
    ("videos", "fraction"), [(["a", "b", "c"], 0.1), (["a", "b", "c"], 0.9), (["a"], 0.5), ([], 0.5)]
)
def test_refuses_an_empty_side(videos: list[str], fraction: float) -> None:
    with pytest.raises(DataError, match=f"holding out {fraction} of {len(videos)} videos"):
        hold_out(moments_of(videos), fraction=fraction, seed=0)
