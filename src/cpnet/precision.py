"""What the machine makes of a precision, said before hours are spent on it."""

from __future__ import annotations

import logging

import torch

from cpnet.config import ConfigError

log = logging.getLogger(__name__)


def check_precision(precision: str, accelerator: str) -> None:
    """Refuse or warn about precisions that a CPU runs badly; does nothing where a GPU will train.

    Raises:
        ConfigError: a 16-bit float on a CPU, which Lightning would silently replace or which gives NaN
    """
    if accelerator != "cpu" and (accelerator != "auto" or torch.cuda.is_available()):
        return
    if precision in ("16-mixed", "16-true"):
        raise ConfigError(f"trainer.precision={precision} is for GPUs; on a CPU take bf16-mixed or 32-true")
    if precision.startswith("bf16") and torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):
        log.warning(
            "trainer.precision=%s: this CPU has no bfloat16 arithmetic and emulates it; 32-true is many times faster",
            precision,
        )
