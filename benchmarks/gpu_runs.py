"""Parts of ``gpu.py`` that run the command and the tests, in the process of the part."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import signal
import time
from contextlib import redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch.distributed.elastic.utils.distributed import get_free_port

from commands import TINY, call
from gpu import Run
from made_up import write_corpus
from smoke.test_resume import signalled

ROOT = Path(__file__).parents[1]
# ActivityNet's numbers: 117 seconds of 4 rows, C3D after PCA
PAIRS, VIDEOS, ROWS, WIDTH = {"train": 37_421, "val": 17_505, "test": 17_031}, 14_926, 468, 500
TESTED = "test_spans models training/test_losses evaluation/test_metrics data/test_sampling data/test_datamodule"
NARROW = tuple(each for each in TINY if not each.startswith(("dataset", "model=", "trainer")))
SYNTHETIC = ("dataset=synthetic", "model=cpnet_small")


def train(run: Run, name: str, *overrides: str, code: int = 0) -> tuple[float, list[float]]:
    """Train in ``run.folder / name``; return the seconds of the command after its imports, and of its epochs."""
    shown = ("trainer.enable_progress_bar=true", "callbacks.early_stopping=null", f"hydra.run.dir={name}")
    few = ("dataset.generate.videos=20",) if "dataset=synthetic" in overrides else ()
    begin, narrow = time.perf_counter(), (*few, *NARROW) if run.quick else ()
    ended = call("train", *overrides, *narrow, *shown, accelerator(run), folder=run.folder)
    if ended.code != code:
        raise RuntimeError(f"exit code {ended.code}: {(ended.out + ended.err)[-2000:]}")
    lines = re.findall(r"epoch \d+ of \d+: ([\d.]+) s", ended.out + ended.err)
    return time.perf_counter() - begin, [float(line) for line in lines]


def accelerator(run: Run) -> str:
    """Return the override for the device."""
    return f"trainer.accelerator={'gpu' if run.device == 'cuda' else 'cpu'}"


def results(run: Run, name: str) -> dict[str, Any]:
    """Return the results of a run."""
    found: dict[str, Any] = json.loads((run.folder / name / "results.json").read_bytes())
    return found


def make_train(run: Run) -> None:
    """The command of ``make train``."""
    line = re.search(r"cpnet\.train (.*) epochs=\d+", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert line is not None
    taken, epochs = train(run, "make_train", *line[1].split(), f"epochs={1 if run.quick else 20}")
    run.row("make train, after imports", taken, "s", f"{median(epochs):.2f} s an epoch")


def activitynet(run: Run) -> None:
    """A corpus of ActivityNet's size: packed, placed, trained for some epochs with validation, and tested."""
    share, width = (2000, 8) if run.quick else (1, WIDTH)
    pairs = {split: count // share for split, count in PAIRS.items()}
    write_corpus(run.folder / "made_up", pairs=pairs, videos=VIDEOS // share, rows=ROWS, width=width, shared=True)
    for model in ("cpnet", "cpnet_small"):
        of_activitynet(run, model, 1 if run.quick else 3)


def of_activitynet(run: Run, model: str, epochs: int) -> None:
    """Train on the corpus, and keep the projected seconds of the command with 100 epochs."""
    line = ("--config-dir", "made_up/conf", "dataset=made_up", "data_dir=made_up", f"model={model}", f"epochs={epochs}")
    taken, each = train(run, model, *line)
    projected, found = each[0] + 99 * median(each[1:] or each), results(run, model)
    note = f"{taken - sum(each):.1f} s beside them; {found['precision']}, compiled: {found['compiled']}"
    run.row(f"{model}, {epochs} epochs with validation", sum(each), "s", note)
    run.row(f"{model}, 100 epochs, projected", projected, "s", "goal: 300")
    (run.folder / f"{model}.seconds").write_text(str(projected + taken - sum(each)), encoding="utf-8")


def hundred_epochs(run: Run) -> None:
    """The 100 epochs, if time is left."""
    needed = float((run.folder / "cpnet.seconds").read_text(encoding="utf-8"))
    if not run.quick and needed > run.seconds:
        raise RuntimeError(f"needs {needed:.0f} s; {run.seconds:.0f} s are left")
    of_activitynet(run, "cpnet", 2 if run.quick else 100)


def tests(run: Run) -> None:
    """The quick tests of models, losses, metrics and data, on the device."""
    os.environ["CPNET_TEST_DEVICE"] = run.device
    os.chdir(ROOT)
    paths = [f"tests/{each}.py".replace("models.py", "models") for each in TESTED.split()[: 1 if run.quick else None]]
    spread = ["-n", "8"] if importlib.util.find_spec("xdist") and not run.quick else []
    with redirect_stdout(io.StringIO()) as printed:
        pytest.main(["-q", "-p", "no:cacheprovider", "-m", "not slow", *spread, *paths])
    lines = printed.getvalue().splitlines()
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            run.row("", "failed", "", line[:200])
    run.row("pytest", "", "", lines[-1])


def resume(run: Run) -> None:
    """An interrupted and resumed run against an uninterrupted one, bit by bit."""
    line = (*SYNTHETIC, f"epochs={2 if run.quick else 3}", "trainer.deterministic=true")
    train(run, "whole", *line)
    with signalled("training_step", 2 if run.quick else 40):
        train(run, "cut", *line, code=128 + signal.SIGTERM)
    train(run, "cut", *line, "resume=true")
    whole, cut = (
        torch.load(run.folder / name / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)["state_dict"]
        for name in ("whole", "cut")
    )
    differing = [name for name, value in whole.items() if not torch.equal(value, cut[name])]
    run.row("weights that differ after a resume", len(differing), f"of {len(whole)}", "goal: 0")


def processes(run: Run) -> None:
    """Two processes on one card by gloo; one process with their checkpoint has the same metrics."""

    def rank(number: str) -> None:
        os.environ |= shared | {"NODE_RANK": number, "RANK": number}
        DDPStrategy._get_process_group_backend = lambda self: "gloo"  # type: ignore[method-assign]
        two = ("trainer.strategy=ddp", "trainer.num_nodes=2", "trainer.devices=1")
        train(run, "two", *SYNTHETIC, f"epochs={1 if run.quick else 2}", *two)

    port = str(get_free_port())  # type: ignore[no-untyped-call]
    shared = {"LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [get_context("fork").Process(target=rank, args=(number,)) for number in "01"]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()
    if any(each.exitcode for each in ranks):
        raise RuntimeError(f"exit codes {[each.exitcode for each in ranks]}")
    best = "checkpoint=two/checkpoints/best.ckpt"
    ended = call("evaluate", best, "hydra.run.dir=one", accelerator(run), "trainer.strategy=auto", folder=run.folder)
    one, two = (results(run, name)["metrics"] for name in ("one", "two"))
    same = "as of one process" if one == two else f"of one process: {one['mIoU']}"
    run.row("mIoU of two processes", two["mIoU"], "%", f"{same}; exit code {ended.code}")
