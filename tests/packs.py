"""Feature packs in every layout that is delivered, written from arrays by the layout's own library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Writer = Callable[[Path, Arrays], Path]

KEY = "features"  # the inner name, where a layout has one
STRIDE, WINDOW = 12, 64  # frames, as TALL has them for TACoS


def write_npy(folder: Path, arrays: Arrays) -> Path:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def write_npz(folder: Path, arrays: Arrays) -> Path:
    for name, array in arrays.items():
        np.savez(folder / f"{name}.npz", features=array)
    return folder


def write_pt(folder: Path, arrays: Arrays) -> Path:
    for name, array in arrays.items():
        torch.save(torch.from_numpy(array.astype(array.dtype.newbyteorder("="))), folder / f"{name}.pt")
    return folder


def write_flat(folder: Path, arrays: Arrays) -> Path:
    with h5py.File(folder / "pack.hdf5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return folder / "pack.hdf5"


def write_group(folder: Path, arrays: Arrays) -> Path:
    return write_flat(folder, {f"{name}/{KEY}": array for name, array in arrays.items()})


def write_windows(folder: Path, arrays: Arrays) -> Path:
    """A file a row, which is why only arrays of shape (N, V) can be written so."""
    for name, array in arrays.items():
        for i, row in enumerate(array):
            start = 1 + i * STRIDE
            np.save(folder / f"{name}_{start}_{start + WINDOW}.npy", row)
    return folder


# Layouts that keep a video's array as it is.
WRITERS: dict[str, Writer] = {
    "npy": write_npy,
    "npz": write_npz,
    "pt": write_pt,
    "hdf5_flat": write_flat,
    "hdf5_group": write_group,
}
ROW_WRITERS: dict[str, Writer] = {**WRITERS, "windows": write_windows}


def random(*shape: int, dtype: str = "float32") -> NDArray[Any]:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)
