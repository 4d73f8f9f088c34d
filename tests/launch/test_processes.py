"""Processes of a second or two that fail in every way. Oracle: what each is told to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import cpnet
from cpnet.errors import ConfigError
from cpnet.launch import processes
from cpnet.launch.processes import run_ranks

if not torch.distributed.is_available():
    pytest.skip("this torch was built without torch.distributed", allow_module_level=True)

from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

PREAMBLE = "import os, signal, sys, time\nfrom cpnet.launch import processes\nrank = int(os.environ['LOCAL_RANK'])\n"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(cpnet.__file__).parents[1]))
    for name in ("LOCAL_RANK", "SLURM_NTASKS", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)


def run(code: str, folder: Path, *, count: int = 2) -> None:
    run_ranks([sys.executable, "-c", f"import os; os.chdir({str(folder)!r})\n{PREAMBLE}{code}"], count)


def is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(look: Callable[[], object]) -> None:
    for _ in range(1200):
        if look():
            return
        time.sleep(0.05)
    raise TimeoutError


def test_each_rank_has_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "node07")
    monkeypatch.setenv("NODE_RANK", "1")
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR", "NODE_RANK")
    run(f"open(f'{{rank}}', 'w').write(' '.join(os.environ[name] for name in {names}))", tmp_path)
    first, second = ((tmp_path / name).read_text().split() for name in ("0", "1"))
    assert (first[:3], second[:3]) == (["0", "0", "2"], ["1", "1", "2"])
    assert first[3:] == second[3:]
    assert first[4:] == ["127.0.0.1", "0"]  # not those of a cluster


BUG = "processes.report_failure('OSError: broken disk', 'Traceback\\nOSError: broken disk\\n'); sys.exit(1)"
USER_ERROR = "processes.report_failure('no such corpus'); sys.exit(1)"
KILLED = "os.kill(os.getpid(), signal.SIGKILL)"
# What the other rank does: wait as for a connection, or fail because its connection is broken
HANGS = "    time.sleep(600)\n"
FAILS_TOO = (
    "    while not os.path.exists('over'):\n        time.sleep(0.01)\n"
    "    processes.report_failure('ConnectionError: peer', 'Traceback'); sys.exit(1)\n"
)
OUT_OF_MEMORY = "killed by SIGKILL (probably out of memory)"


@pytest.mark.parametrize(
    ("culprit", "how", "other", "message"),
    [
        (0, BUG, HANGS, "rank 0 of 2: OSError: broken disk"),
        (1, f"time.sleep(0.2); {BUG}", HANGS, "rank 1 of 2: OSError: broken disk"),
        (1, USER_ERROR, HANGS, "no such corpus"),
        (0, KILLED, FAILS_TOO, f"rank 0 of 2: {OUT_OF_MEMORY}"),
        (1, KILLED, FAILS_TOO, f"rank 1 of 2: {OUT_OF_MEMORY}"),
        (1, KILLED, HANGS, f"rank 1 of 2: {OUT_OF_MEMORY}"),
    ],
)
def test_failed_rank_is_named_and_the_others_are_stopped(
    culprit: int, how: str, other: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "open(str(rank), 'w').write(str(os.getpid()))\n"
    code += f"if rank == {culprit}:\n    open('over', 'w'); {how}\nelse:\n{other}"
    start = time.monotonic()
    with pytest.raises(ConfigError) as error:
        run(code, tmp_path)
    assert time.monotonic() - start < 20
    assert str(error.value) == message
    assert ("Traceback" in capfd.readouterr().err) == ("broken disk" in message)
    assert not any(is_alive(int(path.read_text())) for path in tmp_path.glob("[01]"))


def test_rank_without_a_message_has_its_exit_code_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^rank 1 of 2: exit code 3$"):
        run("sys.exit(3 * rank)", tmp_path)


def test_error_is_written_for_torchrun_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "error.json")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", path)
    assert processes.reported_failure(Path(path)) == ("", "")
    assert not processes.report_failure("OSError: broken disk", "Traceback")  # so that it is printed as well
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=1, error_file=path)
    assert "OSError: broken disk" in str(failure.message)
    assert processes.reported_failure(Path(path)) == ("OSError: broken disk", "Traceback")


WAITS = "open(f'ready{rank}', 'w').write(str(os.getpid()))\nwhile True:\n    time.sleep(600)"


@pytest.mark.parametrize(
    ("number", "handler", "code"),
    [
        (signal.SIGTERM, "lambda *_: (time.sleep(rank / 5), open(f'ended{rank}', 'w'), sys.exit(143))", 143),
        (signal.SIGINT, "lambda *_: (time.sleep(rank / 5), open(f'ended{rank}', 'w'), sys.exit(130))", 130),
        (signal.SIGUSR1, "lambda *_: (open(f'ended{rank}', 'w'), sys.exit(138 if rank == 0 else 0))", 138),
        (
            signal.SIGTERM,
            "lambda *_: open(f'ended{rank}', 'w') if rank == 0 else (open('ended1', 'w'), sys.exit(143))",
            143,
        ),
    ],
)
def test_signal_is_forwarded_and_its_exit_code_kept(
    number: int, handler: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 1)  # in the last case rank 0 ignores the signal

    def send() -> None:
        wait_for(lambda: len(list(tmp_path.glob("ready*"))) == 2)
        os.kill(os.getpid(), number)

    threading.Thread(target=send).start()
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        run(f"signal.signal({int(number)}, {handler})\n{WAITS}", tmp_path)
    assert ended.value.code == code
    assert len(list(tmp_path.glob("ended*"))) == 2
    assert signal.getsignal(number) == before
    assert not any(is_alive(int(path.read_text())) for path in tmp_path.glob("ready*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_rank_outlives_the_command(number: int, tmp_path: Path) -> None:
    """Also where the ranks ignore SIGTERM and the command is signalled twice."""
    child = (
        f"{PREAMBLE}signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprocesses.die_with_parent()\n"
        "open(f'{rank}', 'w').write(str(os.getpid())); time.sleep(600)"
    )
    code = f"from cpnet.launch.processes import run_ranks\nrun_ranks({[sys.executable, '-c', child]!r}, 2)"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    wait_for(lambda: all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in ("0", "1")))
    numbers = [int((tmp_path / name).read_text()) for name in ("0", "1")]
    parent.send_signal(number)
    if number == signal.SIGTERM:
        time.sleep(0.5)
        parent.send_signal(number)
    assert parent.wait(20) == (-signal.SIGKILL if number == signal.SIGKILL else 143)
    wait_for(lambda: not any(map(is_alive, numbers)))


@pytest.mark.parametrize(
    ("devices", "variables", "count"),
    [
        *((devices, {}, 1) for devices in (1, "2,", "auto", -1, "all of them")),
        *((devices, {}, 3) for devices in (3, "3", "1,2,5", [0, 2, 3])),
        (4, {"LOCAL_RANK": "0"}, 1),  # torchrun starts the ranks
        (4, {"SLURM_NTASKS": "8"}, 1),  # srun
        (4, {"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "bash"}, 4),
        (4, {"SLURM_NTASKS": "1"}, 4),
    ],
)
def test_process_count(devices: object, variables: dict[str, str], count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert processes.process_count(OmegaConf.create({"trainer": {"accelerator": "cpu", "devices": devices}})) == count


# Rank 1 joins the collective when rank 0 is in its last exit handler, which keeps the interpreter locked. So gloo waits
# for the lock to free a tensor of rank 0.
LATE = """
import atexit
atexit.register(sum, range(100_000_000))  # registered first, called last
import os, sys, time
import torch, torch.distributed
from contextlib import nullcontext
from cpnet.errors import ConfigError
from cpnet.launch import processes
from cpnet.launch.processes import run_ranks

