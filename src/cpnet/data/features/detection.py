"""Detect the layout of a file or folder; for pickles, LMDB and files of torch, say how to convert them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from cpnet.data.features.arrays import SUFFIXES
from cpnet.data.features.folder import detect_folder
from cpnet.data.features.packed import is_packed
from cpnet.errors import DataError

HDF5 = b"\x89HDF\r\n\x1a\n"
PICKLES = (".pkl", ".pickle", ".pk")
RISK = "a pickle, which can run any program when it is loaded"
# Kinds that are not read: what they are, and for the lines that convert them a module and the pairs of id and array
FOREIGN = {
    "pickle": (RISK, "pickle", 'pickle.load(open({path}, "rb")).items()'),
    "pickles": (
        f"a folder of files, each {RISK}",
        "pickle",
        '((file.stem, pickle.load(open(file, "rb"))) for file in pathlib.Path({path}).glob("*.p*k*"))',
    ),
    "npy": (f"one .npy; of a dictionary it is {RISK}", "io", "numpy.load({path}, allow_pickle=True)[()].items()"),
    "torch": ("one file of torch", "torch", "torch.load({path}, weights_only=True).items()"),
    "lmdb": (
        "an LMDB database, here taken to have values in .npz format with an array 'features'",
        "io, lmdb",
        '((key.decode(), numpy.load(io.BytesIO(value))["features"]) for key, value in '
        "lmdb.open({path}, readonly=True, lock=False, subdir={folder}).begin().cursor())",
    ),
}


def detect_layout(path: Path) -> str:
    """Detect the layout of a file or folder, as ``dataset.features.layout`` spells it.

    Raises:
        DataError: the files have no layout or several, or are of a kind that must be converted.
    """
    if is_packed(path):
        return "packed"
    if kind := _foreign(path):
        what, modules, pairs = FOREIGN[kind]
        raise DataError(
            f"{path} is {what}. Convert it, and set dataset.features.path=features:\n"
            f"  import {modules}, numpy, pathlib\n"
            '  pathlib.Path("features").mkdir()\n'
            f"  for name, array in {pairs.format(path=repr(str(path)), folder=path.is_dir())}:\n"
            f'      numpy.save(f"features/{{name}}.npy", numpy.asarray(array, "float32"))'
        )
    if path.is_dir():
        return detect_folder(path)
    return "npz" if _first_bytes(path) != HDF5 and zipfile.is_zipfile(path) else "hdf5"


def _foreign(path: Path) -> str | None:
    if path.is_dir():
        suffixes = {file.suffix for file in path.iterdir()}
        pickles = suffixes.intersection(PICKLES) and not suffixes.intersection(SUFFIXES)
        return "lmdb" if (path / "data.mdb").is_file() else "pickles" if pickles else None
    if (first := _first_bytes(path)) == HDF5:
        return None
    by_suffix = {**dict.fromkeys(PICKLES, "pickle"), ".pt": "torch", ".pth": "torch", ".lmdb": "lmdb", ".mdb": "lmdb"}
    return by_suffix.get(path.suffix.lower(), {b"\x93": "npy", b"\x80": "pickle"}.get(first[:1]))


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(len(HDF5))
