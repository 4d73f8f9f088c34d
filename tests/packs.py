"""Write feature packs in every published layout, each by the library of its format."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Writer = Callable[[Path, Arrays], Path]

KEY = "features"  # name of the inner array, if the layout has one
STRIDE, WINDOW = 12, 64  # frames, as in TALL's features of TACoS


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
    """Write a file for each row of arrays of shape (N, V)."""
    for name, array in arrays.items():
        for i, row in enumerate(array):
            start = 1 + i * STRIDE
            np.save(folder / f"{name}_{start}_{start + WINDOW}.npy", row)
    return folder


# Layouts that store arrays of any shape.
WRITERS: dict[str, Writer] = {
    "npy": write_npy,
    "npz": write_npz,
    "pt": write_pt,
    "hdf5_flat": write_flat,
    "hdf5_group": write_group,
}
ROW_WRITERS: dict[str, Writer] = {**WRITERS, "windows": write_windows}


class Payload:
    """Create a folder when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.proof),)


def npy_header(shape: tuple[int, ...], descr: Any = "<f4") -> bytes:
    """Return the header of an ``.npy`` file without its rows."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_2_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def random(*shape: int, dtype: str = "float32") -> NDArray[Any]:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)
