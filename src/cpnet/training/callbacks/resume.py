"""Exact resume: restore what Lightning does not restore from a checkpoint."""

from __future__ import annotations

import logging
import math
import os
import random
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from cpnet.runs.checkpoint import KEY, read_checkpoint
from cpnet.training.epoch_means import gather
from cpnet.training.module import GroundingModule

log = logging.getLogger(__name__)


class ExactResume(Checkpoint):
    """Makes a resumed run bit-identical to an uninterrupted one.

    Lightning restores weights, optimiser, schedule, progress and callbacks. This callback adds the random number
    generators and epoch means of each process, the position of the data loader, and early stopping. It also applies
    changed options of optimiser, schedule and early stopping, for which Lightning would restore the old ones.
    """

    def __init__(self) -> None:
        self._checkpoint: dict[str, Any] | None = None  # to restore when training starts
        self._random: dict[str, Any] | None = None  # to restore before the first batch
        self._plan: dict[str, Any] = {}  # options of the optimiser as built, steps per epoch and batches per step

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the options of the optimiser and its schedule, before Lightning restores those of the checkpoint."""
        (optimizer,) = trainer.optimizers
        groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        trainer.fit_loop.setup_data()  # sets the number of batches
        accumulated = trainer.accumulate_grad_batches
        steps = math.ceil(trainer.num_training_batches / accumulated)
        self._plan = {"groups": groups, "steps_per_epoch": steps, "accumulated": accumulated}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the state of each process. All processes call this together."""
        assert isinstance(pl_module, GroundingModule)
        own = {"random": random_state(), "means": pl_module.means["train"].state_dict()}
        checkpoint["processes"] = gather(own)
        checkpoint["should_stop"], checkpoint["plan"] = trainer.should_stop, self._plan

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Update the paths of ``ModelCheckpoint`` and the patience; keep the checkpoint until training starts."""
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.state_key in checkpoint["callbacks"]:
                state = checkpoint["callbacks"][callback.state_key]
                checkpoint["callbacks"][callback.state_key] = _of_best(callback, state, checkpoint["global_step"])
        for stopping in trainer.early_stopping_callbacks:
            if isinstance(stopping, EarlyStopping) and stopping.state_key in checkpoint["callbacks"]:
                checkpoint["callbacks"][stopping.state_key]["patience"] = stopping.patience
        self._checkpoint = checkpoint

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore early stopping, data loader and epoch means; apply changed options of optimiser and schedule."""
        assert isinstance(pl_module, GroundingModule)
        if self._checkpoint is None:
            return
        checkpoint, self._checkpoint = self._checkpoint, None
        before, now = (each.get("config", {}) for each in (checkpoint[KEY], pl_module.provenance))
        # A run that had stopped early stays stopped, unless these callbacks changed: they may have more patience.
        trainer.should_stop = checkpoint["should_stop"] and _stopping(before) == _stopping(now)
        if trainer.should_stop:
            hint = "callbacks.early_stopping=null, more patience or a later trainer.max_time resumes it"
            log.info("the run stopped early and stays so; %s", hint)
        _apply_options(trainer, checkpoint["plan"], self._plan)
        processes = checkpoint["processes"]
        sizes = [(len(processes), before.get("batch_size")), (trainer.world_size, now.get("batch_size"))]
        if sizes[0] != sizes[1]:
            log.warning(
                "processes and batch_size were %s and are now %s: the resumed run is not bit-identical, and the epoch "
                "in progress takes some pairs twice or leaves some out",
                *sizes,
            )
        own = processes[trainer.global_rank % len(processes)]
        self._random = own["random"]
        pl_module.means["train"].load_state_dict(own["means"])
        # Lightning does not load the state of a loader that exists before the checkpoint is read.
        for state in checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", [])[:1]:
            assert trainer.train_dataloader is not None
            trainer.train_dataloader.load_state_dict(state)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restore the random number generators, which the setup has advanced."""
        if self._random is not None:
            restore_random_state(self._random)
            self._random = None


def _stopping(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what may stop a run early: its callbacks, and the limit of time."""
    others = ("checkpoint", "recovery", "non_finite")
    stopping = {name: node for name, node in (config.get("callbacks") or {}).items() if name not in others}
    return stopping | {"max_time": (config.get("trainer") or {}).get("max_time")}


def _apply_options(trainer: Trainer, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Apply the options of the optimiser that differ between two plans; the schedule keeps its place in the run."""
    groups = trainer.optimizers[0].param_groups
    before = groups[0]["lr"]
    for group, was, now in zip(groups, old["groups"], new["groups"], strict=True):
        group |= {key: value for key, value in now.items() if key not in was or was[key] != value}
        for parameter in group["params"] if group.get("fused") else ():  # whose count of steps is on the device
            if "step" in (state := trainer.optimizers[0].state[parameter]):
                state["step"] = state["step"].to(parameter.device, torch.float32)
    for schedule in (each.scheduler for each in trainer.lr_scheduler_configs):
        if isinstance(schedule, LambdaLR | OneCycleLR):  # others do not compute the rate from the step alone
            epochs, steps = divmod(schedule.last_epoch, old["steps_per_epoch"])
            batches = steps * old.get("accumulated", new["accumulated"])  # which the loader skips in this epoch
            within = min(batches // new["accumulated"], new["steps_per_epoch"])
            schedule.last_epoch = round(epochs * new["steps_per_epoch"] + within)
            schedule.base_lrs = [group["initial_lr"] for group in groups]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch advises against get_lr
                schedule._last_lr = schedule.get_lr()
            for group, rate in zip(groups, schedule._last_lr, strict=True):
                group["lr"] = rate
    if groups[0]["lr"] != before:
        log.info("learning rate %.3g, in the checkpoint %.3g", groups[0]["lr"], before)


def _of_best(callback: ModelCheckpoint, state: dict[str, Any], step: int) -> dict[str, Any]:
    """Return the state of a ``ModelCheckpoint`` at a step, or that in its best checkpoint if this is newer.

    A run that was killed after it wrote best.ckpt, and before last.ckpt, has replaced the file of which last.ckpt
    knows the score.
    """
    _relocate(state, str(callback.dirpath))
    if state["best_model_path"]:
        best = read_checkpoint(state["best_model_path"])
        newer = best.get("callbacks", {}).get(callback.state_key)
        if newer and best["global_step"] > step:
            _relocate(newer, str(callback.dirpath))
            return dict(newer)
    return state


def _relocate(state: dict[str, Any], folder: str) -> None:
    """Update the paths in the state of a ``ModelCheckpoint``, whose folder may have moved."""

    def moved(path: str) -> str:
        return path.replace(f"{before}{os.sep}", f"{folder}{os.sep}", 1)

    before, state["dirpath"] = state["dirpath"], folder
    state |= {key: moved(state[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
    state["best_k_models"] = {moved(path): score for path, score in state["best_k_models"].items()}


def random_state() -> dict[str, Any]:
    """Return the states of Python's, NumPy's, torch's and every GPU's generator, as plain containers and tensors."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(words), gauss],
        "numpy": [torch.from_numpy(np.asarray(keys, dtype=np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": [torch.mps.get_rng_state()] if torch.backends.mps.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Restore the states of ``random_state``. States of absent GPUs are ignored."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    for device, gpu in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(gpu, device)
    if torch.backends.mps.is_available() and state["mps"]:
        torch.mps.set_rng_state(state["mps"][0])
