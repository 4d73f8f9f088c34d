"""last.ckpt: from what a run that was broken off goes on as if nothing had happened."""

from __future__ import annotations

import copy
import logging
import os
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from cpnet.checkpoint import read_checkpoint
from cpnet.data.moment import DataError
from cpnet.interruption import Interrupted, Signals
from cpnet.module import GroundingModule
from cpnet.recovery.randomness import random_state, restore_random_state

log = logging.getLogger(__name__)

LAST, PREVIOUS, NEXT = "last.ckpt", "previous.ckpt", "next.ckpt"
ASK_EVERY = 8  # batches between two agreements of several processes, each of which they wait for


class Recovery(Checkpoint):
    """Writes last.ckpt every some steps and minutes, after every epoch, and when a signal comes; keeps the one before.

    A checkpoint holds what a step depends on: beside Lightning's (weights, optimiser, schedule, progress, loader,
    callbacks) the generators of random numbers of every process, which are set again just before the first batch.

    Args:
        folder: for the files
        every_n_steps: optimiser steps between two files; 0 for none
        every_n_minutes: the same in minutes; 0 for none
        signals: what may end the run; nothing unless given

    Raises:
        ValueError: a negative number
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        every_n_steps: int = 0,
        every_n_minutes: float = 0,
        signals: Signals | None = None,
    ) -> None:
        if every_n_steps < 0 or every_n_minutes < 0:
            raise ValueError(
                f"every_n_steps and every_n_minutes must be 0 or more; got {every_n_steps}, {every_n_minutes}"
            )
        self.folder, self.signals = Path(folder), signals or Signals()
        self.every_n_steps, self.every_n_minutes = every_n_steps, every_n_minutes
        self._step, self._time = 0, time.monotonic()  # of the last file
        self.seconds_before, self._began = 0.0, self._time  # of the run, when it was broken off
        self._processes: list[dict[str, Any]] = []  # what each had of its own, to be set again
        self._random: dict[str, Any] | None = None  # to be set again before the first batch
        self._loader: dict[str, int] | None = None  # where it is to begin
        self._before_validation: dict[str, Any] | None = None
        self._stopped: bool | None = None  # early; None where the checkpoint does not say so of callbacks like these

    def state_dict(self) -> dict[str, Any]:
        """How long the run has taken; Lightning keeps it in the checkpoint."""
        return {"seconds": self.seconds_before + time.monotonic() - self._began}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count on from there."""
        self.seconds_before, self._began = state_dict["seconds"], time.monotonic()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what each process has of its own; all of them call this."""
        assert isinstance(pl_module, GroundingModule)
        # Before the first batch of a run that goes on, its own numbers are still to be set.
        own = {"random": self._random or random_state(), "means": pl_module.means["train"].state_dict()}
        everywhere: list[Any] = [own] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(everywhere, own)
        checkpoint["processes"] = everywhere
        checkpoint["should_stop"] = trainer.should_stop

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what is to be set when the training begins: Lightning has made the loader, and would not tell it."""
        assert isinstance(pl_module, GroundingModule)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.state_key in checkpoint["callbacks"]:
                state = checkpoint["callbacks"][callback.state_key]
                _bring_along(state, str(callback.dirpath))
                if trainer.state.fn == TrainerFn.FITTING:
                    _take_later_best(state, callback, checkpoint["global_step"])
        states = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", [])
        self._loader = states[0] if states else None
        self._processes = checkpoint.get("processes", [])
        before, now = (each.get("config", {}).get("callbacks") for each in (checkpoint["cpnet"], pl_module.provenance))
        self._stopped = checkpoint.get("should_stop") if before == now else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals, and go on where the checkpoint was written; a training that had stopped early stays so."""
        if self._processes:
            trainer.should_stop = self._had_stopped(trainer)
            self._go_on(trainer, pl_module)
        self._step, self._time = trainer.global_step, time.monotonic()
        self.signals.defer()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Go on with the random numbers of the run; whatever came before has drawn others."""
        if self._random is not None:
            restore_random_state(self._random)
            self._random = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a file where one is due, or where a signal came, and end then."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:  # gradients that wait are in no checkpoint
            return
        if self._validation_follows(trainer, batch_idx):
            # Lightning would skip it when it goes on from here; the state is kept as of within the validation.
            self._before_validation = _before_validation(trainer)
            return
        if trainer.world_size > 1 and (batch_idx + 1) % ASK_EVERY:
            return
        interrupted = self._interrupted(trainer)
        if interrupted or self._due(trainer):
            self.save(trainer)
        if interrupted:
            raise Interrupted(interrupted, agreed=True)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """End where a signal came, with the state before the validation; several processes finish it first."""
        if self.signals.received and trainer.world_size == 1 and self._before_validation is not None:
            self.save(trainer, self._before_validation)
            raise Interrupted(self.signals.received, agreed=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of the state before it."""
        self._before_validation = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a file, and end where a signal came."""
        self.save(trainer)
        if interrupted := self._interrupted(trainer):
            raise Interrupted(interrupted, agreed=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let signals end the run at once: nothing waits to be written."""
        self.signals.deferring = False
        if interrupted := self._interrupted(trainer):
            raise Interrupted(interrupted, agreed=True)

    def save(self, trainer: Trainer, checkpoint: dict[str, Any] | None = None) -> None:
        """Write a file, which becomes last.ckpt when it is whole; training goes on where it cannot be written.

        Args:
            trainer: the run's; all of its processes call this
            checkpoint: what to write; the present state unless given
        """
        if checkpoint is None:
            checkpoint = _state(trainer)
        try:
            trainer.strategy.save_checkpoint(checkpoint, self.folder / NEXT)
            if trainer.is_global_zero:
                rotate(self.folder)
        except DataError as error:
            log.warning("%s; the run goes on without", error)
        trainer.strategy.barrier("last.ckpt")
        self._step, self._time = trainer.global_step, time.monotonic()

    def _had_stopped(self, trainer: Trainer) -> bool:
        """Tell whether the training had been stopped early; by the patience of today where callbacks are others."""
        if self._stopped is not None:
            return self._stopped
        stoppers = [each for each in trainer.callbacks if isinstance(each, EarlyStopping)]  # type: ignore[attr-defined]
        return any(each.wait_count >= each.patience for each in stoppers)

    def _go_on(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, GroundingModule)
        if len(self._processes) != trainer.world_size:
            log.warning(
                "the checkpoint is of %d processes, this run has %d: it goes on, but not bit for bit",
                *(len(self._processes), trainer.world_size),
            )
        own = self._processes[trainer.global_rank % len(self._processes)]
        self._random = own["random"]
        module.means["train"].load_state_dict(own["means"])
        if self._loader is not None:
            assert trainer.train_dataloader is not None
            trainer.train_dataloader.load_state_dict(self._loader)
        self._processes, self._loader = [], None

    def _due(self, trainer: Trainer) -> bool:
        steps = bool(self.every_n_steps) and trainer.global_step - self._step >= self.every_n_steps
        minutes = bool(self.every_n_minutes) and time.monotonic() - self._time >= 60 * self.every_n_minutes
        return trainer.strategy.reduce_boolean_decision(steps or minutes, all=False)

    def _interrupted(self, trainer: Trainer) -> int | None:
        """Say which signal any of the processes has received."""
        if trainer.world_size == 1:
            return self.signals.received
        received = torch.tensor(self.signals.received or 0, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(received, torch.distributed.ReduceOp.MAX)
        return int(received) or None

    def _validation_follows(self, trainer: Trainer, batch_idx: int) -> bool:
        every = trainer.val_check_batch
        return trainer.is_last_batch or (every is not None and (batch_idx + 1) % every == 0)


def seconds_before(trainer: Trainer) -> float:
    """Give the seconds that a run had taken at the checkpoint from which it goes on; 0 where it was not broken off."""
    own = [each for each in trainer.callbacks if isinstance(each, Recovery)]  # type: ignore[attr-defined]
    return sum(each.seconds_before for each in own)


def rotate(folder: Path) -> None:
    """Make the file that was just written the last one, and the last one the previous; one of them is always there."""
    last, previous = folder / LAST, folder / PREVIOUS
    if last.exists():
        previous.unlink(missing_ok=True)
        try:
            os.link(last, previous)
        except OSError:  # a file system without links: for a moment there is only the previous one
            last.replace(previous)
    (folder / NEXT).replace(last)


def _bring_along(state: dict[str, Any], folder: str) -> None:
    """Have the files of a ``ModelCheckpoint`` where they are now: it forgets them where the run's folder was moved."""

    def now(path: str) -> str:
        return path.replace(f"{before}{os.sep}", f"{folder}{os.sep}", 1)

    before, state["dirpath"] = state["dirpath"], folder
    state |= {key: now(state[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
    state["best_k_models"] = {now(path): score for path, score in state["best_k_models"].items()}


def _take_later_best(state: dict[str, Any], callback: ModelCheckpoint, step: int) -> None:
    """Have a best file that is of a later step than the checkpoint stand with its own score.

    A run that was killed between the two files leaves it so, and the weights that were the best before are gone.
    """
    path = Path(state["best_model_path"] or Path(str(callback.dirpath)) / f"{callback.filename}.ckpt")
    if not path.is_file():
        return
    try:
        best = read_checkpoint(path)
    except DataError as error:
        log.warning("%s", error)
        return
    if best["global_step"] > step:
        log.info("%s is of step %d, later than that: it stays until a better one", path, best["global_step"])
        state |= best["callbacks"][callback.state_key]
        _bring_along(state, str(callback.dirpath))


def _state(trainer: Trainer) -> dict[str, Any]:
    # Trainer.save_checkpoint is this and the writing in one.
    state: dict[str, Any] = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    return state


def _before_validation(trainer: Trainer) -> dict[str, Any]:
    """Give the state after the last batch before a validation, which is repeated as a whole when a run goes on from it.

    Nothing that training changes is copied: a validation leaves it alone.
    """
    state = _state(trainer)
    loops = state["loops"]["fit_loop"] = copy.deepcopy(state["loops"]["fit_loop"])
    for progress in (loops["epoch_loop.batch_progress"][which] for which in ("total", "current")):
        progress["completed"] = progress["processed"]
    # As Lightning leaves it in the middle of the first batch of a validation
    loops["epoch_loop.val_loop.batch_progress"]["total"] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    loops["epoch_loop.val_loop.batch_progress"]["current"] |= {"ready": 0, "started": 0, "processed": 0, "completed": 0}
    return state
