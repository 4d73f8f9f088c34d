"""Where the features are while a model trains: on disk, in memory, or on the device."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import psutil
import torch

from cpnet.data.features.packed import PackedFeatures
from cpnet.data.features.source import FeatureSource
from cpnet.data.progress import Progress, silent
from cpnet.data.rows import DeviceRows, Extent, Rows, SharedRows, SourceRows, StoreRows, measure, shared_bytes
from cpnet.data.shared import remove_abandoned, shared_folder

Residence = Literal["auto", "disk", "memory", "device"]

SHARE = 0.5  # of what is free that ``auto`` takes; the rest is the model's, and other people's

CGROUP, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")

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
    if isinstance(source, PackedFeatures):
        return StoreRows(source, videos)
    return SourceRows(source, videos)


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
        if extent.nbytes <= SHARE * min(free, available_memory()):  # it is read into memory first
            return "device", reasons[-1]
    folder = shared_folder()
    free = shared + min(available_memory(), shutil.disk_usage(folder).free)
    reasons.append(f"{free / 1e9:.1f} GB of memory free for {folder}{', or taken by these rows' if shared else ''}")
    return ("memory" if extent.nbytes <= SHARE * free else "disk"), ", ".join(reasons)


def available_memory() -> int:
    """Bytes that can be taken without swapping, within the limits of the container or job where there are some."""
    return int(min([psutil.virtual_memory().available, *(_left_of(*files) for files in _limits())]))


def _limits() -> Iterator[tuple[Path, Path, Path]]:
    """Files with the limit, the usage and its parts of each control group that this process may be in.

    A container sees its own group at the root; a job of SLURM or systemd is in one further down, and every group above
    it counts too.
    """
    groups = {CGROUP: "memory", CGROUP / "memory": "memory.limit"}
    for line in _read(MEMBERSHIP).splitlines():
        _, controllers, path = line.split(":", 2)
        root = CGROUP / "memory" if controllers == "memory" else CGROUP
        if controllers in ("", "memory"):
            inside = root / path.lstrip("/")
            groups |= {group: groups[root] for group in (inside, *inside.parents) if group.is_relative_to(root)}
    for group, kind in groups.items():
        v1 = kind == "memory.limit"
        limit, usage = ("memory.limit_in_bytes", "memory.usage_in_bytes") if v1 else ("memory.max", "memory.current")
        yield group / limit, group / usage, group / "memory.stat"


def _left_of(limit: Path, usage: Path, statistics: Path) -> float:
    try:
        allowed, used = int(_read(limit)), int(_read(usage))
        cached = {name: int(count) for name, count in (line.split() for line in _read(statistics).splitlines())}
    except ValueError:  # another system, no limit ("max"), or no right to look
        return math.inf
    # Files that the group has read and could forget count as used there; v1 counts usage in total.
    forgettable = cached.get("total_inactive_file", cached.get("inactive_file", 0))
    return max(0, allowed - used + forgettable)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
