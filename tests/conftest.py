"""Settings of all tests."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from hypothesis import settings

from device import DEVICE, MADE_ON_DEVICE

# Machines that run the tests are shared and slow at times: a deadline would fail for their sake.
settings.register_profile("cpnet", deadline=None, max_examples=50)
settings.load_profile("cpnet")


@pytest.fixture(autouse=True)
def _made_on_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make new tensors on the tested device."""
    if DEVICE.type == "cpu" or not any(part in request.path.as_posix() for part in MADE_ON_DEVICE):
        yield
        return
    monkeypatch.setattr(torch, "Generator", partial(torch.Generator, DEVICE))
    with DEVICE:
        yield
