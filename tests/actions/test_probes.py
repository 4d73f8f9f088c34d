"""Two models of three lines, one that sees and one that reads. Oracle: what they answer, worked out by hand.

Each clip of a video of 4 s is 1 s long; a model answers with one clip. Video v0 is bright in its first second, v1 in
the second, v2 in the fourth. The place of "open" in a query is the second of its true moment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from corpora import CLIPS, DIM, TRAIN, VAL, moment, ready, trainer, write_corpus
from cpnet.actions.probes import probe
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.data import probes
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.times import times
from cpnet.errors import ConfigError
from cpnet.evaluation.trivial import trivial_rows
from cpnet.options import MetricsOptions
from cpnet.training.module import GroundingModule

SEEING, READING = [*probes.PROBES][:4], [*probes.PROBES][4:]
BRIGHT = {"v0": 0, "v1": 1, "v2": 3}
PAIRS = [
    moment("0", "v0", (0.0, 1.0), (0.0, 0.9), query="open the door", duration_sec=4.0),  # two true windows
    moment("1", "v0", (2.0, 3.0), query="the door open", duration_sec=4.0),
    moment("2", "v1", (1.0, 2.0), query="door open", duration_sec=4.0),
    moment("3", "v2", (3.0, 4.0), query="the a window open", duration_sec=4.0),
    moment("4", "dark", (0.0, 1.0), query="open", duration_sec=4.0),  # without features: missed
]
CLASSES = {"open": "verb", "door": "noun", "window": "noun"}
METRICS = MetricsOptions(thresholds=[0.5])


class OneClip(nn.Module):
    """Answers with the brightest clip, or with the clip at the place of a word."""

    shares_videos = True

    def __init__(self, word: int | None = None) -> None:
        super().__init__()
        self.word = word

    def forward(self, batch: GroundingBatch) -> GroundingOutput:
        clips = batch.video if batch.video_index is None else batch.video[batch.video_index]
        seen: Tensor = clips[..., 0] if self.word is None else (batch.query == self.word).float()
        start = seen.argmax(dim=1, keepdim=True) / CLIPS
        span = torch.cat([start, start + 1 / CLIPS], dim=1)
        return GroundingOutput(span=span, ranked=span[:, None])


def corpus(folder: Path, **changes: Any) -> GroundingDataModule:
    splits = {"train": [*TRAIN, *PAIRS], "val": VAL, "test": PAIRS}
    arguments = write_corpus(folder, splits) | {"on_missing": "drop", "evaluation_order": "video"} | changes
    with h5py.File(folder / "features.hdf5", "a") as file:
        for video, bright in BRIGHT.items():
            file[video] = np.eye(CLIPS, dtype=np.float32)[bright][:, None].repeat(DIM, axis=1)
    return ready(arguments)


def measured(folder: Path, model: OneClip, datamodule: GroundingDataModule) -> dict[str, Any]:
    """Return the content of probes.json."""
    module, run = GroundingModule(model=model, metrics=METRICS), trainer()
    run.test(module, datamodule=datamodule, verbose=False)
    cfg = OmegaConf.create({"seed": 0, "output_dir": str(folder), "metrics": OmegaConf.structured(METRICS)})
    trivial = trivial_rows(times(TRAIN), times(PAIRS), metrics=METRICS)
    probe(cfg, [*probes.PROBES], run, module, datamodule, trivial)
    content: dict[str, Any] = json.loads((folder / "probes.json").read_bytes())
    return content


def means(rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    return {name: each["mIoU"]["mean"] for name, each in rows.items()}


@pytest.fixture(autouse=True)
def _classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "word_classes", lambda words: tuple(CLASSES.get(word, "other") for word in words))
    monkeypatch.setattr(probes, "tagger", lambda: None)


@pytest.mark.parametrize(("order", "batch_size", "blind"), [("video", 3, "none"), ("split", 2, "query")])
def test_model_that_sees(order: str, batch_size: int, blind: str, tmp_path: Path) -> None:
    """It is right about pairs 0, 2 and 3; of clips of zeros it takes the first."""
    datamodule = corpus(tmp_path, evaluation_order=order, batch_size=batch_size, blind=blind)
    found = measured(tmp_path, OneClip(), datamodule)
    drops = means(found["drops"])
    assert means(found["metrics"])["intact"] == pytest.approx(60)
    expected = {"video_zeroed": 40, "video_reversed": 60, "video_other": 60} | dict.fromkeys(READING, 0)
    assert {name: drops[name] for name in expected} == pytest.approx(expected)
    seen = []
    for video, pair in zip(datamodule.dataset("test").videos, PAIRS[:4], strict=True):
        order_of_clips = np.random.default_rng([0, video]).permutation(CLIPS).tolist()
        seen.append(order_of_clips.index(BRIGHT[pair.video]) == pair.windows_sec[0][0])
    assert drops["video_shuffled"] == pytest.approx(60 - 20 * sum(seen))
    assert all(found["sentences"][name].startswith("does not use") for name in READING)
    assert found["sentences"]["video_reversed"].startswith("uses the order of time: a reversed video costs 60.00 ± ")


def test_model_that_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is right about pairs 0 to 3; where it finds no "open", it takes the first clip."""
    found = measured(tmp_path, OneClip(word=5), corpus(tmp_path))
    drops, metrics = means(found["drops"]), means(found["metrics"])
    assert metrics["intact"] == pytest.approx(80)
    # Without verbs, no query has an "open"; without nouns, "open" is right in pair 0 alone. Pairs 2 and 3 are alone.
    expected = {"words_zeroed": 60, "verbs_removed": 60, "nouns_removed": 60, "query_same_video": 40}
    expected |= {"query_other_video": 80} | dict.fromkeys(SEEING, 0)
    assert {name: drops[name] for name in expected} == pytest.approx(expected)
    assert 20 <= drops["words_shuffled"] <= 80  # "door open" becomes "open door"
    assert drops["best constant, mIoU"] == pytest.approx(80 - metrics["best constant, mIoU"])
    assert (found["pairs"], found["changed"]["query_same_video"], found["changed"]["words_shuffled"]) == (5, 2, 4)
    keeps = "costs 40.00 ± 40.00 mIoU (2 of 5 pairs keep their input, 100.00 per changed pair)"
    assert found["sentences"]["query_same_video"].endswith(f"another query of the same video {keeps}")
    assert "keep" not in found["sentences"]["words_zeroed"]  # the missed pair has no input
    assert found["drops"]["words_zeroed"]["mAP"]["mean"] > 0  # a query has two true windows
    printed = capsys.readouterr().out.splitlines()
    rows = [line.split()[0] for line in printed if line.split()[:1] and line.split()[0] in {"intact", *probes.PROBES}]
    assert rows == ["intact", *probes.PROBES]
    assert "mAP" in " ".join(printed[:6])


def test_probe_that_changes_no_pair_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "word_classes", lambda words: ("other",) * len(words))
    found = measured(tmp_path, OneClip(), corpus(tmp_path))
    assert found["sentences"]["verbs_removed"] == "says nothing about verbs: it changes no pair"


def test_part_of_a_split_is_not_probed(tmp_path: Path) -> None:
    datamodule, module, run = corpus(tmp_path), GroundingModule(model=OneClip()), trainer(limit_test_batches=1)
    run.test(module, datamodule=datamodule, verbose=False)
    cfg = OmegaConf.create({"metrics": OmegaConf.structured(METRICS)})
    with pytest.raises(ConfigError, match=r"remove trainer\.limit_test_batches"):
        probe(cfg, ["video_zeroed"], run, module, datamodule, trivial_rows(times(TRAIN), times(PAIRS), metrics=METRICS))


def test_split_without_true_windows_has_nothing_to_probe(tmp_path: Path) -> None:
    cfg = OmegaConf.create({"metrics": OmegaConf.structured(METRICS)})
    with pytest.raises(ConfigError, match="split=test: its annotations have no true windows, so probes have nothing"):
        probe(cfg, ["video_zeroed"], trainer(), GroundingModule(model=OneClip()), corpus(tmp_path), {})
