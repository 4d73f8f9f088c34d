"""Zero-shot grounding: a backbone of frames and sentences in the place of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from cpnet.data.vocabulary import SPECIAL, Vocabulary
from cpnet.errors import ConfigError
from cpnet.runs.checkpoint import Checkpoint
from cpnet.video.backbones import Backbone, JointBackbone

BATCH = 256  # sentences


def joint(backbone: Backbone) -> JointBackbone:
    """Return the backbone if it encodes sentences.

    Raises:
        ConfigError: it does not
    """
    if isinstance(backbone, JointBackbone):
        return backbone
    raise ConfigError(
        f"backbone={backbone.name} encodes frames only and cannot answer without training; train a model on its "
        "features, or use clip_vit_b32"
    )


def empty_checkpoint(backbone: JointBackbone, *, word_dim: int = 1) -> Checkpoint:
    """Return a checkpoint of ``cpnet.models.ZeroShot``, without weights and with an empty vocabulary of this width."""
    features, words = {"dim": backbone.width, "normalise": False}, {"dim": word_dim}
    dataset = {"name": "no corpus", "features": features, "word_vectors": words, "max_words": 1, "blind": "none"}
    sampling = {"_target_": "cpnet.data.sampling.Pick", "clips": 1}
    return Checkpoint(
        path=Path("zero_shot"),
        config={"model": {"_target_": "cpnet.models.ZeroShot"}, "sampling": sampling, "dataset": dataset},
        vocabulary=Vocabulary(SPECIAL, torch.zeros(len(SPECIAL), word_dim)),
        weights={},
        epoch=0,
        extractor=backbone.extractor(),
    )


def encode_sentences(backbone: JointBackbone, sentences: Sequence[str]) -> Tensor:
    """Encode any number of sentences in batches. Shape: N sentences -> (N, V)"""
    parts = (sentences[first : first + BATCH] for first in range(0, len(sentences), BATCH))
    return torch.cat([torch.from_numpy(backbone.encode_text(part)) for part in parts])
