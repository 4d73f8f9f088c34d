"""A test split of a million pairs through the command line: memory and seconds of each stage.

    python benchmarks/load.py [--pairs 1000000] [--gigabytes 3]

Features and queries are made up; a narrow model is trained on a few of them first. The log and the files of a run tell
its stage. Fails if the resident set of the process exceeds its limit, or if a prediction is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from machine import describe
from made_up import write_corpus

VIDEOS, ROWS, WIDTH = 2_000, 8, 8
FEW = {"train": 200, "val": 50, "test": 50}
NARROW = (
    *("model=cpnet_small", "model.hidden_dim=16", "model.encoder.num_heads=1", "model.pyramid_levels=1"),
    *("sampling=pick", "sampling.clips=8", "batch_size=50", "epochs=1", "trainer=cpu", "trainer.compile=false"),
    *("logger=none", "trainer.enable_progress_bar=false"),
)
# What the log says when a stage begins; files tell the last two.
BEGINS = {"annotations": "test: read", "words": "words:", "features": "features: placement"}
STAGES = ("start, annotations read", "cleaned, words", "features opened", "pairs, test", "predictions", "results")


@dataclass
class Watched:
    """Measurements of a run.

    Attributes:
        seconds: of each stage
        resident: most bytes of its resident set in each stage
        peak: most bytes of its resident set, by the kernel's count
        computed: seconds of processor time
    """

    seconds: dict[str, float] = field(default_factory=dict)
    resident: dict[str, int] = field(default_factory=dict)
    peak: int = 0
    computed: float = 0.0


def main() -> None:
    """Print a table, and fail if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where 1 GB can be written; a temporary folder otherwise")
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--gigabytes", type=float, default=3.0, help="that the resident set may have at most")
    arguments = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        prepare(folder, pairs=arguments.pairs)
        watched = evaluate(folder)
        show(folder, watched)
        check(folder, watched, pairs=arguments.pairs, gigabytes=arguments.gigabytes)


def prepare(folder: Path, *, pairs: int) -> None:
    """Write a small corpus, train on it, and write a large one."""
    write_corpus(folder / "few", pairs=FEW, videos=VIDEOS, rows=ROWS, width=WIDTH)
    settings = ["--config-dir", "few/conf", "dataset=made_up", "data_dir=few", "hydra.run.dir=trained", *NARROW]
    subprocess.run([sys.executable, "-m", "cpnet.train", *settings], cwd=folder, stdout=subprocess.DEVNULL, check=True)
    write_corpus(folder / "many", pairs=FEW | {"test": pairs}, videos=VIDEOS, rows=ROWS, width=WIDTH)


def evaluate(folder: Path) -> Watched:
    """Run the command on the large corpus, and sample its memory until it ends."""
    settings = ["checkpoint=trained/checkpoints/best.ckpt", "data_dir=many", "batch_size=4096", "hydra.run.dir=run"]
    command = [sys.executable, "-m", "cpnet.evaluate", *settings]
    watched, begin = Watched(), time.perf_counter()
    with (folder / "output.txt").open("w", encoding="utf-8") as output:
        running = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        process = psutil.Process(running.pid)
        while True:
            ended, status, usage = os.wait4(running.pid, os.WNOHANG)
            if ended:
                break
            stage, now = stage_of(folder / "run"), time.perf_counter()
            watched.seconds[stage] = watched.seconds.get(stage, 0.0) + now - begin
            watched.resident[stage] = max(watched.resident.get(stage, 0), process.memory_info().rss)
            begin = now
            time.sleep(0.05)
    if status:
        raise SystemExit((folder / "output.txt").read_text(encoding="utf-8")[-3000:])
    watched.computed = usage.ru_utime + usage.ru_stime
    watched.peak = usage.ru_maxrss * 1024  # Linux counts it in KiB
    return watched


def stage_of(run: Path) -> str:
    """Return the stage of a run by the files that it has written."""
    if (run / "predictions.jsonl").exists():
        return STAGES[5]
    if any(run.glob("predictions.jsonl.*.tmp")):
        return STAGES[4]
    log = run / "evaluate.log"
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    return STAGES[sum(mark in text for mark in BEGINS.values())]


def show(folder: Path, watched: Watched) -> None:
    """Print a row a stage."""
    print(f"{'stage':<28}{'seconds':>9}{'resident, GB':>14}")
    for stage in STAGES:
        print(f"{stage:<28}{watched.seconds.get(stage, 0):>9.1f}{watched.resident.get(stage, 0) / 1e9:>14.2f}")
    print(f"{'all':<28}{sum(watched.seconds.values()):>9.1f}{watched.peak / 1e9:>14.2f}")
    print(f"{'all, processor time':<28}{watched.computed:>9.1f}")
    size = (folder / "run" / "predictions.jsonl").stat().st_size
    results = json.loads((folder / "run" / "results.json").read_text(encoding="utf-8"))
    print(f"predictions.jsonl {size / 1e6:.0f} MB; the test loop with its predictions {results['seconds']['test']} s")


def check(folder: Path, watched: Watched, *, pairs: int, gigabytes: float) -> None:
    """Fail if the run exceeded its memory, or if its predictions are not those of the split."""
    with (folder / "run" / "predictions.jsonl").open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if json.loads(line)["qid"] != f"test:{number}":
                raise SystemExit(f"predictions.jsonl: line {number + 1} is of another pair: {line}")
    if number + 1 != pairs:
        raise SystemExit(f"predictions.jsonl has {number + 1} lines for {pairs} pairs")
    if watched.peak > gigabytes * 1e9:
        raise SystemExit(f"the resident set had {watched.peak / 1e9:.2f} GB, more than {gigabytes}")


if __name__ == "__main__":
    main()
