"""CLIP against the processor and the cosines of transformers, with random weights of a small network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from cpnet.errors import ConfigError, DataError
from cpnet.video.backbones import load_backbone
from cpnet.video.backbones.clip import ClipViTB32
from cpnet.video.decode import Size

transformers = pytest.importorskip("transformers", reason="needs the extra clip")
SENTENCES = ["a dog", "a good log " * 60]


class Small(ClipViTB32):
    width: ClassVar[int] = 8
    crop: ClassVar[int] = 32
    size: ClassVar[Size] = 32
    patch: ClassVar[int] = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{each}</w>" for each in letters), "do", "dog</w>", "<|startoftext|>", "<|endoftext|>"]
    (path / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}), encoding="utf-8")
    (path / "merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\n", encoding="utf-8")
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        projection_dim=8,
        text_config={**layers, **ends, "vocab_size": len(words), "pad_token_id": ends["eos_token_id"]},
        vision_config={**layers, "image_size": 32, "patch_size": 16},
    )
    transformers.CLIPModel(config).save_pretrained(path)
    return path


def test_cosines_are_those_of_transformers(folder: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 1, 32, 45, 3), np.uint8)
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        SENTENCES, padding=True, truncation=True, max_length=77, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = model(**tokens, **images([*frames[:, 0]], return_tensors="pt"))
    backbone = Small(weights=folder)
    assert (backbone.fps, backbone.extractor().width, tokens.input_ids.shape[1]) == (1.0, 8, 77)
    for found, wanted in (
        (backbone.encode(frames), expected.image_embeds),
        (backbone.encode_text(SENTENCES), expected.text_embeds),
    ):
        unit = found / np.linalg.norm(found, axis=1, keepdims=True)
        np.testing.assert_allclose(unit, wanted.numpy(), atol=1e-5)


def test_other_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds other weights \(\(8, 32, 16\)\)"):
        load_backbone("clip_vit_b32", weights=folder)
    with pytest.raises(DataError, match="cannot be read as weights"):
        load_backbone("clip_vit_b32", weights=tmp_path)
    with pytest.raises(ConfigError, match="needs weights=FOLDER"):
        load_backbone("clip_vit_b32")
