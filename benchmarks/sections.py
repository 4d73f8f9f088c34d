"""What a section of the benchmarks is made of: parts with rows, measured within the time of a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from machine import Clock
from setups import Setup

Row = dict[str, str | float]


@dataclass(frozen=True)
class Options:
    """What the user chose.

    Attributes:
        setups: models and batches
        forms: of each model; more than one if compiled models are timed too
        repeats: of each measurement, if there is time
        quick: whether all sizes are tiny, so that every line of code runs in seconds
        peers: folder of the checkouts of other models
    """

    device: torch.device
    setups: list[Setup]
    precisions: list[str]
    repeats: int
    quick: bool
    forms: tuple[str, ...] = ("not compiled",)
    peers: Path | None = None

    @property
    def gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"


@dataclass(frozen=True)
class Part:
    """A table of a section.

    Attributes:
        weight: its share of the time, in seconds on two quiet cores
        rows: measures and yields its rows, each as soon as it is known
    """

    title: str
    weight: float
    rows: Callable[[Clock], Iterable[Row]]


def number(value: str | float) -> str:
    """Return a value as it stands in a table."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
