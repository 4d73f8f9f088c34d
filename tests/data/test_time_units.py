"""Oracle: made files in a known unit. ``readers/test_published_files.py`` has the published ones."""

from __future__ import annotations

import random
from itertools import chain

import pytest

from corpora import moment
from cpnet.data.moment import Moment
from cpnet.data.time_units import SECONDS, check_unit, in_seconds
from cpnet.errors import DataError

CORPORA: list[tuple[int, float, float]] = [(6, 20, 42), (400, 5, 60), (2000, 30, 240)]  # pairs, durations


def made(unit: str, pairs: int, shortest: float, longest: float) -> list[Moment]:
    """Make a file whose times are in a unit; one end in twenty may lie past its video, as in Charades-STA."""
    draw, moments = random.Random(0), []
    for number in range(pairs):
        duration = draw.uniform(shortest, longest)
        start = draw.uniform(0, 0.7) * duration
        end = start + draw.uniform(0.1, 0.3) * duration + (1.5 if number % 20 == 19 else 0)
        scale = 1 / 24 if unit == "frames" else SECONDS[unit](duration)
        moments.append(moment(str(number), f"v{number}", (start / scale, end / scale), duration_sec=duration))
    return moments


def check(moments: list[Moment]) -> None:
    check_unit([(end, each.duration_sec) for each in moments for _, end in each.windows_sec], split="train")


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("unit", [*SECONDS, "frames"])
def test_unit_of_a_whole_file(unit: str, corpus: tuple[int, float, float], caplog: pytest.LogCaptureFixture) -> None:
    moments = made(unit, *corpus)
    if unit == "seconds":
        check(moments)
        assert not caplog.records
        return
    with pytest.raises(DataError, match=rf"^train: the times of the annotations look like {unit}, not seconds: "):
        check(moments)


def test_per_cent_of_long_videos_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    check(made("percent", 400, 160, 600))
    assert "in 400 pairs of videos longer than 150 s, nearly all ends are at most" in caplog.text


@pytest.mark.parametrize(
    ("unit", "times"), [("milliseconds", (1e3, 4e3)), ("percent", (5, 20)), ("fractions", (0.05, 0.2))]
)
def test_times_are_converted(unit: str, times: tuple[float, float]) -> None:
    (found,) = in_seconds([moment("1", "v", times, times, duration_sec=20.0)], unit=unit, split="train")
    assert [*chain(*found.windows_sec)] == pytest.approx([1.0, 4.0] * 2)
