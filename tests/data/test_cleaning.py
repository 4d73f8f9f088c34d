"""Oracle: cases worked by hand, and the definition of the policy checked on drawn moments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.data.cleaning import clean
from cpnet.data.moment import Moment
from cpnet.errors import DataError


def moment(qid: str, start_sec: float, end_sec: float, duration_sec: float = 10.0, video: str = "v") -> Moment:
    windows = ((start_sec, end_sec),)
    return Moment(qid=qid, video=video, query="a word", windows_sec=windows, duration_sec=duration_sec)


FINE = [moment("fine", 2, 4), moment("late", 9, 10.5), moment("later", 3, 12), moment("early", -1, 5, video="w")]
CLIPPED = [moment("fine", 2, 4), moment("late", 9, 10), moment("later", 3, 10), moment("early", 0, 5, video="w")]
REVERSED = moment("back", 6, 5)
EMPTY = moment("point", 5, 5)
PAST = moment("past", 11, 12)
BEFORE = moment("before", -3, -1)
REVERSED_PAST = moment("both", 14, 12)


def test_clips_and_drops_and_counts() -> None:
    moments = [REVERSED, FINE[0], EMPTY, *FINE[1:], PAST, BEFORE, REVERSED_PAST]
    kept, report = clean(moments, split="train", drop=True)
    assert kept == CLIPPED
    assert (report.split, report.read, report.videos, report.kept) == ("train", 9, 2, 4)
    assert report.dropped == (
        *(("back", "reversed"), ("point", "empty"), ("past", "empty"), ("before", "empty"), ("both", "reversed")),
    )
    assert (report.reversed, report.empty) == (2, 3)
    # early, past, before, both; then late, later, past, before, both, of which only late is within a second
    assert (report.clipped_start, report.clipped_end, report.clipped_end_over_1s) == (4, 5, 3)
    assert report.describe() == (
        "train: read 9 pairs of 2 videos with 9 true windows; clipped 4 starts and 5 ends (3 by more than 1 s); "
        "dropped 5 windows (2 reversed, 3 empty); kept 4 pairs"
    )


def test_defective_window_is_dropped_and_its_pair_only_without_another() -> None:
    def several(qid: str, *windows: tuple[float, float]) -> Moment:
        return Moment(qid=qid, video="v", query="a word", windows_sec=windows, duration_sec=10.0)

    moments = [several("two", (8, 12), (6, 5), (-1, 1)), several("none", (5, 5), (11, 12)), several("one", (2, 4))]
    kept, report = clean(moments, split="train", drop=True)
    assert kept == [several("two", (8, 10), (0, 1)), several("one", (2, 4))]
    assert report.dropped == (("two", "reversed"), ("none", "empty"), ("none", "empty"))
    assert (report.read, report.windows, report.kept) == (3, 6, 2)
    assert (report.clipped_start, report.clipped_end, report.clipped_end_over_1s) == (2, 2, 2)
    with pytest.raises(DataError, match=r"val: 3 windows .*two \(reversed: 6\.00 to 5\.00"):
        clean(moments, split="val", drop=False)


UNKNOWN = Moment(qid="unknown", video="v", query="a word", windows_sec=(), duration_sec=10.0)


@pytest.mark.parametrize("split", ["test", "test_ood"])
def test_test_split_may_be_without_any_true_window(split: str) -> None:
    kept, report = clean([UNKNOWN] * 2, split=split, drop=False)
    assert (kept, report.windows) == ([UNKNOWN] * 2, 0)
    assert report.describe().endswith("without true windows: they can be predicted, not scored")


@pytest.mark.parametrize(
    ("split", "moments"),
    [("train", [UNKNOWN]), ("val", [UNKNOWN]), ("train", [*FINE, UNKNOWN]), ("test", [*FINE, UNKNOWN])],
)
def test_other_pairs_need_a_true_window(split: str, moments: list[Moment]) -> None:
    with pytest.raises(
        DataError, match=f"{split}: 1 of {len(moments)} pairs have no true window .*'unknown'; add windows"
    ):
        clean(moments, split=split, drop=True)


def test_without_clip_times_stay_as_read() -> None:
    assert clean([*FINE, PAST], split="test", drop=True, clip=False)[0] == FINE


@pytest.mark.parametrize("defect", [REVERSED, EMPTY, PAST, BEFORE, REVERSED_PAST])
def test_defect_is_an_error_unless_dropped(defect: Moment) -> None:
    with pytest.raises(DataError, match=rf"test: 1 windows .*{defect.qid} \(.*dataset\.on_defect=drop"):
        clean([*FINE, defect], split="test", drop=False)
    assert clean([*FINE, defect], split="test", drop=True)[0] == CLIPPED


def test_error_names_ten_pairs_and_counts_the_rest() -> None:
    pairs = [moment(f"q{number:02}", 6, 5) for number in range(12)]
    message = r"test: 12 windows .*q00 \(reversed: 6\.00 to 5\.00 .*q09 .* and 2 more;"
    with pytest.raises(DataError, match=message) as caught:
        clean(pairs, split="test", drop=False)
    assert "q10" not in str(caught.value)


def test_float_noise_is_clipped_but_not_counted_and_is_no_span() -> None:
    noise, empty = moment("noise", -1e-14, 10 + 1e-14), moment("empty", 5, 5 + 1e-14)
    kept, report = clean([noise, empty], split="train", drop=True)
    assert kept == [moment("noise", 0, 10)]
    assert (report.clipped_start, report.clipped_end, report.dropped) == (0, 0, (("empty", "empty"),))


@pytest.mark.parametrize("moments", [[], [REVERSED]])
def test_split_without_a_pair_is_an_error(moments: list[Moment]) -> None:
    with pytest.raises(DataError, match=f"train: no pair is left of the {len(moments)} read"):
        clean(moments, split="train", drop=True)


TIMES = st.floats(-20, 40).map(lambda value: round(value, 2))


@given(st.lists(st.tuples(TIMES, TIMES, st.floats(1, 30).map(lambda value: round(value, 2)))))
def test_pair_is_kept_exactly_if_it_overlaps_its_video(rows: list[tuple[float, float, float]]) -> None:
    drawn = [moment(str(index), *row) for index, row in enumerate(rows)]
    kept, report = clean([*drawn, FINE[0]], split="train", drop=True)
    expected = [str(index) for index, (start, end, duration) in enumerate(rows) if max(start, 0) < min(end, duration)]
    assert [each.qid for each in kept] == [*expected, "fine"]
    assert all(0 <= start < end <= each.duration_sec for each in kept for start, end in each.windows_sec)
    assert report.read == report.kept + len(report.dropped) == len(rows) + 1
    assert report.reversed == sum(end < start for start, end, _ in rows)
    assert clean(kept, split="train", drop=False)[0] == kept
