"""CLIP against the processor and the cosines of transformers, with random weights of a small network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cpnet.errors import DataError
from cpnet.video.backbones import load_backbone
from cpnet.video.backbones.clip import ClipViTB32

transformers = pytest.importorskip("transformers", reason="needs the extra clip")
SENTENCES = ["a dog", "a good log " * 60]
WORDS = [*"abcdefghijklmnopqrstuvwxyz", *(f"{each}</w>" for each in "abcdefghijklmnopqrstuvwxyz"), "do", "dog</w>"]


class Small(ClipViTB32):
    width, crop, size, patch = 8, 32, 32, 16


def test_cosines_are_those_of_transformers(tmp_path: Path) -> None:
    words = {word: number for number, word in enumerate([*WORDS, "<|startoftext|>", "<|endoftext|>"])}
    (tmp_path / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\n", encoding="utf-8")
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(words), "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1, **layers}
    vision = {"image_size": 32, "patch_size": 16, **layers}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(projection_dim=8, text_config=text, vision_config=vision)
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(tmp_path)

    frames = np.random.default_rng(0).integers(0, 256, (3, 1, 32, 45, 3), np.uint8)
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)([*frames[:, 0]])
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path)(SENTENCES, truncation=True, max_length=77).input_ids
    padded = torch.tensor([tokens[0] + [len(words) - 1] * (77 - len(tokens[0])), tokens[1]])
    with torch.inference_mode():
        expected = model(padded, torch.tensor(np.array(images["pixel_values"])))
    backbone = Small(weights=tmp_path)
    found = [backbone.encode(frames), backbone.encode_text(SENTENCES)]
    for rows, wanted in zip(found, (expected.image_embeds, expected.text_embeds), strict=True):
        np.testing.assert_allclose(rows / np.linalg.norm(rows, axis=1, keepdims=True), wanted.numpy(), atol=1e-5)

    with pytest.raises(DataError, match=r"holds other weights \(\(8, 32, 16\)\)"):
        load_backbone("clip_vit_b32", weights=tmp_path)
    with pytest.raises(DataError, match="cannot be read as weights"):
        load_backbone("clip_vit_b32", weights=tmp_path / "none")
