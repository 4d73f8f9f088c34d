"""Indices of made videos. The oracle is what was drawn, numpy over all rows, or the model asked video by video."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

import test_grounder
from clips import make_clip
from commands import call
from cpnet.errors import ConfigError, DataError
from cpnet.grounder import Grounder
from cpnet.searching import VideoIndex
from cpnet.video import backbones
from cpnet.video import extract as extraction
from cpnet.video.encode import encode_video

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (120, 120, 120)}
FRAMES = 5  # a second


class Colours(test_grounder.Colours):
    """Mean colours, at a rate that can be set."""

    def __init__(self, *, fps: float | None = None, **_: object) -> None:
        self.fps = fps or 2.0


def draw(folder: Path, **videos: str) -> Path:
    """Make a video of colours, a second each, such as ``"red blue"``."""
    folder.mkdir(exist_ok=True)
    for name, colours in videos.items():
        frames = [np.full((48, 64, 3), COLOURS[each], np.uint8) for each in colours.split() for _ in range(FRAMES)]
        make_clip(folder / f"{name}.mp4", frames=frames, times=[place / FRAMES for place in range(len(frames))])
    return folder


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], object]:
    """Return ``extract`` with the backbone ``colours``, in this process."""

    def encode(files: Mapping[str, Path], partial: Path, *_: object) -> dict[str, str]:
        for name, path in files.items():
            np.save(partial / f"{name}.npy", encode_video(path, Colours()).rows)
        return {}

    monkeypatch.setitem(backbones.BACKBONES, "colours", Colours)
    monkeypatch.setattr(extraction, "_encode", encode)
    return lambda videos, index: extraction.extract(videos, index, backbone="colours", dtype="float32")


@pytest.fixture
def place(tmp_path: Path, add: Callable[[Path, Path], object]) -> Path:
    """A folder of an index, ``index``, and its videos, ``videos``."""
    videos = draw(tmp_path / "videos", a="grey grey red red grey", b="blue blue grey", c="green grey red grey")
    add(videos, tmp_path / "index")
    return tmp_path


def test_best_videos_and_their_moments_are_those_that_were_drawn(place: Path) -> None:
    index = VideoIndex.open(place / "index")
    hits = index.search("a red square", backbone=Colours())
    assert [hit.video for hit in hits] == ["a", "c", "b"]
    assert (hits[0].start_sec, hits[0].end_sec) == pytest.approx((2, 4), abs=0.3)
    assert (hits[1].start_sec, hits[1].end_sec) == pytest.approx((2, 3), abs=0.3)
    assert Path(str(hits[1].path)) == place / "videos/c.mp4"
    (first,) = index.search("green", backbone=Colours(), top=1)
    assert (first.video, first.start_sec, first.query) == ("c", 0, "green")
    videos = [encode_video(place / f"videos/{name}.mp4", Colours()) for name in index.ids]
    assert index.durations == pytest.approx([video.duration_sec for video in videos])


def test_without_a_joint_backbone_the_model_ranks_all_videos(place: Path) -> None:
    index, extractor = VideoIndex.open(place / "index"), Colours().extractor()
    grounder = Grounder.from_checkpoint(test_grounder.checkpoint(place, extractor=extractor))
    hits = index.search("open the door", grounder, top=2)
    asked = {}
    for path in sorted((place / "videos").iterdir()):
        video = encode_video(path, Colours())
        asked[path.stem] = grounder.ground(video.rows, "open the door", duration_sec=video.duration_sec)[0]
    best = sorted(asked, key=lambda name: -asked[name].score)[:2]
    assert [hit.video for hit in hits] == best
    for hit in hits:
        assert (hit.start_sec, hit.end_sec, hit.score) == pytest.approx(
            (asked[hit.video].start_sec, asked[hit.video].end_sec, asked[hit.video].score), abs=1e-5
        )
    (joint,) = index.search("red door", grounder, backbone=Colours(), top=1)  # chosen by rows, answered by the model
    expected = grounder.ground(encode_video(place / "videos/a.mp4", Colours()), "red door")[0]
    assert (joint.video, joint.start_sec) == ("a", pytest.approx(expected.start_sec, abs=1e-5))
    assert joint.score == pytest.approx(1, abs=0.05)


def test_index_grows_and_forgets_removed_files(place: Path, add: Callable[[Path, Path], object]) -> None:
    opened = VideoIndex.open(place / "index")
    draw(place / "videos", d="red red red")
    add(place / "videos", place / "index")
    (place / "videos/a.mp4").unlink()
    found = [
        [hit.video for hit in index.search("red", backbone=Colours())]
        for index in (opened, VideoIndex.open(place / "index"))
    ]
    assert found == [["c", "b"], ["d", "c", "b"]]
    (place / "videos").rename(place / "moved")  # no file is where it was: nothing is known to be removed
    assert len(VideoIndex.open(place / "index").search("red", backbone=Colours())) == 4
    draw(place / "other", c="blue")
    (place / "moved").rename(place / "videos")
    with pytest.raises(DataError, match=r"has .*videos/c\.mp4 as 'c', so not .*other/c\.mp4 too"):
        add(place / "other", place / "index")


@pytest.mark.parametrize("renames", range(3))
def test_killed_adding_leaves_a_whole_index(
    place: Path, add: Callable[[Path, Path], object], renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, done = Path.rename, 0

    def rename_or_die(self: Path, target: Path) -> Path:
        nonlocal done
        if done == renames:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1
        return rename(self, target)

    draw(place / "videos", d="red red red")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_or_die)
        process = multiprocessing.get_context("fork").Process(target=add, args=(place / "videos", place / "index"))
        process.start()
        process.join()
    assert (process.exitcode == -signal.SIGKILL) == (renames < 2)
    index = VideoIndex.open(place / "index")
    assert index.ids == ["a", "b", "c"] + ["d"] * (renames == 2)
    assert index.search("red", backbone=Colours())[-1].video == "b"
    add(place / "videos", place / "index")
    assert VideoIndex.open(place / "index").ids == ["a", "b", "c", "d"]


def damage(index: Path, **changes: object) -> None:
    content = json.loads((index / "index.json").read_text()) | changes
    (index / "index.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "2"}, r"index is not a packed store.*remove .*index and build it again: .* videos=FOLDER"),
        ({"files": {"a": 3}}, "is not a packed store or is damaged"),
        ({"extractor": None}, "does not say what extracted its rows"),
    ],
)
def test_damaged_index_is_refused(place: Path, changes: dict[str, object], message: str) -> None:
    damage(place / "index", **changes)
    with pytest.raises(DataError, match=f"(?s){message}"):
        VideoIndex.open(place / "index")


def test_wrong_questions_are_refused(place: Path) -> None:
    index = VideoIndex.open(place / "index")
    with pytest.raises(DataError, match="the sentence is empty"):
        index.search(" ", backbone=Colours())
    with pytest.raises(DataError, match=r"index=OTHER videos=FOLDER backbone=colours fps=3"):
        index.search("red", backbone=Colours(fps=3))
    with pytest.raises(ConfigError, match="backbone=colours knows no sentences; train a model on its rows"):
        index.search("red")
    with pytest.raises(DataError, match=r"there is no index at .*; build it: python -m cpnet.search index=.*nowhere"):
        VideoIndex.open(place / "nowhere")


def test_command_builds_searches_and_writes(place: Path) -> None:
    built = call("search", "index=new", "videos=videos", "backbone=colours", folder=place)
    assert built.code == 0, built.err
    assert "new: 3 videos, 3 of them new" in built.out
    asked = call(
        "search", "index=new", "videos=videos", "query=a red square, then grey", "json=hits.json", folder=place
    )
    assert asked.code == 0, asked.err
    assert "new: 3 videos, 0 of them new" in asked.out
    assert re.search(r"1 +a +0:02\.0 +0:04\.0 +0\.9", asked.out.replace("│", " "))
    hits = json.loads((place / "hits.json").read_text(encoding="utf-8"))
    expected = VideoIndex.open(place / "new").search("a red square, then grey", backbone=Colours())
    assert hits["moments"] == [vars(hit) for hit in expected]
    for line, message in (
        (["index=new"], "set videos=FOLDER to build the index"),
        (["index=new", "query= "], "set videos=FOLDER to build the index"),
        (["index=nowhere", "query=red"], "there is no index at nowhere"),
        (["index=new", "query=red", "top=0"], "top must be 1 or more; got 0"),
    ):
        ended = call("search", *line, folder=place)
        assert (ended.code, message in ended.err) == (1, True), ended.err
