"""Oracles: the variants agree with each other through the real readers, and a decoder of a few lines of numpy."""

from __future__ import annotations

import json
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

from cpnet.data import synthetic
from cpnet.data.cleaning import clean
from cpnet.data.features import FeatureSource, check_coverage, open_features
from cpnet.data.glove import read_glove
from cpnet.data.moment import DataError, Moment
from cpnet.data.readers import read_activitynet_captions, read_charades_sta, read_jsonl, read_tacos
from cpnet.data.synthetic import ACTIONS, SyntheticCorpus
from cpnet.data.vocabulary import tokenize

Split = dict[str, list[Moment]]
Floats = NDArray[np.floating]

FORMATS = ["charades_sta", "activitynet_captions", "tacos", "jsonl"]
LAYOUTS = ["hdf5_flat", "hdf5_group", "npy"]
VIDEOS = 30
ACTION_OF = {verb: (pair, side) for pair, (*sides, _) in enumerate(ACTIONS) for side in (0, 1) for verb in sides[side]}
OBJECTS = {thing for *_, objects in ACTIONS for thing in objects}
STOPS = {"."}  # every query has one, so it tells nothing


def read_moments(folder: Path, annotations: str) -> Split:
    if annotations == "charades_sta":
        return {
            split: read_charades_sta(
                annotations=folder / f"charades_sta_{split}.txt", durations=folder / f"Charades_v1_{split}.csv"
            )
            for split in ("train", "test")
        }
    read: dict[str, Callable[[str], list[Moment]]] = {
        "activitynet_captions": lambda split: read_activitynet_captions(
            annotations=folder / {"train": "train.json", "val": "val_1.json", "test": "val_2.json"}[split]
        ),
        "tacos": lambda split: read_tacos(annotations=folder / f"{split}.json"),
        "jsonl": lambda split: read_jsonl(annotations=folder / f"{split}.jsonl"),
    }
    return {split: read[annotations](split) for split in ("train", "val", "test")}


def read_features(folder: Path, layout: str) -> FeatureSource:
    path = folder / ("features" if layout == "npy" else "features.hdf5")
    return open_features(path=path, layout=layout, key="features" if layout == "hdf5_group" else None)


def facts(moments: list[Moment]) -> list[tuple[int, str, float, float, float]]:
    """What all variants share: ids are each corpus's own, so videos are counted."""
    order = {video: index for index, video in enumerate(dict.fromkeys(moment.video for moment in moments))}
    return [(order[m.video], m.query, m.start_sec, m.end_sec, m.duration_sec) for m in moments]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Split, list[Floats]]:
    folder = tmp_path_factory.mktemp("synthetic") / "reference"
    SyntheticCorpus(folder=folder, annotations="jsonl", layout="npy", videos=VIDEOS).prepare()
    splits = read_moments(folder, "jsonl")
    videos = dict.fromkeys(moment.video for moments in splits.values() for moment in moments)
    return splits, [np.load(folder / "features" / f"{video}.npy") for video in videos]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("annotations", FORMATS)
