"""A trained model outside of its run; see also ``smoke/test_evaluate.py``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.data.extractor import Extractor
from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError, DataError
from cpnet.grounder import Grounder
from cpnet.models import CPNet
from cpnet.video.encode import EncodedVideo

WORDS = Vocabulary(("", "<unk>", "door", "open"), torch.tensor([[0.0, 0], [0, 0], [1, 2], [3, 4]]))
MODEL = {"_target_": "cpnet.models.CPNet", "video_dim": 3, "hidden_dim": 8, "pyramid_levels": 1, "max_length": 4}
MODEL |= {"encoder": {"num_heads": 1, "kernel_size": 3, "conv_layers": 1}}


def config(**changes: Any) -> dict[str, Any]:
    dataset = {"features": {"dim": 3}, "max_words": 4, "blind": "none"}
    sampling = {"_target_": "cpnet.data.sampling.Pick", "clips": 4}
    return {"model": MODEL, "sampling": sampling, "dataset": dataset} | changes


def network() -> nn.Module:
    from omegaconf import OmegaConf

    from cpnet.training.instantiate import instantiate

    torch.manual_seed(0)
    model: nn.Module = instantiate(OmegaConf.create({"model": MODEL}).model, word_vectors=WORDS.vectors)
    return model


def checkpoint(folder: Path, **changes: Any) -> Path:
    extractor: Extractor | None = changes.pop("extractor", None)
    ours = {"format": 1, "config": config(**changes), "vocabulary": WORDS.state_dict()}
    ours |= {"extractor": extractor.to_dict()} if extractor else {}
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
        (torch.rand(4, 3) * 3e38, 10.0, ["door"], "the prediction is not finite; check the features"),
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
    kind = Extractor(backbone="net", weights="0", preprocessing="", fps=2.0, window=1, stride=1, width=3)
    grounder = Grounder.from_checkpoint(checkpoint(tmp_path, extractor=kind))
    rows = np.random.default_rng(0).random((9, 3)).astype(np.float16)
    video = EncodedVideo(rows=rows, duration_sec=20.0, extractor=kind)
    (moment,) = grounder.ground(video, "door")
    assert [moment.start_sec, moment.end_sec] == grounder.spans(rows, 20.0, ["door"])[0, 0].tolist()
    with pytest.raises(DataError, match=r"(?s)video: the model was trained on rows of another kind.*backbone=net"):
        grounder.ground(replace(video, extractor=replace(kind, backbone="other")), "door")
