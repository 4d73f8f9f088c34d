"""Kill a training again and again, at random moments, and compare what comes of it with a run that nobody disturbed.

``python tests/soak.py --kills 100`` prints how many kills, resumes and lost steps there were; exit code 1 where the
results differ. ``make soak`` runs it. With ``--processes 2`` each training has two, and the command or one of them is
killed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

import cpnet

MOMENTS = ("step", "validation", "saving", "test", "any")
RUN = (
    *("dataset=synthetic", "model=cpnet_small", "trainer=cpu", "trainer.enable_progress_bar=false"),
    *("dataset.generate.videos=20", "model.hidden_dim=16", "sampling=pick", "sampling.clips=16", "batch_size=8"),
    *("trainer.compile=false", "epochs=6", "num_workers=2", "callbacks.recovery.every_n_steps=2"),
    *("logger=wandb", "callbacks.early_stopping=null"),
)


@dataclass
class Tally:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)
    resumes: int = 0
    lost: list[int] = field(default_factory=list)  # steps, of each SIGKILL
    runs: int = 0
    history: list[str] = field(default_factory=list)  # kills of the run that is under way
    differing: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items()))
        lost = f"{sum(self.lost)} steps lost by {len(self.lost)} SIGKILLs, at most {max(self.lost, default=0)} by one, "
        return (
            f"{self.kills.total()} kills ({kinds}), {self.resumes} resumes, {lost if self.lost else ''}"
            f"{self.runs} runs finished, {len(self.differing)} differ from the undisturbed one"
        )


def soak(place: Path, *, kills: int, processes: int = 1, seed: int = 0, progress: bool = False) -> Tally:
    """Kill ``kills`` times; a run that finishes is compared, and another begins."""
    drawn, tally = random.Random(seed), Tally()
    assert _start(place, "whole", processes).wait() == 0
    whole = outcome(place / "whole")
    while tally.kills.total() < kills:
        name = f"run{tally.runs}"
        while not (place / name / "results.json").exists() and tally.kills.total() < kills:
            (_one if processes == 1 else _one_of_two)(place, name, drawn, tally)
            if progress:
                print(f"\r{tally}", end="", flush=True)
        tally.resumes += 1
        ended = _start(place, name, processes).wait()
        assert ended == 0, (place / f"{name}.log").read_text()[-2000:]
        tally.runs += 1
        came = outcome(place / name)
        if differing := [key for key in whole if came[key] != whole[key]]:
            tally.differing.append(f"{name} in {', '.join(differing)} after {'; '.join(tally.history)}")
        tally.history.clear()
    return tally


def _one(place: Path, name: str, drawn: random.Random, tally: Tally) -> None:
    moment, number = drawn.choice(MOMENTS), drawn.choice([signal.SIGKILL, signal.SIGTERM])
    latest = {"step": 12, "validation": 3, "saving": 8, "test": 2, "any": 40}[moment]
    at = drawn.randrange(latest)
    tally.resumes += (place / name / "checkpoints").exists()
    code = _start(place, name, 1, moment, str(at), str(int(number))).wait()
    if code == 0:  # it was done before the moment came
        return
    expected = -signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM
    assert code == expected, (code, moment, at, (place / f"{name}.log").read_text()[-2000:])
    tally.kills[f"{signal.Signals(number).name} in {moment}"] += 1
    tally.history.append(f"{signal.Signals(number).name} in {moment} {at}")
    if number == signal.SIGKILL:
        reached = int((place / f"{name}.step").read_text() or 0) if (place / f"{name}.step").exists() else 0
        tally.lost.append(max(0, reached - _saved_step(place / name)))
    _check_metrics(place / name / "metrics.csv")


def _one_of_two(place: Path, name: str, drawn: random.Random, tally: Tally) -> None:
    number, victim = drawn.choice(
        [(signal.SIGTERM, "command"), *((signal.SIGKILL, each) for each in ("command", "first", "second"))]
    )
    tally.resumes += (place / name / "checkpoints").exists()
    process = _start(place, name, 2)
    with suppress(subprocess.TimeoutExpired):
        process.wait(2 + 18 * drawn.random())
    family = [] if process.poll() is not None else psutil.Process(process.pid).children(recursive=True)
    ranks = sorted((each for each in family if each.ppid() == process.pid), key=lambda each: each.create_time())
    if len(ranks) < 2:  # it has not started them yet, or is done
        victim = "command"
    target = process if victim == "command" else ranks[victim == "second"]
    with suppress(psutil.NoSuchProcess):
        target.send_signal(number)
    code = process.wait(60)
    assert psutil.wait_procs(family, timeout=30)[1] == [], f"{victim} killed: others live on"
    if code == 0:
        return
    expected = {"command": (-number, 128 + number)}.get(victim, (1,))
    assert code in expected, (code, victim, number, (place / f"{name}.log").read_text()[-2000:])
    tally.kills[f"{number.name} of {victim}"] += 1
    tally.history.append(f"{number.name} of {victim} at step {_saved_step(place / name)}")
    _check_metrics(place / name / "metrics.csv")


def _check_metrics(path: Path) -> None:
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        assert all(line.endswith("\n") and line.count(",") == lines[0].count(",") for line in lines)


def _saved_step(folder: Path) -> int:
    for name in ("next.ckpt", "last.ckpt", "previous.ckpt"):
        if (folder / "checkpoints" / name).exists():
            return int(torch.load(folder / "checkpoints" / name, weights_only=True)["global_step"])
    return 0


def _start(place: Path, name: str, processes: int, *kill: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(Path(cpnet.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--processes", str(processes), "--child", name, *kill]
    with (place / f"{name}.log").open("ab") as output:
        return subprocess.Popen(command, cwd=place, env=environment, stdout=output, stderr=output)


def outcome(folder: Path) -> dict[str, Any]:
    """Give what must not differ: weights and the optimiser's state, epochs, predictions, metrics."""
    best, last = (torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    results = json.loads((folder / "results.json").read_text())
    return {
        "best": _digest(best["state_dict"]),
        "last": _digest(last["state_dict"]),
        "optimizer": _digest(last["optimizer_states"][0]["state"]),
        "metrics.csv": (folder / "metrics.csv").read_text(),
        "predictions": (folder / "predictions.jsonl").read_text(),
        "metrics": results["metrics"],
        "validation": results["validation"],
    }


def _digest(state: Any) -> str:
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(str(name).encode())
        digest.update(_digest(value).encode() if isinstance(value, dict) else value.numpy().tobytes())
    return digest.hexdigest()


@dataclass
class Moment:
    """When a process ends itself: at the ``at``-th of its steps, validations, savings or tests, or at any time."""

    kind: str
    at: int
    number: int
    seen: int = 0

    def comes(self, kind: str) -> bool:
        """Whether this is it."""
        self.seen += kind == self.kind
        return kind == self.kind and self.seen == self.at + 1

    def end(self) -> None:
        """Send the signal."""
        os.kill(os.getpid(), self.number)


def child(name: str, processes: int, moment: Moment) -> None:
    """Train in this process, which ends itself at a moment."""
    from cpnet import cli
    from cpnet.train import main

    for of, kind in (("training_step", "step"), ("validation_step", "validation"), ("test_step", "test")):
        _watch(of, kind, name, moment)
    _watch_saving(moment)
    if moment.kind == "any":
        timer = threading.Timer(3 + 0.1 * moment.at, moment.end)  # from the end of the imports on, more or less
        timer.daemon = True
        timer.start()
    sys.argv[1:] = [*RUN, f"trainer.devices={processes}", f"hydra.run.dir={name}", "resume=true"]
    cli.run(main, config_name="train")


def _watch(of: str, kind: str, name: str, moment: Moment) -> None:
    from cpnet.module import GroundingModule

    original = getattr(GroundingModule, of)

    def step(module: GroundingModule, *arguments: Any) -> Any:
        if kind == "step":
            Path(f"{name}.step").write_text(str(module.trainer.global_step))
        if moment.comes(kind):
            moment.end()
        return original(module, *arguments)

    setattr(GroundingModule, of, step)


def _watch_saving(moment: Moment) -> None:
    save: Any = torch.save

    def half(content: Any, stream: Any) -> None:
        if moment.comes("saving"):
            if moment.number == signal.SIGKILL:
                stream.write(b"half of a file")
                stream.flush()
            moment.end()
        save(content, stream)

    torch.save = half  # type: ignore[assignment]


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1, choices=(1, 2))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs="+")
    arguments = parser.parse_args()
    if arguments.child:
        name, *kill = arguments.child
        kind, at, number = kill or ("none", "0", "0")
        child(name, arguments.processes, Moment(kind, int(at), int(number)))
        return 0
    with tempfile.TemporaryDirectory() as place:
        began = time.monotonic()
        told = {"processes": arguments.processes, "seed": arguments.seed}
        tally = soak(Path(place), kills=arguments.kills, **told, progress=True)
        print(f"\r{tally}; {(time.monotonic() - began) / 60:.1f} min", *tally.differing, sep="\n")
    return 1 if tally.differing else 0


if __name__ == "__main__":
    sys.exit(_main())
