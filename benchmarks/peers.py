"""Other models beside ours: their own code from checkouts, on random inputs of our shapes, each in its own process.

    python benchmarks/peers.py --peers DIR

A training step is a model's own forward pass, losses, clipping and optimiser; inference ends at its scores and offsets.
All processes have the settings of :func:`~cpnet.training.compilation.prepare_process` and take turns.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from cpnet.batch import GroundingBatch
from cpnet.training.compilation import prepare_process
from cpnet.training.losses import GroundingLoss
from sections import Clock, Options, Part, Row, in_turns, seconds
from setups import FULL, WORD_DIM, WORDS

PAIRS, CLIPS, VIDEO_DIM = 32, FULL.clips, FULL.video_dim
# A network, and functions that train it with a batch and predict one.
Model = tuple[nn.Module, Callable[[GroundingBatch], object], Callable[[GroundingBatch], object]]


class Attributes(dict[str, Any]):
    """A dictionary whose values are attributes too, as of easydict."""

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        super().__init__({k: Attributes(v) if isinstance(v, dict) else v for k, v in (values or {}).items()})

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


def step(network: nn.Module, optimizer: torch.optim.Optimizer, clip: float, loss: Tensor) -> None:
    """End a training step that has computed its loss."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    clip_grad_norm_(network.parameters(), clip)
    optimizer.step()


def inside(batch: GroundingBatch) -> tuple[Tensor, Tensor]:
    """Return first and last clip of each moment, and the mask of its clips."""
    clips, found = torch.arange(CLIPS), (batch.windows[:, 0] * (CLIPS - 1)).round().long()
    return found, ((clips >= found[:, :1]) & (clips <= found[:, 1:])).float()


def vectors(batch: GroundingBatch) -> Tensor:
    """Return random word vectors."""
    return torch.randn(*batch.query.shape, WORD_DIM) * batch.query_mask[..., None]


def ours(width: int, reference: bool, _: Path) -> Model:
    """Build CPNet or its plain reference."""
    setup = replace(FULL, width=width)
    network, loss = setup.reference() if reference else setup.model(), GroundingLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=not reference)

    def train(batch: GroundingBatch) -> None:
        step(network, optimizer, 0.5, loss(network(batch), batch)["loss"])

    return network, train, network


def vslnet(folder: Path) -> Model:
    """Build VSLNet with the values of its ``main_t7.py``."""
    sys.modules["transformers"] = MagicMock(AdamW=torch.optim.AdamW)  # transformers dropped its own
    code = import_module("model.VSLNet_t7")
    sizes = {"dim": 128, "num_heads": 8, "drop_rate": 0.2, "max_pos_len": CLIPS, "predictor": "rnn"}
    words = {"word_size": WORDS, "char_size": 40, "word_dim": WORD_DIM, "char_dim": 50}
    configs = SimpleNamespace(video_feature_dim=VIDEO_DIM, init_lr=1e-4, **sizes, **words)
    configs.num_train_steps = configs.warmup_proportion = 1
    network = code.VSLNet(configs, torch.randn(WORDS, WORD_DIM).numpy())
    optimizer, _ = code.build_optimizer_and_scheduler(network, configs)

    def predict(batch: GroundingBatch) -> Any:
        characters = torch.randint(1, 40, (*batch.query.shape, 8)) * batch.query_mask[..., None]
        return network(batch.query, characters, batch.video, batch.video_mask.float(), batch.query_mask.float())

    def train(batch: GroundingBatch) -> None:
        highlight, start, end = predict(batch)
        found, mask = inside(batch)
        loss = network.compute_loss(start, end, *found.T)
        loss = loss + 5.0 * network.compute_highlight_loss(highlight, mask, batch.video_mask.float())
        step(network, optimizer, 1.0, loss)

    return network, train, lambda batch: network.extract_index(*predict(batch)[1:])


