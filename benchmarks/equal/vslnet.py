"""VSLNet's PyTorch code with its default predictor, ``rnn``.

Padding leaks through the convolutions of that code, so it reads each pair alone and unpadded; ours reads the batch. The
weights of the characters in its projection of words are set to 0; ours has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cpnet.batch import GroundingBatch
from cpnet.models import VSLNet
from cpnet.models.vslnet import nearest_clips
from cpnet.options import VSLNetOptions
from equal import count
from peers import CLIPS, VIDEO_DIM, vslnet
from setups import FULL, WORD_DIM

PAIRS, BLOCKS, EXTENSION = 6, 4, 0.1
CONVOLUTIONS, ATTENTION = "feature_encoder.conv_block", "feature_encoder.attention_block"
# Our linear layers and norms, and theirs
LAYERS = {
    "video_projection.1": "video_affine.linear.conv1d",
    "query_projection.1": "embedding_net.linear.conv1d",
    "encoder.attention.norm": f"{ATTENTION}.layer_norm1",
    "encoder.feedforward.norm": f"{ATTENTION}.layer_norm2",
    "encoder.feedforward.linear": f"{ATTENTION}.out_layer.conv1d",
    "coattention.fuse": "cq_attention.cqa_linear.conv1d",
    "sentence_fusion": "cq_concat.conv1d.conv1d",
    "highlight": "highlight_layer.conv1d.conv1d",
    **{f"predictor.{head}.{i}": f"predictor.{head}_block.{i}.conv1d" for head in ("start", "end") for i in (0, 2)},
    **{f"encoder.convolutions.{i}.norm": f"{CONVOLUTIONS}.layer_norms.{i}" for i in range(BLOCKS)},
    **{f"encoder.convolutions.{i}.pointwise": f"{CONVOLUTIONS}.depthwise_separable_conv.{i}.1" for i in range(BLOCKS)},
}
# Our vectors and matrices, and theirs, which are transposed
TRANSPOSED = {
    "coattention.video_weight.weight": "cq_attention.w4C",
    "coattention.query_weight.weight": "cq_attention.w4Q",
    "word_weight.weight": "cq_concat.weighted_pool.weight",
    **{
        f"encoder.convolutions.{i}.depthwise.weight": f"{CONVOLUTIONS}.depthwise_separable_conv.{i}.0.weight"
        for i in range(BLOCKS)
    },
}


def weights(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return our state dict with their weights."""
    ours = dict[str, Tensor]()
    for kind in ("weight", "bias"):
        ours |= {f"{our}.{kind}": theirs[f"{their}.{kind}"] for our, their in LAYERS.items()}
        packed = [theirs[f"{ATTENTION}.{part}.conv1d.{kind}"] for part in ("query", "key", "value")]
        ours[f"encoder.attention.query_key_value.{kind}"] = torch.cat(packed)
        for head in ("start", "end"):
            for name in (f"{kind}_ih_l0", f"{kind}_hh_l0"):
                ours[f"predictor.{head}_lstm.{name}"] = theirs[f"predictor.{head}_encoder.lstm.{name}"]
    ours["query_projection.1.weight"] = ours["query_projection.1.weight"][:, :WORD_DIM]
    ours = {name: weight.squeeze(2) if weight.ndim == 3 else weight for name, weight in ours.items()}
    ours |= {our: theirs[their].reshape(len(theirs[their]), -1).T for our, their in TRANSPOSED.items()}
    ours["coattention.product_weight"] = theirs["cq_attention.w4mlu"].flatten()
    ours["encoder.position.learned"] = theirs["feature_encoder.pos_embedding.position_embeddings.weight"]
    ours["words.unknown"] = theirs["embedding_net.word_emb.unk_vec"][0]
    return ours


def padded_pairs() -> GroundingBatch:
    """Return a batch of videos and queries of different lengths, some of whose words are unknown."""
    batch, clips = FULL.pairs(PAIRS), torch.tensor([CLIPS, 1, 2, 7, 50, 127])
    mask = torch.arange(CLIPS) < clips[:, None]
    unknown = (torch.arange(batch.query.shape[1]) % 5 == 1) & batch.query_mask
    return replace(batch, video_mask=mask, query=batch.query.masked_fill(unknown, 1))


def outputs(folder: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield logits, decoded clips, losses and the number of parameters."""
    theirs: Any = vslnet(folder)[0].eval()
    batch = padded_pairs()
    projection = theirs.get_parameter("embedding_net.linear.conv1d.weight")
    projection[:, WORD_DIM:] = 0
    vectors = torch.cat([torch.zeros(2, WORD_DIM), theirs.get_parameter("embedding_net.word_emb.glove_vec")])
    ours = VSLNet(VIDEO_DIM, vectors, VSLNetOptions(predictions=1)).eval()
    ours.load_state_dict(weights(theirs.state_dict()))

    output, rows = ours(batch), list[tuple[Tensor, ...]]()
    for b, (real, words) in enumerate(zip(batch.video_mask.sum(dim=1), batch.query_mask.sum(dim=1), strict=True)):
        query, characters = batch.query[b : b + 1, :words], torch.ones(1, words, 4, dtype=torch.int64)
        masks = torch.ones(1, real), torch.ones(1, words)
        highlight, start, end = theirs(query, characters, batch.video[b : b + 1, :real], *masks)
        rows.append((highlight[0], start[0], end[0], torch.cat(theirs.extract_index(start, end))))
    mask, clips = batch.video_mask, batch.video_mask.sum(dim=1, keepdim=True)
    highlight, start, end = (torch.cat(column) for column in list(zip(*rows, strict=True))[:3])
    yield "start logits", output.start[mask], start
    yield "end logits", output.end[mask], end
    yield "highlighting", output.highlight[mask].sigmoid(), highlight
    found = (output.ranked[:, 0] * clips).round() - torch.tensor([0, 1])
    yield "first and last clip", found, torch.stack([row[3] for row in rows]).float()

    times = [import_module("util.data_util").time_to_index(*window, n, 1.0)[:2] for window, n in moments(batch)]
    labels = torch.tensor(times)
    yield "labels", torch.cat(nearest_clips(batch.windows, mask), dim=1).float(), labels.float()
    loss = ours.loss(output, batch)
    padded = [torch.nn.utils.rnn.pad_sequence([row[i] for row in rows], batch_first=True) for i in range(3)]
    logits = [each.masked_fill(~mask, -1e30) for each in padded[1:]]
    yield "boundary loss", loss["boundary"], theirs.compute_loss(*logits, *labels.T)
    yield "highlighting loss", loss["highlight"], theirs.compute_highlight_loss(padded[0], near(labels, mask), mask)
    characters_of = count(theirs.embedding_net.char_emb) + projection[:, WORD_DIM:].numel()
    yield "parameters without those of characters", count(ours), count(theirs) - characters_of


def moments(batch: GroundingBatch) -> Iterator[tuple[list[float], int]]:
    """Yield the window of each pair and its number of clips."""
    yield from zip(batch.windows[:, 0].tolist(), batch.video_mask.sum(dim=1).tolist(), strict=True)


def near(labels: Tensor, mask: Tensor) -> Tensor:
    """Return the clips that their loader highlights. Shape: (B, 2), (B, T) bool -> (B, T) int64"""
    rows = []
    for (first, last), real in zip(labels.tolist(), mask.sum(dim=1).tolist(), strict=True):
        more = round(EXTENSION * (last - first + 1))
        rows.append([int(max(0, first - more) <= clip <= min(last + more, real - 1)) for clip in range(mask.shape[1])])
    return torch.tensor(rows)
