"""Processes of a second or two that fail in every way; oracle: what each is told to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import cpnet
from cpnet import processes
from cpnet.jobs import reason
from cpnet.processes import ProcessFailedError, missing, run_together

PREAMBLE = "import os, signal, sys, time\nfrom cpnet import processes\nrank = int(os.environ['LOCAL_RANK'])\n"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setenv("PYTHONPATH", str(Path(cpnet.__file__).parents[1]))
    for name in ("LOCAL_RANK", "SLURM_NTASKS", "SLURM_JOB_NAME", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)


def run(code: str, folder: Path, *, count: int = 2) -> None:
    run_together([sys.executable, "-c", PREAMBLE + code], count, nodes=1, folder=folder, cwd=str(folder))


def test_each_process_knows_its_place(tmp_path: Path) -> None:
    names = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    run(f"open(f'{{rank}}', 'w').write(' '.join(os.environ[name] for name in {names})); print('said')", tmp_path)
    first, second = ((tmp_path / name).read_text().split() for name in ("0", "1"))
    assert (first[:5], second[:5]) == (["0", "0", "0", "2", "127.0.0.1"], ["1", "1", "0", "2", "127.0.0.1"])
    assert first[5] == second[5]
    assert (tmp_path / "process_1.log").read_text() == "said\n"
    assert not (tmp_path / "process_0.log").exists()


RAISES = "processes.tell('Traceback\\nOSError: a stone in the works'); time.sleep(1); sys.exit(1)"
REFUSES = "processes.tell('cpnet: no such corpus\\n'); time.sleep(1); sys.exit(1)"
DIES = "os.kill(os.getpid(), signal.SIGKILL)"
# The other one waits as for a connection, or fails of it a little later, and even ends before the first.
HANGS = "    time.sleep(600)\n"
BREAKS = (
    "    while not os.path.exists('over'):\n        time.sleep(0.05)\n"
    "    time.sleep(0.5); processes.tell('Traceback\\nConnectionError: peer'); sys.exit(1)\n"
)


@pytest.mark.parametrize(
    ("culprit", "how", "other", "said"),
    [
        (0, RAISES, HANGS, "OSError: a stone in the works"),
        (1, RAISES, BREAKS, "OSError: a stone in the works"),
        (1, REFUSES, BREAKS, "no such corpus"),
        (0, DIES, BREAKS, "ended by SIGKILL, as a system does that runs out of memory"),
        (1, DIES, HANGS, "ended by SIGKILL, as a system does that runs out of memory"),
    ],
)
def test_the_one_that_failed_first_is_named_and_the_others_are_down(
    culprit: int, how: str, other: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "open(str(rank), 'w').write(str(os.getpid()))\n"
    code += f"if rank == {culprit}:\n    open('over', 'w'); {how}\nelse:\n{other}"
    start = time.monotonic()
    with pytest.raises(ProcessFailedError) as error:
        run(code, tmp_path)
    assert time.monotonic() - start < 20
    assert str(error.value) == f"rank {culprit} of 2: {said}"
    assert ("a stone in the works" in capfd.readouterr().err) == ("stone" in said)  # with its traceback
    assert not is_alive(int((tmp_path / "0").read_text()))
    assert not is_alive(int((tmp_path / "1").read_text()))


def is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_error_that_all_have_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailedError) as error:
        run("processes.tell('cpnet: seed must be a number\\n'); sys.exit(1)", tmp_path, count=3)
    assert str(error.value) == "seed must be a number"


def test_an_end_without_a_word_has_its_log_named(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailedError, match=r"rank 1 of 2: exit code 3; its last words are in .*process_1\.log"):
        run("sys.exit(3 * rank)", tmp_path)


def test_signals_are_passed_on_and_their_code_kept(tmp_path: Path) -> None:
    code = (
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(rank), open(f'{rank}', 'w'), sys.exit(143)))\n"
        "open(f'ready{rank}', 'w')\ntime.sleep(600)"
    )

    def end() -> None:
        while len(list(tmp_path.glob("ready*"))) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end).start()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        run(code, tmp_path)
    assert ended.value.code == 143
    assert (tmp_path / "1").exists()  # which took longer than the patience for failures
    assert signal.getsignal(signal.SIGTERM) == before


def test_one_that_waits_for_another_that_a_signal_ended_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.5)
    code = (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143) if rank else open('waits', 'w'))\n"
        "open(f'ready{rank}', 'w').write(str(os.getpid()))\nwhile True:\n    time.sleep(600)"
    )

    def end() -> None:
        while len(list(tmp_path.glob("ready*"))) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end).start()
    with pytest.raises(SystemExit) as ended:
        run(code, tmp_path)
    assert ended.value.code == 143
    assert (tmp_path / "waits").exists()
    assert not is_alive(int((tmp_path / "ready0").read_text()))


def test_a_signal_between_two_starts_ends_those_that_were_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = processes._start
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **options: Any) -> Any:
        if started:
            os.kill(os.getpid(), signal.SIGTERM)
        started.append(original(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(processes, "_start", start)
    with pytest.raises(SystemExit) as ended:
        run("time.sleep(600)", tmp_path, count=3)
    assert ended.value.code == 143
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


def test_processes_end_with_their_parent(tmp_path: Path) -> None:
    child = PREAMBLE + "processes.follow_parent(); open(f'{rank}', 'w').write(str(os.getpid())); time.sleep(600)"
    line = [sys.executable, "-c", child]
    parent = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            f"from pathlib import Path; from cpnet.processes import run_together\n"
            f"run_together({line!r}, 2, nodes=1, folder=Path(), cwd='.')",
        ],
        cwd=tmp_path,
    )
    numbers = [int(wait_for((tmp_path / name).read_text)) for name in ("0", "1")]
    parent.kill()
    parent.wait()
    wait_for(lambda: "down" if not any(is_alive(number) for number in numbers) else "")


def wait_for(look: Callable[[], str]) -> str:
    for _ in range(400):
        try:
            if found := look():
                return found
        except FileNotFoundError:
            pass
        time.sleep(0.05)
    raise TimeoutError


@pytest.mark.parametrize(
    ("devices", "environment", "count"),
    [
        (1, {}, 1),
        (4, {}, 4),
        ("3", {}, 3),
        ("auto", {}, 1),
        (4, {"LOCAL_RANK": "0"}, 1),
        (4, {"SLURM_NTASKS": "8"}, 1),
        (4, {"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "bash"}, 4),
        (4, {"SLURM_NTASKS": "1"}, 4),
        ("all of them", {}, 1),
    ],
)
def test_processes_are_started_unless_somebody_has(
    devices: object, environment: dict[str, str], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert missing(OmegaConf.create({"trainer": {"accelerator": "cpu", "devices": devices}})) == count


def test_a_sweep_finds_the_reason() -> None:
    # As a command prints it: Hydra's remark, the first process's traceback, and our line.
    shown = "Traceback\nConnectionError: peer\nError executing job\ncpnet: rank 1 of 2: OSError: a stone in the works\n"
    assert reason(shown) == "rank 1 of 2: OSError: a stone in the works"


# The second process answers when the first is at its end, in the last thing that it does there, which keeps the
# interpreter to itself. So gloo waits for the interpreter to let go of a tensor of the first.
LATE = """
import atexit
atexit.register(sum, range(100_000_000))  # the first to be registered comes last
import os, sys, time
import torch, torch.distributed
from contextlib import nullcontext
from cpnet import processes

