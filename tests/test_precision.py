"""What is refused, what is warned of, and on which machine."""

from __future__ import annotations

import logging

import pytest
import torch

from cpnet.config import ConfigError
from cpnet.precision import check_precision


@pytest.fixture
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)


def cpu_is(capability: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "16", "fp8", ""])
@pytest.mark.parametrize("accelerator", ["cpu", "gpu", "auto"])
@pytest.mark.parametrize("gpu", [False, True], indirect=True)
@pytest.mark.usefixtures("gpu")
def test_what_works_nowhere_is_refused_everywhere(precision: str, accelerator: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.precision must be one of 32-true, .*; got '{precision}'"):
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
        ("bf16-mixed", "cpu", "AVX2", False, True),
        ("bf16-mixed", "auto", "DEFAULT", False, True),
        ("bf16-mixed", "cpu", "AVX512", False, False),
        ("bf16-mixed", "auto", "AVX2", True, False),
        ("bf16-mixed", "gpu", "AVX2", True, False),
        ("32-true", "cpu", "AVX2", False, False),
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
    cpu_is(capability, monkeypatch)
    with caplog.at_level(logging.WARNING):
        check_precision(precision, accelerator)
    assert ["emulates" in record.getMessage() for record in caplog.records] == [True] * warned
