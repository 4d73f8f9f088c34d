"""Run a command in several processes on one machine: ``trainer=ddp trainer.devices=2``.

The parent process does not train: it starts the ranks with ``torch.distributed.elastic``, waits for them and
reports the first failure. Does not import torch until ranks are started.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig

from cpnet.config.resolvers import under_slurm
from cpnet.errors import ConfigError
from cpnet.launch.sweep import command_line

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

PARENT = "CPNET_PARENT"  # environment variable of a rank: id of the process that started it
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # set by torch's launchers and by the launcher of sweeps
POLL_SECONDS = 0.1
GRACE_SECONDS = 30  # after a signal, from the end of the first rank until the others are killed
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT)


def run_in_processes(cfg: DictConfig, command: str) -> bool:
    """Run a command in several processes if its configuration asks for them.

    Returns:
        True if several processes have run the command; False if this process must run it

    Raises:
        ConfigError: a process failed, or several machines are configured
        SystemExit: a signal stopped the processes
    """
    count, folder = process_count(cfg), Path(cfg.output_dir)
    if count > 1:
        if cfg.trainer.num_nodes > 1:
            raise ConfigError(f"trainer.num_nodes={cfg.trainer.num_nodes} needs torchrun or srun: see docs/clusters.md")
        hydra = HydraConfig.get()
        line = [*command_line(hydra, command, hydra.overrides.task, folder), "hydra.output_subdir=null"]
        run_ranks(line, count)
        return True
    rank = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0)))
    if rank > 0:
        logging.getLogger().setLevel(logging.ERROR)  # rank 0 logs the rest
        if PARENT in os.environ:
            with (folder / f"process_{rank}.log").open("wb") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
    return False


def process_count(cfg: DictConfig) -> int:
    """Return the number of processes to start on this machine: 1 if torchrun or SLURM started this process."""
    if "LOCAL_RANK" in os.environ or under_slurm():
        return 1
    devices = cfg.trainer.devices
    if isinstance(devices, ListConfig):
        return len(devices)
    text = str(devices)
    if text in ("auto", "-1") and cfg.trainer.accelerator in ("auto", "gpu", "cuda"):
        import torch

        return max(1, torch.cuda.device_count())
    # Lightning reports invalid values.
    return int(text) if text.isdecimal() else len([each for each in text.split(",") if each.strip()])


def run_ranks(line: Sequence[str], count: int) -> None:
    """Run a command line in several processes and wait for them.

    Raises:
        ConfigError: a process failed, and the others were stopped
        SystemExit: a signal stopped the processes
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, start_processes
    from torch.distributed.elastic.utils.distributed import get_free_port

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # _reason reports failures
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = ",".join(each.name for each in FORWARDED)
    # The job name tells Lightning that SLURM did not start these processes.
    shared = {PARENT: str(os.getpid()), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    shared |= {"SLURM_JOB_NAME": "interactive", "MASTER_PORT": str(get_free_port())}  # type: ignore[no-untyped-call]
    shared |= {"MASTER_ADDR": "127.0.0.1", "NODE_RANK": "0"}  # those of the environment are of another cluster
    handlers = {number: signal.getsignal(number) for number in FORWARDED}  # torch replaces them
    with tempfile.TemporaryDirectory() as errors:
        try:
            context = start_processes(
                name="rank",
                entrypoint=line[0],
                args=dict.fromkeys(range(count), tuple(line[1:])),
                envs={rank: shared | {"LOCAL_RANK": str(rank), "RANK": str(rank)} for rank in range(count)},
                logs_specs=DefaultLogsSpecs(errors),
            )
            try:
                result = context.wait(period=POLL_SECONDS)
            except SignalException as received:
                _forward(context, received.sigval)
                context.close(signal.SIGKILL)
                result = context.wait(timeout=0)
                ended = {failure.exitcode for failure in result.failures.values()} if result else set()
                if ended & {128 + received.sigval, -received.sigval, -signal.SIGKILL}:
                    raise SystemExit(128 + received.sigval) from None
        except SignalException as second:  # or the first, before the wait
            raise SystemExit(128 + second.sigval) from None  # ranks that still run die with this process
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if result and result.failures:
            raise ConfigError(_reason(next(iter(result.failures.values())), count))


def _forward(context: Any, number: int) -> None:
    """Forward a signal to the ranks and wait for them, but not for a rank that waits for one that has ended."""
    ranks = [handler.proc for handler in context.subprocess_handlers.values()]
    for rank in ranks:
        rank.send_signal(number)
    deadline = float("inf")  # a step that is being compiled may take minutes
    while running := [rank for rank in ranks if rank.poll() is None]:
        if len(running) < len(ranks):
            deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
        if time.monotonic() > deadline:
            return
        time.sleep(POLL_SECONDS)


def _reason(failure: ProcessFailure, count: int) -> str:
    message, traceback = reported_failure(Path(failure.error_file))
    sys.stderr.write(traceback)
    if message and not traceback:  # a user error is the same on all ranks
        return message
    return f"rank {failure.local_rank} of {count}: {message or exit_reason(failure.exitcode)}"


def exit_reason(code: int) -> str:
    """Describe how a process ended.

    >>> exit_reason(-9)
    'killed by SIGKILL (probably out of memory)'
    """
    if code >= 0:
        return f"exit code {code}"
    return f"killed by {signal.Signals(-code).name}{' (probably out of memory)' if code == -signal.SIGKILL else ''}"


def die_with_parent() -> None:
    """Kill this rank when its parent process ends: a rank that waits for another rank ignores signals."""
    parent = int(os.environ.get(PARENT, 0))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    if parent:
        threading.Thread(target=watch, daemon=True).start()


def report_failure(message: str, traceback: str = "") -> bool:
    """Write an error to the file that the parent process reads, in torch's format.

    Returns:
        True if ``run_in_processes`` started this rank and will print the error
    """
    if path := os.environ.get(ERROR_FILE):
        details = {"py_callstack": traceback, "timestamp": str(int(time.time()))}
        content = {"message": {"message": message, "extraInfo": details}}
        with suppress(OSError):  # a full disk
            Path(path).write_text(json.dumps(content), encoding="utf-8")
    if PARENT not in os.environ:
        return False
    # If one rank fails or is killed, the others fail too. The launcher reports the rank that ends first. As every
    # failed rank waits here, a killed rank ends before the others, and the first to fail before those that follow.
    time.sleep(10 * POLL_SECONDS)
    return True


def reported_failure(path: Path) -> tuple[str, str]:
    """Read the message and traceback that ``report_failure`` wrote; empty strings without a file."""
    try:
        report = json.loads(path.read_bytes())["message"]
    except (OSError, ValueError):
        return "", ""
    return str(report["message"]), str(report["extraInfo"]["py_callstack"])


@contextmanager
def exit_cleanly() -> Iterator[None]:
    """Exit a rank with its own code, without finalizing the interpreter.

    A thread of gloo may still hold tensors of a collective. If it frees them during the interpreter's exit, the process
    aborts, and a finished run counts as failed. ``destroy_process_group`` does not help while a DistributedDataParallel
    keeps the group alive. So run the exit handlers, flush the output, and exit.
    """
    code = 0
    try:
        yield
    except SystemExit as end:
        code = int(end.code or 0)
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # the reader of a pipe has exited
                stream.flush()
        os._exit(code)
    sys.exit(code)
