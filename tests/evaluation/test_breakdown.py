"""Oracles: groups by hand, sums in loops, and the coverage of intervals in a simulation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cpnet.data.moment import Moment
from cpnet.evaluation.breakdown import Grouping, break_down, group_means, group_pairs, rarest_words


def moment(query: str, start: float = 0.0, end: float = 10.0, *, duration: float = 40.0, video: str = "v") -> Moment:
    return Moment(qid="", video=video, query=query, windows_sec=((start, end),), duration_sec=duration)


def groups_of(moments: Sequence[Moment], rarest: Sequence[int | None]) -> dict[str, Grouping]:
    spans, durations = (np.array([getattr(each, name) for each in moments]) for name in ("windows_sec", "duration_sec"))
    videos, queries = ([getattr(each, name) for each in moments] for name in ("video", "query"))
    return group_pairs(videos, queries, spans[:, 0], durations, rarest)


@pytest.mark.parametrize(
    ("one", "attribute", "group"),
    [
        (moment("he runs", 0.0, 1.9), "moment length (share of video)", "< 0.05"),
        (moment("he runs", 29.1, 32.1, duration=30.0), "moment length (share of video)", "0.1 to 0.2"),  # 0.1
        (moment("he runs", 0.0, 40.0), "moment length (share of video)", ">= 0.5"),
        (moment("he runs", 0.0, 16.0), "moment centre (share of video)", "0.2 to 0.4"),
        (moment("he runs", 30.0, 40.0), "moment centre (share of video)", ">= 0.8"),
        (moment("he runs", duration=14.99), "video length (s)", "< 15"),
        (moment("he runs", duration=480.0), "video length (s)", ">= 480"),
        (moment("he doesn't run, he walks."), "query length (words)", "5 to 6"),
        (moment("he runs"), "query length (words)", "0 to 4"),
        (moment("He runs AGAIN."), "words of order", "with"),
        (moment("he runs next to the afterglow"), "words of order", "without"),
    ],
)
def test_group_by_hand(one: Moment, attribute: str, group: str) -> None:
    grouping = groups_of([one], [7])[attribute]
    assert [grouping.names[place] for place in grouping.places] == [group]


def test_rarest_word_counts_training_queries_once() -> None:
    training = ["the door, the door", *["the"] * 9, "The window!"]
    queries = ["The door.", "the window opens", "the the", "..."]
    counts = rarest_words(queries, training)
    assert counts == [1, 0, 11, 0]
    grouping = groups_of([moment(query) for query in queries], counts)["rarest word (training queries)"]
    assert [grouping.names[place] for place in grouping.places] == ["1 to 9", "0", "10 to 99", "0"]


def test_rarest_words_of_older_files_are_unknown() -> None:
    assert "rarest word (training queries)" not in groups_of([moment("he runs"), moment("he walks")], [3, None])


def test_moments_alike_are_elsewhere_in_the_same_video() -> None:
    moments = [
        moment("person opens a door", 0, 10, video="v.mp4"),
        moment("Person closes a door.", 10, 20),  # 3 of 5 words
        moment("person opens a door again", 5.1, 15),  # IoU 0.33 and 0.33
        moment("person opens the fridge", 20, 30),  # 2 of 6
        moment("a person opens a door", 1, 10),  # the same moment as the first
        moment("person opens a door", 10, 20, video="other"),
    ]
    grouping = groups_of(moments, [0] * 6)["moments alike in the video"]
    assert [grouping.names[place] for place in grouping.places] == ["2 to 4", "2 to 4", "2 to 4", "0", "2 to 4", "0"]


def test_means_equal_a_loop() -> None:
    generator = np.random.default_rng(0)
    moments = [moment(f"he runs {'on ' * int(n)}", duration=float(n) * 20) for n in generator.integers(1, 30, 60)]
    scores = {"R1@0.5": generator.integers(0, 2, 60).astype(float), "mIoU": generator.uniform(size=60)}
    for groups in (broken := break_down(groups_of(moments, [0] * 60), scores)).values():
        assert sum(group.pairs for group in groups.values()) == 60
    of = {"0 to 4": (0, 4), "5 to 6": (5, 6), "7 to 8": (7, 8), "9 to 12": (9, 12), "13 to 19": (13, 19)}
    for name, (low, high) in of.items():
        rows = [row for row, each in enumerate(moments) if low <= len(each.query.split()) <= high]
        group = broken["query length (words)"][name]
        assert group.pairs == len(rows)
        for key, score in scores.items():
            added = [*score[rows], 1, 1, 0, 0]
            half = 1.96 * np.std(added) / len(added) ** 0.5
            ends = max(0, np.mean(added) - half), min(1, np.mean(added) + half)
            expected = [100 * np.mean(score[rows]), *(100 * end for end in ends)]
            assert group.metrics[key] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("true", "pairs"), [(0.02, 30), (0.5, 12), (0.9, 40), (0.3, 200)])
def test_intervals_cover_the_true_recall_in_95_of_100_samples(true: float, pairs: int) -> None:
    samples = 4000
    hits = (np.random.default_rng(1).uniform(size=(samples, pairs)) < true).astype(float)
    low, high = group_means(hits.ravel(), np.repeat(np.arange(samples), pairs), samples)[:, 1:].T / 100
    assert ((low <= true) & (true <= high)).mean() > 0.935


def test_interval_of_many_ious_is_that_of_the_bootstrap() -> None:
    ious = np.random.default_rng(2).beta(0.5, 0.7, 500)
    drawn = np.random.default_rng(3).choice(ious, (4000, 500)).mean(axis=1)
    ((_, low, high),) = group_means(ious, np.zeros(500, int), 1).tolist()
    assert (low, high) == pytest.approx(tuple(100 * np.percentile(drawn, [2.5, 97.5])), abs=0.4)
