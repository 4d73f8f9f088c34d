"""In which container should a packed store lie? Rows of a corpus in each of them, read back video by video.

    python benchmarks/containers.py [--gigabytes 1]

``opening`` is until the first row can be read, with the index of the videos; ``reads`` are of 128 rows of 500 in
float16, spread over a random video, from files in the system's cache.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from machine import describe, seconds
from made_up import counts, name

WIDTH, ROWS, PICKED = 500, 440, 128

Rows = NDArray[np.float16]
Read = Callable[[int, NDArray[np.int64]], Rows]  # from the first row of a video and the rows that are picked in it


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help="where files are written; a temporary folder otherwise")
    arguments = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure(Path(folder), videos=int(arguments.gigabytes * 1e9 / (2 * WIDTH * ROWS)))


def measure(folder: Path, *, videos: int) -> None:
    """Write all containers, and read from each."""
    sizes = counts(videos, ROWS)
    offsets = np.concatenate([[0], sizes.cumsum()])
    rows = np.random.default_rng(0).standard_normal((int(offsets[-1]), WIDTH), np.float32).astype(np.float16)
    names = [name(video) for video in range(videos)]
    write(folder, rows, offsets, names)
    asked = np.random.default_rng(1).integers(videos, size=500)
    picks = [(int(offsets[v]), np.arange(PICKED) * int(sizes[v]) // PICKED) for v in asked.tolist()]
    print(f"{'container':<42}{'opening ms':>12}{'reads/s':>10}")
    for label, opening in OPENINGS.items():
        read = opening(folder)
        for first, picked in picks[:3]:
            np.testing.assert_array_equal(read(first, picked), rows[first + picked])

        def read_all(read: Read = read) -> None:
            for first, picked in picks:
                read(first, picked)

        opened = seconds(lambda opening=opening: opening(folder)(0, np.arange(1)))  # type: ignore[misc]
        print(f"{label:<42}{1e3 * opened:>12.2f}{len(picks) / seconds(read_all):>10.0f}", flush=True)


def write(folder: Path, rows: Rows, offsets: NDArray[np.int64], names: list[str]) -> None:
    """Write the same rows and index in every container."""
    np.save(folder / "rows.npy", rows)
    (folder / "index.json").write_text(json.dumps({"ids": names, "offsets": offsets.tolist()}), encoding="utf-8")
    save_file({"rows": rows, "offsets": offsets}, folder / "rows.safetensors", metadata={"ids": json.dumps(names)})
    with h5py.File(folder / "rows.hdf5", "w") as file:
        file["ids"], file["offsets"], file["rows"] = names, offsets, rows
    with h5py.File(folder / "lzf.hdf5", "w") as file:
        file["ids"], file["offsets"] = names, offsets
        file.create_dataset("rows", data=rows, chunks=(64, WIDTH), compression="lzf")
    with h5py.File(folder / "flat.hdf5", "w") as file:
        for video, (start, end) in enumerate(pairwise(offsets.tolist())):
            file[names[video]] = rows[start:end]


def npy(folder: Path) -> Read:
    """Map a .npy beside a JSON index."""
    json.loads((folder / "index.json").read_text(encoding="utf-8"))
    mapped = np.load(folder / "rows.npy", mmap_mode="r")
    return lambda first, picked: mapped[first + picked]


def safetensors_mapped(folder: Path) -> Read:
    """Map the rows of a safetensors file at their place."""
    path = folder / "rows.safetensors"
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    json.loads(header["__metadata__"]["ids"])
    begin, _ = header["rows"]["data_offsets"]
    mapped = np.memmap(path, np.float16, "r", 8 + length + begin, tuple(header["rows"]["shape"]))
    return lambda first, picked: mapped[first + picked]


def safetensors_slices(folder: Path) -> Read:
    """Read a video's rows through the safetensors library."""
    file: Any = safe_open(folder / "rows.safetensors", framework="np")
    json.loads(file.metadata()["ids"])
    rows = file.get_slice("rows")
    return lambda first, picked: np.asarray(rows[first : first + int(picked[-1]) + 1])[picked]


def hdf5_mapped(folder: Path) -> Read:
    """Map the one dataset of an HDF5 file at its place."""
    with h5py.File(folder / "rows.hdf5") as file:
        list(file["ids"].asstr()[()])
        begin, shape = file["rows"].id.get_offset(), file["rows"].shape
    mapped = np.memmap(folder / "rows.hdf5", np.float16, "r", begin, shape)
    return lambda first, picked: mapped[first + picked]


def hdf5_slices(folder: Path, file_name: str = "rows.hdf5") -> Read:
    """Read a video's rows through the HDF5 library."""
    file = h5py.File(folder / file_name)
    list(file["ids"].asstr()[()])
    rows = file["rows"]
    return lambda first, picked: np.asarray(rows[first : first + int(picked[-1]) + 1])[picked]


def hdf5_compressed(folder: Path) -> Read:
    """Read a video's rows through the HDF5 library, compressed with lzf."""
    return hdf5_slices(folder, "lzf.hdf5")


def hdf5_flat(folder: Path) -> Read:
    """Read a dataset a video, as packs are delivered."""
    file = h5py.File(folder / "flat.hdf5")
    names = list(file)
    starts = np.concatenate([[0], np.cumsum([len(file[name]) for name in names])]).tolist()
    video = dict(zip(starts, names, strict=False))
    return lambda first, picked: np.asarray(file[video[first]][()])[picked]


OPENINGS: dict[str, Callable[[Path], Read]] = {
    ".npy + JSON index, mapped": npy,
    "safetensors, mapped": safetensors_mapped,
    "safetensors, slices through the library": safetensors_slices,
    "HDF5, one dataset, mapped": hdf5_mapped,
    "HDF5, one dataset, slices through h5py": hdf5_slices,
    "HDF5, one dataset in lzf, through h5py": hdf5_compressed,
    "HDF5, a dataset a video, through h5py": hdf5_flat,
}

if __name__ == "__main__":
    main()