rank = int(sys.argv[1])
store = torch.distributed.FileStore('store', 2)
torch.distributed.init_process_group('gloo', store=store, rank=rank, world_size=2)
ending = processes.exit_cleanly if sys.argv[2] == 'ours' else nullcontext
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
    print('done')  # to a file, hence buffered
    sys.exit(3)
"""


@pytest.mark.parametrize(
    ("ending", "code", "output"),
    [
        ("ours", 3, "done\n"),
        # When this fails, torch has fixed it, and exit_cleanly can go.
        ("of Python", -signal.SIGABRT, "terminate called without an"),
    ],
)
@pytest.mark.slow
def test_exit_code_is_kept_while_gloo_is_active(ending: str, code: int, output: str, tmp_path: Path) -> None:
    line = [sys.executable, "-c", LATE]
    with (tmp_path / "output").open("w+") as stream:
        started = [subprocess.Popen([*line, rank, ending], cwd=tmp_path, stdout=stream, stderr=stream) for rank in "01"]
        codes = [process.wait(60) for process in started]
        stream.seek(0)
        assert output in stream.read()
    assert codes[0] == code
    assert (tmp_path / "at the end").exists()  # exit handlers were called


def test_process_without_a_group_exits_as_usual() -> None:
    with pytest.raises(SystemExit, match="3"), processes.exit_cleanly():
        sys.exit(3)