rank = int(sys.argv[1])
store = torch.distributed.FileStore('store', 2)
torch.distributed.init_process_group('gloo', store=store, rank=rank, world_size=2)
ending = processes.leaving if sys.argv[2] == 'ours' else nullcontext
if rank:
    while not os.path.exists('at the end'):
        time.sleep(0.05)
    time.sleep(0.2)
torch.distributed.all_gather([torch.ones(1), torch.ones(1)], torch.ones(1), async_op=True)
if rank:
    time.sleep(3)
    os._exit(0)
atexit.register(lambda: open('at the end', 'w'))
with ending():
    print('done')  # to a file, hence held back until it is flushed
    sys.exit(3)
"""


def end_late(ending: str, folder: Path) -> tuple[int, str]:
    line = [sys.executable, "-c", LATE]
    with (folder / "said").open("w+") as said:
        started = [subprocess.Popen([*line, rank, ending], cwd=folder, stdout=said, stderr=said) for rank in "01"]
        codes = [process.wait(60) for process in started]
        said.seek(0)
        return codes[0], said.read()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch was built without torch.distributed")
def test_a_process_ends_with_its_own_code_whatever_the_others_left_running(tmp_path: Path) -> None:
    assert end_late("ours", tmp_path) == (3, "done\n")
    assert (tmp_path / "at the end").exists()  # what was registered for its exit was done


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch was built without torch.distributed")
def test_without_that_it_aborts(tmp_path: Path) -> None:
    """When this no longer holds, torch has mended it, and ``processes.leaving`` can go."""
    code, said = end_late("the interpreter's", tmp_path)
    assert code == -signal.SIGABRT
    assert "terminate called without an active exception" in said


def test_a_process_that_talked_to_no_other_ends_as_any_does() -> None:
    with pytest.raises(SystemExit, match="3"), processes.leaving():
        sys.exit(3)
    with processes.leaving():
        pass