def lgi(folder: Path) -> Model:
    """Build LGI with its configuration for Charades-STA; it clips no gradients."""
    sys.modules |= dict.fromkeys(("six", "six.moves", "coloredlogs", "tensorflow"), MagicMock())
    code = import_module("src.model.building_networks")  # which imports the others in an order that works
    config = yaml.safe_load((folder / "src/experiment/options/charades/tgn_lgi/LGI.yml").read_text(encoding="utf-8"))
    config["model"] |= {"use_gpu": False, "query_enc_emb_idim": WORDS}
    network = code.get_temporal_grounding_network(config, "tgn_lgi")

    def inputs(batch: GroundingBatch) -> dict[str, Tensor]:
        masks = {"query_masks": batch.query_mask.float(), "video_masks": batch.video_mask.float().unsqueeze(2)}
        return {"query_labels": batch.query, "video_feats": batch.video, **masks}

    def train(batch: GroundingBatch) -> None:
        start, end = batch.windows[:, 0].T
        truth = {"grounding_start_pos": start, "grounding_end_pos": end, "tag_att_masks": inside(batch)[1]}
        network.forward_update(inputs(batch), truth)

    return network, train, lambda batch: network.forward_only(inputs(batch))


def two_d_tan(folder: Path) -> Model:
    """Build 2D-TAN with its map of 64 x 64 for ActivityNet Captions; two clips are a row of the map."""
    sys.modules["easydict"] = MagicMock(EasyDict=Attributes)
    core = import_module("core.config")
    core.update_config(str(folder / "experiments/activitynet/2D-TAN-64x64-K9L4-pool.yaml"))
    rows, frames = 64, core.config.TAN.FRAME_MODULE.PARAMS
    frames.INPUT_SIZE, frames.KERNEL_SIZE, frames.STRIDE = VIDEO_DIM, CLIPS // rows, CLIPS // rows
    network, losses = import_module("models").TAN(), import_module("models.loss")
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def predict(batch: GroundingBatch) -> Any:
        return network(vectors(batch), batch.query_mask.float().unsqueeze(2), batch.video)

    def train(batch: GroundingBatch) -> None:
        overlaps = torch.rand(len(batch), 1, rows, rows)
        loss, _ = losses.bce_rescale_loss(*predict(batch), overlaps, core.config.LOSS.PARAMS)
        step(network, optimizer, 10.0, loss)

    return network, train, predict


def snag_code(folder: Path) -> tuple[nn.Module, Any, Any]:
    """Build SnAG with its configuration for Charades-STA; return it, its trainer without data, and the configuration.

    Modules that are not needed here are replaced, unless they are loaded.
    """
    for unused in ("torchtext", "torchtext.data", "torch.utils.tensorboard", "nms_1d_cpu_vg"):
        sys.modules.setdefault(unused, MagicMock())
    options, worker = import_module("libs.core.opt"), import_module("libs.worker")
    opt = yaml.safe_load((folder / "opts/video_centric/charades_sta_i3d.yaml").read_text(encoding="utf-8"))
    opt["model"]["vid_net"] |= {"in_dim": VIDEO_DIM, "max_seq_len": CLIPS}
    options._merge(options.DEFAULTS, opt)
    options._update_opt(opt)
    network, average = (worker.PtTransformer(opt["model"]) for _ in range(2))
    trainer = worker.Trainer.__new__(worker.Trainer)
    vars(trainer).update(opt["train"], opt=opt | {"_distributed": False}, model=network)
    vars(trainer).update(model_ema=average.eval().requires_grad_(False), pt_gen=worker.PtGenerator(**opt["pt_gen"]))
    vars(trainer).update(max_text_len=opt["model"]["max_text_len"], vid_stride=1, input_vid_len=CLIPS)
    return network, trainer, opt


def snag(folder: Path) -> Model:
    """Build SnAG; the average of its weights is part of a step."""
    network, trainer, opt = snag_code(folder)
    optimizer = import_module("libs.worker").make_optimizer(network, opt["train"]["optimizer"])

    def samples(batch: GroundingBatch) -> tuple[list[Tensor], list[Tensor]]:
        words = zip(vectors(batch), batch.query_mask, strict=True)
        return [video.T for video in batch.video], [text[mask].T for text, mask in words]

    def train(batch: GroundingBatch) -> None:
        trainer.batch_size = trainer.microbatch_size = len(batch)
        optimizer.zero_grad()
        rows = zip(*samples(batch), batch.windows * CLIPS, strict=True)
        trainer.forward_backward([{"vid": video, "text": text, "target": moment} for video, text, moment in rows])
        clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        trainer._ema_update()

    return network, train, lambda batch: network(*trainer._batchify(*samples(batch)))


