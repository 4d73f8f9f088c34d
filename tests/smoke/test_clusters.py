"""Every command of ``docs/clusters.md``, and its claims on failures and reproducibility."""

from __future__ import annotations

import os
import re
import shlex
import signal
import time
from pathlib import Path

import pytest
import torch

from commands import TINY, read_json, spawn, start, weights
from pages import lines

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch was built without torch.distributed"),
]
SMALL = tuple(each for each in TINY if not each.startswith(("trainer=", "batch_size=")))
CPU = ("trainer.accelerator=cpu", "trainer.precision=32-true")


def commands(first: str) -> list[list[str]]:
    """Return the code lines of the page that start so, each split into words."""
    return [shlex.split(line) for line in lines("docs/clusters.md", "sh") if line.startswith(first)]


def runs(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob("results.json"))


def test_commands_of_one_machine(tmp_path: Path) -> None:
    trainings = commands("python -m cpnet.train")
    shown = ("trainer.log_every_n_steps=1", "trainer.enable_progress_bar=true", "logger=wandb")
    for words in trainings:
        ended = spawn(*words[1:], *SMALL, *shown, folder=tmp_path)
        assert (ended.out.count("outputs: "), ended.out.count("epoch 1 of 1: ")) == (1, 1)
    assert [path.read_bytes() for path in tmp_path.rglob("process_1.log")] == [b""] * len(trainings)
    assert len([*tmp_path.rglob("run-*.wandb")]) == len(trainings)
    for words in commands("python -m cpnet.evaluate"):
        spawn(*words[1:], "trainer.enable_progress_bar=false", folder=tmp_path)
    results = [read_json(tmp_path / name / "results.json") for name in ("together", "two", "one")]
    assert results[0]["metrics"] == results[1]["metrics"] == results[2]["metrics"]
    first, second, third = ((tmp_path / name / "predictions.jsonl").read_bytes() for name in ("together", "two", "one"))
    assert first == second == third


def test_torchrun_writes_one_folder(tmp_path: Path) -> None:
    (words,) = commands("torchrun")
    spawn("-m", "torch.distributed.run", *words[1:], *SMALL, folder=tmp_path)
    (folder,) = runs(tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.name)


def test_slurm_writes_one_folder(tmp_path: Path) -> None:
    (words,) = commands("srun")
    command = words[words.index("python") + 1 :]
    dataset = next(word for word in command if word.startswith("dataset="))
    command.remove(dataset)
    started = []
    for rank in range(2):
        slurm = {"JOB_ID": "4711", "JOB_NAME": "train", "NTASKS": "2", "NTASKS_PER_NODE": "2", "NNODES": "1"}
        slurm |= {"PROCID": f"{rank}", "LOCALID": f"{rank}", "NODEID": "0", "NODELIST": "localhost", "STEP_ID": "0"}
        environment = {f"SLURM_{name}": value for name, value in slurm.items()}
        started.append(start(*command, *SMALL, *CPU, "epochs=1", folder=tmp_path, environment=environment))
    printed = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert runs(tmp_path) == [tmp_path / "outputs/synthetic/cpnet_small/slurm_4711"]
    assert ["outputs: " in each for each in printed] == [True, False]


FAIL = """
import os, signal, time
from pytorch_lightning import Callback

class Fail(Callback):
    def __init__(self, rank, how):
        self.rank, self.how = rank, how

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_rank == self.rank and trainer.global_step == 1:
            open("failed", "w")
            if self.how == "raise":
                raise RuntimeError("broken disk")
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Module with a callback that makes a rank fail."""
    (tmp_path / "failing.py").write_text(FAIL, encoding="utf-8")
    monkeypatch.setenv("CPNET_TRUSTED", "failing")


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("how", "message"), [("raise", "RuntimeError: broken disk"), ("kill", "killed by SIGKILL (probably out of memory)")]
)
def test_failed_rank_stops_the_others_and_prints_its_error_last(
    rank: int, how: str, message: str, tmp_path: Path
) -> None:
    fail = ("+callbacks.fail._target_=failing.Fail", f"+callbacks.fail.rank={rank}", f"+callbacks.fail.how={how}")
    settings = (*TINY, *CPU, "trainer.strategy=ddp", "trainer.devices=2")
    ended = spawn("-m", "cpnet.train", *settings, *fail, folder=tmp_path, code=1)
    assert time.time() - (tmp_path / "failed").stat().st_mtime < 30
    assert ended.err.splitlines()[-1].startswith(f"cpnet: rank {rank} of 2: {message}")
    assert ("Traceback" in ended.err) == (how == "raise")


@pytest.mark.usefixtures("failing")
def test_sweep_of_jobs_with_several_processes_names_the_failed_rank(tmp_path: Path) -> None:
    fail = ("+callbacks.fail._target_=failing.Fail", "+callbacks.fail.rank=${seed}", "+callbacks.fail.how=raise")
    ended = spawn(
        *("-m", "cpnet.train", "-m", *TINY, *CPU, "trainer.devices=2", *fail, "seed=1,2", "hydra.sweep.dir=sweep"),
        folder=tmp_path,
        code=1,
    )
    assert re.search(r"#0 .*seed=1: rank 1 of 2: RuntimeError: broken disk\n", ended.err)
    assert runs(tmp_path) == [tmp_path / "sweep/1"]  # no rank 2 fails
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {".lock", "0", "1", "jobs.json", "multirun.yaml"}


def test_runs_of_a_seed_are_bit_identical(tmp_path: Path) -> None:
    for name in ("first", "second"):
        spawn(
            *("-m", "cpnet.train", *SMALL, *CPU, "trainer.devices=2", "epochs=2", "batch_size=4"),
            *("trainer.deterministic=true", "trainer.strategy=ddp", f"hydra.run.dir={name}"),
            folder=tmp_path,
        )
    first, second = (weights(tmp_path / name) for name in ("first", "second"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


SLEEPING = """
import os, time
from pathlib import Path

if os.environ.get("RANK") == "1":
    from cpnet.training.module import GroundingModule

    def step(module, *arguments):
        Path("sleeps").touch()
        time.sleep(300)

    GroundingModule.test_step = step
"""


def test_a_signal_ends_two_processes_while_one_waits_for_the_other(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLEEPING, encoding="utf-8")
    settings = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=1", "hydra.run.dir=two"]
    process = start("-m", "cpnet.train", *TINY, *settings, folder=tmp_path, path=tmp_path)
    while process.poll() is None and not (tmp_path / "sleeps").exists():
        time.sleep(0.1)
    time.sleep(2)  # the other process waits for this one's predictions by then
    os.kill(process.pid, signal.SIGTERM)
    try:
        errors = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 143, errors
    assert (tmp_path / "two/checkpoints/last.ckpt").exists()
    assert not (tmp_path / "two/results.json").exists()
