"""The loader alone: pairs a second, and its bytes a second as a share of the machine's memory-copy bandwidth.

    python benchmarks/loader.py [--gigabytes 1] [--widths 500 1024 4096]

A pack in float32 is written as packs are delivered, HDF5 with a dataset a video, and packed to float16. Then the
batches of an epoch of training (T = 128, 100 pairs, random phase) are taken

- pair by pair from the delivered pack, as loaders of this field do,
- batch by batch from the delivered pack (``placement=disk`` without a packed store),
- from the packed store mapped into memory (``disk``), and from one array in memory (``memory``).

What a batch moves is its source rows read and its clips written,
both as stored. The pages of the files are in the system's cache: this is the loader's speed, not the disk's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader

from cpnet.batch import GroundingBatch
from cpnet.data.dataset import GroundingDataset, IndexAndPhase
from cpnet.data.features import open_features
from cpnet.data.features.pack import pack
from cpnet.data.sampling import Pick
from cpnet.training.compilation import prepare_process
from machine import copy_bandwidth, describe
from made_up import counts, datamodule, name, write_pack

CLIPS, BATCH = 128, 100
ROWS = {500: 440, 1024: 120, 2048: 120, 4096: 240}  # of a video, as the packs of each width have about


def main() -> None:
    """Print a table for each width."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of each packed store")
    parser.add_argument("--widths", type=int, nargs="+", default=[500, 1024, 4096])
    parser.add_argument("--folder", type=Path, help="where packs are written; a temporary folder otherwise")
    arguments = parser.parse_args()
    prepare_process()
    print(describe())
    for width in arguments.widths:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            measure(Path(folder), width=width, gigabytes=arguments.gigabytes)


def measure(folder: Path, *, width: int, gigabytes: float) -> None:
    """Print the table of one width."""
    rows = ROWS.get(width, 240)
    videos = max(10, int(gigabytes * 1e9 / (2 * width * rows)))
    shape: dict[str, Any] = {"videos": videos, "rows": rows}
    delivered = folder / "delivered.hdf5"
    write_pack(delivered, width=width, **shape)
    durations = dict(zip(map(name, range(videos)), (counts(**shape) / 4).tolist(), strict=True))
    pack(open_features(path=delivered), folder / "packed", videos=durations)

    print(f"\n{width} wide, {videos} videos of about {rows} rows, {videos * rows * width * 2 / 1e9:.1f} GB in float16")
    print(f"{'features':<34}{'pairs/s':>10}{'x pair by pair':>16}{'GB/s':>7}{'of a copy':>11}")
    base = 0.0
    for label, path, placement in (
        ("delivered, pair by pair", delivered, "disk"),
        ("delivered, batch by batch", delivered, "disk"),
        ("packed store, mapped (disk)", folder / "packed", "disk"),
        ("packed store, memory", folder / "packed", "memory"),
    ):
        module = datamodule(
            path,
            pairs={"train": 400 * BATCH, "val": 1, "test": 1},
            **shape,
            width=width,
            placement=placement,
            sampling=Pick(clips=CLIPS),
            batch_size=BATCH,
        )
        loader: DataLoader[Any] = module.train_dataloader()
        if label.endswith("pair by pair"):
            single = PairByPair(delivered, module.dataset("train"))
            loader = DataLoader(single, batch_size=BATCH, sampler=loader.sampler)
        batches = {"delivered": 6}.get(label.partition(",")[0], 60)
        rate, moved = speed(loader, batches=batches)
        copied = copy_bandwidth()
        base = base or rate
        print(
            f"{label:<34}{rate:>10.0f}{rate / base:>16.1f}{moved * rate / 1e9:>7.1f}{moved * rate / copied:>11.0%}",
            flush=True,
        )
    print(f"memory copy: {copied / 1e9:.1f} GB/s")


class PairByPair(torch.utils.data.Dataset[torch.Tensor]):
    """The features of one pair at a time, with h5py and numpy; words and spans are left out."""

    def __init__(self, path: Path, dataset: GroundingDataset) -> None:
        self.path, self.videos = path, [moment.video for moment in dataset.moments]
        self.file: h5py.File | None = None

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, picked: IndexAndPhase) -> torch.Tensor:
        self.file = self.file or h5py.File(self.path, locking=False)
        rows = self.file[self.videos[picked[0]]][()]
        clips = np.zeros((CLIPS, rows.shape[1]), rows.dtype)
        places = np.arange(min(CLIPS, len(rows))) * max(len(rows), CLIPS) // CLIPS
        clips[: len(places)] = rows[places]
        return torch.from_numpy(clips)


def speed(loader: DataLoader[Any], *, batches: int) -> tuple[float, float]:
    """Return pairs a second, the median of a few stretches of an epoch, and the bytes read and written for a pair."""
    moved = 0.0
    rates = []
    for stretch in stretches(loader, batches=batches):
        begin = time.perf_counter()
        for batch in stretch:
            video = batch.video if isinstance(batch, GroundingBatch) else batch
        rates.append(BATCH * batches / (time.perf_counter() - begin))
        # Clips that are padded are written, but nothing is read for them but one row of zeros.
        moved = 2 * video.nbytes / len(video)
    return median(rates), moved


def stretches(loader: DataLoader[Any], *, batches: int) -> Iterator[Iterator[Any]]:
    """Cut an epoch, after its first batches."""
    epoch = iter(loader)
    list(islice(epoch, 6))
    for _ in range(5):
        yield islice(epoch, batches)


if __name__ == "__main__":
    main()
