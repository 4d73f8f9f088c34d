"""A folder of real and of hostile files to a packed store, with real processes."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from clips import make_clip, make_sound
from commands import call
from cpnet.data.features import PackedFeatures
from cpnet.errors import ConfigError, DataError
from cpnet.video import extract as extraction
from cpnet.video import worker
from cpnet.video.backbones import load_backbone
from cpnet.video.encode import encode_video
from cpnet.video.extract import extract, find_videos


def videos(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        make_clip(folder / name, count=40)
    return folder


@pytest.fixture
def short_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    for name in ("measure", "encode"):
        monkeypatch.setattr(worker, name, getattr(importlib.import_module("crashing_worker"), name))


@pytest.mark.slow
def test_command_extracts_reports_and_does_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = videos(tmp_path / "videos", ["a.mp4", "b.mkv", "day 2/c.mp4"])
    make_sound(folder / "song.mkv")
    long_name = make_clip(folder / f"{'n' * 251}.mp4", count=3)
    line = ("action=extract", "videos=videos", "features=rows", "fps=3", "workers=1", "hydra.run.dir=run")
    ended = call("prepare", *line, folder=tmp_path, code=1)
    assert "video song is skipped: videos/song.mkv has no video stream (audio only)" in ended.out + ended.err
    assert "File name too long" in ended.out + ended.err
    store = PackedFeatures(path=tmp_path / "rows")
    assert sorted(store.ids()) == ["a", "b", "day 2/c"]
    video = encode_video(folder / "b.mkv", load_backbone("efficientnet_lite0", fps=3))
    np.testing.assert_allclose(store.rows("b"), video.rows, rtol=2e-3, atol=1e-4)
    assert (store.extractor, len(video.rows)) == (video.extractor, 5)
    assert not (tmp_path / "rows.extracting").exists()

    monkeypatch.setattr(extraction, "ProcessPoolExecutor", None)  # none is started: nothing is left to encode
    (folder / "song.mkv").unlink()
    long_name.unlink()
    (tmp_path / "link").symlink_to(folder)
    for spelled in (folder, tmp_path / "link", folder / ".." / folder.name):
        assert extract(spelled, tmp_path / "rows", fps=3).encoded == []
    with pytest.raises(DataError, match="rows has features of another extractor"):
        extract(folder, tmp_path / "rows", fps=4)


@pytest.mark.usefixtures("short_worker")
def test_crash_costs_one_video(tmp_path: Path) -> None:
    folder = videos(tmp_path / "videos", ["a.mp4", "crash.mp4", "d.mp4", "memory.mp4"])
    done = extract(folder, tmp_path / "rows", workers=1)
    assert (sorted(done.store.ids()), sorted(done.failed)) == (["a", "d"], ["crash", "memory"])
    assert re.fullmatch(r"encoding .*crash\.mp4 failed: BrokenProcessPool.*", done.failed["crash"])


@pytest.mark.usefixtures("short_worker")
def test_interrupt_keeps_finished_videos_and_ends_the_processes(tmp_path: Path) -> None:
    folder = videos(tmp_path / "videos", ["a.mp4", "interrupt.mp4"])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    with pytest.raises(KeyboardInterrupt):
        extract(folder, tmp_path / "rows", workers=1)
    for child in multiprocessing.active_children():
        child.join(10)
    assert multiprocessing.active_children() == []
    assert [path.name for path in (tmp_path / "rows.extracting").rglob("*.npy")] == ["a.npy"]
    for name in ("copy", "renamed"):
        shutil.copytree(tmp_path / "rows.extracting", tmp_path / f"{name}.extracting")
    assert extract(videos(tmp_path / "others", ["a.mp4"]), tmp_path / "copy", workers=1).encoded == ["a"]
    extract(tmp_path / "others", tmp_path / "rows", workers=1)  # leaves the finished videos of the interrupted one
    (folder / "interrupt.mp4").rename(folder / "b.mp4")
    (tmp_path / "rows").rename(tmp_path / "other rows")
    done = extract(folder, tmp_path / "rows", workers=1)
    assert (done.encoded, sorted(done.store.ids())) == (["b"], ["a", "b"])
    (folder / "a.mp4").rename(folder / "a.mp4.mkv")
    assert sorted(extract(folder, tmp_path / "renamed", workers=1).store.ids()) == ["a.mp4", "b"]
    (folder / "a.mp4.mkv").rename(folder / "a.mp4")
    (folder / "b.mp4").rename(folder / "b.mp4.mkv")
    with pytest.raises(
        DataError, match=r"rows has 'b', and annotations cannot tell it from .*b\.mp4\.mkv; rename this file"
    ):
        extract(folder, tmp_path / "rows", workers=1)


def test_other_content_and_another_process_are_refused_before_encoding(tmp_path: Path) -> None:
    folder = videos(tmp_path / "videos", ["a.mp4"])
    (tmp_path / "report.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match=r"report\.txt is not a packed store"):
        extract(folder, tmp_path / "report.txt")
    with FileLock(tmp_path / ".rows.extracting.lock"), pytest.raises(DataError, match="another process extracts"):
        extract(folder, tmp_path / "rows")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.mp4", "a.mkv"], "have the same id 'a'"),
        (["a.mkv", "a.mp4.mkv"], "have the same id 'a.mp4'"),
        ([".a.mp4", ".b/c.mp4", "notes.txt", "d.mp4/notes.txt"], "contains no video files"),
    ],
)
def test_folder_without_distinct_videos_is_refused(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=said):
        find_videos(tmp_path)


def test_linked_folders_are_read(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/a.mp4").touch()
    (tmp_path / "videos/day 1").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/up").symlink_to(tmp_path / "videos")
    (tmp_path / "videos/z/day 2").mkdir(parents=True)
    (tmp_path / "videos/z/day 2/b.mp4").touch()
    (tmp_path / "videos/a").symlink_to(tmp_path / "videos/z/day 2")  # its files keep their own name
    paths = {"day 1/a": "day 1/a.mp4", "z/day 2/b": "z/day 2/b.mp4"}
    assert find_videos(tmp_path / "videos") == {name: tmp_path / "videos" / path for name, path in paths.items()}


def test_folder_of_unreadable_files_leaves_no_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/a.mp4").touch()
    with caplog.at_level(logging.WARNING), pytest.raises(DataError, match="none of the 1 videos"):
        extract(tmp_path / "videos", tmp_path / "rows")
    assert "a.mp4 is empty" in caplog.text
    assert not (tmp_path / "rows").exists()
    with pytest.raises(ConfigError, match="workers must be 1 or more"):
        extract(tmp_path / "videos", tmp_path / "rows", workers=0)
