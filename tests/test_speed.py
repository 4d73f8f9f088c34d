"""When a model is compiled, what a run without a compiler does, and what a process does with memory and denormals."""

from __future__ import annotations

import ast
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import SGD

from commands import spawn
from corpora import TEST, TRAIN, Table, ready, trainer, write_corpus
from cpnet import speed
from cpnet.config import ConfigError
from cpnet.data.datamodule import GroundingDataModule
from cpnet.losses import GroundingLoss
from cpnet.module import GroundingModule
from cpnet.speed import PACE_BATCHES, WORTH_SECONDS, Compilation

CPU = torch.device("cpu")
VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
Compiled = list[tuple[nn.Module, torch.device]]


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> Compiled:
    """What would have been compiled, on a machine with a compiler."""
    calls: Compiled = []
    monkeypatch.setattr(speed, "compile_model", lambda model, device: calls.append((model, device)))
    monkeypatch.setattr(speed, "missing", lambda device: None)
    monkeypatch.setenv(VARIABLE, "elsewhere")  # also has the variable restored after the test
    return calls


@pytest.fixture
def datamodule(tmp_path: Path) -> GroundingDataModule:
    return ready(write_corpus(tmp_path))  # 7 batches an epoch


def module() -> GroundingModule:
    return GroundingModule(
        model=Table(torch.rand(max(len(TRAIN), len(TEST)), 2)),
        loss=GroundingLoss(),
        optimizer=lambda parameters: SGD(parameters, lr=0.0),
    )


def fit(when: str, datamodule: GroundingDataModule, *others: Callback, epochs: int = 3) -> GroundingModule:
    trained = module()
    callbacks = [Compilation(when, cache=Path("cache")), *others]
    run = trainer(max_epochs=epochs, limit_val_batches=0, callbacks=callbacks)
    run.fit(trained, datamodule=datamodule)
    run.test(trained, datamodule=datamodule, verbose=False)
    return trained


@pytest.mark.parametrize(("when", "worth", "said"), [("true", 0, True), ("false", -1e9, False), ("auto", 1e9, False)])
def test_a_run_says_whether_its_model_was_compiled(
    when: str, worth: float, said: bool, datamodule: GroundingDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "WORTH_SECONDS", worth)
    run = trainer(max_epochs=2, limit_val_batches=0, callbacks=[Compilation(when, cache=Path("cache"))])
    assert not speed.is_compiled(run)
    run.fit(module(), datamodule=datamodule)
    assert speed.is_compiled(run) is said
    assert not speed.is_compiled(trainer())


@pytest.mark.parametrize("when", ["yes", "", "True", "none"])
def test_another_word_is_refused(when: str) -> None:
    with pytest.raises(ConfigError, match=rf"^trainer\.compile must be true, false or auto; got '{when}'$"):
        Compilation(when, cache=Path("cache"))


