"""Oracle: made files in a known unit. ``readers/test_published_files.py`` has the published ones."""

from __future__ import annotations

import random

import pytest

from corpora import make_annotations, moment
from cpnet.data.moment import Moment
from cpnet.data.time_units import SECONDS, check_unit
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


def test_durations_of_other_videos_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    check_unit([(30.0, 20.0 if number % 4 == 0 else 40.0) for number in range(20)], split="val")
    assert "val: 5 of 20 ends lie past the end of their video; check the durations" in caplog.text


@pytest.mark.parametrize("unit", [*SECONDS])
def test_times_are_converted_in_every_split(unit: str) -> None:
    files = {split: made(unit, *CORPORA[0]) for split in ("train", "test")}
    annotations = make_annotations(
        reader=lambda name: files[name],
        splits={split: {"name": split} for split in files},
        validation="test",
        ground_truth="raw",
        time_unit=unit,
    )
    moments, _ = annotations.read()
    expected = [each for moment in made("seconds", *CORPORA[0]) for window in moment.windows_sec for each in window]
    for split in files:
        found = [each for moment in moments[split] for window in moment.windows_sec for each in window]
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("wrong", ["train", "test"])
def test_other_unit_is_refused_before_anything_is_dropped(wrong: str) -> None:
    files = {split: made("milliseconds" if split == wrong else "seconds", *CORPORA[0]) for split in ("train", "test")}
    annotations = make_annotations(
        reader=lambda name: files[name],
        splits={split: {"name": split} for split in files},
        validation="test",
        on_defect="drop",
    )
    with pytest.raises(DataError, match=rf"^{wrong}: .*; set dataset\.time_unit=milliseconds, or"):
        annotations.read()
