"""The trainer and the optimiser that the keys of the configuration ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Timer

from commands import compose
from cpnet.config import CONFIG_DIR
from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError
from cpnet.training.build import make_trainer, training_module
from cpnet.training.compilation import Compilation
from cpnet.training.precision import choose_precision

TRAINERS = sorted(file.stem for file in (CONFIG_DIR / "trainer").glob("*.yaml"))
TWO_PROCESSES = ("trainer=ddp", "trainer.accelerator=cpu", "batch_size=4")


def configured(*overrides: str) -> DictConfig:
    """Compose with the precision that a run would choose."""
    cfg = compose("output_dir=out", *overrides)
    cfg.trainer.precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    return cfg


def trainer_of(cfg: DictConfig, *callbacks: Callback, **arguments: Any) -> Trainer:
    return make_trainer(cfg.trainer, callbacks=callbacks, batch_size=cfg.batch_size, **arguments)


def compilation_of(trainer: Trainer) -> Compilation:
    (compilation,) = (each for each in vars(trainer)["callbacks"] if isinstance(each, Compilation))
    return compilation


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_is_built_if_its_devices_exist(name: str) -> None:
    cfg = configured(f"trainer={name}")
    if cfg.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="trainer: No supported gpu backend"):
            trainer_of(cfg)
        return
    # A machine without the devices still takes the arguments.
    trainer = trainer_of(cfg, **({"accelerator": "cpu"} if name == "ddp" else {}))
    assert trainer.max_epochs == cfg.trainer.max_epochs


@pytest.mark.parametrize("value", ["true", "True", "false", "auto"])
def test_keys_of_compilation(value: str, tmp_path: Path) -> None:
    cfg = configured("trainer=cpu", f"trainer.compile={value}", f"trainer.compile_cache={tmp_path}/there")
    before, timer = cfg.copy(), Timer()
    trainer = trainer_of(cfg, timer)
    compilation = compilation_of(trainer)
    assert (compilation.when, compilation.cache) == (value.lower(), tmp_path / "there")
    assert timer in vars(trainer)["callbacks"]
    assert cfg == before  # the configuration of a run is part of its checkpoints


@pytest.mark.parametrize(
    ("devices", "batch_size", "effective", "accumulated"), [(1, 4, 8, 2), (2, 4, 8, 1), (2, 5, 30, 3)]
)
def test_effective_batch_sets_accumulation(devices: int, batch_size: int, effective: int, accumulated: int) -> None:
    sizes = (f"trainer.devices={devices}", f"batch_size={batch_size}", f"trainer.effective_batch_size={effective}")
    assert trainer_of(configured(*TWO_PROCESSES, *sizes)).accumulate_grad_batches == accumulated
    assert accumulated * devices * batch_size == effective


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.effective_batch_size=12"], r"effective_batch_size=12 must be a multiple of batch_size x .* = 8"),
        (["trainer.effective_batch_size=4"], r"effective_batch_size=4 must be a multiple of"),
        (["trainer.effective_batch_size=0"], r"effective_batch_size=0 must be a multiple of"),
        (
            ["trainer.effective_batch_size=16", "trainer.accumulate_grad_batches=2"],
            r"effective_batch_size=16 .*accumulate_grad_batches; remove .*accumulate_grad_batches=2",
        ),
        (["trainer.compile=often"], r"compile must be true, false or auto; got 'often'"),
        (["trainer.limit_test_batches=0"], r"limit_test_batches=0 leaves nothing to measure at the end"),
        (["+trainer.surprise=1"], r".*unexpected keyword argument 'surprise'"),
    ],
)
def test_impossible_value_names_its_key(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^trainer[.:]{message}"):
        trainer_of(configured(*TWO_PROCESSES, *overrides))


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize(("precision", "fused"), [("32-true", True), ("bf16-mixed", True), ("16-mixed", False)])
def test_optimizer_is_fused_unless_the_trainer_unscales(optimizer: str, precision: str, fused: bool) -> None:
    cfg = configured(f"optimizer={optimizer}", "model.hidden_dim=16")
    cfg.trainer.precision = precision
    module = training_module(cfg, Vocabulary(("", "<unk>"), torch.zeros(2, 4)))
    assert module.make_optimizer is not None
    assert module.make_optimizer(module.parameters()).defaults["fused"] is fused
    assert cfg.optimizer.fused is True
