"""Training beside busy processes: our number of threads against fixed settings. At most 6 minutes.

Each setting trains the small model on the synthetic corpus in a process of its own; they take turns of a second.
A busy process is a loop in Python in a session of its own, as other users' are. Figures are medians of the turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from cpnet.training import threads
from cpnet.training.callbacks.fewer_threads import FewerThreads, Load
from cpnet.workers import cgroups, cpus
from sections import conditions, kind

TURN_SEC, MOST_STEPS = 1.0, 8  # a turn ends when either is reached
ROW_SEC, ROUNDS = 40.0, 16  # so does a row; the others than ours and its rivals take one turn, in which a step may hang
TRAINING = [
    *("model=cpnet_small", "epochs=100000", "trainer.check_val_every_n_epoch=100000", "trainer.accelerator=cpu"),
    *("trainer.compile=false", "trainer.enable_progress_bar=false", "+callbacks.turns._target_=contention.Turns"),
]
SETTINGS = {  # default: the number of torch and the spinning of libgomp without settings
    "ours": {},
    "default": {
        "GOMP_SPINCOUNT": "300000",
        "OMP_NUM_THREADS": str(threads.physical_cores(Path("/"))),
    },
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


class Turns(Callback):
    """Train for one turn whenever a line is read, and print its milliseconds a step."""

    steps, began = 0, 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Wait for the turn."""
        if self.steps == 0:
            if not sys.stdin.readline():
                os._exit(0)
            self.began = time.perf_counter()
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, FewerThreads):
                    callback.last = Load.now()  # the other settings' turns are not its load

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """End the turn."""
        self.steps += 1
        seconds = time.perf_counter() - self.began
        if seconds > TURN_SEC or self.steps == MOST_STEPS:
            print("turn", 1000 * seconds / self.steps, flush=True)
            self.steps = 0


def start(stack: ExitStack, line: Sequence[str], **options: Any) -> Any:
    """Start a process, which is killed at the end of the stack."""
    process = stack.enter_context(subprocess.Popen(line, **options))
    stack.callback(process.kill)
    return process


def trainings(stack: ExitStack, folder: Path, names: Iterable[str], *, prefix: Sequence[str] = ()) -> dict[str, Any]:
    """Start a training with each setting, by a command that begins with ``prefix``."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "CPNET_"))}
    plain |= {"CPNET_TRUSTED": "contention", "PYTHONPATH": os.pathsep.join(sys.path)}  # for Turns
    command = [*prefix, sys.executable, "-m", "cpnet.train", *TRAINING, f"data_dir={folder}/data"]
    running: dict[str, Any] = {}
    for name in names:
        line, pipe = [*command, f"hydra.run.dir={folder}/{name.replace(' ', '_')}"], subprocess.PIPE
        running[name] = start(stack, line, env=plain | SETTINGS[name], text=True, stdin=pipe, stdout=pipe)
        turn(running[name])
    return running


def turn(training: Any) -> float:
    """Let a training take a turn; return its milliseconds a step."""
    print(file=training.stdin, flush=True)
    for line in training.stdout:
        if line.startswith("turn "):
            return float(line.split()[1])
    raise SystemExit("a training ended early")


def compare(where: str, running: Mapping[str, Any], *, rivals: Sequence[str], limit: float, busy: int = 0) -> None:
    """Print a row: the milliseconds a step of all settings, and ours over the fastest of its rivals."""
    with ExitStack() as stack:
        for _ in range(busy):
            start(stack, [sys.executable, "-c", "while True: pass"], start_new_session=True)
        turns = {name: [turn(training)] for name, training in running.items()}
        until = time.monotonic() + ROW_SEC
        while len(turns["ours"]) < ROUNDS and time.monotonic() < until:
            for name in ("ours", *rivals):
                turns[name].append(turn(running[name]))
    steps = {name: median(each) for name, each in turns.items()}
    figures = ", ".join(f"{name} {step:.0f}" for name, step in steps.items())
    ratio = steps["ours"] / min(steps[name] for name in rivals)
    print(f"{where}: {figures} ms; ours over {' or '.join(rivals)} {ratio:.2f} (at most {limit})", flush=True)


def limited_cgroup() -> Path | None:
    """Make a cgroup with a quota of one core, if this user may."""
    folder = next(cgroups(Path("/")), Path("/nowhere")) / f"contention-{os.getpid()}"
    try:
        folder.mkdir()
        version_2 = (folder / "cgroup.controllers").exists()
        (folder / ("cpu.max" if version_2 else "cpu.cfs_quota_us")).write_text("100000")  # microseconds of 100,000
        return folder
    except OSError:
        with suppress(OSError):
            folder.rmdir()
        return None


def main() -> None:
    """Print the rows."""
    print(kind(), conditions(), sep="; ", flush=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with ExitStack() as stack:
            running = trainings(stack, folder, SETTINGS)
            compare("nothing else", running, rivals=["default"], limit=1.03)
            for busy in (1, 2):
                compare(f"{busy} busy", running, rivals=["passive", "one thread"], limit=1.15, busy=busy)
        with ExitStack() as stack:
            only = ["taskset", "-c", str(min(cpus()))]
            running = trainings(stack, folder, ["ours", "one thread"], prefix=only)
            compare("one CPU by taskset", running, rivals=["one thread"], limit=1.1)
        if not (cgroup := limited_cgroup()):
            print("quota of one core: skipped, because this user may not limit a cgroup's processor time")
            return
        with ExitStack() as stack:
            stack.callback(cgroup.rmdir)
            enter = ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec "$@"', "sh"]
            running = trainings(stack, folder, ["ours", "default", "one thread"], prefix=enter)
            compare("quota of one core", running, rivals=["one thread"], limit=1.1)


if __name__ == "__main__":
    main()
