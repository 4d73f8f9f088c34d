"""A test split of a million pairs through the command line: memory and seconds.

    python benchmarks/load.py [--pairs 1000000] [--gigabytes 3]

Features and queries are made up; a narrow model is trained on a few of them first. Fails if the resident set of the
process exceeds its limit, or if a prediction is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe
from made_up import Shape, write_corpus

SHAPE = Shape(videos=2_000, rows=8, width=8)
FEW = {"train": 200, "val": 50, "test": 50}
NARROW = (
    *("model=cpnet_small", "model.hidden_dim=16", "model.encoder.num_heads=1", "model.pyramid_levels=1"),
    *("sampling=pick", "sampling.clips=8", "batch_size=50", "epochs=1", "trainer=cpu", "trainer.compile=false"),
    *("logger=none", "trainer.enable_progress_bar=false"),
)


def main() -> None:
    """Print both, and fail if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where 1 GB can be written; a temporary folder otherwise")
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--gigabytes", type=float, default=3.0, help="that the resident set may have at most")
    arguments = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        prepare(folder, pairs=arguments.pairs)
        taken, peak = evaluate(folder)
        print(f"{arguments.pairs:,} pairs: {taken:.0f} s, at most {peak / 1e9:.2f} GB resident")
        check(folder, pairs=arguments.pairs)
    if peak > arguments.gigabytes * 1e9:
        raise SystemExit(f"that is more than {arguments.gigabytes} GB")


def prepare(folder: Path, *, pairs: int) -> None:
    """Write a small corpus, train on it, and write a large one."""
    write_corpus(folder / "few", SHAPE, pairs=FEW)
    settings = ["--config-dir", "few/conf", "dataset=made_up", "data_dir=few", "hydra.run.dir=trained", *NARROW]
    subprocess.run([sys.executable, "-m", "cpnet.train", *settings], cwd=folder, stdout=subprocess.DEVNULL, check=True)
    write_corpus(folder / "many", SHAPE, pairs=FEW | {"test": pairs})


def evaluate(folder: Path) -> tuple[float, float]:
    """Run the command on the large corpus, and return its seconds and its most resident bytes."""
    settings = ["checkpoint=trained/checkpoints/best.ckpt", "data_dir=many", "batch_size=4096", "hydra.run.dir=run"]
    begin = time.perf_counter()
    with (folder / "output.txt").open("w", encoding="utf-8") as output:
        command = [sys.executable, "-m", "cpnet.evaluate", *settings]
        running = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(running.pid, 0)
    if status:
        raise SystemExit((folder / "output.txt").read_text(encoding="utf-8")[-3000:])
    return time.perf_counter() - begin, usage.ru_maxrss * 1024  # Linux counts it in KiB


def check(folder: Path, *, pairs: int) -> None:
    """Fail if the predictions are not those of the split."""
    with (folder / "run" / "predictions.jsonl").open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if json.loads(line)["qid"] != f"test:{number}":
                raise SystemExit(f"predictions.jsonl: line {number + 1} is of another pair: {line}")
    if number + 1 != pairs:
        raise SystemExit(f"predictions.jsonl has {number + 1} lines for {pairs} pairs")


if __name__ == "__main__":
    main()
