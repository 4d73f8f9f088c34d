"""What the machine makes of a precision, said before hours are spent on it."""

from __future__ import annotations

import logging

import torch

from cpnet.config import ConfigError

log = logging.getLogger(__name__)

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def check_precision(precision: str, accelerator: str) -> None:
    """Refuse precisions that cannot work, and warn about one that a CPU may run badly.

    Raises:
        ConfigError: a precision that would turn seconds into 16-bit floats, or 16-mixed on a CPU, which Lightning would
            silently replace
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"trainer.precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    if accelerator != "cpu" and (accelerator != "auto" or torch.cuda.is_available()):
        return
    if precision == "16-mixed":
        raise ConfigError("trainer.precision=16-mixed is for GPUs; on a CPU take bf16-mixed or 32-true")
    if precision == "bf16-mixed" and torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):
        log.warning(
            "trainer.precision=%s: this CPU has no bfloat16 arithmetic and emulates it; 32-true is many times faster",
            precision,
        )
