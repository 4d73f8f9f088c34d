"""Oracle: frames over a rate, divided by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cpnet.data.moment import DataError, Moment
from cpnet.data.readers import read_tacos

PAIRS: dict[str, object] = {"timestamps": [[50, 75]], "sentences": ["She cuts it. "]}


def read(folder: Path, entry: dict[str, object], fps: float | None = None) -> list[Moment]:
    path = folder / "videos.json"
    path.write_text(json.dumps({"s17-d69.avi": entry}), encoding="utf-8")
    return read_tacos(annotations=path, fps=fps)


def expected(start_sec: float, end_sec: float, duration_sec: float) -> list[Moment]:
    return [
        Moment(
            qid="s17-d69.avi:0",
            video="s17-d69.avi",
            query="She cuts it.",
            start_sec=start_sec,
            end_sec=end_sec,
            duration_sec=duration_sec,
        )
    ]


def test_divides_frames_by_the_argument(tmp_path: Path) -> None:
    assert read(tmp_path, PAIRS | {"duration": 200.0}, fps=25) == expected(2.0, 3.0, 8.0)


def test_the_rate_of_the_file_wins(tmp_path: Path) -> None:
    assert read(tmp_path, PAIRS | {"num_frames": 200, "fps": 50}, fps=25) == expected(1.0, 1.5, 4.0)
    assert read(tmp_path, PAIRS | {"num_frames": 200, "fps": 50}) == expected(1.0, 1.5, 4.0)


@pytest.mark.parametrize(
    ("change", "fps", "message"),
    [
        ({"duration": 200}, None, "no frame rate in the file; set fps in the dataset's config"),
        ({"duration": 200}, 0.0, "'fps' must be above 0"),
        ({"duration": 200}, float("nan"), "'fps' must be a finite number"),
        ({"duration": 200, "fps": "25"}, 25.0, "'fps' must be a finite number, found '25'"),
        ({}, 25.0, "the key 'duration' is missing"),
        ({"num_frames": -1, "duration": 3}, 25.0, "'duration' must be above 0"),
    ],
)
def test_names_the_video_without_a_rate_or_a_length(
    tmp_path: Path, change: dict[str, object], fps: float | None, message: str
) -> None:
    with pytest.raises(DataError, match=r"videos\.json: video 's17-d69\.avi': " + message):
        read(tmp_path, PAIRS | change, fps=fps)