# A checkout, if the code is not ours, and a function that builds the model. The models of a table take turns.
PEERS: dict[str, dict[str, tuple[str, Callable[[Path], Model]]]] = {
    "wide": {
        "CPNet, D = 512": ("", partial(ours, 512, False)),
        "plain reference, D = 512": ("", partial(ours, 512, True)),
        "LGI, D = 512": ("LGI4temporalgrounding", lgi),
        "2D-TAN, D = 512, 64 x 64": ("2D-TAN", two_d_tan),
    },
    "narrow": {
        "CPNet, D = 128": ("", partial(ours, 128, False)),
        "plain reference, D = 128": ("", partial(ours, 128, True)),
        "VSLNet, D = 128": ("VSLNet", vslnet),
        "SnAG, D = 256": ("snag_release", snag),
    },
}


built: list[Model] = []  # the model of this process
batch_of = cache(FULL.pairs)  # drawing its random numbers takes a good part of the time of a narrow model


def build(function: Callable[[Path], Model], folder: Path) -> float:
    """Build the model of this process, which prints nothing from now on; return its parameters in millions.

    Empty modules stand in for those that a model imports and does not need here.
    """
    sys.path[:0] = [str(folder), str(folder / "lib")]
    sys.stdout = sys.stderr = io.StringIO()
    prepare_process()
    Tensor.cuda = lambda tensor, *_, **__: tensor  # type: ignore[method-assign] # some code expects a GPU
    built.append(function(folder))
    return sum(weight.numel() for weight in built[0][0].parameters()) / 1e6


def work(mode: str, pairs: int) -> None:
    """Take a training step, or infer a batch, with the model of this process."""
    (network, train, predict), batch = built[0], batch_of(pairs)
    network.train(mode == "training")
    with torch.inference_mode(mode == "inference"):
        (train if mode == "training" else predict)(batch)


def run(pool: ProcessPoolExecutor, mode: str, pairs: int) -> None:
    """Let the process of a model work."""
    pool.submit(work, mode, pairs).result()


def parts(options: Options) -> Iterator[Part]:
    """Yield a part for each table."""
    for table in PEERS:
        yield Part(f"{table} models, T = {CLIPS}, fp32", 1.0, partial(measure, options, table))


def measure(options: Options, table: str, clock: Clock) -> Iterator[Row]:
    """Time all models in turns, those that are slow with fewer pairs; name those that do not run."""
    assert options.peers is not None
    rows, budget = dict[str, Row](), clock.left() / len(PEERS[table])
    with ExitStack() as stack:
        pools = {name: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for name in PEERS[table]}
        for name, (checkout, function) in PEERS[table].items():
            clock.say(f"starting {name}")
            try:
                if not (folder := options.peers / checkout).is_dir():
                    raise FileNotFoundError(f"no folder {folder}")
                parameters = pools[name].submit(build, function, folder).result()
                pair = seconds(partial(run, pools[name], "training", 1), repeats=1)
            except Exception as error:  # of the model's own code, or because its process was killed
                print(f"{name}: skipped: {type(error).__name__}: {error}", flush=True)
                continue
            fitting = 1 if options.quick else max(1, min(PAIRS, int(budget / 8 / pair)))
            rows[name] = {"M parameters": parameters, "pairs a batch": 1 << fitting.bit_length() - 1}
        pairs = {name: int(row["pairs a batch"]) for name, row in rows.items()}
        for mode, share in (("training", 0.7), ("inference", 1.0)):
            mine = clock.share(share)
            actions = {name: partial(run, pools[name], mode, count) for name, count in pairs.items()}
            for name, taken in in_turns(actions, repeats=options.repeats, clock=mine).items():
                rows[name][f"{mode}, pairs/s"] = pairs[name] / taken
            clock.repeats, clock.cut = min(mine.repeats or 0, clock.repeats or options.repeats), clock.cut or mine.cut
    for name, row in rows.items():
        yield {"model": name, **row}


if __name__ == "__main__":
    bench = str(Path(__file__).with_name("bench.py"))
    os.execv(sys.executable, [sys.executable, bench, "peers", *sys.argv[1:]])
