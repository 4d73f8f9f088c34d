"""The rows of a corpus's videos in one table, wherever it lies; a video is known by its number in the corpus."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpnet.data.features.packed import PackedFeatures
from cpnet.data.features.source import FeatureSource
from cpnet.data.moment import DataError
from cpnet.data.progress import Progress, silent
from cpnet.data.shared import SharedArray, shared_path

MAPPED_BYTES = 128 << 20  # of a mapped store that a process touches before it gives the pages back


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A table that holds the rows of some videos.

    Shape: rows (R, V), the last one 0; starts and counts (B,) int64: the first row of each video and how many it has
    """

    rows: Tensor
    starts: Tensor
    counts: Tensor


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How large the table of a corpus is.

    Shape: counts and starts (videos,) int64: the rows of each video and the first of them in the table
    """

    counts: Tensor
    starts: Tensor
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize


class Rows(ABC):
    """Where the rows of a corpus's videos lie. Can be pickled; workers share what can be shared."""

    @abstractmethod
    def fetch(self, videos: Tensor) -> Fetched:
        """Give a table with the rows of some videos, which may repeat.

        Shape: videos (B,) int64 numbers

        Raises:
            DataError: the rows of a video cannot be read, or are not finite.
        """


class SourceRows(Rows):
    """Reads the pack as it was delivered, each time anew.

    Args:
        source: the pack
        videos: id of each video
    """

    def __init__(self, source: FeatureSource, videos: Sequence[str]) -> None:
        self.source, self.videos = source, list(videos)

    def fetch(self, videos: Tensor) -> Fetched:
        """See ``Rows``."""
        distinct, places = torch.unique(videos, return_inverse=True)
        tables = [torch.from_numpy(self.source.rows(self.videos[video])) for video in distinct.tolist()]
        tables.append(torch.zeros(1, self.source.dim, dtype=tables[0].dtype))
        counts = torch.tensor([len(table) for table in tables])
        starts = counts.cumsum(0) - counts
        return Fetched(rows=torch.cat(tables), starts=starts[places], counts=counts[places])


class StoreRows(Rows):
    """Maps a packed store, and gives back the pages that it has touched before they are too many.

    Args:
        store: the packed store
        videos: id of each video
    """

    def __init__(self, store: PackedFeatures, videos: Sequence[str]) -> None:
        self.store = store
        places = torch.tensor([store.place(video) for video in videos])
        self.starts, self.counts = places.T.contiguous()
        self._touched = 0

    def fetch(self, videos: Tensor) -> Fetched:
        """See ``Rows``."""
        counts = self.counts[videos]
        if self._touched > MAPPED_BYTES:
            self.store.release()
            self._touched = 0
        self._touched += int(counts.sum()) * self.store.dim * self.store.dtype.itemsize
        return Fetched(rows=torch.from_numpy(self.store.table()), starts=self.starts[videos], counts=counts)


class SharedRows(Rows):
    """All rows in memory, once for all processes of the machine.

    Args:
        source: a pack, or a packed store
        videos: id of each video
        extent: see ``measure``
        progress: wraps the ids while they are read
    """

    def __init__(
        self, source: FeatureSource, videos: Sequence[str], extent: Extent, *, progress: Progress = silent
    ) -> None:
        self.starts, self.counts = extent.starts, extent.counts

        def fill(table: NDArray[Any]) -> None:
            fill_table(table, source, videos, extent, progress)

        key = _key(source, videos, extent)
        self.shared = SharedArray(key, shape=extent.shape, dtype=extent.dtype, fill=fill)

    def fetch(self, videos: Tensor) -> Fetched:
        """See ``Rows``."""
        rows = torch.from_numpy(self.shared.array())
        return _of(rows, self.starts, self.counts, videos)


class DeviceRows(Rows):
    """All rows in the memory of one device, where batches are made.

    Args:
        source: a pack, or a packed store
        videos: id of each video
        extent: see ``measure``
        progress: wraps the ids while they are read
    """

    def __init__(
        self, source: FeatureSource, videos: Sequence[str], extent: Extent, *, progress: Progress = silent
    ) -> None:
        self.starts, self.counts = extent.starts, extent.counts
        table = np.empty(extent.shape, extent.dtype)
        fill_table(table, source, videos, extent, progress)
        self.rows = torch.from_numpy(table)

    def fetch(self, videos: Tensor) -> Fetched:
        """See ``Rows``; the table moves to the device of ``videos``, and stays there.

        Raises:
            DataError: it does not fit there.
        """
        if videos.device != self.rows.device:
            try:
                self.rows, self.starts, self.counts = (
                    tensor.to(videos.device) for tensor in (self.rows, self.starts, self.counts)
                )
            except torch.OutOfMemoryError as error:
                raise DataError(
                    f"{self.rows.nbytes / 1e9:.1f} GB of features do not fit on {videos.device}; set "
                    "dataset.features.residence=memory"
                ) from error
        return _of(self.rows, self.starts, self.counts, videos)


def measure(source: FeatureSource, videos: Sequence[str]) -> Extent:
    """Count the rows of all videos.

    Raises:
        DataError: a video is absent, or has another width than the pack.
    """
    counts = torch.tensor([source.length(video) for video in videos])
    shape = (int(counts.sum()) + 1, source.dim)
    return Extent(counts=counts, starts=counts.cumsum(0) - counts, shape=shape, dtype=source.rows(videos[0]).dtype)


def shared_bytes(source: FeatureSource, videos: Sequence[str], extent: Extent) -> int:
    """Bytes of memory in which ``SharedRows`` of another process hold these rows already."""
    try:
        return shared_path(_key(source, videos, extent)).stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _of(rows: Tensor, starts: Tensor, counts: Tensor, videos: Tensor) -> Fetched:
    return Fetched(rows=rows, starts=starts.index_select(0, videos), counts=counts.index_select(0, videos))


def _key(source: FeatureSource, videos: Sequence[str], extent: Extent) -> str:
    contents = [source.stamp(), str(source.path), extent.dtype.str, list(videos)]
    return hashlib.sha256(repr(contents).encode()).hexdigest()[:32]


def fill_table(
    table: NDArray[Any], source: FeatureSource, videos: Sequence[str], extent: Extent, progress: Progress
) -> None:
    """Read the rows of all videos into a table, and a row of zeros behind them.

    Raises:
        DataError: the rows of a video cannot be read, are not finite, or are not as many as were counted.
    """
    end, read = 0, 0
    for video, count in zip(progress(videos, "reading features"), extent.counts.tolist(), strict=True):
        rows = source.rows(video)
        if len(rows) != count:
            raise DataError(f"{source.path} changed while it was read: {video!r} has other rows now; start again")
        if rows.dtype.itemsize > table.dtype.itemsize:
            raise DataError(
                f"{source.path}: features of {video!r} are {rows.dtype}, those of others {table.dtype}; pack them: "
                "python -m cpnet.prepare action=pack, or set dataset.features.residence=disk"
            )
        table[end : end + len(rows)] = rows
        end, read = end + len(rows), read + rows.nbytes
        if read > MAPPED_BYTES:
            source.release()
            read = 0
    table[end:] = 0
    source.close()
