"""What makes a process fast that no line of a model shows: its memory, its arithmetic, and compiled models."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from cpnet.config import ConfigError

log = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
PACE_BATCHES = 8  # by how many a run's pace is judged; the first, which sets up buffers, does not count
WORTH_SECONDS = 300.0  # of training that is left, where compiling takes one or two minutes of a CPU


def prepare_process() -> None:
    """Keep freed memory, and take denormal numbers for 0; before the first operation on tensors.

    The C library returns every large tensor's memory to the system, which clears each page again when the next tensor
    is made: that costs more than writing to it. And a saturated softmax leaves numbers below 1e-38, with which CPUs
    multiply matrices several times as slowly.
    """
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


class Compilation(Callback):
    """Compiles the model of a run with ``torch.compile``.

    Args:
        when: ``true``, ``false``, or ``auto``: when the first batches show that the training left takes more than
            five minutes; a clock says so, hence ``trainer.deterministic=true`` takes ``auto`` for ``false``
        cache: folder of what was compiled, for the next run

    Raises:
        ConfigError: ``when`` is another word, or it is ``true`` and the machine has no compiler
    """

    def __init__(self, when: str, *, cache: Path) -> None:
        if when not in ("true", "false", "auto"):
            raise ConfigError(f"trainer.compile must be true, false or auto; got {when!r}")
        self.when, self.cache = when, cache
        self.compiled = False
        self.decided: bool | None = None  # by the pace
        self.began = 0.0
        self.batches = 0

    def state_dict(self) -> dict[str, Any]:
        """What was decided by the pace: a run that goes on computes in the same way."""
        return {"decided": self.decided}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Hold to what was decided."""
        self.decided = state_dict["decided"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile at once where that was asked for, or decided before the run was broken off."""
        self._compile_where_asked(trainer, pl_module)
        if self.when == "auto" and self.decided and not missing(trainer.strategy.root_device):
            log.info("the model is compiled first, as before the run was broken off; that takes minutes")
            self._compile(pl_module, trainer.strategy.root_device)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile at once where that was asked for."""
        self._compile_where_asked(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Judge the pace of the first batches; all processes of a run decide alike."""
        if self.when != "auto" or self.decided is not None:
            return
        if self.batches == 0:
            self.began = time.perf_counter()
        self.batches += 1
        if self.batches <= PACE_BATCHES:
            return
        pace = (time.perf_counter() - self.began) / PACE_BATCHES
        epochs_left = (trainer.max_epochs or 1) - trainer.current_epoch
        left = pace * (trainer.num_training_batches * epochs_left - batch_idx - 1)
        device = trainer.strategy.root_device
        worth = left > WORTH_SECONDS and not missing(device)
        self.decided = trainer.strategy.reduce_boolean_decision(worth, all=True)
        if self.decided:
            log.info(
                "the model is compiled now, which takes minutes, since training takes %.0f min more; "
                "trainer.compile=false trains without",
                left / 60,
            )
            self._compile(pl_module, device)

    def _compile_where_asked(self, trainer: Trainer, module: LightningModule) -> None:
        if self.when == "true" and not self.compiled:
            device = trainer.strategy.root_device
            if lacking := missing(device):
                raise ConfigError(f"trainer.compile=true: {lacking}; install it, or trainer.compile=false")
            self._compile(module, device)

    def _compile(self, module: LightningModule, device: torch.device) -> None:
        assert isinstance(module.model, nn.Module)
        from torch._inductor.runtime.cache_dir_utils import default_cache_dir

        key = "TORCHINDUCTOR_CACHE_DIR"
        if os.environ.get(key) in (None, default_cache_dir()):  # torch writes there what it takes by itself
            os.environ[key] = str(self.cache.absolute())
        compile_model(module.model, device)
        self.compiled = True


def is_compiled(trainer: Trainer) -> bool:
    """Whether the model of a run was compiled."""
    return any(isinstance(callback, Compilation) and callback.compiled for callback in trainer.callbacks)  # type: ignore[attr-defined]


def compile_model(model: nn.Module, device: torch.device) -> None:
    """Have a model compiled at its next call, in place: its weights keep their names."""
    # A part serves video, query and both modes, and a preset of another width may follow in the process.
    torch._dynamo.config.recompile_limit = 64
    model.compile(options=options(device))


def options(device: torch.device) -> Mapping[str, Any]:
    """Options of ``torch.compile`` for a device."""
    # On a CPU random numbers are drawn by torch, outside of the loops: there are few, see cpnet.models.dropout.
    return {"fallback_random": True} if device.type == "cpu" else {}


def missing(device: torch.device) -> str | None:
    """Say what a machine lacks to compile for a device."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return None if has_triton() else "this machine has no Triton, with which torch compiles for GPUs"
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "this machine has no C++ compiler (g++ or clang++)"
    return None
