"""TMLGA: its own code with its configuration for Charades-STA."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor

import peers
from cpnet import spans
from cpnet.models import TMLGA
from cpnet.models.tmlga import boundary_loss, guidance_loss, soft_labels
from cpnet.options import TMLGAOptions
from equal import count, recurrent_names
from setups import WORD_DIM, WORDS

CLIPS = [128, 77, 1]  # real clips of the pairs
LAYERS = {"filter": "model_df.head_df.mlp.0", "video_projection": "reduction"}  # ours and theirs


def built(folder: Path) -> Any:
    """Return their model."""
    config = yaml.safe_load((folder / "experiments/charades_sta_train.yaml").read_text(encoding="utf-8"))
    config["DYNAMIC_FILTER"] |= {"TAIL_MODEL": config["DYNAMIC_FILTER"]["MODEL"]}
    config["DYNAMIC_FILTER"]["LSTM"] |= {"INPUT_SIZE": WORD_DIM}
    return import_module("modeling.localization").Localization(peers.Attributes(config)).eval()


def copied(theirs: Any, vectors: Tensor) -> TMLGA:
    """Return our model with their weights."""
    model, state = TMLGA(peers.VIDEO_DIM, vectors, TMLGAOptions()), theirs.state_dict()
    mine = {"words.unknown": vectors[1]}
    for name, layer, layers in (("query_encoder", "model_df.tail_df.lstm", 1), ("localisation", "rnn_localization", 2)):
        mine |= {ours: state[f"{layer}.{each}"] for ours, each in recurrent_names(name, layers=layers, bias=False)}
    for leaf in ("weight", "bias"):
        mine |= {f"{ours}.{leaf}": state[f"{name}.{leaf}"] for ours, name in LAYERS.items()}
        mine[f"boundaries.{leaf}"] = torch.cat([state[f"{layer}.{leaf}"] for layer in ("starting", "ending")])
    model.load_state_dict(mine)
    return model.eval()


def outputs(folder: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the attention, both boundaries, the losses and the numbers of parameters."""
    theirs, vectors = built(folder), torch.randn(WORDS, WORD_DIM)
    vectors[0] = 0
    with torch.no_grad():  # attention and boundaries that are not nearly uniform
        theirs.reduction.weight.mul_(10)
        theirs.starting.weight.mul_(100)
        theirs.ending.weight.mul_(100)
    ours, batch = copied(theirs, vectors), peers.batch_of(len(CLIPS))
    mask = torch.arange(peers.CLIPS) < torch.tensor(CLIPS)[:, None]
    batch = replace(batch, video_mask=mask)
    output = ours(batch)
    assert output.log_attention is not None
    labels, target = soft_labels(batch.windows, mask, width=ours.label_width), spans.clip_target(batch.windows, mask)
    labels = labels.clamp_min(1e-10) * mask[:, None, None]  # theirs has no label of 0
    video, words = batch.video * mask.unsqueeze(2), batch.query_mask.sum(dim=1)
    found = theirs(video, torch.tensor(CLIPS), vectors[batch.query], words, *labels[:, 0].unbind(1), target.float())
    total, _, their_start, their_end, attention, guidance = found
    boundaries = output.log_boundaries.exp() * mask.unsqueeze(1)
    yield "attention", output.log_attention.exp(), attention
    yield "start", boundaries[:, 0], their_start
    yield "end", boundaries[:, 1], their_end
    best = torch.stack((their_start.argmax(dim=1), their_end.argmax(dim=1) + 1), dim=1)
    yield "span", output.span, best / torch.tensor(CLIPS)[:, None]
    yield "loss boundaries", boundary_loss(output.log_boundaries, labels), total - guidance
    yield "loss attention", guidance_loss(output.log_attention, target), guidance
    # Without our vector of unknown words, and two of their layers, which they do not use.
    unused = count(theirs.multimodal_fc1, theirs.multimodal_fc2)
    yield f"parameters, {count(ours)}", count(ours) - WORD_DIM, count(theirs) - unused
