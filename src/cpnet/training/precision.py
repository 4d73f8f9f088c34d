"""Choose and check the floating-point precision before training begins."""

from __future__ import annotations

import logging

import torch
from pytorch_lightning.accelerators import MPSAccelerator

from cpnet.errors import ConfigError

log = logging.getLogger(__name__)

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


def choose_precision(precision: str, accelerator: str) -> str:
    """Check the precision, and resolve ``auto``: ``bf16-mixed`` if the device supports bfloat16, else ``32-true``.

    Logs a warning if the CPU emulates bfloat16.

    Raises:
        ConfigError: the precision is not supported, or is ``16-mixed`` on a CPU, where Lightning silently replaces it
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"trainer.precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    device = device_type(accelerator)
    gpu = device == "cuda"
    if precision == "auto":
        supported = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        if not supported and not (device == "cpu" and cpu_has_bfloat16()):
            return "32-true"
        log.info("precision bf16-mixed: the %s supports bfloat16; disable with trainer.precision=32-true", device)
        return "bf16-mixed"
    if precision == "16-mixed" and not gpu:
        raise ConfigError("trainer.precision=16-mixed needs an NVIDIA GPU; use bf16-mixed or 32-true elsewhere")
    if precision == "bf16-mixed" and device == "cpu" and not cpu_has_bfloat16():
        log.warning("this CPU emulates bfloat16; trainer.precision=32-true is many times faster")
    return precision


def device_type(accelerator: str) -> str:
    """Return the type of device that Lightning takes for ``trainer.accelerator``: cuda, mps or cpu."""
    if accelerator in ("auto", "gpu", "mps") and MPSAccelerator.is_available():
        return "mps"
    return "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"


def cpu_has_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16 matrix products."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
