"""Oracles: all formats agree with each other through the readers, and a decoder in a few lines of numpy."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cpnet.data.cleaning import clean
from cpnet.data.corpora import synthetic
from cpnet.data.corpora.rendered import RenderedCorpus
from cpnet.data.corpora.synthetic import ACTIONS, SyntheticCorpus
from cpnet.data.features import FeatureSource, open_features
from cpnet.data.glove import read_glove
from cpnet.data.moment import Moment
from cpnet.data.readers import read_charades_sta, read_jsonl
from cpnet.data.tokens import tokenize
from cpnet.errors import DataError
from evaluation.reference import iou

Split = dict[str, list[Moment]]
Floats = NDArray[np.floating]

FORMATS = ["charades_sta", "jsonl"]
LAYOUTS = ["hdf5_flat", "npy"]
VIDEOS = 30
ACTION_OF = {verb: (pair, side) for pair, (*sides, _) in enumerate(ACTIONS) for side in (0, 1) for verb in sides[side]}
OBJECTS = {thing for *_, objects in ACTIONS for thing in objects}
STOPS = {"."}  # in most queries, so without information


def read_moments(folder: Path, annotations: str) -> Split:
    if annotations == "charades_sta":
        return {
            split: read_charades_sta(
                annotations=folder / f"charades_sta_{split}.txt", durations=folder / f"Charades_v1_{split}.csv"
            )
            for split in ("train", "test")
        }
    return {split: read_jsonl(annotations=folder / f"{split}.jsonl") for split in ("train", "val", "test")}


def read_features(folder: Path, layout: str) -> FeatureSource:
    return open_features(path=folder / ("features" if layout == "npy" else "features.hdf5"), layout=layout)


def facts(moments: list[Moment]) -> list[tuple[int, str, float, float, float]]:
    """Return what all formats share; videos are numbered, because each format has its own ids."""
    order = {video: index for index, video in enumerate(dict.fromkeys(moment.video for moment in moments))}
    return [(order[m.video], m.query, *m.windows_sec[0], m.duration_sec) for m in moments]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Split, list[Floats]]:
    folder = tmp_path_factory.mktemp("synthetic") / "reference"
    SyntheticCorpus(folder=folder, annotations="jsonl", layout="npy", videos=VIDEOS).prepare()
    splits = read_moments(folder, "jsonl")
    videos = dict.fromkeys(moment.video for moments in splits.values() for moment in moments)
    return splits, [np.load(folder / "features" / f"{video}.npy") for video in videos]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("annotations", FORMATS)
def test_all_formats_hold_the_same_corpus(
    tmp_path: Path, annotations: str, layout: str, reference: tuple[Split, list[Floats]]
) -> None:
    folder = tmp_path / "corpus"
    SyntheticCorpus(folder=folder, annotations=annotations, layout=layout, videos=VIDEOS).prepare()
    splits, (expected, expected_rows) = read_moments(folder, annotations), reference
    if annotations == "charades_sta":
        expected = {"train": expected["train"] + expected["val"], "test": expected["test"]}
    assert {split: facts(moments) for split, moments in splits.items()} == {
        split: facts(moments) for split, moments in expected.items()
    }
    source = read_features(folder, layout)
    videos = dict.fromkeys(moment.video for moments in splits.values() for moment in moments)
    assert source.missing(videos) == []
    assert len(source) == len(videos) == VIDEOS
    for video, rows in zip(videos, expected_rows, strict=True):
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(source.rows(video), rows)


def test_moments_are_clean_and_split_by_video_and_differ_in_their_action(
    reference: tuple[Split, list[Floats]],
) -> None:
    splits, rows = reference
    assert [len({m.video for m in splits[split]}) for split in ("train", "val", "test")] == [21, 3, 6]
    moments = [moment for split in splits.values() for moment in split]
    assert len({moment.qid for moment in moments}) == len(moments)
    assert clean(moments, split="all", drop=False)[0] == moments
    by_video: dict[str, list[Moment]] = defaultdict(list)
    for moment in moments:
        by_video[moment.video].append(moment)
    assert len(by_video) == VIDEOS
    for asked, features in zip(by_video.values(), rows, strict=True):
        assert len({action(moment) for moment in asked}) == len(asked) >= 2
        ordered = sorted(asked, key=lambda moment: moment.windows_sec)
        assert all(left.windows_sec[0][1] < right.windows_sec[0][0] for left, right in pairwise(ordered))
        assert len(features) == round(asked[0].duration_sec * 2)


def test_every_word_has_its_own_vector(tmp_path: Path) -> None:
    SyntheticCorpus(folder=tmp_path, annotations="jsonl", videos=100, word_dim=20).prepare()
    queries = [m.query for split in read_moments(tmp_path, "jsonl").values() for m in split]
    wanted = ACTION_OF.keys() | {word for query in queries for word in tokenize(query)}
    words = read_glove(tmp_path / "glove.txt", wanted, dim=20)
    assert words.keys() == wanted
    vectors = np.stack(list(words.values()))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (unit @ unit.T - np.eye(len(words))).max() < 0.9


def action(moment: Moment) -> tuple[int, int]:
    return next(ACTION_OF[word] for word in tokenize(moment.query) if word in ACTION_OF)


def decode(score: Floats) -> tuple[float, float]:
    """Return the span with the greatest sum of scores, in fractions."""
    sums = np.concatenate([[0.0], score.cumsum()])
    gains = np.triu(sums[None, :] - sums[:, None], k=1)
    start, end = np.unravel_index(gains.argmax(), gains.shape)
    return float(start) / len(score), float(end) / len(score)


def mean_iou(moments: list[Moment], answer: Callable[[Moment], tuple[float, float]]) -> float:
    spans = [np.array(window) / m.duration_sec for m in moments for window in m.windows_sec]
    return float(np.mean([iou(np.array(answer(m)), span) for m, span in zip(moments, spans, strict=True)]))


def test_moment_needs_both_words_and_video(tmp_path: Path) -> None:
    SyntheticCorpus(folder=tmp_path, annotations="jsonl", layout="hdf5_flat", videos=200).prepare()
    splits, source = read_moments(tmp_path, "jsonl"), read_features(tmp_path, "hdf5_flat")
    features: dict[str, Floats] = {video: source.rows(video) for video in source.ids()}

    inside: dict[str, list[Floats]] = defaultdict(list)  # mean features of the moments of each word
    for moment in splits["train"]:
        rows = features[moment.video]
        centres = (np.arange(len(rows)) + 0.5) / len(rows) * moment.duration_sec
        ((start, end),) = moment.windows_sec
        mean = rows[(centres >= start) & (centres < end)].mean(axis=0)
        for word in tokenize(moment.query):
            inside[word].append(mean)

    def look_for(words: Collection[str], moment: Moment) -> tuple[float, float]:
        """Return where the features are closer to the mean of the query's words, among ``words``, than to 0."""
        seen = [mean for word in tokenize(moment.query) if word in words for mean in inside[word]]
        prototype = np.mean(seen, axis=0)
        return decode(features[moment.video] @ prototype - prototype @ prototype / 2)

    def answer(span: tuple[float, float], _: Moment) -> tuple[float, float]:
        return span

    test = splits["test"]
    by_verb, by_object, by_stop = (mean_iou(test, partial(look_for, words)) for words in (ACTION_OF, OBJECTS, STOPS))
    grid = [(start / 20, end / 20) for start in range(20) for end in range(start + 1, 21)]
    constant = max(mean_iou(test, partial(answer, span)) for span in grid)
    assert by_verb > 0.7
    assert by_object < 0.6
    assert by_stop < 0.35
    assert constant < 0.3


