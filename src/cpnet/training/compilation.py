"""``torch.compile`` for the model of a run, and settings of the process."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from cpnet.errors import ConfigError
from cpnet.training.cpu_forms import fuse

log = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
AUTO_DEVICES = ("cuda",)
PEAK_FLOPS = 1e15  # a second; training steps of this size reach it on no GPU (peak of an H100 in bfloat16: 9.9e14)
LAUNCH_SECONDS = 1e-3  # a batch; Python takes longer to launch the operations of a step
WORTH_SECONDS = 180 / 0.1  # compiling for a GPU takes up to 180 s and saves at least a tenth of the steps' time


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
    """Compile the training steps of a run with ``torch.compile``, and log the cost; evaluation is never compiled.

    Args:
        when: ``true``, ``false`` or ``auto``, which compiles on NVIDIA GPUs if a lower bound of the training time is
            above ``WORTH_SECONDS``. It follows from the configuration: all processes and resumed runs decide the same
        cache: folder of compiled code, which later runs reuse

    Raises:
        ConfigError: ``when`` has another value, or it is ``true`` and the machine has no compiler
    """

    def __init__(self, when: str, *, cache: Path) -> None:
        if when not in ("true", "false", "auto"):
            raise ConfigError(f"trainer.compile must be true, false or auto; got {when!r}")
        self.when, self.cache = when, cache
        self.compiled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile if configured, or if it is worth it; weights, buffers and random numbers of the run stay the same."""
        device = trainer.strategy.root_device
        automatic = self.when == "auto" and device.type in AUTO_DEVICES
        if self.when != "true" and not automatic:
            return
        if lacking := missing(device):
            if automatic:
                return
            raise ConfigError(f"trainer.compile=true: {lacking}, or set trainer.compile=false")
        buffers = {name: each.clone() for name, each in pl_module.named_buffers()}
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            run = first_pass(trainer, pl_module)
            if not automatic or is_worth(trainer, run):
                self._compile(pl_module, run)
        pl_module.load_state_dict(buffers, strict=False)

    def _compile(self, module: LightningModule, run: Callable[[], object]) -> None:
        """Compile the model, and log what it costs and saves."""
        from torch._inductor.runtime.cache_dir_utils import default_cache_dir

        key = "TORCHINDUCTOR_CACHE_DIR"
        if os.environ.get(key) in (None, default_cache_dir()):  # torch sets the default by itself
            os.environ[key] = str(self.cache.absolute())
        log.info("compiling the model, which takes minutes; disable with trainer.compile=false")
        timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
        plain = timer.timeit(3).mean
        compile_model(module.model, module.device)  # type: ignore[arg-type]
        self.compiled, began = True, time.perf_counter()
        run()
        cost, saved = time.perf_counter() - began, plain - timer.timeit(3).mean
        message = "compiled in %.0f s, which saves %.1f of the %.1f ms of a forward and a backward pass"
        log.info(message, cost, 1e3 * saved, 1e3 * plain)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch to the plain model: compiling it for evaluation takes longer than it saves."""
        if self.compiled:
            torch.compiler.set_stance("force_eager")
            fuse(pl_module, undo=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule, exception: Any = None) -> None:
        """Switch back to the compiled model."""
        if self.compiled:
            torch.compiler.set_stance("default")
            if pl_module.device.type == "cpu":
                fuse(pl_module)

    on_test_start = on_validation_start
    on_test_end = on_exception = on_validation_end


def first_pass(trainer: Trainer, module: LightningModule) -> Callable[[], object]:
    """Return a forward and a backward pass of the split's first pairs, which leaves the gradients of the run alone."""
    loader: Any = trainer.train_dataloader
    batch = trainer.strategy.batch_to_device(loader.dataset[range(min(loader.batch_size, len(loader.dataset)))])
    parameters = [each for each in module.parameters() if each.requires_grad]

    def run() -> object:
        with trainer.precision_plugin.train_step_context():
            loss = module.loss(module(batch), batch)["loss"]  # type: ignore[operator]
        return torch.autograd.grad(loss, parameters, allow_unused=True)

    return run


def is_worth(trainer: Trainer, run: Callable[[], object]) -> bool:
    """Return whether training takes long enough to compile, by the FLOPs of one pass."""
    with FlopCounterMode(display=False) as counter:
        run()
    batches = int(trainer.estimated_stepping_batches) * trainer.accumulate_grad_batches
    least = batches * (counter.get_total_flops() / PEAK_FLOPS + LAUNCH_SECONDS)
    worth = bool(least > WORTH_SECONDS)
    chosen = "compiles" if worth else "does not compile"
    log.info("training takes %.1f min or more on one GPU: trainer.compile=auto %s", least / 60, chosen)
    return worth


def compile_model(model: nn.Module, device: torch.device) -> None:
    """Compile a model in place, at its next call; its weights keep their names.

    A model may yield the parts to compile separately in a method ``compiled_parts``.
    """
    torch._dynamo.config.recompile_limit = 64  # all parts of a process, in each mode, count together
    torch.fx.experimental._config.use_duck_shape = False  # a batch with B = T would be compiled for B = T alone
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
