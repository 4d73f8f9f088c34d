"""What is refused, what is warned of, and on which machine."""

from __future__ import annotations

import logging

import pytest
import torch

from cpnet.config import ConfigError
from cpnet.precision import check_precision, choose_precision


@pytest.fixture
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)


def cpu_has(*capabilities: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict.fromkeys(("avx2", "avx512_bf16", "amx_bf16"), False) | dict.fromkeys(capabilities, True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "16", "fp8", ""])
@pytest.mark.parametrize("accelerator", ["cpu", "gpu", "auto"])
@pytest.mark.parametrize("gpu", [False, True], indirect=True)
@pytest.mark.usefixtures("gpu")
def test_what_works_nowhere_is_refused_everywhere(precision: str, accelerator: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.precision must be one of auto, 32-true, .*; got '{precision}'"):
        check_precision(precision, accelerator)


@pytest.mark.parametrize(
    ("accelerator", "gpu", "refused"),
    [("cpu", False, True), ("cpu", True, True), ("auto", False, True), ("auto", True, False), ("gpu", True, False)],
    indirect=["gpu"],
)
@pytest.mark.usefixtures("gpu")
def test_half_precision_is_refused_where_a_cpu_would_train(accelerator: str, refused: bool) -> None:
    if refused:
        with pytest.raises(ConfigError, match=r"trainer\.precision=16-mixed is for GPUs"):
            check_precision("16-mixed", accelerator)
    else:
        check_precision("16-mixed", accelerator)


@pytest.mark.parametrize(
    ("precision", "accelerator", "capability", "gpu", "warned"),
    [
        ("bf16-mixed", "cpu", "avx2", False, True),
        ("bf16-mixed", "cpu", "avx512_f", False, True),  # no products of bfloat16 yet
        ("bf16-mixed", "cpu", "avx2", True, True),
        ("bf16-mixed", "auto", "avx2", False, True),
        ("bf16-mixed", "cpu", "avx512_bf16", False, False),
        ("bf16-mixed", "auto", "amx_bf16", False, False),
        ("bf16-mixed", "auto", "avx2", True, False),
        ("bf16-mixed", "gpu", "avx2", True, False),
        ("32-true", "cpu", "avx2", False, False),
    ],
    indirect=["gpu"],
)
@pytest.mark.usefixtures("gpu")
def test_emulated_bfloat16_is_warned_of(
    precision: str,
    accelerator: str,
    capability: str,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cpu_has(capability, monkeypatch=monkeypatch)
    with caplog.at_level(logging.WARNING):
        check_precision(precision, accelerator)
        assert choose_precision(precision, accelerator) == precision
    assert ["emulates" in record.getMessage() for record in caplog.records] == [True, True] * warned


@pytest.mark.parametrize(
    ("accelerator", "capability", "gpu", "gpu_has_it", "chosen"),
    [
        ("cpu", "avx2", False, False, "32-true"),
        ("cpu", "avx512_bf16", False, False, "bf16-mixed"),
        ("auto", "amx_bf16", False, False, "bf16-mixed"),
        ("cpu", "avx2", True, True, "32-true"),  # that GPU is not asked for
        ("auto", "avx2", True, True, "bf16-mixed"),
        ("gpu", "avx2", True, True, "bf16-mixed"),
        ("auto", "amx_bf16", True, False, "32-true"),  # nor is that CPU
    ],
    indirect=["gpu"],
)
@pytest.mark.usefixtures("gpu")
def test_auto_is_bfloat16_where_the_processor_that_trains_has_it(
    accelerator: str,
    capability: str,
    gpu_has_it: bool,
    chosen: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cpu_has(capability, monkeypatch=monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu_has_it or including_emulation)
    with caplog.at_level(logging.INFO):
        assert choose_precision("auto", accelerator) == chosen
    assert ["trainer.precision=32-true" in record.getMessage() for record in caplog.records] == [True] * (
        chosen == "bf16-mixed"
    )


@pytest.mark.parametrize(("precision", "said"), [("16-mixed", "is for GPUs"), ("fp8", "must be one of auto, ")])
def test_a_chosen_precision_that_cannot_work_is_refused(precision: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        choose_precision(precision, "cpu")
