"""2D-TAN beside its public code: a dense and a sparse map, with pooled and with convolved features of moments."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn

from cpnet import spans
from cpnet.batch import GroundingBatch
from cpnet.models import TwoDTAN
from cpnet.options import TwoDTANOptions
from equal import count
from peers import Attributes

WIDTH, VIDEO_DIM, WORD_DIM, PAIRS, CLIPS, WORDS = 24, 10, 300, 3, 128, 7
MAPS = (("charades", "16x16-K5L8", "pool"), ("charades", "16x16-K5L8", "conv"), ("activitynet", "64x64-K9L4", "conv"))
GAIN = 2.5
NAMES = {
    "frame_layer.vis_conv": "video_projection",
    "fusion_layer.textual_encoder": "query_encoder",
    "fusion_layer.tex_linear": "query_projection",
    "fusion_layer.vis_conv": "moment_projection",
    "pred_layer": "score",
}


def outputs(folder: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield numbers of parameters, scores, loss and ranked moments of each map."""
    sys.modules["easydict"] = MagicMock(EasyDict=Attributes)
    sys.modules["terminaltables"] = MagicMock()
    Tensor.cuda = lambda tensor, *_, **__: tensor  # type: ignore[method-assign] # the code expects a GPU
    core = import_module("core.config")
    for corpus, shape, moments in MAPS:
        core.update_config(str(folder / f"experiments/{corpus}/2D-TAN-{shape}-{moments}.yaml"))
        rows, tan = int(shape.split("x")[0]), core.config.TAN
        tan.FRAME_MODULE.PARAMS |= {"INPUT_SIZE": VIDEO_DIM, "HIDDEN_SIZE": WIDTH}
        tan.FRAME_MODULE.PARAMS |= {"KERNEL_SIZE": CLIPS // rows, "STRIDE": CLIPS // rows}
        tan.PROP_MODULE.PARAMS["HIDDEN_SIZE"] = WIDTH
        tan.FUSION_MODULE.PARAMS |= {"HIDDEN_SIZE": WIDTH, "TXT_HIDDEN_SIZE": WIDTH}
        sizes = tan.MAP_MODULE.PARAMS["HIDDEN_SIZES"]
        tan.MAP_MODULE.PARAMS |= {"INPUT_SIZE": WIDTH, "HIDDEN_SIZES": [WIDTH] * len(sizes)}
        tan.PRED_INPUT_SIZE = WIDTH
        theirs = import_module("models").TAN().eval()
        options = TwoDTANOptions(
            hidden_dim=WIDTH,
            rows=rows,
            moments=moments,
            kernel_size=tan.MAP_MODULE.PARAMS["KERNEL_SIZES"][0],
            conv_layers=len(sizes),
            nms_iou=core.config.TEST.NMS_THRESH,
        )
        ours = TwoDTAN(VIDEO_DIM, torch.randn(50, WORD_DIM), options).eval()
        for layer in theirs.map_layer.convs:  # whose division by counts leaves all scores equal at first
            layer.weight.mul_(GAIN * layer.weight[0, 0].numel())
        name = f"{shape}, {moments}: "
        yield name + "parameters without the unknown word", count(ours) - WORD_DIM, count(theirs)
        copy(theirs, ours, rows)
        batch = pairs()
        found = ours(batch)
        words = ours.words(batch.query)
        scores, mask = theirs(words, batch.query_mask[..., None].float(), batch.video)
        yield name + "scores", found.logits, scores.flatten(1)[:, ours.cells]
        edges = torch.arange(rows + 1) / rows
        cells = torch.stack((edges[:-1, None].expand(-1, rows), edges[1:].expand(rows, -1)), dim=2)
        overlap = spans.iou(cells, batch.windows[:, :, None, None]).float()
        loss, probability = import_module("models.loss").bce_rescale_loss(
            scores, mask, overlap, core.config.LOSS.PARAMS
        )
        yield name + "loss", ours.loss(found, batch)["loss"], loss
        yield name + "ranked moments", found.ranked, ranked(probability, cells, ours, options)


def pairs() -> GroundingBatch:
    """Return random pairs whose queries have padding."""
    query_mask = torch.arange(WORDS) < torch.tensor([WORDS, 3, 1])[:, None]
    windows = torch.rand(PAIRS, 1, 2).sort(dim=-1).values
    return GroundingBatch(
        video=torch.randn(PAIRS, CLIPS, VIDEO_DIM),
        video_mask=torch.ones(PAIRS, CLIPS, dtype=torch.bool),
        query=torch.randint(2, 50, (PAIRS, WORDS)) * query_mask,
        query_mask=query_mask,
        windows=windows,
        windows_sec=windows.double(),
        duration_sec=torch.ones(PAIRS).double(),
        index=torch.arange(PAIRS),
    )


def copy(theirs: nn.Module, ours: TwoDTAN, rows: int) -> None:
    """Copy the weights of their network into ours; 1 x 1 convolutions become linear layers."""
    mine, used = ours.state_dict(), {"words.unknown"}
    for name, weight in theirs.state_dict().items():
        layer, _, kind = name.rpartition(".")
        if layer.startswith("map_layer"):
            layer = f"convolutions.{layer.split('.')[-1]}.convolution"
        elif layer.startswith("prop_layer"):  # layer i of scale s; the first scale has 16 layers, the others 8
            scale, place = map(int, layer.split(".")[-2:])
            layer = f"features.layers.{place + (16 + 8 * (scale - 1) if scale else 0)}"
        else:
            layer = NAMES[layer]
        mine[f"{layer}.{kind}"].copy_(weight.reshape(mine[f"{layer}.{kind}"].shape))
        used.add(f"{layer}.{kind}")
    assert used == set(mine), used ^ set(mine)


def ranked(probability: Tensor, cells: Tensor, ours: TwoDTAN, options: TwoDTANOptions) -> Tensor:
    """Return the moments that their suppression keeps; the first fills the places of missing ones, as in ours."""
    nms, found = import_module("core.eval").nms, list[Tensor]()
    for each in probability.flatten(1)[:, ours.cells]:
        order = ours.cells[each.argsort(descending=True)]
        kept = nms(cells.view(-1, 2)[order].tolist(), options.nms_iou, options.predictions).tolist()
        found.append(torch.tensor(kept + kept[:1] * (options.predictions - len(kept))))
    return torch.stack(found)
