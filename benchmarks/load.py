"""A test split of a million pairs through the command line: memory and seconds.

Features and queries are made up; a narrow model is trained on a few of them first. Fails if the resident set of the
process exceeds its limit, or if a prediction is missing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from made_up import Shape, write_corpus
from sections import conditions, kind

PAIRS, GIGABYTES, SHAPE = 1_000_000, 3.0, Shape(videos=2_000, rows=8, width=8)
FEW = {"train": 200, "val": 50, "test": 50}
NARROW = (
    *("model=cpnet_small", "model.hidden_dim=16", "model.encoder.num_heads=1", "model.pyramid_levels=1"),
    *("sampling=pick", "sampling.clips=8", "batch_size=50", "epochs=1", "trainer=cpu", "trainer.compile=false"),
    *("logger=none", "trainer.enable_progress_bar=false"),
)


def main() -> None:
    """Print both, and fail if a limit is exceeded."""
    print(kind(), conditions(), sep="; ")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder / "few", SHAPE, pairs=FEW)
        write_corpus(folder / "many", SHAPE, pairs=FEW | {"test": PAIRS})
        made_up = ("--config-dir", "few/conf", "dataset=made_up", "data_dir=few")
        run(folder, "train", *made_up, "hydra.run.dir=trained", *NARROW)
        best = "checkpoint=trained/checkpoints/best.ckpt"
        taken, peak = run(folder, "evaluate", best, "data_dir=many", "batch_size=4096", "hydra.run.dir=run")
        print(f"{PAIRS:,} pairs: {taken:.0f} s, at most {peak:.2f} GB resident")
        with (folder / "run" / "predictions.jsonl").open(encoding="utf-8") as lines:
            found = [json.loads(line)["qid"] for line in lines]
    if found != [f"test:{number}" for number in range(PAIRS)]:
        raise SystemExit("predictions.jsonl does not have a line for each pair, in their order")
    if peak > GIGABYTES:
        raise SystemExit(f"that is more than {GIGABYTES} GB")


def run(folder: Path, command: str, *settings: str) -> tuple[float, float]:
    """Run a command in a folder; return its seconds and its most resident GB."""
    begin = time.perf_counter()
    with (folder / "output.txt").open("w", encoding="utf-8") as output:
        line = [sys.executable, "-m", f"cpnet.{command}", *settings]
        running = subprocess.Popen(line, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(running.pid, 0)
    if status:
        raise SystemExit((folder / "output.txt").read_text(encoding="utf-8")[-3000:])
    return time.perf_counter() - begin, usage.ru_maxrss * 1024 / 1e9  # Linux counts it in KiB


if __name__ == "__main__":
    main()
