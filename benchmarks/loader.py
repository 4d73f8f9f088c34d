"""The loader alone: pairs a second, and its bytes a second over the bytes a second of copying memory.

A pack in float32 is written as packs are delivered, HDF5 with a dataset a video, and packed to float16. The batches of
an epoch of training (random phase) are taken pair by pair from the delivered pack, as loaders of this field do; batch
by batch from it; and from the packed store. What a batch moves is its source rows read and its clips written, both as
stored. The pages of the files are in the system's cache: this is the loader's speed, not the disk's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from functools import partial
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
from made_up import Shape, datamodule, write_pack
from sections import Clock, Options, Part, Row, seconds

CLIPS, BATCH, STRETCHES = 128, 100, 5
ROWS = {500: 440, 1024: 120, 4096: 240}  # of a video, as the packs of each width have about
COPIED_BYTES = 256 << 20  # more than the cache of a processor
GIGABYTES = 0.5  # of a packed store


def parts(options: Options) -> Iterator[Part]:
    """Yield a part for each width."""
    for width, rows in list(ROWS.items())[: 1 if options.quick else None]:
        shape = Shape(10, 8, 8) if options.quick else Shape(int(GIGABYTES * 1e9 / (2 * width * rows)), rows, width)
        title = f"{shape.width} wide, {shape.videos} videos of about {shape.rows} rows"
        yield Part(title, 15.0, partial(measure, options, shape))


def measure(options: Options, shape: Shape, clock: Clock) -> Iterator[Row]:
    """Yield a row for each way to read features."""
    batches, copied = (20, 1 << 20) if options.quick else (400, COPIED_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        clock.say("packing made-up features")
        delivered, packed = Path(folder, "delivered.hdf5"), Path(folder, "packed")
        write_pack(delivered, shape)
        pack(open_features(path=delivered), packed, videos=shape.durations())
        base = 0.0
        for label, path, placement in (
            ("delivered, pair by pair", delivered, "disk"),
            ("delivered, batch by batch", delivered, "disk"),
            ("packed store, mapped (disk)", packed, "disk"),
            ("packed store, memory", packed, "memory"),
        ):
            clock.say(label)
            module = datamodule(
                path, shape, pairs=batches * BATCH, placement=placement, sampling=Pick(clips=CLIPS), batch_size=BATCH
            )
            loader: DataLoader[Any] = module.train_dataloader()
            if label.endswith("pair by pair"):
                single = PairByPair(delivered, module.dataset("train"))
                loader = DataLoader(single, batch_size=BATCH, sampler=loader.sampler)
            rate, moved = speed(loader, batches=1 if options.quick else 6 if path == delivered else 60, clock=clock)
            base, bandwidth = base or rate, moved * rate
            rates: Row = {"pairs/s": rate, "x pair by pair": rate / base, "GB/s": bandwidth / 1e9}
            yield {"features": label, **rates, "% of a copy": 100 * bandwidth / copy_bandwidth(copied)}


def copy_bandwidth(size: int) -> float:
    """Return the bytes a second of copying between two existing buffers; reads and writes count."""
    source, target = (torch.from_numpy(np.ones(size, np.uint8)) for _ in range(2))
    return 2 * size / seconds(lambda: target.copy_(source))


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


def speed(loader: DataLoader[Any], *, batches: int, clock: Clock) -> tuple[float, float]:
    """Return pairs a second, the median of a few stretches of an epoch, and the bytes read and written for a pair."""
    epoch, rates = iter(loader), list[float]()
    list(islice(epoch, 6))
    while not rates or (len(rates) < STRETCHES and clock.left() > 0):
        begin = time.perf_counter()
        for batch in islice(epoch, batches):
            video = batch.video if isinstance(batch, GroundingBatch) else batch
        rates.append(BATCH * batches / (time.perf_counter() - begin))
    clock.repeats = len(rates)
    clock.cut = clock.cut or (f"repeats cut from {STRETCHES}" if len(rates) < STRETCHES else "")
    # Clips that are padded are written, but nothing is read for them but one row of zeros.
    return median(rates), 2 * video.nbytes / len(video)
