"""Measure what a run costs: seconds of training, FLOPs and speed of a forward pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from cpnet.runs.results import ForwardCost

Shape = Sequence[int]
PASSES = 3  # timed forward passes, of which the fastest counts: others may share the machine


class CostMeter(Callback):
    """Measures the training over all starts of the run, and the forward pass of the first tested batch.

    Attributes:
        seconds: wall time of the training as ``fit``, and time of this process on processor cores as ``fit_cpu``; empty
            without a training
        forward: cost of a forward pass; None before a test, and if this process tests no pair
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.forward: ForwardCost | None = None
        self._last: tuple[float, float] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clocks."""
        self._last = time.perf_counter(), time.process_time()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clocks."""
        self._count()
        self._last = None

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds so far."""
        self._count()
        return dict(self.seconds)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Add the seconds of earlier starts."""
        self.seconds = dict(state_dict)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the forward pass; after the test, Lightning moves the model to the host."""
        batch = next(iter(trainer.test_dataloaders))  # type: ignore[arg-type]
        if len(batch):
            batch = trainer.strategy.batch_to_device(batch)
            with torch.inference_mode(), trainer.precision_plugin.forward_context():
                self.forward = forward_cost(lambda: pl_module(batch), pairs=len(batch))

    def _count(self) -> None:
        if self._last is not None:
            now = time.perf_counter(), time.process_time()
            for name, since, until in zip(("fit", "fit_cpu"), self._last, now, strict=True):
                self.seconds[name] = self.seconds.get(name, 0.0) + until - since
            self._last = now


def forward_cost(run: Callable[[], object], *, pairs: int) -> ForwardCost:
    """Measure a function that predicts some pairs, after a pass that counts its FLOPs."""
    aten = torch.ops.aten
    uncounted = {  # by torch
        aten.mkldnn_rnn_layer: _mkldnn_flops,
        aten._cudnn_rnn: _cudnn_flops,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    }
    with FlopCounterMode(display=False, custom_mapping=uncounted) as counter:
        run()
    timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
    seconds = min(timer.timeit(1).mean for _ in range(PASSES))
    return ForwardCost(gflop=counter.get_total_flops() / pairs / 1e9, pairs_per_sec=pairs / seconds)


def _mkldnn_flops(x: Shape, of_input: Shape, of_hidden: Shape, *_: Any, **__: Any) -> int:
    return 2 * prod(x[:-1]) * (prod(of_input) + prod(of_hidden))


def _cudnn_flops(x: Shape, weights: Sequence[Shape], *_: Any, **__: Any) -> int:
    return 2 * prod(x[:-1]) * sum(prod(each) for each in weights if len(each) == 2)


def _attention_flops(q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
    return 2 * prod(q[:-1]) * k[-2] * (q[-1] + v[-1])
