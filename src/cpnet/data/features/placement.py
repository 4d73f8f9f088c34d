"""Placement of the features during training: on disk, in memory, or on the GPU.

The rows of all videos form one table. A video is identified by its number in the corpus.
"""

from __future__ import annotations

import logging
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpnet.data.features.packed import PackedFeatures
from cpnet.data.features.source import FeatureSource
from cpnet.errors import DataError, shown
from cpnet.terminal import track
from cpnet.workers import free_memory

Placement = Literal["auto", "disk", "memory", "device"]

SHARE = 0.5  # share of free memory that ``auto`` may take; the rest is for the model and for other programs

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class VideoRows:
    """The rows of some videos within a table.

    Shape: table (R, V), the last row 0; on the host, first row and number of rows of each video, (B,) int64
    """

    table: Tensor
    starts: Tensor
    counts: Tensor


class PlacedFeatures(ABC):
    """The features of a corpus in any placement."""

    def to(self, device: torch.device | str) -> None:  # noqa: B027  # most placements have nothing to move
        """Move the rows to the device of the model if they are placed there."""

    @abstractmethod
    def fetch(self, videos: Tensor) -> VideoRows:
        """Return a table with the rows of some videos, which may repeat.

        Shape: videos (B,) int64 numbers

        Raises:
            DataError: the rows of a video cannot be read or are not finite
        """


class DeliveredFeatures(PlacedFeatures):
    """Reads the pack as delivered, again for each batch."""

    def __init__(self, source: FeatureSource, videos: Sequence[str]) -> None:
        self.source, self.videos = source, list(videos)

    def fetch(self, videos: Tensor) -> VideoRows:
        """See ``PlacedFeatures``."""
        distinct, places = torch.unique(videos, return_inverse=True)
        tables = [torch.from_numpy(self.source.rows(self.videos[video])) for video in distinct.tolist()]
        tables.append(torch.zeros(1, self.source.dim, dtype=tables[0].dtype))
        counts = torch.tensor([len(table) for table in tables])
        starts = counts.cumsum(0) - counts
        return VideoRows(table=torch.cat(tables), starts=starts[places], counts=counts[places])


class TableFeatures(PlacedFeatures):
    """One table with the rows of all videos: memory-mapped, in this process's memory, or on the model's device.

    Shape: table (R, V), the last row 0; starts and counts (videos,) int64: first row and number of rows of each video
    """

    def __init__(self, table: NDArray[Any], *, starts: Tensor, counts: Tensor, on_device: bool = False) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes to it
            self.table = torch.from_numpy(table)
        self.starts, self.counts = starts, counts
        self.on_device = on_device

    def to(self, device: torch.device | str) -> None:
        """See ``PlacedFeatures``.

        Raises:
            DataError: the table does not fit on the device
        """
        if self.on_device and self.table.device != torch.device(device):
            try:
                self.table = self.table.to(device)
            except torch.OutOfMemoryError as error:
                raise DataError(
                    f"{self.table.nbytes / 1e9:.1f} GB of features do not fit on {device}; set "
                    "dataset.features.placement=memory"
                ) from error

    def fetch(self, videos: Tensor) -> VideoRows:
        """See ``PlacedFeatures``."""
        return VideoRows(table=self.table, starts=self.starts[videos], counts=self.counts[videos])


def place_features(
    source: FeatureSource,
    videos: Sequence[str],
    *,
    placement: str,
    gpu: bool = False,
) -> PlacedFeatures:
    """Place the features of a corpus as ``placement`` specifies, and log the choice and its reason.

    Args:
        source: a pack or its packed store
        videos: id of each video of the corpus
        placement: ``disk`` maps a packed store and reads another pack batch by batch; ``memory`` loads all rows into
            this process; ``device`` loads them onto the device of the model; ``auto`` chooses, see ``choose``
        gpu: whether the model runs on a GPU

    Raises:
        DataError: the features cannot be read or do not fit in memory
    """
    counts = torch.tensor([source.length(video) for video in videos])
    dtype, reason = source.rows(videos[0]).dtype, "dataset.features.placement"
    size = (int(counts.sum()) + 1) * source.dim * dtype.itemsize
    if placement == "auto":
        placement, reason = choose(size, packed=isinstance(source, PackedFeatures), gpu=gpu)
    log.info("features: placement %s (%s)", placement, reason)
    if placement == "disk":
        if not isinstance(source, PackedFeatures):
            return DeliveredFeatures(source, videos)
        starts = torch.tensor([source.start(video) for video in videos])
        return TableFeatures(source.table, starts=starts, counts=counts)
    _check_memory(size)
    table = _load(source, dict(zip(videos, counts.tolist(), strict=True)), dtype)
    return TableFeatures(table, starts=counts.cumsum(0) - counts, counts=counts, on_device=placement == "device")


def choose(size: int, *, packed: bool, gpu: bool) -> tuple[Placement, str]:
    """Choose a placement for a table of ``size`` bytes, and return the reason.

    ``device`` needs a table that fits in half of the GPU's free memory and, to load it, in half of this process's share
    of free memory. Otherwise a packed store is mapped, and another pack is loaded into memory if it fits in half of
    that share.
    """
    if packed and not gpu:
        return "disk", "a packed store is mapped"
    processes = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1)
    free = free_memory() // processes
    reason = f"{size / 1e9:.1f} GB of rows, {free / 1e9:.1f} GB of memory free for each process"
    if gpu:
        free_on_gpu = torch.cuda.mem_get_info()[0]
        reason += f", {free_on_gpu / 1e9:.1f} GB free on the GPU"
        if size <= SHARE * min(free_on_gpu, free):
            return "device", reason
    return "disk" if packed or size > SHARE * free else "memory", reason


def _check_memory(size: int) -> None:
    """Raise a DataError if ``size`` bytes do not fit in the free memory."""
    if size > (free := free_memory()):
        raise DataError(
            f"{size / 1e9:.1f} GB of features do not fit in the {free / 1e9:.1f} GB of free memory; set "
            "dataset.features.placement=disk"
        )


def _load(source: FeatureSource, counts: Mapping[str, int], dtype: np.dtype[Any]) -> NDArray[np.floating]:
    table, end = np.zeros((sum(counts.values()) + 1, source.dim), dtype), 0
    for video in track([*counts], "reading features"):
        rows = source.rows(video)
        if len(rows) != counts[video]:
            raise DataError(
                f"{source.path} changed while it was read: {shown(video)} has a new number of rows; start again"
            )
        if rows.dtype.itemsize > dtype.itemsize:  # float32 after videos of float16
            _check_memory(2 * table.nbytes)  # the wider table, beside this one
            table, dtype = table.astype(rows.dtype), rows.dtype
        table[end : end + len(rows)] = rows
        end += len(rows)
    return table
