"""A trained model outside of its run; see also ``smoke/test_evaluate.py``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import cpnet
from clips import make_clip
from commands import call
from cpnet import grounder as module
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.data.extractor import Extractor
from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError, DataError
from cpnet.grounder import Grounder
from cpnet.models import CPNet
from cpnet.video import backbones
from cpnet.video.backbones import JointBackbone
from cpnet.video.encode import EncodedVideo

WORDS = Vocabulary(("", "<unk>", "door", "open"), torch.tensor([[0.0, 0], [0, 0], [1, 2], [3, 4]]))
MODEL = {"_target_": "cpnet.models.CPNet", "video_dim": 3, "hidden_dim": 8, "pyramid_levels": 1, "max_length": 4}
MODEL |= {"encoder": {"num_heads": 1, "kernel_size": 3, "conv_layers": 1}}
KIND = Extractor(backbone="net", weights="0", preprocessing="", fps=2.0, window=1, stride=1, width=3)


def config(**changes: Any) -> dict[str, Any]:
    dataset = {"features": {"dim": 3}, "max_words": 4, "blind": "none"}
    sampling = {"_target_": "cpnet.data.sampling.Pick", "clips": 4}
    return {"model": MODEL, "sampling": sampling, "dataset": dataset} | changes


def network() -> nn.Module:
    from omegaconf import OmegaConf

    from cpnet.config.instantiate import instantiate

    torch.manual_seed(0)
    model: nn.Module = instantiate(OmegaConf.create({"model": MODEL}).model, word_vectors=WORDS.vectors)
    return model


def checkpoint(folder: Path, **changes: Any) -> Path:
    extractor: Extractor | None = changes.pop("extractor", None)
    longest_sec = changes.pop("longest_sec", None)
    ours = {"format": 1, "config": config(**changes), "vocabulary": WORDS.state_dict()}
    ours |= {"extractor": extractor.to_dict()} if extractor else {}
    ours |= {"longest_sec": longest_sec} if longest_sec else {}
    weights = {f"model.{name}": value for name, value in network().state_dict().items()}
    path = folder / "best.ckpt"
    torch.save({"cpnet": ours, "state_dict": weights, "epoch": 0}, path)
    return path


def test_several_sentences_are_grounded_in_one_video(tmp_path: Path) -> None:
    grounder = Grounder.from_checkpoint(checkpoint(tmp_path))
    features = torch.rand(9, 3)
    spans = grounder.spans(features, 20.0, ["open the door", "door"])
    assert (spans.shape, spans.dtype) == ((2, 1, 2), torch.float64)
    assert ((spans >= 0) & (spans <= 20)).all()
    for sentence, expected in zip(("open the door", "door"), spans, strict=True):
        torch.testing.assert_close(grounder.spans(features.numpy(), 20.0, [sentence])[0], expected)
    torch.testing.assert_close(grounder.spans(features, 40.0, ["door"])[0], 2 * spans[1])


def test_video_is_encoded_once_for_all_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[GroundingBatch] = []
    original = CPNet.forward

    def forward(model: CPNet, batch: GroundingBatch, **options: Any) -> GroundingOutput:
        asked.append(batch)
        return original(model, batch, **options)

    monkeypatch.setattr(CPNet, "forward", forward)
    Grounder.from_checkpoint(checkpoint(tmp_path)).spans(torch.rand(2, 3), 5.0, ["zyzzyva", "open door"])
    (batch,) = asked
    assert (len(batch.video), len(batch)) == (1, 2)
    assert batch.clip_mask.tolist() == [[True, True, False, False]] * 2
    assert batch.query.tolist() == [[1, 0], [3, 2]]
    assert batch.query_mask.tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize("blind", ["video", "query"])
def test_blind_models_stay_blind(blind: str, tmp_path: Path) -> None:
    dataset = config()["dataset"] | {"blind": blind}
    grounder = Grounder.from_checkpoint(checkpoint(tmp_path, dataset=dataset))
    spans = [grounder.spans(features, 10.0, ["door", "open"]) for features in (torch.zeros(4, 3), torch.rand(4, 3))]
    assert torch.equal(*spans) == (blind == "video")
    assert torch.equal(spans[0][0], spans[0][1]) == (blind == "query")


@pytest.mark.parametrize(
    ("features", "duration", "sentences", "message"),
    [
        (torch.rand(4, 5), 10.0, ["door"], r"features must have shape \(rows, 3\), .*; got \(4, 5\)"),
        (torch.rand(3), 10.0, ["door"], r"got \(3,\)"),
        (torch.rand(0, 3), 10.0, ["door"], r"got \(0, 3\)"),
        (torch.full((4, 3), float("nan")), 10.0, ["door"], "features must be finite"),
        (torch.rand(4, 3) * 3e38, 10.0, ["door"], "a prediction is not finite; check the features"),
        (torch.rand(4, 3), 0.0, ["door"], "duration_sec must be positive and finite; got 0.0"),
        (torch.rand(4, 3), float("inf"), ["door"], "duration_sec must be positive"),
        (torch.rand(4, 3), 10.0, [], "sentences is empty"),
        (torch.rand(4, 3), 10.0, [" "], "word"),
    ],
)
def test_malformed_input_is_refused(
    features: torch.Tensor, duration: float, sentences: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        Grounder.from_checkpoint(checkpoint(tmp_path)).spans(features, duration, sentences)


def test_untrusted_targets_are_refused(tmp_path: Path) -> None:
    target = {"_target_": "os.mkdir", "path": str(tmp_path / "made")}
    for changes in ({"model": target}, {"sampling": target}):
        with pytest.raises(ConfigError, match=r"_target_=os\.mkdir"):
            Grounder.from_checkpoint(checkpoint(tmp_path, **changes))
    assert not (tmp_path / "made").exists()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, model=MODEL | {"hidden_dim": 16})
    with pytest.raises(ConfigError, match=r"the weights do not fit the model \(.*\); remove overrides"):
        Grounder.from_checkpoint(path)


def test_incomplete_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"best\.ckpt: incomplete configuration"):
        Grounder.from_checkpoint(checkpoint(tmp_path, dataset={"features": {}}))


def test_features_of_another_backbone_are_refused(tmp_path: Path) -> None:
    grounder = Grounder.from_checkpoint(checkpoint(tmp_path, extractor=KIND))
    rows = np.random.default_rng(0).random((9, 3)).astype(np.float16)
    video = EncodedVideo(rows=rows, duration_sec=20.0, extractor=KIND)
    (moment,) = grounder.ground(video, "door")
    assert [moment.start_sec, moment.end_sec] == grounder.spans(rows, 20.0, ["door"])[0, 0].tolist()
    with pytest.raises(DataError, match=r"(?s)video: the features come from another extractor.*backbone=net"):
        grounder.ground(replace(video, extractor=replace(KIND, backbone="other")), "door")


def test_rows_of_files_are_normalised_as_those_of_training(tmp_path: Path) -> None:
    dataset = config()["dataset"] | {"features": {"dim": 3, "normalise": True}}
    grounder = Grounder.from_checkpoint(checkpoint(tmp_path, extractor=KIND, dataset=dataset))
    rows = (9 * np.random.default_rng(0).random((9, 3))).astype(np.float16)
    found = grounder.ground(EncodedVideo(rows=rows, duration_sec=20.0, extractor=KIND), "door")
    unit = rows.astype(np.float32) / np.linalg.norm(rows.astype(np.float32), axis=1, keepdims=True)
    (expected,) = grounder.ground(unit, "door", duration_sec=20.0)
    (raw,) = grounder.ground(rows, "door", duration_sec=20.0)
    assert found[0].start_sec == pytest.approx(expected.start_sec, abs=1e-5)
    assert abs(found[0].start_sec - raw.start_sec) > 1e-3


def test_first_moment_is_the_models_own_whatever_top_is(tmp_path: Path) -> None:
    """Neither ``top``, nor the limit of length, nor batches change a digit of the answer about a short video."""
    grounder = Grounder.from_checkpoint(checkpoint(tmp_path, longest_sec=20.0))
    for rows in torch.rand(5, 9, 3):
        own = grounder.spans(rows, 20.0, ["door", "open"])[:, 0].tolist()
        for top in (1, 2, 5):
            answers = grounder.answer(rows, ["door", "open"], duration_sec=20.0, top=top)
            assert [[each.moments[0].start_sec, each.moments[0].end_sec] for each in answers] == own
            for answer in answers:
                scores = [moment.score for moment in answer.moments[1:]]
                assert scores == sorted(scores, reverse=True)
                assert (len(answer.attention), answer.attention.sum()) == (4, pytest.approx(1))


class Peaks(nn.Module):
    """Attends to clips by their first feature, and predicts the middle half of the video."""

    def forward(self, batch: GroundingBatch) -> GroundingOutput:
        ranked = torch.tensor([[[0.25, 0.75]]]).expand(len(batch), -1, -1)
        log_attention = batch.video[..., 0].clamp_min(1e-4).log().log_softmax(dim=1)
        return GroundingOutput(span=ranked[:, 0], ranked=ranked, log_attention=log_attention)


def peaks(folder: Path, **changes: Any) -> Grounder:
    sampling = {"_target_": "cpnet.data.sampling.Pick", "clips": 100}
    grounder = Grounder.from_checkpoint(checkpoint(folder, sampling=sampling, **changes))
    grounder.model = Peaks()
    return grounder


def rows_at(*spans: tuple[int, int], count: int = 100) -> Tensor:
    rows = torch.zeros(count, 3)
    for first, behind in spans:
        rows[first:behind] = 1
    return rows


def test_moment_that_occurs_twice_is_found_twice(tmp_path: Path) -> None:
    """The model's own answer lies between them; each peak of the attention has one."""
    (answer,) = peaks(tmp_path).answer(rows_at((10, 20), (70, 85)), "door", duration_sec=50.0, top=3)
    found = [time for moment in answer.moments for time in (moment.start_sec, moment.end_sec)]
    assert found == pytest.approx([12.5, 37.5, 35, 42.5, 5, 10])
    # The second is 15 clips of 25, above a chance of 15 of 100; the third is 10 of 25.
    scores = [0, (0.6 - 0.15) / 0.85, (0.4 - 0.1) / 0.9]
    assert [moment.score for moment in answer.moments] == pytest.approx(scores, abs=0.01)