def names(folder: Path) -> list[str]:
    """Return the names of files and folders, without those of locks."""
    return sorted(entry.name for entry in folder.iterdir() if entry.suffix != ".lock")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_seed_determines_every_byte(tmp_path: Path) -> None:
    for name, seed in {"one": 0, "same": 0, "other": 1}.items():
        SyntheticCorpus(folder=tmp_path / name, annotations="jsonl", layout="npy", videos=10, seed=seed).prepare()
    one, same, other = (contents(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same
    assert one.keys() == other.keys()
    assert not any(one[name] == other[name] for name in one)
    assert names(tmp_path) == ["one", "other", "same"]


def test_existing_corpus_is_kept(tmp_path: Path) -> None:
    corpus = SyntheticCorpus(folder=tmp_path / "deep" / "corpus", videos=10)
    corpus.prepare()
    moved = tmp_path / "moved"
    (tmp_path / "deep" / "corpus").rename(moved)
    before = {path: path.stat().st_mtime_ns for path in [moved, *moved.rglob("*")]}
    time.sleep(0.01)
    replace(corpus, folder=str(moved)).prepare()
    assert {path: path.stat().st_mtime_ns for path in [moved, *moved.rglob("*")]} == before


@pytest.mark.parametrize("change", [{"noise": 0.5}, {"layout": "npy"}, {"annotations": "jsonl"}])
def test_other_options_replace_the_corpus(tmp_path: Path, change: dict[str, Any]) -> None:
    corpus = SyntheticCorpus(folder=tmp_path / "corpus", videos=10)
    corpus.prepare()
    replace(corpus, **change).prepare()
    replace(corpus, folder=tmp_path / "fresh", **change).prepare()
    assert contents(tmp_path / "corpus").keys() == contents(tmp_path / "fresh").keys()
    assert json.loads((tmp_path / "corpus" / "corpus.json").read_text())["parameters"].items() >= change.items()
    assert names(tmp_path) == ["corpus", "fresh"]


def test_other_version_or_missing_file_writes_the_corpus_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = SyntheticCorpus(folder=tmp_path, videos=10)
    corpus.prepare()
    (tmp_path / "glove.txt").unlink()
    corpus.prepare()
    assert (tmp_path / "glove.txt").exists()
    monkeypatch.setattr(SyntheticCorpus, "version", 99)
    corpus.prepare()
    assert json.loads((tmp_path / "corpus.json").read_text())["version"] == 99


@pytest.mark.parametrize("earlier", [False, True])
def test_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, earlier: bool) -> None:
    corpus = SyntheticCorpus(folder=tmp_path / "corpus", videos=10)
    if earlier:
        corpus.prepare()
    before = contents(tmp_path / "corpus")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "write_glove", interrupt)
        with pytest.raises(KeyboardInterrupt):
            replace(corpus, seed=1).prepare()
    assert contents(tmp_path / "corpus") == before
    assert names(tmp_path) == (["corpus"] if earlier else [])
    replace(corpus, seed=1).prepare()
    assert read_moments(tmp_path / "corpus", "charades_sta").keys() == {"train", "test"}


