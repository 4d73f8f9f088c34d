"""Oracle: clips and queries changed by hand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import TEST, ready, write_corpus
from cpnet.data import probes
from cpnet.data.probes import BLIND, PROBES, Blind, choose_probes
from cpnet.data.word_classes import tagger, word_classes
from cpnet.errors import ConfigError

CLIPS = torch.tensor([[[1.0], [2], [3], [4]], [[5], [6], [0], [0]]])
REAL, VIDEOS = torch.tensor([4, 2]), torch.tensor([7, 3])
WORDS = {"open": "verb", "closes": "verb", "door": "noun", "he": "other"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("video_zeroed", [[0, 0, 0, 0], [0, 0, 0, 0]]), ("video_reversed", [[4, 3, 2, 1], [6, 5, 0, 0]])],
)
def test_clips_by_hand(name: str, expected: list[list[int]]) -> None:
    change = PROBES[name].clips
    assert change is not None
    assert change(CLIPS, REAL, VIDEOS, 0)[..., 0].tolist() == expected


@settings(max_examples=15)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 99))
def test_shuffled_clips_of_a_video_depend_on_seed_and_video_alone(counts: list[int], seed: int) -> None:
    clips = torch.arange(6 * len(counts)).view(len(counts), 6, 1) + 1
    real, videos = torch.tensor(counts), torch.arange(len(counts)) + 5
    shuffled = probes.shuffle_clips(clips, real, videos, seed)
    for row, count in enumerate(counts):
        assert torch.equal(shuffled[row, count:], clips[row, count:])
        assert sorted(shuffled[row].flatten().tolist()) == clips[row].flatten().tolist()
        alone = probes.shuffle_clips(clips[row : row + 1], real[row : row + 1], videos[row : row + 1], seed)
        assert torch.equal(alone[0], shuffled[row])
    many = torch.arange(40).view(1, 40, 1), torch.tensor([40]), videos[:1]
    assert not torch.equal(probes.shuffle_clips(*many, seed), probes.shuffle_clips(*many, seed + 1))


def changed(name: str, queries: Sequence[str], videos: Sequence[int]) -> list[str]:
    change = PROBES[name].queries
    assert change is not None
    return [" ".join(each) for each in change([each.split() for each in queries], videos, np.random.default_rng(0))]


@pytest.mark.parametrize(
    ("name", "queries", "videos", "expected"),
    [
        ("words_zeroed", ["he runs", "go"], [0, 1], [" ", ""]),
        ("words_shuffled", ["he runs", "go", "go go"], [0, 0, 0], ["runs he", "go", "go go"]),
        ("verbs_removed", ["he closes door", "open .", "door"], [0, 0, 0], ["he door", "open .", "door"]),
        ("nouns_removed", ["he closes door", "door .", "open"], [0, 0, 0], ["he closes", "door .", "open"]),
        # The second pair of video 1 is alone with its words, that of video 2 in its video
        ("query_same_video", ["a", "b", "c", "c", "d"], [0, 0, 1, 1, 2], ["b", "a", "c", "c", "d"]),
        ("query_other_video", ["a", "a", "b"], [0, 0, 1], ["b", "b", "a"]),
        ("query_other_video", ["a", "b"], [0, 0], ["a", "b"]),  # the split has one video
        ("query_other_video", ["a", "a"], [0, 1], ["a", "a"]),  # and here one query
    ],
)
def test_queries_by_hand(
    name: str, queries: list[str], videos: list[int], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "word_classes", lambda words: tuple(WORDS.get(word, "other") for word in words))
    assert changed(name, queries, videos) == expected


@settings(max_examples=15)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_every_video_becomes_another_one_and_serves_once(videos: list[int]) -> None:
    other = probes.other_videos(videos, np.random.default_rng(0))
    partner = dict(zip(videos, other, strict=True))
    assert [partner[video] for video in videos] == other
    assert {*partner.values()} == {*videos}
    assert len(partner) == 1 or all(own != seen for own, seen in partner.items())


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("blind", [*BLIND])
def test_blind_hides_what_a_probe_changes(blind: Blind, share: bool, tmp_path: Path) -> None:
    dataset = ready(write_corpus(tmp_path) | {"blind": blind}).dataset("test")
    dataset.share_videos = share
    own = dataset[range(len(TEST))].per_pair()
    for name in ("video_zeroed", "video_shuffled", "video_reversed", "words_zeroed", "words_shuffled"):
        batch = dataset.probed(PROBES[name], seed=3)[range(len(TEST))].per_pair()
        for part in ("video", "query"):
            same = torch.equal(getattr(batch, part), getattr(own, part))
            assert same == (blind == part or not name.startswith({"video": "video", "query": "words"}[part]))
        assert torch.equal(batch.video_mask, own.video_mask)
        assert torch.equal(batch.query_mask, own.query_mask)


def test_sentences_are_those_of_the_file_where_the_words_are(tmp_path: Path) -> None:
    dataset = ready(write_corpus(tmp_path) | {"max_words": 9}).dataset("test")
    assert dataset.sentences() == [each.query for each in TEST]
    cut = ready(write_corpus(tmp_path) | {"max_words": 1}).dataset("test")
    assert cut.sentences() == [each.query for each in TEST]  # also those that differ after the words that are read
    assert {*dataset.probed(PROBES["query_other_video"], seed=0).sentences()} < {each.query for each in TEST}
    assert dataset.probed(PROBES["words_shuffled"], seed=0).sentences()[4:] == ["close", "open", "door a"]
    assert {*dataset.probed(PROBES["words_zeroed"], seed=0).sentences()} == {""}


def test_classes_of_words_in_their_query() -> None:
    pytest.importorskip("HanTa")
    for query, expected in {
        "she turns off the light .": "other verb other other noun other",
        "light a candle": "verb other noun",
        "he is drinking water": "other verb verb noun",
    }.items():
        assert " ".join(word_classes(tuple(query.split()))) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [("video_zeroed", ["video_zeroed"]), (["words_zeroed"] * 2, ["words_zeroed"])],
)
def test_probes_are_chosen_by_name(given: object, expected: list[str]) -> None:
    assert choose_probes(given) == expected


@pytest.mark.parametrize("given", ["everything", ["video_zeroed", "all"], True, [["door"]]])
def test_unknown_probe_is_named_with_the_known_ones(given: object) -> None:
    with pytest.raises(ConfigError, match=r"probe must be all, or list some of video_zeroed, .*; got ['\"]"):
        choose_probes(given)


def test_missing_package_is_named_before_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "HanTa.HanoverTagger", None)
    tagger.cache_clear()
    with pytest.raises(ConfigError, match=r"need HanTa: pip install 'cpnet-grounding\[probes\]'"):
        choose_probes(["nouns_removed"])
    tagger.cache_clear()
