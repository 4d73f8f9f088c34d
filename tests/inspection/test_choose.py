"""Which pairs are drawn. Oracle: IoUs and names written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from cpnet.data.moment import Moment
from cpnet.errors import ConfigError, DataError
from cpnet.inspection.choose import Choice

IOUS = [0.5, 0.0, 0.9, 0.3, 1.0]
MOMENTS = [
    Moment(qid=f"kitchen:{n}", video=video, query="q", windows_sec=((end - 1.0, end),), duration_sec=9.0)
    for n, (video, end) in enumerate(
        [("v_QOlSCBRmfWY", 8.0), ("b", 3.0), ("v_QOlSCBRmfWY", 2.0), ("c", 3.0), ("d", 4.0)]
    )
]


@pytest.mark.parametrize(
    ("wish", "rows"),
    [
        ({"qid": ["kitchen:3", "kitchen:0", "kitchen:3"]}, [3, 0]),
        ({"video": "QOlSCBRmfWY.mp4"}, [2, 0]),  # in order of time
        ({"worst": 2}, [1, 3]),
        ({"best": 2}, [4, 2]),
        ({"worst": 100}, [1, 3, 0, 2, 4]),
        ({}, [1, 0, 4]),  # lowest, middle, highest
    ],
)
def test_choices(wish: dict[str, Any], rows: list[int]) -> None:
    choice = Choice(**wish)
    named = choice.by_name(MOMENTS, "test")
    assert (choice.by_iou(IOUS, 5, usual=3) if named is None else named) == rows


def test_random_pairs_depend_on_the_seed_alone() -> None:
    drawn = {tuple(Choice(random=3, seed=seed).by_iou(IOUS, 5, usual=2)) for seed in (0, 0, 1, 2)}
    assert 1 < len(drawn) <= 3
    assert all(len({*rows}) == 3 and {*rows} < {*range(5)} for rows in drawn)
    assert len(Choice().by_iou(None, 5, usual=2)) == 2  # without true windows


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"qid": ["a"], "worst": 3}, "qid and worst choose pairs in different ways; set one of them"),
        ({"best": 0}, "best must be 1 to 100; got 0"),
        ({"random": 101}, "random must be 1 to 100; got 101"),
    ],
)
def test_wishes_that_cannot_be_met(wish: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Choice(**wish)


def test_unknown_names_get_similar_ones() -> None:
    with pytest.raises(
        DataError, match=r"qid='kitchen:7': the test split has no such qid; similar ones: 'kitchen:4', "
    ):
        Choice(qid=["kitchen:7"]).by_name(MOMENTS, "test")
    with pytest.raises(DataError, match=r"video='zzz': .* the first ones: 'v_QOlSCBRmfWY', 'b', 'c', 'd'\."):
        Choice(video="zzz").by_name(MOMENTS, "test")
    with pytest.raises(ConfigError, match="worst and best need true windows"):
        Choice(worst=1).by_iou(None, 5, usual=2)
