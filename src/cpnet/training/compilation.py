"""``torch.compile`` for the model of a run, and settings of the process."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from cpnet.errors import ConfigError
from cpnet.training.cpu_forms import fuse

log = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
PACE_BATCHES = 8  # batches that measure the pace of a run, after a first one that sets up buffers
WORTH_SECONDS = 300.0  # of training left; compiling takes one or two minutes on a CPU


def prepare_process() -> None:
    """Treat denormal numbers as 0, and keep freed memory; call it before the first operation on tensors.

    A saturated softmax leaves numbers below 1e-38, which make matrix products on CPUs several times slower. By default
    the C library returns the memory of large tensors to the system, which clears the pages again for the next tensor:
    on CPUs this takes 2 to 7 per cent of a training step of the full model, depending on batch and processor.
    """
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


class Compilation(Callback):
    """Compile the model of a run with ``torch.compile``.

    Args:
        when: ``true``, ``false`` or ``auto``, which compiles if the first batches show that more than five minutes of
            training are left. ``auto`` depends on a clock: with ``trainer.deterministic=true`` it means ``false``
        cache: folder of compiled code, which later runs reuse

    Raises:
        ConfigError: ``when`` has another value, or it is ``true`` and the machine has no compiler
    """

    def __init__(self, when: str, *, cache: Path) -> None:
        if when not in ("true", "false", "auto"):
            raise ConfigError(f"trainer.compile must be true, false or auto; got {when!r}")
        self.when, self.cache = when, cache
        self.compiled = False
        self.decided: bool | None = None  # for auto; None until the pace is measured
        self.began = 0.0
        self.batches = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the decision, so that a resumed run computes in the same way."""
        return {"decided": self.decided}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the decision."""
        self.decided = state_dict["decided"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile if configured, or if the run was compiled before its interruption."""
        self._compile_if_configured(trainer, pl_module)
        if self.when == "auto" and self.decided and not missing(trainer.strategy.root_device):
            log.info("compiling the model, as before the interruption; this takes minutes")
            self._compile(pl_module, trainer.strategy.root_device)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile if configured."""
        self._compile_if_configured(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Decide by the pace of the first batches; all processes of a run make the same decision."""
        if self.when != "auto" or self.decided is not None:
            return
        if self.batches == 0:
            self.began = time.perf_counter()
        self.batches += 1
        if self.batches <= PACE_BATCHES:
            return
        left = seconds_left(
            (time.perf_counter() - self.began) / PACE_BATCHES,
            batches=int(trainer.num_training_batches),
            epochs=trainer.max_epochs or 1,
            current_epoch=trainer.current_epoch,
            batch=batch_idx,
        )
        device = trainer.strategy.root_device
        worth = left > WORTH_SECONDS and not missing(device)
        self.decided = trainer.strategy.reduce_boolean_decision(worth, all=True)
        if self.decided:
            log.info(
                "compiling the model, which takes minutes: %.0f min of training are left; "
                "disable with trainer.compile=false",
                left / 60,
            )
            self._compile(pl_module, device)

    def _compile_if_configured(self, trainer: Trainer, module: LightningModule) -> None:
        if self.when == "true" and not self.compiled:
            device = trainer.strategy.root_device
            if lacking := missing(device):
                raise ConfigError(f"trainer.compile=true: {lacking}, or set trainer.compile=false")
            self._compile(module, device)

    def _compile(self, module: LightningModule, device: torch.device) -> None:
        assert isinstance(module.model, nn.Module)
        from torch._inductor.runtime.cache_dir_utils import default_cache_dir

        key = "TORCHINDUCTOR_CACHE_DIR"
        if os.environ.get(key) in (None, default_cache_dir()):  # torch sets the default by itself
            os.environ[key] = str(self.cache.absolute())
        compile_model(module.model, device)
        self.compiled = True


def seconds_left(pace: float, *, batches: int, epochs: int, current_epoch: int, batch: int) -> float:
    """Return the remaining seconds of training after a batch of an epoch, at ``pace`` seconds per batch."""
    return pace * (batches * (epochs - current_epoch) - batch - 1)


def is_compiled(trainer: Trainer) -> bool:
    """Return whether the model of a run was compiled."""
    return any(isinstance(callback, Compilation) and callback.compiled for callback in trainer.callbacks)  # type: ignore[attr-defined]


def compile_model(model: nn.Module, device: torch.device) -> None:
    """Compile a model in place, at its next call; its weights keep their names.

    A model may yield the parts to compile separately in a method ``compiled_parts``.
    """
    # Video, query, training, evaluation and each width in this process need their own compilation of a part.
    torch._dynamo.config.recompile_limit = 64
    options: dict[str, Any] = {}
    if device.type == "cpu":
        fuse(model)
        options = {"fallback_random": True}  # torch draws the few random numbers, outside of the compiled loops
    if parts := getattr(model, "compiled_parts", None):
        for part in parts():
            part.compile(dynamic=True, options=options)  # once for all batch sizes and lengths
    else:
        model.compile(options=options)


def missing(device: torch.device) -> str | None:
    """Return what a machine lacks to compile for a device, or None."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return None if has_triton() else "this machine has no Triton, which torch needs to compile for GPUs; install it"
    if device.type == "mps":
        return "torch compiles for CPUs and NVIDIA GPUs; choose another trainer.accelerator"
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "this machine has no C++ compiler (g++ or clang++); install one"
    return None