def test_long_video_is_answered_in_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hours, windows of a minute: the moments lie where they were put, in bounded batches."""
    grounder, sizes = peaks(tmp_path, longest_sec=60.0), []
    monkeypatch.setattr(module, "PAIRS", 7)
    grounder.model.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].video.shape[0]))
    rows = rows_at((3005, 3015), (9990, 10008), count=14_400)
    first, second = grounder.answer(rows, ["door", "open"], duration_sec=7200.0, top=2)
    times = sorted(time for moment in first.moments for time in (moment.start_sec, moment.end_sec))
    assert times == pytest.approx([1502.5, 1507.5, 4995, 5004], abs=0.5)
    assert max(sizes) <= 7
    assert [moment.start_sec for moment in first.moments] == [moment.start_sec for moment in second.moments]
    assert len(first.attention) == 12_000
    assert first.attention.sum() == pytest.approx(1, abs=1e-4)
    assert first.attention.argmax() * 7200 / 12_000 == pytest.approx(1505, abs=5)
    assert {round(moment.score, 1) for moment in first.moments} == {1.0}


def test_unknown_words_are_looked_up_or_counted(tmp_path: Path) -> None:
    rows, vectors = torch.rand(9, 3), tmp_path / "vectors.txt"
    vectors.write_text("fridge 5 6\nopen 3 4\nwug 0 1\n")
    path = checkpoint(tmp_path)
    plain, helped = Grounder.from_checkpoint(path), Grounder.from_checkpoint(path, word_vectors=vectors)
    known = plain.spans(rows, 9.0, ["open door"])
    (answer,) = plain.answer(rows, "Open the fridge, wug!", duration_sec=9.0)
    assert answer.unknown_words == ("the", "fridge", "wug")
    (answer,) = helped.answer(rows, "Open the fridge, wug!", duration_sec=9.0)
    assert answer.unknown_words == ("the",)
    assert helped.spans(rows, 9.0, ["fridge"]).tolist() != plain.spans(rows, 9.0, ["fridge"]).tolist()
    assert torch.equal(helped.spans(rows, 9.0, ["open door"]), known)
    assert plain.answer(rows, "dax", duration_sec=9.0)[0].unknown_words == ("dax",)
    vectors.write_text("fridge 5 6\nopen 9 9\n")
    with pytest.raises(DataError, match=r"has another vector for 'open' than training; use the file of training"):
        Grounder.from_checkpoint(path, word_vectors=vectors).ground(rows, "open fridge", duration_sec=9.0)


class Colours(JointBackbone):
    """Encodes a frame as its mean colour, and a sentence as the colours that it names."""

    name, width, window, stride, size, preprocessing = "colours", 3, 1, 1, None, "none"
    fingerprint = "0"

    def __init__(self, *, fps: float | None = None, **_: object) -> None:
        self.fps = fps or 2.0

    def encode(self, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        colours: NDArray[np.float32] = windows[:, 0].mean(axis=(1, 2)).astype(np.float32) / 255
        return colours

    def encode_text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[word in each for word in ("red", "green", "blue")] for each in sentences], np.float32)


def test_colours_are_found_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = ["grey", "red", "red", "grey", "blue", "grey", "red", "grey"]
    colours = {"grey": (120, 120, 120), "red": (220, 20, 20), "blue": (20, 20, 220)}
    frames = [np.full((32, 32, 3), colours[name], np.uint8) for name in seconds for _ in range(25)]
    grounder = Grounder.zero_shot(Colours())
    video = grounder.encode(make_clip(tmp_path / "a.mp4", frames=frames))
    red, blue = grounder.answer(video, ["a red ball", "it turns blue"], top=5)
    found = [[time for each in answer.moments for time in (each.start_sec, each.end_sec)] for answer in (red, blue)]
    assert found == [pytest.approx([1, 3, 6, 7], abs=0.1), pytest.approx([4, 5], abs=0.1)]
    assert (red.unknown_words, len(red.attention)) == ((), 16)
    monkeypatch.setitem(backbones.BACKBONES, "colours", Colours)
    asked = ("zero_shot=colours", "video=a.mp4", 'query=["a red ball","it turns blue"]', "top=5", "json=a.jsonl")
    ended = call("predict", *asked, folder=tmp_path)
    assert ended.err == ""
    for line, answer in zip((tmp_path / "a.jsonl").read_text().splitlines(), (red, blue), strict=True):
        moments = [[each.start_sec, each.end_sec, each.score] for each in answer.moments]
        assert json.loads(line)["pred_relevant_windows"] == moments
    ended = call("predict", "zero_shot=clip", *asked[1:], folder=tmp_path, code=1)
    assert "zero_shot must be a backbone that encodes sentences: clip_vit_b32, colours; got clip" in ended.err
    ended = call("predict", *asked, "checkpoint=best.ckpt", folder=tmp_path, code=1)
    assert "zero_shot=colours answers without training; remove checkpoint" in ended.err


def test_package_has_the_grounder_and_no_other_name() -> None:
    assert cpnet.Grounder is Grounder
    with pytest.raises(AttributeError, match="module 'cpnet' has no attribute 'Grounders'"):
        cpnet.Grounders  # type: ignore[attr-defined]  # noqa: B018
