"""Parts of ``gpu.py`` that run the commands and the tests, in the process of the part."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch.distributed.elastic.utils.distributed import get_free_port

from commands import TINY, call
from interrupts import signalled
from made_up import Shape, write_corpus
from sections import Clock, Options, Row

ROOT = Path(__file__).parents[1]
# ActivityNet's numbers: 117 seconds of 4 rows, C3D after PCA
PAIRS, SHAPE = {"train": 37_421, "val": 17_505, "test": 17_031}, Shape(videos=14_926, rows=468, width=500)
TESTED = (
    *("test_spans.py", "models", "training/test_losses.py", "evaluation/test_metrics.py"),
    *("data/test_sampling.py", "data/test_datamodule.py"),
)
NARROW = tuple(each for each in TINY if not each.startswith(("dataset", "model=", "trainer")))
SYNTHETIC = ("dataset=synthetic", "model=cpnet_small")


def train(options: Options, folder: Path, name: str, *overrides: str, code: int = 0) -> tuple[float, list[float]]:
    """Train in ``folder / name``; return the seconds of the command after its imports, and of its epochs."""
    shown = ("trainer.enable_progress_bar=true", "callbacks.early_stopping=null", f"hydra.run.dir={name}")
    few = ("dataset.generate.videos=20",) if "dataset=synthetic" in overrides else ()
    begin, narrow = time.perf_counter(), (*few, *NARROW) if options.quick else ()
    ended = call("train", *overrides, *narrow, *shown, accelerator(options), folder=folder, code=code)
    lines = re.findall(r"epoch \d+ of \d+: ([\d.]+) s", ended.out + ended.err)
    return time.perf_counter() - begin, [float(line) for line in lines]


def accelerator(options: Options) -> str:
    """Return the override for the device."""
    return f"trainer.accelerator={'gpu' if options.gpu else 'cpu'}"


def make_train(options: Options, folder: Path, _: Clock) -> Iterator[Row]:
    """Command of ``make train``."""
    line = re.search(r"cpnet\.train (.*) epochs=\d+", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert line is not None
    taken, epochs = train(options, folder, "make_train", *line[1].split(), f"epochs={1 if options.quick else 20}")
    yield {"after imports, s": taken, "an epoch, s": median(epochs)}


def activitynet(options: Options, folder: Path, _: Clock) -> Iterator[Row]:
    """Corpus of ActivityNet's size: packed, placed, trained for some epochs with validation, and tested."""
    share = 2000 if options.quick else 1
    shape = replace(SHAPE, videos=SHAPE.videos // share, width=8 if options.quick else SHAPE.width)
    pairs = {split: count // share for split, count in PAIRS.items()}
    write_corpus(folder / "made_up", shape, pairs=pairs, shared=True)
    yield of_activitynet(options, folder, 1 if options.quick else 3)


def of_activitynet(options: Options, folder: Path, epochs: int) -> Row:
    """Train on the corpus; return a row with the projected seconds of 100 epochs, and of the rest of the command."""
    line = ("--config-dir", "made_up/conf", "dataset=made_up", "data_dir=made_up", "model=cpnet", f"epochs={epochs}")
    taken, each = train(options, folder, "cpnet", *line)
    projected = each[0] + 99 * median(each[1:] or each)
    found = json.loads((folder / "cpnet/results.json").read_bytes())
    row: Row = {"model": "cpnet", "precision": found["precision"], "compiled": str(found["compiled"]), "epochs": epochs}
    row |= {"epochs, s": sum(each), "beside them, s": taken - sum(each), "100 epochs (goal: 300), s": projected}
    (folder / "cpnet.seconds").write_text(str(projected + taken - sum(each)), encoding="utf-8")
    return row


def hundred_epochs(options: Options, folder: Path, clock: Clock) -> Iterator[Row]:
    """100 epochs of it, if time is left."""
    needed = float((folder / "cpnet.seconds").read_text(encoding="utf-8"))
    if not options.quick and needed > clock.left():
        raise RuntimeError(f"needs {needed:.0f} s; {clock.left():.0f} s are left")
    yield of_activitynet(options, folder, 2 if options.quick else 100)


def tests(options: Options, *_: object) -> Iterator[Row]:
    """Quick tests of models, losses, metrics and data, on the device."""
    torch.set_flush_denormal(False)  # the default, which the tests expect
    os.environ["CPNET_TEST_DEVICE"] = options.device.type
    os.chdir(ROOT)
    paths = [f"tests/{each}" for each in TESTED[: 1 if options.quick else None]]
    spread = ["-n", "8"] if importlib.util.find_spec("xdist") and not options.quick else []
    with redirect_stdout(io.StringIO()) as printed:
        pytest.main(["-q", "-p", "no:cacheprovider", "-m", "not slow", *spread, *paths])
    lines = printed.getvalue().splitlines()
    for line in [line for line in lines if line.startswith(("FAILED", "ERROR"))] + lines[-1:]:
        yield {"pytest": line[:200]}


def resume(options: Options, folder: Path, _: Clock) -> Iterator[Row]:
    """Interrupted and resumed run against an uninterrupted one, bit by bit."""
    line = (*SYNTHETIC, f"epochs={2 if options.quick else 3}", "trainer.deterministic=true")
    train(options, folder, "whole", *line)
    with signalled("training_step", 2 if options.quick else 40):
        train(options, folder, "cut", *line, code=128 + signal.SIGTERM)
    train(options, folder, "cut", *line, "resume=true")
    whole, cut = (
        torch.load(folder / name / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)["state_dict"]
        for name in ("whole", "cut")
    )
    differing = [name for name, value in whole.items() if not torch.equal(value, cut[name])]
    yield {"weights": len(whole), "differ after a resume (goal: 0)": len(differing)}


def processes(options: Options, folder: Path, _: Clock) -> Iterator[Row]:
    """Two processes on one card by gloo; one process with their checkpoint has the same metrics."""
    port = str(get_free_port())  # type: ignore[no-untyped-call]
    ranks = [get_context("fork").Process(target=train_rank, args=(options, folder, port, rank)) for rank in "01"]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()
    if any(each.exitcode for each in ranks):
        raise RuntimeError(f"exit codes {[each.exitcode for each in ranks]}")
    best = "checkpoint=two/checkpoints/best.ckpt"
    ended = call("evaluate", best, "hydra.run.dir=one", accelerator(options), "trainer.strategy=auto", folder=folder)
    one, two = (json.loads((folder / name / "results.json").read_bytes())["metrics"] for name in ("one", "two"))
    metrics = "equal" if one == two else "differ"
    yield {"mIoU of two": two["mIoU"], "mIoU of one": one["mIoU"], "all metrics": metrics, "exit code": ended.code}


def train_rank(options: Options, folder: Path, port: str, number: str) -> None:
    """Train in one of two processes."""
    os.environ |= {"LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {"NODE_RANK": number, "RANK": number}
    DDPStrategy._get_process_group_backend = lambda self: "gloo"  # type: ignore[method-assign]
    two = ("trainer.strategy=ddp", "trainer.num_nodes=2", "trainer.devices=1")
    train(options, folder, "two", *SYNTHETIC, f"epochs={1 if options.quick else 2}", *two)
