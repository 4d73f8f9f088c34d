"""When a model is compiled, and how a process is prepared; what is compiled is in smoke/test_compiled.py."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor, nn
from torch.optim import SGD

from commands import spawn
from corpora import TEST, TRAIN, Table, ready, trainer, write_corpus
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.data.datamodule import GroundingDataModule
from cpnet.errors import ConfigError, DataError
from cpnet.training import compilation
from cpnet.training.compilation import Compilation, missing
from cpnet.training.losses import GroundingLoss
from cpnet.training.module import GroundingModule

CPU = torch.device("cpu")
VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@pytest.fixture
def datamodule(tmp_path: Path) -> GroundingDataModule:
    return ready(write_corpus(tmp_path))  # 7 batches an epoch


@pytest.fixture(autouse=True)
def _no_compiler_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A compiler takes minutes; these tests are about the decision."""
    caplog.set_level(logging.INFO)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "users"))  # also restored after the test
    monkeypatch.setattr(compilation, "missing", lambda device: None)
    monkeypatch.setattr(compilation, "compile_model", lambda model, device: None)


def module(model: type[Table] = Table) -> GroundingModule:
    return GroundingModule(
        model=model(torch.rand(max(len(TRAIN), len(TEST)), 2)),
        loss=GroundingLoss(),
        optimizer=lambda parameters: SGD(parameters, lr=0.1),
    )


class Watched(Table):
    """A table times a matrix and a random number. It counts its steps, and records whether it is compiled."""

    steps: Tensor
    compiled: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__(table)
        self.matrix = nn.Parameter(torch.eye(2))
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("compiled", torch.full((30,), -1.0), persistent=False)  # of the last calls

    def forward(self, batch: GroundingBatch) -> GroundingOutput:
        compiled = torch.full((1,), float(torch.compiler.is_compiling()))
        self.compiled.copy_(torch.cat([self.compiled[1:], compiled]))  # a list would be compiled for its length
        self.steps.add_(self.training)
        output = super().forward(batch)
        return replace(output, span=output.span @ self.matrix * torch.rand(()))


@pytest.mark.parametrize(
    ("when", "gpu", "worth", "compiled"),
    [
        ("true", "cuda", 1e9, True),
        ("false", "cpu", -1.0, False),
        ("auto", "cpu", -1.0, True),
        ("auto", "cpu", 1e9, False),
        ("auto", "cuda", -1.0, False),
    ],
)
def test_a_training_is_compiled_as_configured(
    when: str, gpu: str, worth: float, compiled: bool, datamodule: GroundingDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "AUTO_DEVICES", (gpu,))
    monkeypatch.setattr(compilation, "WORTH_SECONDS", worth)
    callback = Compilation(when, cache=Path("cache"))
    trainer(max_epochs=1, limit_val_batches=0, callbacks=[callback]).fit(module(), datamodule=datamodule)
    assert callback.compiled is compiled


def test_auto_sees_the_whole_run_after_a_resume(
    datamodule: GroundingDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compilation, "AUTO_DEVICES", ("cpu",))
    # The product of (B, n) and (n, m) takes 2 B n m FLOPs, and each of its two gradients as many.
    monkeypatch.setattr(compilation, "PEAK_FLOPS", 3 * 2 * 3 * 2 * 2 / 60)  # so that a batch takes a minute
    monkeypatch.setattr(compilation, "LAUNCH_SECONDS", 0)
    path = tmp_path / "last.ckpt"
    for resumed in (None, path):
        saving = LambdaCallback(on_train_epoch_end=lambda run, _: path.exists() or run.save_checkpoint(path))
        callbacks = [Compilation("auto", cache=Path("cache")), saving]
        run = trainer(max_epochs=3, limit_val_batches=0, accumulate_grad_batches=2, callbacks=callbacks)
        run.fit(module(Watched), datamodule=datamodule, ckpt_path=resumed, weights_only=True)
    (line,) = {line for line in caplog.messages if line.startswith("training takes")}  # the same twice
    assert " 24.0 min or more " in line  # 3 epochs of 4 steps of two batches


