"""Where the features are while a model trains: on disk, in memory, or on the device."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import psutil
import torch

from cpnet.data.features.pack import Progress, silent
from cpnet.data.features.packed import PackedFeatures
from cpnet.data.features.source import FeatureSource
from cpnet.data.rows import DeviceRows, Extent, Rows, SharedRows, SourceRows, StoreRows, measure, shared_bytes
from cpnet.data.shared import remove_abandoned, shared_folder

Residence = Literal["auto", "disk", "memory", "device"]

SHARE = 0.5  # of what is free that ``auto`` takes; the rest is the model's, and other people's

CGROUP = Path("/sys/fs/cgroup")

log = logging.getLogger(__name__)


def place_rows(
    source: FeatureSource,
    videos: Sequence[str],
    *,
    residence: Residence = "auto",
    gpu: bool = False,
    progress: Progress = silent,
) -> Rows:
    """Put the rows of a corpus's videos where ``residence`` says; the log tells where they are and why.

    Args:
        source: a pack, or its packed store
        videos: id of each video of the corpus
        residence: ``disk`` maps a packed store, and reads another pack video by video; ``memory`` holds all rows once
            for all processes of the machine; ``device`` holds them where the model is; ``auto`` takes the fastest of
            these for which half of what is free will do
        gpu: whether the model will be on a GPU
        progress: wraps the ids while they are read

    Raises:
        DataError: the features cannot be read, or there is no room for them
        ValueError: an unknown residence
    """
    if residence not in get_args(Residence):
        allowed = ", ".join(get_args(Residence))
        raise ValueError(f"dataset.features.residence must be one of {allowed}; got {residence!r}")
    if residence == "disk":
        log.info("features: residence disk, %s", "mapped" if isinstance(source, PackedFeatures) else "as delivered")
        return on_disk(source, videos)
    extent = measure(source, videos)
    chosen: Residence = residence
    reason = "as told"
    if residence == "auto":
        remove_abandoned()
        chosen, reason = choose(extent, gpu=gpu, shared=shared_bytes(source, videos, extent))
    log.info("features: residence %s, %.2f GB of %s rows (%s)", chosen, extent.nbytes / 1e9, extent.dtype, reason)
    if chosen == "disk":
        if not isinstance(source, PackedFeatures):
            log.warning(
                "features: each batch will be read from %s; action=pack of cpnet.prepare is faster", source.path
            )
        return on_disk(source, videos)
    return (DeviceRows if chosen == "device" else SharedRows)(source, videos, extent, progress=progress)


def on_disk(source: FeatureSource, videos: Sequence[str]) -> Rows:
    """Read the rows when they are asked for."""
    return (StoreRows if isinstance(source, PackedFeatures) else SourceRows)(source, videos)  # type: ignore[arg-type]


def choose(extent: Extent, *, gpu: bool, shared: int = 0) -> tuple[Residence, str]:
    """Choose the fastest residence that half of what is free will hold, and say why.

    Args:
        extent: of the table
        gpu: whether the model will be on a GPU
        shared: bytes of memory that hold the table already, or in part: what another process chose, this one chooses
    """
    reasons = []
    if gpu:
        free = torch.cuda.mem_get_info()[0]
        reasons.append(f"{free / 1e9:.1f} GB free on the GPU")
        if extent.nbytes <= SHARE * free:
            return "device", reasons[-1]
    folder = shared_folder()
    free = shared + min(available_memory(), shutil.disk_usage(folder).free)
    reasons.append(f"{free / 1e9:.1f} GB of memory free for {folder}{', or taken by these rows' if shared else ''}")
    return ("memory" if extent.nbytes <= SHARE * free else "disk"), ", ".join(reasons)


def available_memory() -> int:
    """Bytes that can be taken without swapping, within the limit of a container where there is one."""
    free = int(psutil.virtual_memory().available)
    for limit, usage, statistics in (
        ("memory.max", "memory.current", "memory.stat"),  # cgroup v2
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),  # v1
    ):
        try:
            allowed, used = (int((CGROUP / name).read_text()) for name in (limit, usage))
            pairs = (line.split() for line in (CGROUP / statistics).read_text().splitlines())
            cached = {name: int(count) for name, count in pairs}
        except (OSError, ValueError):  # another system, no limit ("max"), or no right to look
            continue
        # Files that the container has read and could forget count as used there.
        forgettable = cached.get("total_inactive_file", cached.get("inactive_file", 0))  # v1 counts usage in total
        free = min(free, max(0, allowed - used + forgettable))
    return free