@pytest.mark.parametrize("earlier", [False, True])
def test_threads_can_prepare_the_same_corpus(tmp_path: Path, *, earlier: bool) -> None:
    corpus = SyntheticCorpus(folder=tmp_path / "corpus", annotations="jsonl", layout="npy", videos=10)
    if earlier:
        replace(corpus, seed=1).prepare()
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(corpus.prepare) for _ in range(8)]:
            done.result()
    replace(corpus, folder=tmp_path / "fresh").prepare()
    assert contents(tmp_path / "corpus") == contents(tmp_path / "fresh")
    assert names(tmp_path) == ["corpus", "fresh"]


def test_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    corpus = SyntheticCorpus(folder=tmp_path / "corpus", videos=10)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "train.json").write_text("{}")
    with pytest.raises(DataError, match=r"corpus contains train\.json, .* set dataset\.generate\.folder"):
        corpus.prepare()
    assert contents(tmp_path / "corpus") == {"train.json": b"{}"}
    (tmp_path / "corpus" / "train.json").unlink()
    corpus.prepare()
    (tmp_path / "corpus" / "features.hdf5.packed").mkdir()
    replace(corpus, seed=1).prepare()
    assert not (tmp_path / "corpus" / "features.hdf5.packed").exists()
    (tmp_path / "corpus" / "results.txt").write_text("mine")
    replace(corpus, seed=1).prepare()
    with pytest.raises(DataError, match=r"results\.txt"):
        corpus.prepare()


def test_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "corpus"):
        with pytest.raises(DataError, match=r"cannot write .* set dataset\.generate\.folder"):
            SyntheticCorpus(folder=folder).prepare()
    assert (tmp_path / "file").is_file()


WRONG: dict[type, list[tuple[str, object]]] = {
    SyntheticCorpus: [
        *(("annotations", "csv"), ("layout", "hdf5"), ("videos", 9), ("actions", 4), ("actions", 13), ("dim", 0)),
        *(("word_dim", 0), ("rate", 0.0), ("rate", math.nan), ("noise", -0.1), ("noise", math.inf), ("seed", -1)),
    ],
    RenderedCorpus: [
        *(("videos", 9), ("longest_sec", 9.0), ("longest_sec", 61.0), ("word_dim", 0)),
        *(("fps", 0.0), ("fps", 26.0), ("seed", -1)),
    ],
}


@pytest.mark.parametrize(
    ("corpus", "key", "value"), [(corpus, *case) for corpus, cases in WRONG.items() for case in cases]
)
def test_impossible_value_is_named(corpus: type, key: str, value: object) -> None:
    with pytest.raises(DataError, match=re.escape(f"dataset.generate.{key} must be") + f" .*found {value!r}$"):
        corpus(folder=os.devnull, **{key: value})
