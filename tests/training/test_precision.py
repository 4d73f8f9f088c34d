"""Precisions that are chosen, refused or warned about, by device and CPU."""

from __future__ import annotations

import logging

import pytest
import torch

from cpnet.errors import ConfigError
from cpnet.training.precision import choose_precision


def set_machine(patch: pytest.MonkeyPatch, *, cpu: str, gpu: bool, gpu_bfloat16: bool = False) -> None:
    known = dict.fromkeys(("avx2", "avx512_f", "avx512_bf16", "amx_bf16"), False) | {cpu: True}
    patch.setattr(torch.cpu, "get_capabilities", lambda: known)
    patch.setattr(torch.cuda, "is_available", lambda: gpu)
    patch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu_bfloat16 or including_emulation)


@pytest.mark.parametrize(
    ("precision", "accelerator", "gpu", "message"),
    [
        ("bf16-true", "cpu", False, "must be one of auto, 32-true, .*; got 'bf16-true'"),
        ("", "gpu", True, "must be one of auto, 32-true, .*; got ''"),
        ("64-true", "auto", True, "must be one of auto, 32-true, .*; got '64-true'"),
        ("16-mixed", "cpu", False, "=16-mixed needs an NVIDIA GPU"),
        ("16-mixed", "cpu", True, "=16-mixed needs an NVIDIA GPU"),
        ("16-mixed", "auto", False, "=16-mixed needs an NVIDIA GPU"),
    ],
)
def test_unsupported_precision_is_refused(
    precision: str, accelerator: str, gpu: bool, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_machine(monkeypatch, cpu="avx2", gpu=gpu)
    with pytest.raises(ConfigError, match=rf"trainer\.precision ?{message}"):
        choose_precision(precision, accelerator)


@pytest.mark.parametrize(
    ("precision", "accelerator", "cpu", "gpu", "gpu_bfloat16", "chosen", "warned"),
    [
        ("32-true", "cpu", "avx2", False, False, "32-true", False),
        ("16-mixed", "auto", "avx2", True, False, "16-mixed", False),
        ("16-mixed", "gpu", "avx2", True, False, "16-mixed", False),
        ("bf16-mixed", "cpu", "avx2", False, False, "bf16-mixed", True),
        ("bf16-mixed", "cpu", "avx512_f", False, False, "bf16-mixed", True),  # without bfloat16 products
        ("bf16-mixed", "cpu", "avx2", True, True, "bf16-mixed", True),
        ("bf16-mixed", "auto", "avx2", False, False, "bf16-mixed", True),
        ("bf16-mixed", "cpu", "avx512_bf16", False, False, "bf16-mixed", False),
        ("bf16-mixed", "auto", "amx_bf16", False, False, "bf16-mixed", False),
        ("bf16-mixed", "auto", "avx2", True, True, "bf16-mixed", False),
        ("bf16-mixed", "gpu", "avx2", True, True, "bf16-mixed", False),
        ("auto", "cpu", "avx2", False, False, "32-true", False),
        ("auto", "cpu", "avx512_bf16", False, False, "bf16-mixed", False),
        ("auto", "auto", "amx_bf16", False, False, "bf16-mixed", False),
        ("auto", "cpu", "avx2", True, True, "32-true", False),  # accelerator=cpu ignores the GPU
        ("auto", "auto", "avx2", True, True, "bf16-mixed", False),
        ("auto", "gpu", "avx2", True, True, "bf16-mixed", False),
        ("auto", "auto", "amx_bf16", True, False, "32-true", False),  # accelerator=auto uses the GPU
    ],
)
def test_precision_depends_on_the_device(
    precision: str,
    accelerator: str,
    cpu: str,
    gpu: bool,
    gpu_bfloat16: bool,
    chosen: str,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    set_machine(monkeypatch, cpu=cpu, gpu=gpu, gpu_bfloat16=gpu_bfloat16)
    with caplog.at_level(logging.INFO):
        assert choose_precision(precision, accelerator) == chosen
    assert ("emulates" in caplog.text) == warned
    assert ("trainer.precision=32-true" in caplog.text) == (warned or (precision, chosen) == ("auto", "bf16-mixed"))
