"""SnAG beside its authors' code (github.com/fmu2/snag_release), with its settings for Charades-STA."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.cpp_extension import load

import peers
from cpnet.models import SnAG
from cpnet.models.snag import SnAGOutput
from cpnet.options import SnAGOptions
from equal import count
from setups import FULL, WORD_DIM, WORDS

LENGTHS = (128, 77, 50, 9)  # clips of the videos
STEM = SnAGOptions().stem_layers
# Rules from names of our parameters to those of theirs, all applied in this order.
RULES = (
    (r"^text\.projection", "text_net.embd_fc.conv"),
    (r"^text\.token", "text_net.bkgd_token"),
    (r"^text\.layers", "text_net.transformer"),
    (r"^video\.projection", "vid_net.embd_fc.conv"),
    (r"^video\.convolutions", "vid_net.embd"),
    (r"^video\.layers\.(\d+)", lambda at: f"vid_net.{place(int(at[1]))}"),
    (r"^score\.last\.convolution", "cls_head.cls_head.conv"),
    (r"^distance\.last\.convolution", "reg_head.reg_head.conv"),
    (r"^score\.convolutions\.", "cls_head."),
    (r"^distance\.convolutions\.", "reg_head."),
    (r"^fused_norm", "fusion.ln_out"),
    (r"^fusion\.(\d)", r"fusion.layers.\1"),
    (r"feed_forward\.0", "ffn.fc"),
    (r"feed_forward\.3", "ffn.proj"),
    (r"feed_forward_norm", "ln_ffn"),
    (r"(layers\.\d+)\.video_norm", r"\1.ln_xattn_q"),
    (r"(layers\.\d+)\.text_norm", r"\1.ln_xattn_kv"),
    (r"(layers\.\d+)\.query_norm", r"\1.xattn.q_norm"),
    (r"(layers\.\d+)\.convolution\.", r"\1.xattn.q_conv.conv."),
    (r"(layers\.\d+)\.attention\.", r"\1.xattn.xattn."),
    (r"(feed_forward_)?branch\.scale", "drop_path_ffn.scale"),
    (r"attention_drop_path_ffn", "drop_path_attn"),
    (r"attention_norm", "ln_attn"),
    (r"(stem|branch|transformer)(\.\d+)\.attention\.", r"\1\2.attn.attn."),
    (r"((stem|branch)\.\d+)\.convolutions\.(\d)", lambda at: f"{at[1]}.attn.{'qkv'[int(at[3])]}_conv.conv"),
    (r"((stem|branch)\.\d+)\.norms\.(\d)", lambda at: f"{at[1]}.attn.{'qkv'[int(at[3])]}_norm"),
    (r"\.out\.(weight|bias)$", r".proj.\1"),
    (r"embd\.convolutions", "embd_convs"),
    (r"embd\.norms", "embd_norms"),
    (r"head\.convolutions", "head.convs"),
    (r"convs\.(\d)\.convolution", r"convs.\1.conv"),
)


def place(layer: int) -> str:
    """Return their name of a layer of the video encoder."""
    return f"stem.{layer}" if layer < STEM else f"branch.{layer - STEM}"


def copy_weights(ours: SnAG, theirs: nn.Module) -> None:
    """Give both the same random weights; none is left over on either side."""
    for name, weight in theirs.named_parameters():
        if name.endswith("scale") or (name.endswith("weight") and weight.ndim == 2):  # around 1
            weight.copy_(1 + 0.3 * torch.randn_like(weight))
        else:
            weight.copy_(torch.randn_like(weight) * (2 * weight[0].numel() ** -0.5 if weight.ndim == 3 else 0.1))
    weights = dict(theirs.state_dict())
    ours.level_scale.copy_(
        torch.stack([weights.pop(f"reg_head.scales.{p}.scale") for p in range(len(ours.level_scale))])
    )
    for name, weight in ours.named_parameters():
        if name in ("level_scale", "words.unknown"):
            continue
        for pattern, replacement in RULES:
            name = re.sub(pattern, replacement, name)
        source = weights.pop(name)
        depthwise = source.ndim == 3 and source.shape[1] == 1 and weight.ndim == 2 and source.shape[2] > 1
        weight.copy_((source.squeeze(1).T if depthwise else source).reshape(weight.shape))
    assert not weights, list(weights)


def outputs(folder: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield logits, distances, ranked spans and their scores, the terms of the loss, and the number of weights."""
    Tensor.cuda = lambda tensor, *_, **__: tensor  # type: ignore[method-assign] # its code expects a GPU
    # A folder of its own, because the lock of an interrupted compilation would make torch wait for ever.
    with TemporaryDirectory() as build:
        sources = [str(folder / "libs/nms/src/nms_cpu.cpp")]
        sys.modules["nms_1d_cpu_vg"] = load("nms_1d_cpu_vg", sources, build_directory=build)
    theirs, trainer, opt = peers.snag_code(folder)
    theirs.eval()
    batch = FULL.pairs(len(LENGTHS))
    mask = torch.arange(FULL.clips) < torch.tensor(LENGTHS)[:, None]
    batch = replace(batch, video_mask=mask, video=batch.video * mask[..., None])
    vectors = torch.randn(WORDS, WORD_DIM)
    ours = SnAG(FULL.video_dim, vectors, SnAGOptions()).eval()
    copy_weights(ours, theirs)
    found = ours(batch)

    words = [vectors[query[real]].T for query, real in zip(batch.query, batch.query_mask, strict=True)]
    videos = [video[real].T for video, real in zip(batch.video, mask, strict=True)]
    logits, offsets, masks = theirs(*trainer._batchify(videos, words))
    real, theirs_real = found.mask, torch.cat(masks, dim=1)
    yield "logits", found.logits[real], torch.cat(logits, dim=1)[theirs_real]
    yield "distances", found.offsets[real].abs(), torch.cat(offsets, dim=1)[theirs_real]
    yield from ranked(found, trainer, opt, logits, offsets, masks)

    grid = batch.windows * torch.tensor(LENGTHS)[:, None, None] - 0.5
    rows = [{"vid": v, "text": t, "target": w} for v, t, w in zip(videos, words, grid, strict=True)]
    with torch.enable_grad():
        expected = trainer._microbatch_forward_backward(rows, is_last=True)
    terms = ours.loss(found, batch)
    for name, key in (("loss", "total"), ("score", "cls"), ("regression", "reg")):
        yield f"loss: {name}", terms[name], expected[key]
    yield "parameters", count(ours) - WORD_DIM, count(theirs)


def ranked(
    found: SnAGOutput, trainer: Any, opt: Any, logits: list[Tensor], offsets: list[Tensor], masks: list[Tensor]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the spans and scores after soft-NMS and voting, of all videos."""
    worker = import_module("libs.worker")
    evaluator = worker.Evaluator.__new__(worker.Evaluator)
    vars(evaluator).update(opt["eval"])
    points = trainer.pt_gen([each.shape[-1] for each in masks])
    spans, scores = list[Tensor](), list[Tensor]()
    for pair, clips in enumerate(LENGTHS):
        rows = ([each[pair : pair + 1] for each in level] for level in (logits, offsets, masks))
        segments = evaluator._collect_segments(points, *rows, None)
        best, score = worker.batched_nms(*segments, **opt["eval"]["nms"])
        spans.append(((best + 0.5) / clips).clamp(0, 1))
        scores.append(score)
    assert found.scores is not None
    yield "ranked spans", found.ranked, torch.stack(spans)
    yield "scores", found.scores, torch.stack(scores)
