"""When a model is compiled, and how a process is prepared; what is compiled is in smoke/test_compiled.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import SGD

from commands import spawn
from corpora import TEST, TRAIN, Table, ready, trainer, write_corpus
from cpnet.data.datamodule import GroundingDataModule
from cpnet.errors import ConfigError
from cpnet.training import compilation
from cpnet.training.compilation import Compilation, compile_model, is_compiled, missing, seconds_left
from cpnet.training.losses import GroundingLoss
from cpnet.training.module import GroundingModule

CPU = torch.device("cpu")
VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@pytest.fixture
def datamodule(tmp_path: Path) -> GroundingDataModule:
    return ready(write_corpus(tmp_path))  # 7 batches an epoch


@pytest.fixture(autouse=True)
def _no_compiler_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A compiler takes minutes; these tests are about the decision."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "users"))  # also restored after the test
    monkeypatch.setattr(compilation, "missing", lambda device: None)
    monkeypatch.setattr(compilation, "compile_model", lambda model, device: None)


def module() -> GroundingModule:
    return GroundingModule(
        model=Table(torch.rand(max(len(TRAIN), len(TEST)), 2)),
        loss=GroundingLoss(),
        optimizer=lambda parameters: SGD(parameters, lr=0.0),
    )


@pytest.mark.parametrize(
    ("pace", "epochs", "current", "batch", "left"),
    [(1.0, 31, 0, 8, 301.0), (1.0, 30, 0, 8, 291.0), (0.5, 4, 1, 4, 12.5), (2.0, 1, 0, 9, 0.0)],
)
def test_seconds_left_of_a_training(pace: float, epochs: int, current: int, batch: int, left: float) -> None:
    assert seconds_left(pace, batches=10, epochs=epochs, current_epoch=current, batch=batch) == left


@pytest.mark.parametrize(
    ("when", "worth", "epochs", "compiled"),
    [
        ("true", 1e9, 1, True),
        ("false", -1e9, 2, False),
        ("auto", -1e9, 2, True),
        ("auto", 1e9, 2, False),
        ("auto", -1e9, 1, False),  # 7 batches show no pace
    ],
)
def test_a_training_is_compiled_as_configured(
    when: str,
    worth: float,
    epochs: int,
    compiled: bool,
    datamodule: GroundingDataModule,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compilation, "WORTH_SECONDS", worth)
    run = trainer(max_epochs=epochs, limit_val_batches=0, callbacks=[Compilation(when, cache=Path("cache"))])
    run.fit(module(), datamodule=datamodule)
    assert is_compiled(run) is compiled


def test_a_test_alone_is_compiled_as_configured(datamodule: GroundingDataModule) -> None:
    run = trainer(callbacks=[Compilation("true", cache=Path("cache"))])
    run.test(module(), datamodule=datamodule, verbose=False)
    assert is_compiled(run)
    assert not is_compiled(trainer())


@pytest.mark.parametrize("decided", [True, False])
def test_a_resumed_training_keeps_the_decision(
    decided: bool, datamodule: GroundingDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pace of the rest would decide the opposite.
    monkeypatch.setattr(compilation, "WORTH_SECONDS", 1e9 if decided else -1e9)
    before, after = (Compilation("auto", cache=Path("cache")) for _ in range(2))
    before.decided = decided
    after.load_state_dict(before.state_dict())
    trainer(max_epochs=3, limit_val_batches=0, callbacks=[after]).fit(module(), datamodule=datamodule)
    assert (after.decided, after.compiled) == (decided, decided)


def test_without_a_compiler(datamodule: GroundingDataModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "missing", lambda device: f"no compiler for {device}")
    monkeypatch.setattr(compilation, "WORTH_SECONDS", -1e9)
    automatic = Compilation("auto", cache=Path("cache"))
    trainer(max_epochs=2, limit_val_batches=0, callbacks=[automatic]).fit(module(), datamodule=datamodule)
    assert not automatic.compiled
    message = r"^trainer\.compile=true: no compiler for cpu, or set trainer\.compile=false$"
    with pytest.raises(ConfigError, match=message):
        trainer(callbacks=[Compilation("true", cache=Path("cache"))]).fit(module(), datamodule=datamodule)


@pytest.mark.parametrize("when", ["yes", "", "True", "none"])
def test_an_unknown_value_is_refused(when: str) -> None:
    with pytest.raises(ConfigError, match=rf"^trainer\.compile must be true, false or auto; got '{when}'$"):
        Compilation(when, cache=Path("cache"))


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


def test_a_compiled_model_keeps_the_names_of_its_weights() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    names = list(model.state_dict())
    with torch._dynamo.config.patch(recompile_limit=8):
        compile_model(model, CPU)
    assert list(model.state_dict()) == names
    assert model._compiled_call_impl is not None


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
