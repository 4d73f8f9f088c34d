"""Oracle: the properties of the splits, and the choice of test_ood computed pair by pair."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import moment
from cpnet.data.moment import Moment, normalise_id
from cpnet.data.resplit import resplit
from cpnet.errors import DataError

# No length or centre is a multiple of the half seconds that are counted.
TIMES = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda pair: (pair[0] / 2, sum(pair) / 2 + 0.2))
CORPUS = st.lists(st.lists(TIMES, min_size=1, max_size=3), min_size=24, max_size=30)


def corpus(videos: list[list[tuple[float, float]]]) -> list[Moment]:
    return [
        moment(f"{video}-{place}", f"v{video:02}{'.mp4' * (place % 2)}", window)  # two spellings of an id
        for video, windows in enumerate(videos)
        for place, window in enumerate(windows)
    ]


def common(moments: list[Moment], by: str) -> list[int]:
    """Count, for each pair, the pairs whose length or centre lies in the same half second of ten."""
    windows = [each.windows_sec[0] for each in moments]
    values = [end - start if by == "length" else (start + end) / 2 for start, end in windows]
    places = [min(int(value * 2), 19) for value in values]
    return [places.count(place) for place in places]


@settings(max_examples=15)
@given(videos=CORPUS, by=st.sampled_from(["length", "position"]), seed=st.integers(0, 9))
def test_videos_are_whole_and_the_rarest_are_out_of_distribution(
    videos: list[list[tuple[float, float]]], by: str, seed: int
) -> None:
    moments = corpus(videos)
    found = resplit({"train": moments[::2], "test": moments[1::2]}, by=by, seed=seed)
    assert Counter(each for split in found.values() for each in split) == Counter(moments)
    places = {split: {normalise_id(each.video) for each in pairs} for split, pairs in found.items()}
    assert sum(map(len, places.values())) == len(videos)
    assert all(places.values())
    numbers = common(moments, by)
    of_video = {
        video: np.mean([n for each, n in zip(moments, numbers, strict=True) if normalise_id(each.video) == video])
        for video in {normalise_id(each.video) for each in moments}
    }
    inside = {video for split, found_ in places.items() if split != "test_ood" for video in found_}
    rarest = max(of_video[video] for video in places["test_ood"])
    assert rarest <= min(of_video[video] for video in inside)
    pairs, last = len(found["test_ood"]), max(len(windows) for windows in videos)
    assert 0.2 * len(moments) <= pairs < 0.2 * len(moments) + last
    assert resplit({"all": moments}, by=by, seed=seed + 1)["test_ood"] == [
        each for each in moments if normalise_id(each.video) in places["test_ood"]
    ]


def test_pairs_without_windows_are_left_out_and_shared_qids_are_made_unique() -> None:
    train = [moment("1", f"v{number}", (0, number / 2 + 1)) for number in range(12)]
    test = [moment("1", "w", (0, 5), (6, 8)), moment("2", "u")]
    found = resplit({"train": train[:1] + train[1:], "test": test}, by="length", seed=0)
    pairs = {each.qid: each for split in found.values() for each in split}
    assert pairs["test:1"].windows_sec == ((0, 5), (6, 8))
    assert set(pairs) == {"train:1", "test:1"}


def test_few_videos_are_refused() -> None:
    with pytest.raises(DataError, match="too few videos with true windows for four splits: of 9, 2 are out of"):
        resplit({"train": corpus([[(0.0, 1.0 + number)] for number in range(9)])}, by="length", seed=0)
