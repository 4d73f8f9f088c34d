"""Indices of made videos. The oracle is what was drawn, numpy over all rows, or the model asked video by video."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clips import make_clip
from commands import call, read_json
from cpnet.errors import ConfigError, DataError
from cpnet.grounder import Grounder
from cpnet.index import VideoIndex, row_kind
from cpnet.terminal import clock
from cpnet.video import backbones
from cpnet.video import extract as extraction
from cpnet.video.encode import encode_video
from pages import blocks
from test_grounder import Colours, checkpoint

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (120, 120, 120)}
FRAMES = 5  # a second
Add = Callable[[Path, Path], object]


def draw(folder: Path, **videos: str) -> Path:
    """Make a video of colours, a second each, such as ``"red blue"``."""
    folder.mkdir(exist_ok=True)
    for name, colours in videos.items():
        frames = [np.full((48, 64, 3), COLOURS[each], np.uint8) for each in colours.split() for _ in range(FRAMES)]
        make_clip(folder / f"{name}.mp4", frames=frames, times=[place / FRAMES for place in range(len(frames))])
    return folder


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Add:
    """Return ``extract`` with the backbone ``colours``, in this process."""

    def encode(files: Mapping[str, Path], partial: Path, *_: object) -> dict[str, str]:
        for name, path in files.items():
            np.save(partial / f"{name}.npy", encode_video(path, Colours()).rows)
        return {}

    monkeypatch.setitem(backbones.BACKBONES, "colours", Colours)
    monkeypatch.setattr(extraction, "_encode", encode)
    return lambda videos, index: extraction.extract(videos, index, backbone="colours", dtype="float32")


@pytest.fixture
def place(tmp_path: Path, add: Add) -> Path:
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
    (first,) = index.search("green", backbone=Colours(), top=1)
    assert (first.video, first.start_sec, first.query) == ("c", 0, "green")
    for name, file in zip(index.ids, index.files, strict=True):
        assert file.path == str(place / f"videos/{name}.mp4")
        assert file.duration_sec == pytest.approx(encode_video(file.path, Colours()).duration_sec)


@pytest.mark.parametrize("block", [1, 7, 4096])
def test_similarities_are_those_of_a_loop_in_float64(place: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpnet.index.BLOCK", block)
    index, vector = VideoIndex.open(place / "index"), np.array([0.9, 0.1, -0.3], np.float32)
    index.rows = index.rows.copy()
    index.rows[2] = 0
    best = []
    for end, count in zip(index.counts.cumsum(), index.counts, strict=True):
        rows = index.rows[end - count : end].astype(np.float64)
        cosines = [row @ vector / max(np.linalg.norm(row) * np.linalg.norm(vector), 1e-30) for row in rows]
        best.append(max(np.mean(cosines[max(0, at - 1) : at + 2]) for at in range(count)))
    np.testing.assert_allclose(index.similarities(vector), best, atol=1e-6)


def test_without_a_joint_backbone_the_model_ranks_all_videos(place: Path) -> None:
    index, extractor = VideoIndex.open(place / "index"), Colours().extractor()
    grounder = Grounder.from_checkpoint(checkpoint(place, extractor=extractor))
    videos = {name: encode_video(place / f"videos/{name}.mp4", Colours()) for name in index.ids}
    asked = {name: grounder.ground(video, "open the red door")[0] for name, video in videos.items()}
    hits = index.search("open the red door", grounder, top=2)
    assert [hit.video for hit in hits] == sorted(asked, key=lambda name: -asked[name].score)[:2]
    for hit in hits:
        assert vars(hit) == vars(asked[hit.video]) | {"video": hit.video, "path": hit.path}
    (joint,) = index.search("open the red door", grounder, backbone=Colours(), top=1)  # chosen by rows
    assert (joint.video, joint.start_sec) == ("a", asked["a"].start_sec)


def test_index_grows_and_forgets_removed_files(place: Path, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = VideoIndex.open(place / "index")
    draw(place / "videos", d="red red red")
    with monkeypatch.context() as patch:
        patch.setattr(extraction, "shutil", SimpleNamespace(rmtree=print))  # as if killed before it
        add(place / "videos", place / "index")
    add(place / "videos", place / "index")
    (place / "videos/a.mp4").unlink()
    for index, found in ((opened, "cb"), (VideoIndex.open(place / "index"), "dcb")):
        assert "".join(hit.video for hit in index.search("red", backbone=Colours())) == found
    (place / "videos").rename(place / "moved")  # no file is where it was: nothing is known to be removed
    assert len(VideoIndex.open(place / "index").search("red", backbone=Colours())) == 4
    draw(place / "other", c="blue")
    (place / "moved").rename(place / "videos")
    with pytest.raises(DataError, match=r"has the id 'c' already, of .*videos/c\.mp4; rename .*other/c\.mp4"):
        add(place / "other", place / "index")


def test_damaged_index_and_impossible_search_are_refused(place: Path) -> None:
    index, file = VideoIndex.open(place / "index"), place / "index/index.json"
    for sentence, how, message in (
        (" ", {"backbone": Colours()}, "the sentence is empty"),
        ("red", {"backbone": Colours(), "top": 0}, "top must be 1 or more; got 0"),
        ("red", {"backbone": Colours(fps=3)}, "index=OTHER videos=FOLDER backbone=colours fps=3"),
        ("red", {}, "backbone=colours encodes frames only; pass a Grounder trained on its features"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            index.search(sentence, **how)
    (place / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty is no index; set index=NEW to a folder that does not exist"):
        row_kind(place / "empty", "colours", None, None)
    content = read_json(file)
    for changes, message in (
        ({"extractor": None}, "does not say what extracted its rows"),
        ({"files": {"a": 3}}, "(?s)is damaged.*remove .*index, and build it again with videos=FOLDER"),
    ):
        file.write_text(json.dumps(content | changes), encoding="utf-8")
        with pytest.raises(DataError, match=message):
            VideoIndex.open(place / "index")


@pytest.mark.slow
def test_command_builds_searches_and_writes(place: Path) -> None:
    query = "query=a red square, which is no door"
    asked = call(
        "search", "index=new", "videos=videos", "backbone=colours", "fps=3", query, "json=hits.json", folder=place
    )
    inside = call("search", "index=new", query, "json=new/hits.json", folder=place, code=1)
    assert "json=new/hits.json is inside the index" in inside.err
    assert "new: 3 videos, 3 encoded now" in asked.out
    expected = VideoIndex.open(place / "new").search("a red square, which is no door", backbone=Colours(fps=3))
    for hit in expected:
        row = (hit.video, clock(hit.start_sec), clock(hit.end_sec), f"{hit.score:.2f}")
        assert re.search(r"\W+".join(map(re.escape, row)), asked.out)
    (place / "new").rename(place / "new.old")  # as a kill leaves it
    asked = call("search", "index=new", "videos=videos", "backbone=colours", folder=place)
    assert "new: 3 videos, 0 encoded now" in asked.out  # at the rate of the index, not the backbone's own
    hits = read_json(place / "hits.json")
    assert hits["moments"] == [vars(hit) for hit in expected]
    for line, message in (
        (["index=none", "query=red"], "there is no index at none"),
        (["index=new"], "set videos=FOLDER to build the index"),
        (["index=new", "query=red", "json=none/a.json"], "json=none/a.json cannot be written: it is no regular file"),
        (["index=other", "videos=videos", "backbone=colours", "query= "], 'query="SENTENCE" to search it'),
        (["index=other", "videos=videos", "backbone=colours", "query=red", "top=0"], "top must be 1 or more; got 0"),
    ):
        ended = call("search", *line, folder=place, code=1)
        assert message in ended.err


def test_rows_lie_in_a_vector_server_as_documented(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qdrant = pytest.importorskip("qdrant_client")
    (code,) = (block for block in blocks("docs/search.md", "python") if "qdrant" in block)
    monkeypatch.setattr(qdrant, "QdrantClient", partial(qdrant.QdrantClient, ":memory:"))
    names: dict[str, Any] = {"index": VideoIndex.open(place / "index"), "clip": Colours()}
    exec(code.replace('url="http://localhost:6333"', "").replace("fridge", "green"), names)
    assert names["best"][0] == {"video": "c"}
    assert sorted(each["video"] for each in names["best"]) == ["a", "b", "c"]
