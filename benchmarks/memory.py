"""Memory of packing and of training on a corpus of ActivityNet's real size: 14,926 videos, 37,421 pairs, 6.6 GB.

    python benchmarks/memory.py [--folder DIR] [--videos 14926]

Features and queries are made up. A pack in float16 is written and packed, then a narrow model is trained for an epoch
through the command line, from ``disk`` and from ``memory``, with two workers, in one process and in two. What all
processes of a run hold together is the sum of their proportional set sizes, in which memory that several share counts
once; it is looked at every second.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from machine import describe
from made_up import counts, write_corpus

ROWS, WIDTH = 440, 500
NARROW = (
    *("model=cpnet_small", "model.hidden_dim=8", "model.encoder.num_heads=1", "model.pyramid_levels=1"),
    *("sampling=pick", "sampling.clips=128", "batch_size=100", "epochs=1", "num_workers=2", "trainer=cpu"),
    *("logger=none", "trainer.enable_progress_bar=false"),
)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where 14 GB can be written; a temporary folder otherwise")
    parser.add_argument("--videos", type=int, default=14_926)
    parser.add_argument("--pairs", type=int, default=37_421, help="of training")
    arguments = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        pairs = {"train": arguments.pairs, "val": 100, "test": 100}
        write_corpus(Path(folder), pairs=pairs, videos=arguments.videos, rows=ROWS, width=WIDTH, dtype="float16")
        size = 2 * WIDTH * int(counts(arguments.videos, ROWS).sum())
        print(f"{arguments.videos} videos, {arguments.pairs} pairs, {size / 1e9:.2f} GB in float16")
        measure(Path(folder))


def measure(folder: Path) -> None:
    """Pack, and train in every way."""
    print(f"{'what':<38}{'processes':>10}{'all together, GB':>18}{'largest alone, GB':>19}{'seconds':>9}")
    watch("pack", folder, "cpnet.prepare", "action=pack")
    (folder / "features.hdf5").unlink()
    for residence in ("disk", "memory"):
        for ranks in (1, 2):
            settings = [f"dataset.features.residence={residence}", *NARROW]
            if ranks > 1:
                settings += ["trainer.strategy=ddp", f"trainer.devices={ranks}", f"batch_size={100 // ranks}"]
            watch(f"train, {residence}, {ranks} ranks, 2 workers each", folder, "cpnet.train", *settings)


def watch(what: str, folder: Path, module: str, *settings: str) -> None:
    """Run a command and print the most that its processes held."""
    command = [sys.executable, "-m", module, "--config-dir", "conf", "dataset=made_up", f"data_dir={folder}", *settings]
    begin = time.perf_counter()
    together, alone, most = 0.0, 0.0, 0
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        running = psutil.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        while running.poll() is None:
            held = [size for process in family(running) if (size := held_by(process))]
            together = max(together, sum(pss for pss, _ in held))
            alone, most = max(alone, *(rss for _, rss in held), 0), max(most, len(held))
            time.sleep(1)
    took = time.perf_counter() - begin
    if running.returncode:
        raise SystemExit((folder / "log.txt").read_text(encoding="utf-8")[-3000:])
    print(f"{what:<38}{most:>10}{together / 1e9:>18.2f}{alone / 1e9:>19.2f}{took:>9.0f}", flush=True)


def family(process: psutil.Process) -> list[psutil.Process]:
    """Give a process and all that it started."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def held_by(process: psutil.Process) -> tuple[int, int] | None:
    """Give the proportional and the resident set size, None for a process that has ended."""
    try:
        held = process.memory_full_info()
    except psutil.Error:
        return None
    return held.pss, held.rss


if __name__ == "__main__":
    main()
