"""Does training wait for data? Steps on fresh batches over steps on one fixed batch, which should stay below 1.05."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from pathlib import Path

from cpnet.batch import GroundingBatch
from cpnet.data.features import open_features
from cpnet.data.features.pack import pack
from cpnet.data.required_files import default_store
from cpnet.data.sampling import Pick
from cpnet.models import CPNet
from cpnet.options import CPNetOptions
from made_up import Shape, datamodule, write_pack
from sections import Clock, Options, Part, Row, in_turns
from setups import training_step

CLIPS, BATCH, SHAPE = 128, 100, Shape(videos=600, rows=440, width=500)
STEPS = {False: (128, "fp32"), True: (512, "bf16")}  # on a GPU? width and precision of the model
QUICK_BATCH, QUICK_SHAPE = 2, Shape(videos=8, rows=8, width=8)


def parts(options: Options) -> Iterator[Part]:
    """Yield the only part."""
    title = f"T = {CLIPS}, batch {BATCH}, {SHAPE.width} wide, D = {STEPS[options.gpu][0]}, from the packed store"
    yield Part(title, 90.0, partial(measure, options))


def measure(options: Options, clock: Clock) -> Iterator[Row]:
    """Yield a row a placement."""
    clock.say("packing made-up features")
    with tempfile.TemporaryDirectory() as folder:
        path = write_store(options, Path(folder))
        for left, placement in zip((3, 2, 1), ("device", "memory", "disk"), strict=True):
            mine = clock.share(1 / left)
            model, fresh = training(options, path, placement)
            batches = {"one batch": repeat(next(fresh)), "fresh batches": fresh}
            precision, repeats = STEPS[options.gpu][1], (1 if options.quick else 6) * options.repeats
            steps = {name: training_step(model, given, precision) for name, given in batches.items()}
            taken = in_turns(steps, repeats=repeats, warm=1 if options.quick else 3, clock=mine)
            clock.repeats, clock.cut = mine.repeats, mine.cut or clock.cut
            times: Row = {f"{name}, ms": 1e3 * each for name, each in taken.items()}
            yield {"placement": placement, **times, "x": taken["fresh batches"] / taken["one batch"]}


def write_store(options: Options, folder: Path) -> Path:
    """Write made-up features with a packed store beside them; return their path."""
    path, shape = folder / "pack.hdf5", QUICK_SHAPE if options.quick else SHAPE
    write_pack(path, shape, dtype="float16")
    pack(open_features(path=path), default_store({"path": path}), videos=shape.durations())
    return path


def training(options: Options, path: Path, placement: str) -> tuple[CPNet, Iterator[GroundingBatch]]:
    """Return a model and endless fresh batches, both on the device."""
    shape, batch_size, width = SHAPE, BATCH, STEPS[options.gpu][0]
    if options.quick:
        shape, batch_size, width = QUICK_SHAPE, QUICK_BATCH, 16
    module = datamodule(
        path, shape, pairs=100 * batch_size, placement=placement, sampling=Pick(clips=CLIPS), batch_size=batch_size
    )
    model = CPNet(shape.width, module.vocabulary.vectors, CPNetOptions(hidden_dim=width)).to(options.device)
    module.dataset("train").features.to(options.device)
    epochs = (module.train_dataloader() for _ in repeat(None))
    return model, (module.transfer_batch_to_device(batch, options.device, 0) for epoch in epochs for batch in epoch)