def test_every_variant_holds_the_same_corpus(
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
    check_coverage(source, split="all", videos=videos)
    assert len(source) == len(videos) == VIDEOS
    for video, rows in zip(videos, expected_rows, strict=True):
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(source.rows(video), rows)


def test_moments_are_clean_split_by_video_and_told_apart_by_their_action(
    reference: tuple[Split, list[Floats]],
) -> None:
    splits, rows = reference
    assert [len({m.video for m in splits[split]}) for split in ("train", "val", "test")] == [21, 3, 6]
    moments = [moment for split in splits.values() for moment in split]
    assert len({moment.qid for moment in moments}) == len(moments)
    assert clean(moments, split="all", training=False)[0] == moments
    by_video: dict[str, list[Moment]] = defaultdict(list)
    for moment in moments:
        by_video[moment.video].append(moment)
    assert len(by_video) == VIDEOS
    for asked, features in zip(by_video.values(), rows, strict=True):
        assert len({action(moment) for moment in asked}) == len(asked) >= 2
        ordered = sorted(asked, key=lambda moment: moment.start_sec)
        assert all(left.end_sec < right.start_sec for left, right in pairwise(ordered))
        assert len(features) == round(asked[0].duration_sec * 2)


def test_every_word_has_a_vector_of_its_own(tmp_path: Path) -> None:
    corpus = SyntheticCorpus(folder=tmp_path / "corpus", annotations="jsonl", videos=100, word_dim=20)
    corpus.prepare()
    words, vectors = read_glove(tmp_path / "corpus" / "glove.txt", dim=20)
    queries = [m.query for split in read_moments(tmp_path / "corpus", "jsonl").values() for m in split]
    assert {word for query in queries for word in tokenize(query)} <= set(words)
    assert ACTION_OF.keys() <= set(words)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (unit @ unit.T - np.eye(len(words))).max() < 0.9
    corpus.prepare()  # the cache of the vectors that now lies there is no stranger
    replace(corpus, seed=1).prepare()


def action(moment: Moment) -> tuple[int, int]:
    return next(ACTION_OF[word] for word in tokenize(moment.query) if word in ACTION_OF)


def iou(left: tuple[float, float], right: tuple[float, float]) -> float:
    both = max(0.0, min(left[1], right[1]) - max(left[0], right[0]))
    return both / (left[1] - left[0] + right[1] - right[0] - both)


def decode(score: Floats) -> tuple[float, float]:
    """The stretch of the greatest sum, in fractions."""
    sums = np.concatenate([[0.0], score.cumsum()])
    gains = np.triu(sums[None, :] - sums[:, None], k=1)
    start, end = np.unravel_index(gains.argmax(), gains.shape)
    return float(start) / len(score), float(end) / len(score)


def mean_iou(moments: list[Moment], answer: Callable[[Moment], tuple[float, float]]) -> float:
    spans = [(m.start_sec / m.duration_sec, m.end_sec / m.duration_sec) for m in moments]
    return float(np.mean([iou(answer(m), span) for m, span in zip(moments, spans, strict=True)]))


def test_words_and_video_together_find_the_moment_and_neither_does_alone(tmp_path: Path) -> None:
    SyntheticCorpus(folder=tmp_path / "corpus", annotations="tacos", layout="hdf5_flat", videos=200).prepare()
    splits, source = read_moments(tmp_path / "corpus", "tacos"), read_features(tmp_path / "corpus", "hdf5_flat")
    features: dict[str, Floats] = {video: source.rows(video) for video in source.ids()}
    features = {m.video: features[m.video.removesuffix(".avi")] for split in splits.values() for m in split}

    inside: dict[str, list[Floats]] = defaultdict(list)  # the mean features of the moments that a word occurs in
    for moment in splits["train"]:
        rows = features[moment.video]
        centres = (np.arange(len(rows)) + 0.5) / len(rows) * moment.duration_sec
        mean = rows[(centres >= moment.start_sec) & (centres < moment.end_sec)].mean(axis=0)
        for word in tokenize(moment.query):
            inside[word].append(mean)

    def look_for(words: Collection[str], moment: Moment) -> tuple[float, float]:
        """Where the features are nearer to what was seen under the query's words, of these words, than to nothing."""
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


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("annotations", FORMATS)
def test_a_seed_decides_every_byte(tmp_path: Path, annotations: str) -> None:
    for name, seed in {"one": 0, "same": 0, "other": 1}.items():
        SyntheticCorpus(folder=tmp_path / name, annotations=annotations, layout="npy", videos=10, seed=seed).prepare()
    one, same, other = (contents(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same
    assert one.keys() == other.keys()
    assert not any(one[name] == other[name] for name in one)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["one", "other", "same"]


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    corpus = SyntheticCorpus(folder=tmp_path / "deep" / "corpus", videos=10)
    corpus.prepare()
    moved = tmp_path / "moved"
    (tmp_path / "deep" / "corpus").rename(moved)
    before = {path: path.stat().st_mtime_ns for path in [moved, *moved.rglob("*")]}
    time.sleep(0.01)
    replace(corpus, folder=str(moved)).prepare()
    assert {path: path.stat().st_mtime_ns for path in [moved, *moved.rglob("*")]} == before


@pytest.mark.parametrize(
    "change", [{"noise": 0.5}, {"layout": "npy"}, {"annotations": "jsonl"}, {"videos": 11}, {"rate": 1.0}, {"dim": 3}]
)
def test_other_parameters_replace_the_corpus(tmp_path: Path, change: dict[str, Any]) -> None:
    corpus = SyntheticCorpus(folder=tmp_path / "corpus", videos=10)
    corpus.prepare()
    replace(corpus, **change).prepare()
    replace(corpus, folder=tmp_path / "fresh", **change).prepare()
    assert contents(tmp_path / "corpus").keys() == contents(tmp_path / "fresh").keys()
    assert json.loads((tmp_path / "corpus" / "corpus.json").read_text())["parameters"].items() >= change.items()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["corpus", "fresh"]


def test_another_version_or_a_lost_file_makes_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = SyntheticCorpus(folder=tmp_path / "corpus", videos=10)
    corpus.prepare()
    whole = contents(tmp_path / "corpus")
    (tmp_path / "corpus" / "glove.txt").unlink()
    corpus.prepare()
    assert contents(tmp_path / "corpus").keys() == whole.keys()
    monkeypatch.setattr(synthetic, "VERSION", 99)
    corpus.prepare()
    assert json.loads((tmp_path / "corpus" / "corpus.json").read_text())["version"] == 99


@pytest.mark.parametrize("earlier", [False, True])
def test_an_interrupted_write_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, earlier: bool) -> None:
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
    assert [entry.name for entry in tmp_path.iterdir()] == (["corpus"] if earlier else [])
    replace(corpus, seed=1).prepare()
    assert read_moments(tmp_path / "corpus", "charades_sta").keys() == {"train", "test"}


@pytest.mark.parametrize("earlier", [False, True])
def test_several_at_once_agree(tmp_path: Path, *, earlier: bool) -> None:
    corpus = SyntheticCorpus(folder=tmp_path / "corpus", annotations="jsonl", layout="npy", videos=10)
    if earlier:
        replace(corpus, seed=1).prepare()
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(corpus.prepare) for _ in range(8)]:
            done.result()
    replace(corpus, folder=tmp_path / "fresh").prepare()
    assert contents(tmp_path / "corpus") == contents(tmp_path / "fresh")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["corpus", "fresh"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    corpus = SyntheticCorpus(folder=tmp_path / "corpus", videos=10)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "train.json").write_text("{}")
    with pytest.raises(DataError, match=r"corpus holds train\.json, .* set dataset\.generate\.folder"):
        corpus.prepare()
    assert contents(tmp_path / "corpus") == {"train.json": b"{}"}
    (tmp_path / "corpus" / "train.json").unlink()
    corpus.prepare()  # an empty folder is taken
    (tmp_path / "corpus" / "results.txt").write_text("mine")
    corpus.prepare()
    with pytest.raises(DataError, match=r"results\.txt"):
        replace(corpus, seed=1).prepare()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "corpus"):
        with pytest.raises(DataError, match=r"cannot write .* set dataset\.generate\.folder"):
            SyntheticCorpus(folder=folder).prepare()
    assert (tmp_path / "file").is_file()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("annotations", "csv"),
        ("layout", "hdf5"),
        ("videos", 9),
        ("actions", 4),
        ("actions", 13),
        ("dim", 0),
        ("word_dim", 0),
        ("rate", 0.0),
        ("rate", float("nan")),
        ("noise", -0.1),
        ("noise", float("inf")),
        ("seed", -1),
    ],
)
def test_a_value_that_cannot_work_names_its_key(key: str, value: object) -> None:
    parameters: dict[str, Any] = {"folder": os.devnull, key: value}
    with pytest.raises(ValueError, match=re.escape(f"dataset.generate.{key} must be")) as caught:
        SyntheticCorpus(**parameters)
    assert repr(value) in str(caught.value)
