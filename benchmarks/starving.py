"""Does training wait for data? Steps on fresh batches over steps on one fixed batch.

    python benchmarks/starving.py [--device cuda] [--hidden 128]

Both take turns, a few steps each, on one model in one process; the ratio is of medians. It should stay below 1.05.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import torch

from cpnet.batch import GroundingBatch
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.features import open_features
from cpnet.data.features.pack import pack
from cpnet.data.required_files import default_store
from cpnet.data.sampling import Pick
from cpnet.models import CPNet
from cpnet.options import CPNetOptions
from cpnet.training.compilation import prepare_process
from cpnet.training.losses import GroundingLoss
from machine import describe
from made_up import datamodule, name, write_pack

CLIPS, BATCH, WIDTH, ROWS, VIDEOS = 128, 100, 500, 440, 600
STEPS, TURNS = 3, 9


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--hidden", type=int, default=512, help="D")
    parser.add_argument("--placements", nargs="+", default=["device", "memory", "disk"])
    arguments = parser.parse_args()
    prepare_process()
    print(f"{describe()}; on {arguments.device}")
    print(f"T = {CLIPS}, batch {BATCH}, {WIDTH} wide, D = {arguments.hidden}")
    print(f"{'placement':<12}{'one batch, ms':>15}{'fresh batches, ms':>19}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pack.hdf5"
        write_pack(path, videos=VIDEOS, rows=ROWS, width=WIDTH, dtype="float16")
        durations = dict.fromkeys(map(name, range(VIDEOS)), 1.0)
        pack(open_features(path=path), default_store({"path": path}), videos=durations)
        for placement in arguments.placements:
            module = datamodule(
                path,
                pairs={"train": 100 * BATCH, "val": 1, "test": 1},
                videos=VIDEOS,
                rows=ROWS,
                width=WIDTH,
                placement=placement,
                sampling=Pick(clips=CLIPS),
                batch_size=BATCH,
            )
            compare(placement, module, torch.device(arguments.device), hidden=arguments.hidden)


def compare(placement: str, module: GroundingDataModule, device: torch.device, *, hidden: int) -> None:
    """Print the row of one placement."""
    model = CPNet(WIDTH, module.vocabulary.vectors, CPNetOptions(hidden_dim=hidden)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    fresh = endless(module, device)
    fixed = cycle([next(fresh)])
    step = partial(train, model, optimizer, GroundingLoss(), device)
    step(fixed)
    step(fresh)
    alone, fed = zip(*((timed(step, fixed), timed(step, fresh)) for _ in range(TURNS)), strict=True)
    print(f"{placement:<12}{1e3 * median(alone):>15.1f}{1e3 * median(fed):>19.1f}{median(fed) / median(alone):>8.3f}")


def endless(module: GroundingDataModule, device: torch.device) -> Iterator[GroundingBatch]:
    """Yield batches on the device, epoch after epoch."""
    while True:
        for batch in module.train_dataloader():
            yield module.transfer_batch_to_device(batch, device, 0)


def train(
    model: CPNet,
    optimizer: torch.optim.Optimizer,
    loss: GroundingLoss,
    device: torch.device,
    batches: Iterator[GroundingBatch],
) -> None:
    """Take a few steps, and wait for the device."""
    for batch in islice(batches, STEPS):
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss(model(batch), batch)["loss"])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(step: Callable[[Iterator[GroundingBatch]], None], batches: Iterator[GroundingBatch]) -> float:
    """Return the seconds of one step."""
    begin = time.perf_counter()
    step(batches)
    return (time.perf_counter() - begin) / STEPS


if __name__ == "__main__":
    main()