def test_what_is_compiled_lies_in_the_cache(datamodule: GroundingDataModule, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch names a folder of its own as soon as it is asked for a compiler; one that somebody names stays."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    ours = str(Path("cache").absolute())
    for before, after in ((default_cache_dir(), ours), ("/somebody/s", "/somebody/s")):
        monkeypatch.setenv(VARIABLE, before)
        fit("true", datamodule, epochs=1)
        assert os.environ[VARIABLE] == after


def test_true_compiles_once_before_the_first_step(datamodule: GroundingDataModule, compiled: Compiled) -> None:
    first: list[int] = []

    class Look(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            first.append(len(compiled))

    trained = fit("true", datamodule, Look())
    assert compiled == [(trained.model, CPU)]
    assert first == [1] * 21


def test_true_compiles_before_a_test_alone(datamodule: GroundingDataModule, compiled: Compiled) -> None:
    first: list[int] = []

    class Look(Callback):
        def on_test_batch_start(self, *_: Any, **__: Any) -> None:
            first.append(len(compiled))

    tested = module()
    run = trainer(callbacks=[Compilation("true", cache=Path("cache")), Look()])
    run.test(tested, datamodule=datamodule, verbose=False)
    assert compiled == [(tested.model, CPU)]
    assert first == [1, 1, 1]


def test_false_never_compiles(
    datamodule: GroundingDataModule, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "WORTH_SECONDS", -1.0)
    fit("false", datamodule)
    assert not compiled


@pytest.mark.parametrize(("worth", "times"), [(-1e9, 1), (WORTH_SECONDS, 0)])
def test_auto_compiles_once_where_it_is_worth_it(
    worth: float, times: int, datamodule: GroundingDataModule, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "WORTH_SECONDS", worth)
    trained = fit("auto", datamodule)
    assert compiled == [(trained.model, CPU)] * times


def test_auto_leaves_a_run_of_few_batches_alone(
    datamodule: GroundingDataModule, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "WORTH_SECONDS", -1e9)
    fit("auto", datamodule, epochs=1)  # 7 batches show no pace
    assert not compiled


def agree(decision: bool, all: bool) -> bool:  # noqa: A002, Lightning's name
    return decision


def at_a_pace(seconds: Callable[[int], float], *, epochs: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Run batches of 10 an epoch, each ending at ``seconds``; give the batches after which a model was compiled."""
    now = [0.0]
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    strategy = SimpleNamespace(root_device=CPU, reduce_boolean_decision=agree)
    run = SimpleNamespace(num_training_batches=10, max_epochs=epochs, current_epoch=0, global_step=0, strategy=strategy)
    trained = module()
    compiled_after: list[int] = []
    monkeypatch.setattr(speed, "compile_model", lambda model, device: compiled_after.append(run.global_step))
    compilation = Compilation("auto", cache=Path("cache"))
    for step in range(1, 10 * epochs + 1):
        now[0], run.global_step = seconds(step), step
        run.current_epoch, batch = divmod(step - 1, 10)
        compilation.on_train_batch_end(cast(Trainer, run), cast(LightningModule, trained), None, None, batch)
    return compiled_after


@pytest.mark.parametrize(
    ("pace", "epochs", "worth_it"),
    [
        (1.0, 31, True),  # 310 - 9 batches are left
        (1.0, 30, False),
        (0.99, 31, False),  # all batches take longer, those that are left do not
        (0.5, 62, True),
        (0.5, 60, False),
        (0.01, 100, False),
    ],
)
def test_the_pace_of_the_first_batches_decides(
    pace: float, epochs: int, worth_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = PACE_BATCHES + 1
    assert (pace * (10 * epochs - judged) > WORTH_SECONDS) == worth_it
    found = at_a_pace(lambda step: pace * step, epochs=epochs, monkeypatch=monkeypatch)
    assert found == [judged] * worth_it


def test_a_slow_first_batch_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert at_a_pace(lambda step: 1000 + 0.01 * step, epochs=100, monkeypatch=monkeypatch) == []


def test_processes_decide_together(monkeypatch: pytest.MonkeyPatch, compiled: Compiled) -> None:
    asked: list[tuple[bool, bool]] = []

    def refuse(decision: bool, all: bool) -> bool:  # noqa: A002, Lightning's name
        asked.append((decision, all))
        return False

    monkeypatch.setattr(speed, "WORTH_SECONDS", -1e9)
    strategy = SimpleNamespace(root_device=CPU, reduce_boolean_decision=refuse)
    run = SimpleNamespace(num_training_batches=10, max_epochs=2, current_epoch=0, global_step=0, strategy=strategy)
    compilation = Compilation("auto", cache=Path("cache"))
    for step in range(20):
        run.current_epoch, batch = divmod(step, 10)
        compilation.on_train_batch_end(cast(Trainer, run), module(), None, None, batch)
    assert asked == [(True, True)]
    assert not compiled


def test_without_a_compiler_true_says_what_to_install(
    datamodule: GroundingDataModule, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "missing", lambda device: f"no compiler for {device}")
    said = r"^trainer\.compile=true: no compiler for cpu; install it, or trainer\.compile=false$"
    with pytest.raises(ConfigError, match=said):
        fit("true", datamodule)
    assert not compiled


def test_without_a_compiler_auto_goes_on_without(
    datamodule: GroundingDataModule, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "missing", lambda device: "no compiler")
    monkeypatch.setattr(speed, "WORTH_SECONDS", -1e9)
    fit("auto", datamodule)
    assert not compiled


def test_a_machine_without_a_cpp_compiler_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def refuse() -> str:
        raise InvalidCxxCompiler

    monkeypatch.undo()  # the function itself
    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", refuse)
    assert "C++ compiler (g++ or clang++)" in str(speed.missing(CPU))
    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", lambda: "g++")
    assert speed.missing(CPU) is None


@pytest.mark.parametrize("there", [True, False])
def test_a_machine_without_triton_lacks_it_for_gpus(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the function itself
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: there)
    assert ("Triton" in str(speed.missing(torch.device("cuda")))) == (not there)


def test_the_cache_is_the_runs_where_none_is_set(
    datamodule: GroundingDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.chdir(tmp_path)
    fit("false", datamodule)
    assert VARIABLE not in os.environ
    fit("true", datamodule)
    assert os.environ[VARIABLE] == str(tmp_path / "cache")


def test_a_cache_that_is_set_stays(datamodule: GroundingDataModule) -> None:
    fit("true", datamodule)
    assert os.environ[VARIABLE] == "elsewhere"


def test_a_compiled_model_keeps_the_names_of_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the function itself
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    names = list(model.state_dict())
    with torch._dynamo.config.patch(recompile_limit=8):
        speed.compile_model(model, CPU)
    assert list(model.state_dict()) == names
    assert model._compiled_call_impl is not None


PROCESS = """
import torch
from cpnet.speed import prepare_process

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

def product():
    return (torch.tensor([1e-30]) * torch.tensor([1e-10])).item()  # 1e-40 is a denormal float32

def kept():
    tensor = torch.ones(1 << 25)  # 128 MB
    before = resident()
    del tensor
    return resident() > 0.9 * before

can_flush = torch.set_flush_denormal(True)
torch.set_flush_denormal(False)
first = product(), kept()
prepare_process()
print(can_flush, first, (product(), kept()), sep=";")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_prepared_process_flushes_denormals_and_keeps_its_memory(tmp_path: Path) -> None:
    ended = spawn("-c", PROCESS, folder=tmp_path)
    assert ended.code == 0, ended.err
    can_flush, before, after = (ast.literal_eval(part) for part in ended.out.strip().split(";"))
    assert before[0] == pytest.approx(1e-40, rel=1e-3)
    assert (after[0] == 0) == can_flush
    if platform.libc_ver()[0] == "glibc":
        assert (before[1], after[1]) == (False, True)


@pytest.mark.parametrize("decided", [True, False])
def test_a_run_that_goes_on_holds_to_what_was_decided(
    decided: bool, datamodule: GroundingDataModule, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pace of the rest would say the opposite.
    monkeypatch.setattr(speed, "WORTH_SECONDS", 1e9 if decided else -1e9)
    before = Compilation("auto", cache=Path("cache"))
    before.decided = decided
    after = Compilation("auto", cache=Path("cache"))
    after.load_state_dict(before.state_dict())
    trainer(max_epochs=3, limit_val_batches=0, callbacks=[after]).fit(module(), datamodule=datamodule)
    assert len(compiled) == decided
    assert (after.decided, after.compiled) == (decided, decided)


def test_a_decision_to_compile_waits_for_a_machine_that_can(
    datamodule: GroundingDataModule, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "missing", lambda device: "no compiler")
    after = Compilation("auto", cache=Path("cache"))
    after.load_state_dict({"decided": True})
    trainer(max_epochs=1, limit_val_batches=0, callbacks=[after]).fit(module(), datamodule=datamodule)
    assert compiled == []
