"""Several processes of one run on one machine: started together, and ended together as soon as one of them fails.

The command that was given becomes their parent and trains nothing itself. So it can say why they failed, whichever of
them it was, and a run of several processes is a command like any other to a sweep. Imports nothing heavy.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from cpnet.config import ConfigError
from cpnet.config.resolvers import under_slurm
from cpnet.jobs import command

REPORT, PARENT = "CPNET_REPORT", "CPNET_PARENT"  # environment: where a process says why it failed, and to whom
PATIENCE_SECONDS = 10.0  # for the others to end by themselves, say with their tracker's run closed
GRACE_SECONDS = 30.0  # the same after a signal, as long as SLURM gives
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class ProcessFailedError(ConfigError):
    """A process of a run failed; the message is its own."""


@dataclass(frozen=True)
class Member:
    """A process of a run, and the file in which it says why it failed."""

    rank: int
    process: subprocess.Popen[bytes]
    report: Path

    def failed(self) -> bool:
        """Whether it has ended in another way than it should."""
        return self.process.poll() not in (None, 0)

    def said(self) -> str:
        """What it says that it failed of; empty where it could not."""
        return self.report.read_text(encoding="utf-8") if self.report.exists() else ""


def share(cfg: DictConfig, name: str) -> bool:
    """Run a command in several processes where it asks for them; tell whether that was so and they are done.

    Args:
        cfg: the command's configuration
        name: the command's, such as train

    Raises:
        ProcessFailedError: one of them failed
    """
    if (count := missing(cfg)) > 1:
        hydra = cast(DictConfig, HydraConfig.get())
        folder = Path(hydra.runtime.output_dir)
        line = [*command(hydra, name, hydra.overrides.task, folder), "hydra.output_subdir=null"]
        run_together(line, count, nodes=cfg.trainer.num_nodes, folder=folder, cwd=hydra.runtime.cwd)
        return True
    if int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) > 0:
        logging.getLogger().setLevel(logging.ERROR)  # the first process has said the rest
    return False


def run_together(line: Sequence[str], count: int, *, nodes: int, folder: Path, cwd: str) -> None:
    """Run a command line in several processes, as ``torchrun`` would, and wait for them.

    Args:
        line: the command line of each
        count: how many on this machine
        nodes: on how many machines the same is done
        folder: where ``process_1.log`` and so on go, with what all but the first print
        cwd: where they run

    Raises:
        ProcessFailedError: one of them failed; the others are down then
        SystemExit: a signal ended them
    """
    shared = _environment(count, nodes=nodes)
    with tempfile.TemporaryDirectory() as reports:
        members: list[Member] = []
        with _passing_on(members) as passed:
            try:
                for rank in itertools.takewhile(lambda _: not passed, range(count)):
                    report = Path(reports) / str(rank)
                    process = _start(line, rank, shared | {REPORT: str(report)}, folder=folder, cwd=cwd)
                    members.append(Member(rank, process, report))
                if passed:  # some were not told, and none has done anything yet
                    raise SystemExit(128 + passed[0])
                stopped = _wait(members, passed)
            finally:
                _kill(members)
        failed = [member for member in members if member.failed()]
        if failed and passed:
            codes = [member.process.returncode for member in failed if member.rank not in stopped]
            code = next(iter(codes), -passed[0])
            raise SystemExit(code if code > 0 else 128 - code)
        if failed:
            raise ProcessFailedError(_reason(_first(failed, stopped), members, folder))


def missing(cfg: DictConfig) -> int:
    """How many processes are to be started on this machine: 1, this one, where somebody else has started them."""
    if "LOCAL_RANK" in os.environ or under_slurm():
        return 1
    accelerator, devices = cfg.trainer.accelerator, cfg.trainer.devices
    if isinstance(devices, int) and devices > 0:
        return devices
    from pytorch_lightning import Trainer

    if isinstance(devices, ListConfig):
        devices = OmegaConf.to_container(devices)
    try:
        return Trainer(accelerator=accelerator, devices=devices, logger=False, enable_checkpointing=False).num_devices
    except Exception:  # what is wrong with them is said where the run's own trainer is made
        return 1


def follow_parent() -> None:
    """End this process when the one that started it for a run has gone, however that went."""
    parent = int(os.environ.get(PARENT, 0))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)  # a process that waits for another hears nothing else

    if parent:
        threading.Thread(target=watch, daemon=True).start()


@contextmanager
def leaving() -> Iterator[None]:
    """Let a process that has talked to others exit with its own code, whatever threads those talks have left.

    A thread of gloo lets go of a collective's tensors after the others have theirs, and waits for the interpreter to do
    so. If that is being taken apart meanwhile, the process aborts, and a run that has written all its results counts as
    failed. So this process calls what was registered for its exit, and ends without taking the interpreter apart.
    """
    code = 0
    try:
        yield
    except SystemExit as end:
        if not _has_talked() or not isinstance(end.code, int):
            raise
        code = end.code
    if _has_talked():
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads as the interpreter does
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # nobody reads it any more
                stream.flush()
        os._exit(code)


def _has_talked() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()


def tell(text: str) -> bool:
    """Leave the reason of a failure where the parent reads it; tell whether there is one."""
    if place := os.environ.get(REPORT):
        Path(place).write_text(text, encoding="utf-8")
    return bool(place)


def _environment(count: int, *, nodes: int) -> dict[str, str]:
    environment = os.environ | {PARENT: str(os.getpid()), "WORLD_SIZE": str(count * nodes)}
    environment |= {"SLURM_JOB_NAME": "interactive"}  # for Lightning: these are not SLURM's processes
    environment.setdefault("NODE_RANK", "0")
    environment.setdefault("MASTER_ADDR", "127.0.0.1")
    if "MASTER_PORT" not in environment:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            environment["MASTER_PORT"] = str(free.getsockname()[1])
    environment["RANK"] = str(int(environment["NODE_RANK"]) * count)
    return dict(environment)


def _start(
    line: Sequence[str], rank: int, environment: Mapping[str, str], *, folder: Path, cwd: str
) -> subprocess.Popen[bytes]:
    own = {"LOCAL_RANK": str(rank), "RANK": str(int(environment["RANK"]) + rank)}
    # Ctrl-C on a terminal reaches a session of processes: it is to come once, from the parent.
    if rank == 0:
        return subprocess.Popen(line, env={**environment, **own}, cwd=cwd, start_new_session=True)
    with (folder / f"process_{rank}.log").open("wb") as said:
        return subprocess.Popen(
            line, env={**environment, **own}, cwd=cwd, start_new_session=True, stdout=said, stderr=said
        )


def _wait(members: Sequence[Member], passed: Sequence[int]) -> set[int]:
    """Wait until all have ended; those that outlive a failure, or one that a signal ended, are killed, and their ranks
    returned.
    """
    deadline = float("inf")
    while running := [member for member in members if member.process.poll() is None]:
        if deadline == float("inf") and (len(running) < len(members) if passed else any(m.failed() for m in members)):
            deadline = time.monotonic() + (GRACE_SECONDS if passed else PATIENCE_SECONDS)
        if time.monotonic() > deadline:
            _kill(running)
            return {member.rank for member in running}
        time.sleep(0.1)
    return set()


def _kill(members: Sequence[Member]) -> None:
    for member in members:
        if member.process.poll() is None:
            member.process.kill()
            member.process.wait()


def _first(failed: Sequence[Member], stopped: set[int]) -> Member:
    """Find the process that failed by itself: the others' connections to it broke later."""
    own = [member for member in failed if member.rank not in stopped]
    # An abort is how a library ends a process whose connections broke.
    killed = [
        member for member in own if member.process.returncode < 0 and member.process.returncode != -signal.SIGABRT
    ]
    told = sorted((member for member in own if member.said()), key=lambda member: member.report.stat().st_mtime_ns)
    return [*killed, *told, *own][0]


def _reason(member: Member, members: Sequence[Member], folder: Path) -> str:
    said, code = member.said(), member.process.returncode
    place = f"rank {member.rank} of {len(members)}"
    if said.startswith("cpnet: "):
        text = said.removeprefix("cpnet: ").rstrip()
        return text if all(each.said() == said for each in members) else f"{place}: {text}"
    if said:
        sys.stderr.write(said)
        return f"{place}: {said.rstrip().splitlines()[-1]}"
    if code < 0:
        name = signal.Signals(-code).name
        why = ", as a system does that runs out of memory" if name == "SIGKILL" else ""
        return f"{place}: ended by {name}{why}"
    log = f"; its last words are in {folder / f'process_{member.rank}.log'}" if member.rank else ""
    return f"{place}: exit code {code}{log}"


@contextmanager
def _passing_on(members: Sequence[Member]) -> Iterator[list[int]]:
    """Pass the signals that end or requeue a run on to its processes; give a list of those that came."""
    passed: list[int] = []

    def pass_on(number: int, _: object) -> None:
        passed.append(number)
        for member in members:
            member.process.send_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield passed
        return
    before = {number: signal.signal(number, pass_on) for number in PASSED_ON}
    try:
        yield passed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
