"""An epoch of real queries over the sum of its steps; seconds of the command to its help and to its first step.

The queries are Charades-STA's, the features the surrogate ones of experiments/README.md; any corpus does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.nn.utils import clip_grad_norm_

from cpnet.batch import GroundingBatch
from cpnet.config import CONFIG_DIR, register_schemas
from cpnet.launch.signals import Signals
from cpnet.training.build import build_callbacks, make_trainer, training_module
from cpnet.training.compilation import prepare_process
from cpnet.training.losses import GroundingLoss
from cpnet.training.precision import choose_precision
from cpnet.training.run import read_data
from machine import describe, table

FIRST_STEP = "first step after"
SCRIPT = """
import sys
sys.path.insert(0, sys.argv.pop(1))  # for FirstStep, below
from cpnet import train
from cpnet.launch import command
command.run(train.main, config_name="train")
"""


class Clock(Callback):
    """Time each epoch of training with its validation and checkpoints, and its steps alone in between."""

    def __init__(self, steps_alone: Callable[[], float]) -> None:
        self.steps_alone = steps_alone
        self.epochs: list[float] = []
        self.steps: list[float] = []
        self.began: float | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the time."""
        if self.began is not None:
            self.epochs.append(time.perf_counter() - self.began)
        self.steps.append(self.steps_alone())
        pl_module.train()
        self.began = time.perf_counter()


class FirstStep(Callback):
    """Print the time of the first training step, and end the process."""

    def __init__(self, since: float) -> None:
        self.since = since

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Print the seconds since the command started."""
        print(FIRST_STEP, time.time() - self.since, flush=True)
        raise SystemExit(0)


def compose(overrides: list[str]) -> DictConfig:
    """Compose the configuration of a run."""
    register_schemas()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        cfg = hydra.compose("train", overrides=overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return cfg


def epoch_over_steps(overrides: list[str], folder: Path) -> list[str]:
    """Train as the command does; time all epochs except the first, and the steps of each epoch alone before it."""
    cfg = compose([*overrides, "epochs=4", "callbacks.early_stopping=null", f"output_dir={folder}"])
    cfg.trainer.precision = choose_precision(cfg.trainer.precision, "cpu")
    datamodule = read_data(cfg)
    module = training_module(cfg, datamodule.vocabulary)
    clock = Clock(steps_alone(module, datamodule, cfg.trainer.precision == "bf16-mixed"))
    callbacks = build_callbacks(cfg.callbacks, folder=folder, signals=Signals(), progress_bar=False)
    trainer = make_trainer(cfg.trainer, callbacks=[clock, *callbacks], batch_size=cfg.batch_size)
    trainer.fit(module, datamodule=datamodule)
    epoch, steps = median(clock.epochs[1:]), median(clock.steps[2:])  # what comes before is the compiler's
    pairs = len(datamodule.dataset("train"))
    name = f"{cfg.trainer.precision}, compile={cfg.trainer.compile}"
    return [name, f"{pairs:,}", f"{epoch:.2f}", f"{steps:.2f}", f"{epoch / steps:.3f}"]


def steps_alone(module: Any, datamodule: Any, bf16: bool) -> Callable[[], float]:
    """Return a function that times an epoch's training steps and validation batches, which are in memory already."""
    model, loss, device = module.model, GroundingLoss(), torch.device("cpu")
    optimizer = module.make_optimizer(model.parameters())

    def batches(loader: Any) -> list[GroundingBatch]:
        return [datamodule.transfer_batch_to_device(batch, device, 0) for batch in loader]

    train, val = batches(datamodule.train_dataloader()), batches(datamodule.val_dataloader())
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=bf16)

    def once() -> float:
        begin = time.perf_counter()
        model.train()
        for batch in train:
            with autocast:
                value = loss(model(batch), batch)["loss"]
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
        model.eval()
        for batch in val:
            with autocast, torch.inference_mode():
                loss(model(batch), batch)
        return time.perf_counter() - begin

    return once


def command_seconds(arguments: list[str], *, repeats: int) -> float:
    """Return the median time of ``python -m cpnet.train`` with arguments that do not train."""
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "cpnet.train", *arguments], capture_output=True, check=True)
        taken.append(time.perf_counter() - begin)
    return median(taken)


def first_step_seconds(overrides: list[str], folder: Path, *, repeats: int) -> float:
    """Return the median time from the command to the end of its first step."""
    taken = []
    for _ in range(repeats):
        arguments = [*overrides, f"hydra.run.dir={folder}", "+callbacks.first._target_=epoch.FirstStep"]
        command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), *arguments]
        command += [f"+callbacks.first.since={time.time()}"]
        trusting = os.environ | {"CPNET_TRUSTED": "epoch"}
        done = subprocess.run(command, capture_output=True, text=True, env=trusting)
        if done.returncode:
            raise SystemExit(done.stderr)
        taken.append(float(done.stdout.rpartition(FIRST_STEP)[2].split()[0]))
    return median(taken)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data_dir, with charades_sta/ and glove/")
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--compile", nargs="+", default=["false", "true"])
    arguments = parser.parse_args()
    prepare_process()
    print(describe())
    overrides = [
        *("dataset=charades_sta_actions", "model=cpnet_small", "trainer.enable_progress_bar=false"),
        *(f"data_dir={arguments.data.absolute()}", f"dataset.features.path={arguments.features.absolute()}"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        print("\n| command | seconds |\n|---|---|")
        print(f"| --help | {command_seconds(['--help'], repeats=5):.2f} |")
        print(f"| --cfg job | {command_seconds(['--cfg', 'job'], repeats=5):.2f} |")
        print(
            f"| to its first step | {first_step_seconds(overrides, Path(folder, 'first'), repeats=3):.2f} |", flush=True
        )
        rows = [
            epoch_over_steps([*overrides, f"trainer.compile={when}"], Path(folder, when)) for when in arguments.compile
        ]
    print(f"\n{table(['cpnet_small', 'pairs', 'epoch, s', 'its steps, s', 'x'], rows)}")


if __name__ == "__main__":
    main()
