"""LGI: its own code alone with each pair, without padded clips, which it convolves; ours with all pairs at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import peers
from cpnet.models import LGI
from cpnet.models.layers.span_losses import attention_loss, regression_loss
from cpnet.models.lgi import distinct_loss
from cpnet.options import LGIOptions
from equal import count, recurrent_names
from setups import WORD_DIM, WORDS

CLIPS = [128, 77, 1]  # real clips of the pairs
LAYERS = {  # ours and theirs
    "video_encoder.embedding.0": "video_enc.vid_emb_fn.0",
    "phrases.guide": "sqan.guide_emb_fn.0",
    "phrases.of_guide": "sqan.att_fn.key2att",
    "phrases.of_word": "sqan.att_fn.feat2att",
    "phrases.score": "sqan.att_fn.to_alpha",
    "interactions.score.0": "vti_fn.satt_fn.feat2att",
    "interactions.score.2": "vti_fn.satt_fn.to_alpha",
    "regression.score.0": "ta_reg_fn.tatt.feat2att",
    "regression.score.2": "ta_reg_fn.tatt.to_alpha",
    "regression.embedding": "ta_reg_fn.tatt.fc",
    "regression.regression.0": "ta_reg_fn.MLP_reg.0",
    "regression.regression.2": "ta_reg_fn.MLP_reg.2",
    **{f"phrases.sentences.{n}": f"sqan.global_emb_fn.{n}" for n in range(3)},
    **{
        f"interactions.fusions.{n}.{ours}": f"vti_fn.fusion_fn.{n}.{theirs}"
        for n in range(3)
        for ours, theirs in (("of_video", "fc_1"), ("of_phrase", "fc_2"), ("product", "fc_3"))
    },
    **{
        f"interactions.local.{n}.{ours}": f"vti_fn.local_fn.{n}.blocks.0.{theirs}"
        for n in range(3)
        for ours, theirs in (("first.convolution", 0), ("first_norm", 1), ("second.convolution", 3), ("second_norm", 4))
    },
}


def copied(theirs: nn.Module) -> LGI:
    """Return our model with their weights."""
    state = theirs.state_dict()
    mine: dict[str, Tensor] = {"video_encoder.positions": state["video_enc.pos_emb_fn.0.weight"]}
    mine |= {ours: state[f"query_enc.rnn.{name}"] for ours, name in recurrent_names("query_encoder", layers=2)}
    for ours, name in LAYERS.items():
        leaves = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        mine |= {f"{ours}.{leaf}": value for leaf, value in leaves.items()}
    for block in range(2):  # theirs computes queries in one layer, and keys and values in another
        for leaf in ("weight", "bias"):
            parts = [state[f"vti_fn.global_fn.{block}.{layer}.{leaf}"] for layer in ("v_lin", "c_lin")]
            mine[f"interactions.relations.{block}.query_key_value.{leaf}"] = torch.cat(parts)
    vectors = state["query_enc.embedding.weight"]
    model = LGI(peers.VIDEO_DIM, vectors, LGIOptions())
    mine["words.unknown"] = vectors[1]
    mine = {name: value.view_as(model.state_dict()[name]) for name, value in mine.items()}  # conv1d as conv2d
    model.load_state_dict(mine)
    return model.eval()


def outputs(folder: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield spans, both attentions, the losses and the numbers of parameters."""
    theirs: Any = peers.lgi(folder)[0]
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm1d):  # as after some training
            for tensor in module.state_dict().values():
                if tensor.is_floating_point():
                    nn.init.uniform_(tensor, 0.5, 1.5)
    for layer in (theirs.sqan.att_fn.to_alpha, theirs.vti_fn.satt_fn.to_alpha, theirs.ta_reg_fn.tatt.to_alpha):
        nn.init.normal_(layer.weight)  # attention that is not nearly uniform
    nn.init.constant_(theirs.ta_reg_fn.MLP_reg[2].bias, 0.5)  # spans that the last ReLU keeps
    ours, batch = copied(theirs.eval()), peers.batch_of(len(CLIPS))
    mask = torch.arange(peers.CLIPS) < torch.tensor(CLIPS)[:, None]
    output = ours(replace(batch, video_mask=mask))
    inside = peers.inside(batch)[1].bool() & mask
    inside[:, 0] = True  # at least one real clip
    found, losses = list[dict[str, Tensor]](), list[dict[str, Tensor]]()
    for b, clips in enumerate(CLIPS):
        one, (start, end) = slice(b, b + 1), batch.windows[b].T
        masks = {"query_masks": batch.query_mask[one].float(), "video_masks": torch.ones(1, clips, 1)}
        found.append(theirs({"query_labels": batch.query[one], "video_feats": batch.video[one, :clips], **masks}))
        truth = {"grounding_start_pos": start, "grounding_end_pos": end, "tag_att_masks": inside[one, :clips].float()}
        losses.append(dict(theirs.criterion(found[-1], truth)))
    yield "span", output.span, torch.cat([each["grounding_loc"] for each in found])
    yield "attention", output.log_attention[mask].exp(), torch.cat([each["tag_attw"][0] for each in found])
    yield "attention over words", output.phrase_attention, torch.cat([each["dqa_attw"] for each in found])
    mine = {
        "grounding": regression_loss(output.span, batch.windows),
        "tag": attention_loss(output.log_attention, inside),
        "dqa": distinct_loss(output.phrase_attention, target=ours.distinct),
    }
    for name, loss in mine.items():
        yield f"loss {name}", loss, torch.stack([each[name] for each in losses]).mean()
    # Without their word vectors, our vector of unknown words, and their layer whose output they do not use.
    left_out = WORDS * WORD_DIM + count(theirs.vti_fn.satt_fn.fc)
    yield f"parameters, {count(ours)}", count(ours) - WORD_DIM, count(theirs) - left_out