def watched(datamodule: GroundingDataModule, when: str, *callbacks: Callback) -> tuple[Trainer, GroundingModule]:
    """Train two steps and validate; the compiler only traces."""
    torch.manual_seed(0)
    callbacks = (Compilation(when, cache=Path("cache")), *callbacks)
    run, made = trainer(max_epochs=1, limit_train_batches=2, callbacks=[*callbacks]), module(Watched)
    with pytest.MonkeyPatch.context() as patch, suppress(DataError):
        patch.setattr(compilation, "compile_model", lambda model, device: model.compile(backend="eager"))
        run.fit(made, datamodule=datamodule)
    return run, made


def compiled(module: GroundingModule) -> list[float]:
    assert isinstance(module.model, Watched)
    return module.model.compiled.tolist()


def test_only_training_is_compiled_and_its_cost_changes_no_weight(
    datamodule: GroundingDataModule, caplog: pytest.LogCaptureFixture
) -> None:
    _, plain = watched(datamodule, "false")
    run, made = watched(datamodule, "true")
    run.test(made, datamodule=datamodule, verbose=False)
    # Passes of each kind to time them, and two steps; one batch of validation, three of the test.
    calls = [call for call in compiled(made) if call >= 0]
    assert (calls[:-4], calls[-7:]) == (sorted(calls[:-4]), [1] * 3 + [0] * 4)
    assert {name: each.tolist() for name, each in made.state_dict().items()} == {
        name: each.tolist() for name, each in plain.state_dict().items()
    }
    assert sum(line.startswith("compiled in") for line in caplog.messages) == 1


def test_error_in_validation_leaves_the_compiler_on(datamodule: GroundingDataModule) -> None:
    def fail(*_: Any) -> None:
        raise DataError

    _, made = watched(datamodule, "true", LambdaCallback(on_validation_batch_start=fail))
    made.train()(next(iter(datamodule.train_dataloader())))
    assert compiled(made)[-1]


def test_without_a_compiler(datamodule: GroundingDataModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "missing", lambda device: f"no compiler for {device}")
    monkeypatch.setattr(compilation, "WORTH_SECONDS", -1.0)
    monkeypatch.setattr(compilation, "AUTO_DEVICES", ("cpu",))
    automatic = Compilation("auto", cache=Path("cache"))
    trainer(max_epochs=1, limit_val_batches=0, callbacks=[automatic]).fit(module(), datamodule=datamodule)
    assert not automatic.compiled
    with pytest.raises(ConfigError, match=r"trainer\.compile=true: no compiler for cpu, or set trainer\.compile=false"):
        trainer(callbacks=[Compilation("true", cache=Path("cache"))]).fit(module(), datamodule=datamodule)


@pytest.mark.parametrize("users", [True, False])
def test_the_cache_is_the_runs_unless_the_user_sets_one(
    users: bool, datamodule: GroundingDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    before = str(tmp_path / "users") if users else default_cache_dir()  # torch sets the default by itself
    monkeypatch.setenv(VARIABLE, before)
    run = trainer(max_epochs=1, limit_val_batches=0, callbacks=[Compilation("true", cache=tmp_path / "cache")])
    run.fit(module(), datamodule=datamodule)
    assert os.environ[VARIABLE] == (before if users else str(tmp_path / "cache"))


def test_machines_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with torch._inductor.config.patch("cpp.cxx", ("no-such-compiler",)):
        assert "C++ compiler (g++ or clang++)" in str(missing(CPU))
    for there in (True, False):
        monkeypatch.setattr("torch.utils._triton.has_triton", lambda there=there: there)
        assert ("Triton" in str(missing(torch.device("cuda")))) is not there


@pytest.mark.slow
def test_a_prepared_process_flushes_denormals_and_keeps_memory(tmp_path: Path) -> None:
    code = (
        "import platform, resource, torch; from cpnet.training.compilation import prepare_process\n"
        "product = lambda: (torch.tensor([1e-30]) * torch.tensor([1e-10])).item()\n"
        "can = torch.set_flush_denormal(True); torch.set_flush_denormal(False); before = product()\n"
        "prepare_process(); print(before > 0, product() == 0 or not can)\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "torch.ones(1 << 25); torch.ones(1 << 25); first = faults(); torch.ones(1 << 25)\n"  # 128 MB, 32,768 pages
        "print(platform.libc_ver()[0] != 'glibc' or faults() - first < 1000)"
    )
    ended = spawn("-c", code, folder=tmp_path)
    assert ended.out.split() == ["True", "True", "True"], ended.err
