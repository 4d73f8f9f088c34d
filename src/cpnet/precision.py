"""What the machine makes of a precision, said before hours are spent on it."""

from __future__ import annotations

import logging

import torch

from cpnet.config import ConfigError

log = logging.getLogger(__name__)

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def choose_precision(precision: str, accelerator: str) -> str:
    """Give ``auto`` its meaning: matrix products in bfloat16 where the processor has them, float32 elsewhere.

    Raises:
        ConfigError: see :func:`check_precision`
    """
    if precision != "auto":
        check_precision(precision, accelerator)
        return precision
    gpu = accelerator != "cpu" and torch.cuda.is_available()
    if torch.cuda.is_bf16_supported(including_emulation=False) if gpu else cpu_has_bfloat16():
        log.info("matrix products in bfloat16, which this %s has; trainer.precision=32-true", "GPU" if gpu else "CPU")
        return "bf16-mixed"
    return "32-true"


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies matrices of bfloat16 itself."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def check_precision(precision: str, accelerator: str) -> None:
    """Refuse precisions that cannot work, and warn about one that a CPU may run badly.

    Raises:
        ConfigError: a precision that would turn seconds into 16-bit floats, or 16-mixed on a CPU, which Lightning would
            silently replace
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"trainer.precision must be one of auto, {', '.join(PRECISIONS)}; got {precision!r}")
    if accelerator != "cpu" and (accelerator != "auto" or torch.cuda.is_available()):
        return
    if precision == "16-mixed":
        raise ConfigError("trainer.precision=16-mixed is for GPUs; on a CPU take bf16-mixed or 32-true")
    if precision == "bf16-mixed" and not cpu_has_bfloat16():
        log.warning(
            "trainer.precision=%s: this CPU has no bfloat16 arithmetic and emulates it; 32-true is many times faster",
            precision,
        )
