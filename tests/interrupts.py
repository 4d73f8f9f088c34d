"""Interrupt a training in this process."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cpnet.training.module import GroundingModule


@contextmanager
def signalled(method: str, at: int, number: int = signal.SIGTERM) -> Iterator[None]:
    """Send a signal at the ``at``-th call of a method of the module, counted from 0."""
    original, calls = getattr(GroundingModule, method), itertools.count()

    def step(module: GroundingModule, *arguments: Any) -> Any:
        if next(calls) == at:
            os.kill(os.getpid(), number)
        return original(module, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GroundingModule, method, step)
        yield
