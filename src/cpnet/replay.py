"""``python -m cpnet.train replay=PATH``: the batch whose gradients were not finite, looked at once more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Trainer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor, nn

from cpnet.batch import GroundingBatch
from cpnet.build import build_datamodule, build_module, load_weights, make_trainer
from cpnet.checkpoint import load_checkpoint, read_checkpoint
from cpnet.data.dataset import GroundingDataset
from cpnet.data.loader import TrainingSampler
from cpnet.data.moment import DataError
from cpnet.module import GroundingModule
from cpnet.printing import printable
from cpnet.recovery.randomness import restore_random_state

SHOWN = 10  # rows of a list


def look_again(cfg: DictConfig, path: Path, *, console: Console | None = None) -> list[str]:
    """Say where in the batches of a file numbers that are not finite come up first; return the lines that are printed.

    Looked at in this order: features, outputs of the network's parts, terms of the loss, gradients.

    Args:
        cfg: the configuration of the run
        path: a file that ``NonFinite`` has written
        console: where to print

    Raises:
        DataError: it is another file, or the corpus gives another batch than the run had
    """
    found = read_checkpoint(path).get("replay")
    if not isinstance(found, dict):
        raise DataError(f"{path} has no batch to replay; a run leaves one in its folder as non_finite.ckpt")
    checkpoint = load_checkpoint(path)
    datamodule = build_datamodule(cfg, vocabulary=checkpoint.vocabulary)
    datamodule.prepare_data()
    datamodule.setup()
    module = build_module(cfg, datamodule.vocabulary)
    load_weights(module, checkpoint)
    trainer = make_trainer(cfg, callbacks=[], logger=False, enable_checkpointing=False)
    device = trainer.strategy.root_device
    dataset = datamodule.dataset("train")
    lines = []
    batches = found.get("batches", [found])  # earlier files have the last batch alone
    shares = [(each, rank) for each in batches for rank in range(len(each["qids"]))]
    for each, rank in shares:
        number, world = each["batch"], len(each["qids"])
        drawn = _drawn(dataset, cfg, rank=rank, world=world, epoch=found["epoch"], number=number)
        batch = datamodule.transfer_batch_to_device(drawn, device, 0)
        if [dataset.moments[index].qid for index in batch.index.tolist()] != each["qids"][rank]:
            raise DataError(f"{path}: the corpus gives other pairs than the run had; is it the same?")
        restore_random_state(each["random"])
        place = f"process {rank}, batch {number}, " if len(batches) > 1 else f"process {rank}, "
        lines += [f"{place}{line}" for line in _look(module.to(device).train(), batch, trainer, dataset)]
    _print(lines, path, found, console or Console())
    return lines


def _drawn(dataset: GroundingDataset, cfg: DictConfig, *, rank: int, world: int, epoch: int, number: int) -> Any:
    sampler = TrainingSampler(dataset, seed=cfg.seed, rank=rank, world=world)
    sampler.set_epoch(epoch)
    return dataset.__getitems__(sampler.picks()[number * cfg.batch_size : (number + 1) * cfg.batch_size])


def _look(module: GroundingModule, batch: GroundingBatch, trainer: Trainer, dataset: GroundingDataset) -> list[str]:
    lines = []
    videos = batch.per_pair().video
    for pair in (~videos.isfinite().all(dim=(1, 2))).nonzero().flatten().tolist():
        moment = dataset.moments[int(batch.index[pair])]
        lines.append(f"features of video {moment.video} (qid {moment.qid}) are not finite")
    with _watched(module) as parts, trainer.precision_plugin.forward_context():
        terms = module.loss(module(batch), batch)
    lines += [f"output of {name} is not finite" for name in parts]
    lines += [
        f"loss: {name} is {float(value.detach()):g}" for name, value in terms.items() if not bool(value.isfinite())
    ]
    module.zero_grad(set_to_none=True)
    terms["loss"].backward()  # type: ignore[no-untyped-call]
    for name, parameter in module.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            lines.append(f"gradient of {name} is not finite")
    return lines


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[str]]:
    """Collect the names of the parts whose outputs are not finite, in the order in which they are computed."""
    parts: list[str] = []
    handles = [
        part.register_forward_hook(lambda part, args, output, name=name: _note(output, name, parts))
        for name, part in module.named_modules()
        if name
    ]
    try:
        yield parts
    finally:
        for handle in handles:
            handle.remove()


def _note(output: Any, name: str, parts: list[str]) -> None:
    tensors = output if isinstance(output, tuple | list) else [output]
    if any(isinstance(each, Tensor) and not bool(each.isfinite().all()) for each in tensors):
        parts.append(name)


def _print(lines: list[str], path: Path, found: dict[str, Any], console: Console) -> None:
    title = f"{path}: epoch {found['epoch']}, batch {found['batch']}"
    table = Table(title=escape(printable(title)), title_justify="left")
    table.add_column("what is not finite, in the order in which it is computed")
    for line in lines[:SHOWN]:
        table.add_row(escape(printable(line)))
    if len(lines) > SHOWN:
        table.add_row(f"... and {len(lines) - SHOWN} more")
    if not lines:
        table.add_row("nothing: all of it is finite here")
    console.print(table)
