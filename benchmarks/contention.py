"""Training beside busy processes: our threads and their waiting against fixed settings. At most 6 minutes.

    python benchmarks/contention.py

Each setting trains the small model on the synthetic corpus in a process of its own. They take turns of about a second.
A busy process is a loop in Python in a session of its own, as other users' processes are. Figures are milliseconds a
step: medians of the turns. "default" is what torch and libgomp do without any setting.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from cpnet.training import threads
from machine import describe

TURN_SEC, MOST_STEPS = 1.0, 8  # a turn ends when either is reached
ROUNDS, ROUNDS_OF_OTHERS = 12, 1  # beside busy processes, a step of the default may take 10 seconds
SCRIPT = """
import sys
sys.path.insert(0, sys.argv.pop(1))  # for Turns, below
from cpnet import train
from cpnet.launch import command
command.run(train.main, config_name="train")
"""
TRAINING = [
    *("model=cpnet_small", "epochs=100000", "trainer.check_val_every_n_epoch=100000", "trainer.accelerator=cpu"),
    *("trainer.compile=false", "trainer.enable_progress_bar=false", "+callbacks.turns._target_=contention.Turns"),
]
SETTINGS = {
    "ours": {},
    "default": {"GOMP_SPINCOUNT": "300000", "OMP_NUM_THREADS": str(torch.get_num_threads())},  # libgomp's own count
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

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """End the turn."""
        self.steps += 1
        seconds = time.perf_counter() - self.began
        if seconds > TURN_SEC or self.steps == MOST_STEPS:
            print("turn", 1000 * seconds / self.steps, flush=True)
            self.steps = 0


@contextmanager
def trainings(folder: Path, names: Sequence[str], *, prefix: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Start a training with each setting, by a command that begins with ``prefix``, and end them."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "CPNET_"))}
    command = [*prefix, sys.executable, "-c", SCRIPT, str(Path(__file__).parent), *TRAINING, f"data_dir={folder}/data"]
    running: dict[str, Any] = {}
    try:
        for name in names:
            line = [*command, f"hydra.run.dir={folder}/{name.replace(' ', '_')}"]
            environment = plain | {"CPNET_TRUSTED": "contention"} | SETTINGS[name]
            pipe = subprocess.PIPE
            running[name] = subprocess.Popen(line, env=environment, text=True, stdin=pipe, stdout=pipe)
            turn(running[name])
        yield running
    finally:
        end(running.values())


def turn(training: Any) -> float:
    """Let a training take a turn; return its milliseconds a step."""
    print(file=training.stdin, flush=True)
    for line in training.stdout:
        if line.startswith("turn "):
            return float(line.split()[1])
    raise SystemExit("a training ended early")


def end(processes: Any) -> None:
    """Kill processes."""
    for each in processes:
        each.kill()
        each.wait()


def compare(where: str, running: Mapping[str, Any], *, against: Sequence[str], limit: float, busy: int = 0) -> None:
    """Print a row: the steps of all settings, and ours over the fastest of ``against``."""
    line = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(line, start_new_session=True) for _ in range(busy)]
    turns: dict[str, list[float]] = {name: [] for name in running}
    try:
        for number in range(ROUNDS):
            for name, training in running.items():
                if name in ("ours", *against) or number < ROUNDS_OF_OTHERS:
                    turns[name].append(turn(training))
    finally:
        end(loops)
    steps = {name: median(each) for name, each in turns.items()}
    ratio = steps["ours"] / min(steps[name] for name in against)
    figures = ", ".join(f"{name} {step:.0f}" for name, step in steps.items())
    print(f"{where}: {figures} ms; ours over {' or '.join(against)} {ratio:.2f} (at most {limit})", flush=True)


@contextmanager
def quota_of_one_core() -> Iterator[Path | None]:
    """Make a cgroup with a quota of one core, or None if this user may not."""
    folder = next(threads.cgroups(Path("/")), Path("/nowhere")) / f"contention-{os.getpid()}"
    made = False
    with suppress(OSError):
        folder.mkdir()
        made = True
        name, text = ("cpu.max", "100000 100000") if (folder / "cpu.max").exists() else ("cpu.cfs_quota_us", "100000")
        (folder / name).write_text(text)
    limited = made and threads.cgroup_quota(folder) == 1
    yield folder if limited else None
    if made:
        folder.rmdir()


def main() -> None:
    """Print the rows."""
    print(f"{describe()}; load {os.getloadavg()[0]:.1f} before the first row", flush=True)
    with tempfile.TemporaryDirectory() as place, quota_of_one_core() as cgroup:
        folder = Path(place)
        with trainings(folder, [*SETTINGS]) as running:
            compare("nothing else", running, against=["default"], limit=1.03)
            for busy in (1, 2):
                compare(f"{busy} busy", running, against=["passive", "one thread"], limit=1.15, busy=busy)
        with trainings(folder, ["ours", "one thread"], prefix=["taskset", "-c", str(min(threads.cpus()))]) as running:
            compare("one CPU by taskset", running, against=["one thread"], limit=1.1)
        if cgroup is None:
            print("quota of one core: skipped, because this user may not make a cgroup with the controller cpu")
            return
        enter = ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec "$@"', "sh"]
        with trainings(folder, ["ours", "default", "one thread"], prefix=enter) as running:
            compare("quota of one core", running, against=["one thread"], limit=1.1)


if __name__ == "__main__":
    main()
