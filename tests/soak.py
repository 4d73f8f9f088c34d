"""Kill and resume training runs at random moments, and compare their outcome with an uninterrupted run.

``make soak`` does it with ``smoke/test_kills.py``. With two processes, the command or one of them is killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

import cpnet

# Calls at which a process kills itself, and the number of calls from which one is drawn
MOMENTS = {"training_step": 12, "validation_step": 3, "test_step": 2, "save": 8}
RUN = (
    *("dataset=synthetic", "model=cpnet_small", "trainer=cpu", "trainer.enable_progress_bar=false"),
    *("dataset.generate.videos=20", "model.hidden_dim=16", "sampling=pick", "sampling.clips=16", "batch_size=8"),
    *("trainer.compile=false", "epochs=6", "callbacks.recovery.every_n_steps=2"),
    *("logger=wandb", "callbacks.early_stopping=null"),
)


@dataclass
class Tally:
    """Counts of kills and resumes."""

    kills: Counter[str] = field(default_factory=Counter)
    resumes: int = 0
    runs: int = 0
    differing: list[str] = field(default_factory=list)


def soak(place: Path, *, kills: int, processes: int) -> Tally:
    """Kill runs ``kills`` times in total; compare each finished run and start another."""
    drawn, tally = random.Random(0), Tally()
    assert _start(place, "whole", processes).wait() == 0
    whole = outcome(place / "whole")
    while tally.kills.total() < kills:
        name, before = f"run{tally.runs}", tally.kills.copy()
        while not (place / name / "results.json").exists() and tally.kills.total() < kills:
            tally.resumes += (place / name / "checkpoints").exists()
            if kind := _kill(place, name, processes, drawn):
                tally.kills[kind] += 1
            _check_metrics(place / name / "metrics.csv")
        tally.resumes += 1
        code = _start(place, name, processes).wait()
        assert code == 0, _log(place, name)
        tally.runs += 1
        found = outcome(place / name)
        if differing := [key for key in whole if found[key] != whole[key]]:
            tally.differing.append(f"{name} in {', '.join(differing)} after {dict(tally.kills - before)}")
    return tally


def _kill(place: Path, name: str, processes: int, drawn: random.Random) -> str | None:
    """Start a run and kill it; return the kind of the kill, or None if the run ended before."""
    number = drawn.choice([signal.SIGKILL, signal.SIGTERM])
    moment = drawn.choice([*MOMENTS, None]) if processes == 1 else None
    if moment:
        call = drawn.randrange(MOMENTS[moment])
        code = _start(place, name, 1, moment, call, int(number)).wait()
        expected = {-number if number == signal.SIGKILL else 128 + number}
        kind = f"{number.name} in {moment}"
    else:
        process = _start(place, name, processes)
        with suppress(subprocess.TimeoutExpired):
            process.wait(2 + 9 * processes * drawn.random())
        family = [] if process.poll() is not None else psutil.Process(process.pid).children(recursive=True)
        ranks = sorted((each for each in family if each.ppid() == process.pid), key=lambda each: each.create_time())
        victim = 0  # the command
        if number == signal.SIGKILL and processes > 1 and len(ranks) == processes:
            victim = drawn.randrange(1 + processes)
        with suppress(psutil.NoSuchProcess):
            (ranks[victim - 1] if victim else process).send_signal(number)
        code = process.wait(60)
        assert psutil.wait_procs(family, timeout=30)[1] == [], f"rank {victim - 1} killed: other processes survive"
        expected = {1} if victim else {-number, 128 + number}  # SIGTERM may come before its handler is set
        kind = f"{number.name} of {f'rank {victim - 1}' if victim else 'the command'}"
    if code == 0:
        return None
    assert code in expected, (code, kind, _log(place, name))
    return kind


def _check_metrics(path: Path) -> None:
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        assert all(line.endswith("\n") and line.count(",") == lines[0].count(",") for line in lines)


def _log(place: Path, name: str) -> str:
    return (place / f"{name}.log").read_text()[-2000:]


def _start(place: Path, name: str, processes: int, *kill: str | int) -> subprocess.Popen[bytes]:
    folders = os.pathsep.join(str(Path(file).parent) for file in (__file__, cpnet.__path__[0]))
    environment = os.environ | {"PYTHONPATH": folders, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", f"import soak; soak._train{(name, processes, *kill)}"]
    with (place / f"{name}.log").open("ab") as output:
        return subprocess.Popen(command, cwd=place, env=environment, stdout=output, stderr=output)


def outcome(folder: Path) -> dict[str, Any]:
    """Return everything that must not differ: weights, optimiser state, epochs, predictions, metrics."""
    best, last = (torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    results = json.loads((folder / "results.json").read_text())
    return {
        "best": _digest(best["state_dict"]),
        "last": _digest(last["state_dict"]),
        "weights before their average": _digest(last.get("current_model_state", {})),
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


def _train(name: str, processes: int, moment: str = "", call: int = 0, number: int = 0) -> None:
    """Train in this process, which sends itself a signal at the given call of a method of the module or of ``save``."""
    from cpnet.launch import command
    from cpnet.train import main
    from cpnet.training.module import GroundingModule

    if moment:
        owner: Any = torch if moment == "save" else GroundingModule
        original, left = getattr(owner, moment), [call]

        def watched(*arguments: Any) -> Any:
            if not left[0]:
                if moment == "save" and number == signal.SIGKILL:
                    arguments[1].write(b"half of a file")
                    arguments[1].flush()
                os.kill(os.getpid(), number)
            left[0] -= 1
            return original(*arguments)

        setattr(owner, moment, watched)
    sys.argv = ["train", *RUN, f"trainer.devices={processes}", f"hydra.run.dir={name}", "resume=true"]
    command.run(main, config_name="train")
