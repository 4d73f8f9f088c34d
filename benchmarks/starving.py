"""Does training wait for data? Steps on fresh batches over steps on one fixed batch, which should stay below 1.05."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from pathlib import Path

from cpnet.batch import GroundingBatch
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.features import open_features
from cpnet.data.features.pack import pack
from cpnet.data.required_files import default_store
from cpnet.data.sampling import Pick
from cpnet.models import CPNet
from cpnet.options import CPNetOptions
from machine import Clock, in_turns
from made_up import datamodule, name, write_pack
from sections import Options, Part, Row
from setups import training_step

CLIPS, BATCH, WIDTH, ROWS, VIDEOS, HIDDEN = 128, 100, 500, 440, 600, 128


def parts(options: Options) -> Iterator[Part]:
    """Yield the only part."""
    title = f"T = {CLIPS}, batch {BATCH}, {WIDTH} wide, D = {HIDDEN}, from the packed store"
    yield Part(title, 90.0, partial(measure, options))


def measure(options: Options, clock: Clock) -> Iterator[Row]:
    """Yield a row a placement."""
    videos, batch = (8, 4) if options.quick else (VIDEOS, BATCH)
    clock.say("packing made-up features")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pack.hdf5"
        write_pack(path, videos=videos, rows=ROWS, width=WIDTH, dtype="float16")
        pack(
            open_features(path=path), default_store({"path": path}), videos=dict.fromkeys(map(name, range(videos)), 1.0)
        )
        for left, placement in zip((3, 2, 1), ("device", "memory", "disk"), strict=True):
            module = datamodule(
                path,
                pairs={"train": 100 * batch, "val": 1, "test": 1},
                videos=videos,
                rows=ROWS,
                width=WIDTH,
                placement=placement,
                sampling=Pick(clips=CLIPS),
                batch_size=batch,
            )
            mine = Clock(ends=clock.ends - clock.left() * (left - 1) / left, say=clock.say)
            fixed, fresh = compare(module, options, mine)
            clock.repeats, clock.cut = mine.repeats, mine.cut or clock.cut
            times: Row = {"one batch, ms": 1e3 * fixed, "fresh batches, ms": 1e3 * fresh}
            yield {"placement": placement, **times, "x": fresh / fixed}


def compare(module: GroundingDataModule, options: Options, clock: Clock) -> tuple[float, float]:
    """Return the seconds of a step on one batch, and on fresh batches."""
    model = CPNet(WIDTH, module.vocabulary.vectors, CPNetOptions(hidden_dim=16 if options.quick else HIDDEN)).to(
        options.device
    )
    module.dataset("train").features.to(options.device)
    fresh = endless(module, options)
    batches = {"one batch": repeat(next(fresh)), "fresh batches": fresh}
    steps = {name: training_step(model, given, "fp32", fused=False) for name, given in batches.items()}
    taken = in_turns(
        steps, repeats=(1 if options.quick else 6) * options.repeats, warm=1 if options.quick else 3, clock=clock
    )
    return taken["one batch"], taken["fresh batches"]


def endless(module: GroundingDataModule, options: Options) -> Iterator[GroundingBatch]:
    """Yield batches on the device, epoch after epoch."""
    while True:
        for batch in module.train_dataloader():
            yield module.transfer_batch_to_device(batch, options.device, 0)
